//! The reports of shards made into the one that the whole run would have written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::compression::{UnpackError, unpacked};
use crate::migration::coverage;
use crate::model::{BuildKind, BuildRef};
use crate::report::{
    Case, Described, Finding, Notice, NoticeKind, Policy, REPORT_SCHEMA, Report, ShardRef, Swept,
};
use crate::sweep::findings::unite;

/// A report that unpacks to more than this is refused. Real ones have some megabytes.
const MAX_BYTES: u64 = 1 << 30;

/// A report, and the file that it is from.
#[derive(Debug, Clone)]
pub struct Input {
    pub origin: String,
    pub report: Report,
}

/// Why a file is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read the report {}: {source}", file.display())]
    Io {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{} has more than {MAX_BYTES} bytes, which no report has", file.display())]
    TooLarge { file: PathBuf },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("{origin} is no report: {reason}; `--format json` writes one")]
    NoReport { origin: String, reason: String },
    #[error("{origin} is a report of the form {schema:?}; this migcompat reads {REPORT_SCHEMA:?}")]
    OtherSchema { origin: String, schema: String },
}

/// Reads a report in JSON, plain, gzip or zstd.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read(file: &Path) -> Result<Input, ReadError> {
    use std::io::Read;
    let io = |source| ReadError::Io {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .map_err(io)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge {
            file: file.to_owned(),
        });
    }
    parse(&bytes, &file.display().to_string())
}

/// Reads a report from memory; `origin` names it in errors.
///
/// # Errors
/// As [`read()`].
pub fn parse(bytes: &[u8], origin: &str) -> Result<Input, ReadError> {
    let no_report = |reason: String| ReadError::NoReport {
        origin: origin.to_owned(),
        reason,
    };
    let text = unpacked(bytes, origin, MAX_BYTES)?;
    // First what form it is of: of another one every key may be in another place.
    let any: Value = serde_json::from_slice(&text).map_err(|error| no_report(error.to_string()))?;
    match any.get("schema").and_then(Value::as_str) {
        Some(REPORT_SCHEMA) => {}
        Some(schema) => {
            return Err(ReadError::OtherSchema {
                origin: origin.to_owned(),
                schema: schema.to_owned(),
            });
        }
        None => return Err(no_report("it names no schema".to_owned())),
    }
    let mut track = serde_path_to_error::Track::new();
    let traced = serde_path_to_error::Deserializer::new(any, &mut track);
    let report = Report::deserialize(traced);
    let path = track.path().to_string();
    match report {
        Ok(report) => Ok(Input {
            origin: origin.to_owned(),
            report,
        }),
        Err(error) => Err(no_report(format!("at {path}: {error}"))),
    }
}

/// What is to happen when not all shards are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Refuse,
    /// What is there is joined, and the verdict is never better than untested.
    Allow,
}

/// Why reports cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("there is no report to merge")]
    Nothing,
    #[error("{0} is of a whole run, not of a shard: there is nothing to merge it with")]
    Whole(String),
    #[error(
        "{0}: it says shard {index}/{of}, and there is no such one",
        index = .1.index,
        of = .1.of
    )]
    NoSuchShard(String, ShardRef),
    #[error(
        "{one} and {other} are not of one run: {what} is {of_one} in the first and {of_other} in the second"
    )]
    Mixed {
        one: String,
        other: String,
        what: &'static str,
        of_one: String,
        of_other: String,
    },
    #[error(
        "{one} and {other} are not of one run: each set out to run other cases; did the builds, the lists of devices or migcompat itself change between them?"
    )]
    OtherPlan { one: String, other: String },
    #[error("{one} and {other} are both shard {index}/{of}")]
    Twice {
        one: String,
        other: String,
        index: u32,
        of: u32,
    },
    #[error("{one} and {other} both have the case {id}")]
    SameCase {
        one: String,
        other: String,
        id: String,
    },
    #[error("no shard reports any coverage that --min-coverage could look at")]
    NoCoverage,
    #[error("{} missing of {of}; --partial merges what there is", lacking(.missing))]
    Incomplete { missing: Vec<u32>, of: u32 },
}

impl MergeError {
    /// Whether the arguments are to blame. Otherwise a part of the run has no result.
    pub fn is_usage(&self) -> bool {
        !matches!(self, MergeError::Incomplete { .. })
    }
}

/// `shard 2 is`, `shards 2, 3 are`.
pub fn lacking(missing: &[u32]) -> String {
    let numbers: Vec<String> = missing.iter().map(u32::to_string).collect();
    match numbers.as_slice() {
        [one] => format!("shard {one} is"),
        all => format!("shards {} are", all.join(", ")),
    }
}

/// Puts cases into the order that a report has them in, however a run came to them: by machine and id.
pub fn order(cases: &mut [Case]) {
    cases.sort_by(|a, b| (&a.machine, &a.id).cmp(&(&b.machine, &b.id)));
}

/// Joins the reports of shards into what the whole run would have written, but for times and logs.
///
/// # Errors
/// They are not of one run, one is there twice, or one is not there; `required` is a percentage of
/// coverage, and none of them tells any.
pub fn merge(
    inputs: Vec<Input>,
    missing: Missing,
    required: Option<u8>,
) -> Result<Report, MergeError> {
    let mut shards: BTreeMap<u32, Input> = BTreeMap::new();
    let first = inputs.first().cloned().ok_or(MergeError::Nothing)?;
    let of_first = shard(&first)?;
    for input in inputs {
        let own = shard(&input)?;
        same_run(&first, &of_first, &input, &own)?;
        if let Some(other) = shards.get(&own.index) {
            return Err(MergeError::Twice {
                one: other.origin.clone(),
                other: input.origin,
                index: own.index,
                of: own.of,
            });
        }
        shards.insert(own.index, input);
    }
    let of = of_first.of;
    let lacking: Vec<u32> = (1..=of).filter(|at| !shards.contains_key(at)).collect();
    if !lacking.is_empty() && missing == Missing::Refuse {
        return Err(MergeError::Incomplete {
            missing: lacking,
            of,
        });
    }
    let shards: Vec<Input> = shards.into_values().collect();
    let cases = cases(&shards)?;
    let swept = swept(&shards)?;
    let covered = shards
        .iter()
        .filter_map(|shard| shard.report.coverage.as_ref());
    let coverage = coverage::join(covered);
    if coverage.is_none() && required.is_some() {
        return Err(MergeError::NoCoverage);
    }
    let policy = Policy {
        // A report of an earlier version names its options alone.
        strict: first.report.policy.strict || of_first.options.iter().any(|o| o == "--strict"),
        required_coverage: required,
        ..first.report.policy.clone()
    };
    let described = shards
        .iter()
        .filter_map(|shard| shard.report.described.clone());
    let report = Report {
        shard: None,
        coverage,
        described: Described::join(described),
        swept,
        findings: findings(&shards, &cases),
        notices: notices(&shards, &lacking, of),
        rules: shards
            .iter()
            .flat_map(|shard| shard.report.rules.clone())
            .collect(),
        cases,
        ..first.report
    };
    Ok(report.judged_by(policy))
}

/// The notices of all shards, each once, behind those of shards that are missing.
fn notices(shards: &[Input], missing: &[u32], of: u32) -> Vec<Notice> {
    let missing = missing.iter().map(|index| {
        let shard = format!("{index}/{of}");
        Notice::new(NoticeKind::ShardMissing, shard, "the report is not whole")
    });
    let mut notices: Vec<Notice> = missing.collect();
    for notice in shards.iter().flat_map(|shard| &shard.report.notices) {
        if !notices.contains(notice) {
            notices.push(notice.clone());
        }
    }
    notices
}

/// Of which shard a report is.
fn shard(input: &Input) -> Result<ShardRef, MergeError> {
    match &input.report.shard {
        None => Err(MergeError::Whole(input.origin.clone())),
        Some(shard) if shard.index == 0 || shard.index > shard.of => {
            Err(MergeError::NoSuchShard(input.origin.clone(), shard.clone()))
        }
        Some(shard) => Ok(shard.clone()),
    }
}

/// Whether two reports are of one run.
fn same_run(
    one: &Input,
    of_one: &ShardRef,
    other: &Input,
    of_other: &ShardRef,
) -> Result<(), MergeError> {
    let version = |input: &Input| input.report.tool.version.clone();
    let machine = |input: &Input| input.report.machine.clone().unwrap_or("none".to_owned());
    let options = |shard: &ShardRef| match shard.options.as_slice() {
        [] => "none".to_owned(),
        options => options.join(" "),
    };
    let told = [
        ("migcompat", version(one), version(other)),
        (
            "the old build",
            build(&one.report.old),
            build(&other.report.old),
        ),
        (
            "the new build",
            build(&one.report.new),
            build(&other.report.new),
        ),
        ("the machine", machine(one), machine(other)),
        (
            "the number of shards",
            of_one.of.to_string(),
            of_other.of.to_string(),
        ),
        ("what was asked for", options(of_one), options(of_other)),
    ];
    for (what, of_one, of_other) in told {
        if of_one != of_other {
            return Err(MergeError::Mixed {
                one: one.origin.clone(),
                other: other.origin.clone(),
                what,
                of_one,
                of_other,
            });
        }
    }
    if of_one.plan != of_other.plan {
        return Err(MergeError::OtherPlan {
            one: one.origin.clone(),
            other: other.origin.clone(),
        });
    }
    Ok(())
}

fn build(build: &BuildRef) -> String {
    let kind = match build.kind {
        BuildKind::Dump => "dump",
        BuildKind::Binary => "binary",
        BuildKind::Package => "package",
    };
    match build.version {
        Some(version) => format!("{} ({kind}, {version})", build.label),
        None => format!("{} ({kind})", build.label),
    }
}

/// The cases of all shards, in a report's order.
fn cases(shards: &[Input]) -> Result<Vec<Case>, MergeError> {
    let mut owners: BTreeMap<(&str, &str), &Input> = BTreeMap::new();
    for input in shards {
        for case in &input.report.cases {
            let key = (case.machine.as_str(), case.id.as_str());
            if let Some(owner) = owners.insert(key, input)
                && owner.origin != input.origin
            {
                return Err(MergeError::SameCase {
                    one: owner.origin.clone(),
                    other: input.origin.clone(),
                    id: case.id.clone(),
                });
            }
        }
    }
    let mut cases: Vec<Case> = shards
        .iter()
        .flat_map(|input| input.report.cases.clone())
        .collect();
    order(&mut cases);
    Ok(cases)
}

/// What there was to try on each machine. Shards look at the same machine and find the same devices, of
/// which each moves its own: those add up, as do the guests. Shards run side by side, so that the
/// time is that of the slowest one.
fn swept(shards: &[Input]) -> Result<Vec<Swept>, MergeError> {
    let mut all: Vec<(&Input, Swept)> = Vec::new();
    for input in shards {
        for of in &input.report.swept {
            let same = all.iter_mut().find(|(_, known)| {
                (&known.architecture, &known.machine) == (&of.architecture, &of.machine)
            });
            let Some((first, known)) = same else {
                all.push((input, of.clone()));
                continue;
            };
            for (what, of_one, of_other) in [
                (
                    "the number of device types in both builds",
                    known.shared,
                    of.shared,
                ),
                ("the number of CPU models", known.cpu_models, of.cpu_models),
                (
                    "the number of device types in the old build alone",
                    known.only_old.len(),
                    of.only_old.len(),
                ),
                (
                    "the number of device types in the new build alone",
                    known.only_new.len(),
                    of.only_new.len(),
                ),
            ] {
                if of_one != of_other {
                    return Err(MergeError::Mixed {
                        one: first.origin.clone(),
                        other: input.origin.clone(),
                        what,
                        of_one: of_one.to_string(),
                        of_other: of_other.to_string(),
                    });
                }
            }
            known.exercised += of.exercised;
            known.by_fall_back += of.by_fall_back;
            known.guests += of.guests;
            known.elapsed_ms = known.elapsed_ms.max(of.elapsed_ms);
            for left in &of.left_out {
                if !known
                    .left_out
                    .iter()
                    .any(|known| known.device == left.device)
                {
                    known.left_out.push(left.clone());
                }
            }
            known.left_out.sort_by(|a, b| a.device.cmp(&b.device));
        }
    }
    Ok(all.into_iter().map(|(_, swept)| swept).collect())
}

/// What the shards found, each once. Every shard compares the same dumps, and each knows of its own
/// cases alone what they confirm.
fn findings(shards: &[Input], cases: &[Case]) -> Vec<Finding> {
    // The whole run would have named the first case that confirms a finding, or else what was sent.
    let place = |finding: &Finding| match &finding.confirmed_by {
        Some(by) => {
            let case = cases.iter().position(|case| case.id == *by);
            case.unwrap_or(cases.len())
        }
        None => usize::MAX,
    };
    let all = shards.iter().flat_map(|shard| &shard.report.findings);
    unite(all.cloned(), |known, other| place(other) < place(known))
}

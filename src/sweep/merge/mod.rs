//! Merging of the reports of shards into the one that the whole run would have written.

mod error;
mod same_run;
mod swept;

use std::collections::BTreeMap;

use crate::migration::coverage;
use crate::report::baseline;
use crate::report::read::Input;
use crate::report::{
    Case, Described, Finding, Gate, Notice, NoticeKind, Policy, Report, RequiredCoverage,
};
use crate::sweep::findings::unite;

pub(crate) use error::MergeError;

use same_run::{Reports, shard_of};
use swept::join_swept;

/// Puts cases into the order that a report has them in, however a run came to them: by machine and id.
pub(crate) fn order(cases: &mut [Case]) {
    cases.sort_by(|a, b| (&a.machine, &a.id).cmp(&(&b.machine, &b.id)));
}

/// Joins the reports of shards into what the whole run would have written, but for times and logs. With `partial` some may
/// be missing: the verdict is then never better than untested.
///
/// # Errors
/// They are not of one run, one is there twice, or one is not there; `required` is a percentage of
/// coverage, and none of them reports any.
pub(crate) fn merge(
    inputs: Vec<Input>,
    partial: bool,
    required: RequiredCoverage,
) -> Result<Report, MergeError> {
    let mut shards: BTreeMap<u32, Input> = BTreeMap::new();
    let first = inputs.first().cloned().ok_or(MergeError::Nothing)?;
    let of_first = shard_of(&first)?;
    for input in inputs {
        let own = shard_of(&input)?;
        let reports = Reports {
            one: &first,
            other: &input,
        };
        reports.are_of_one_run([&of_first, &own])?;
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
    if !lacking.is_empty() && !partial {
        return Err(MergeError::Incomplete {
            missing: lacking,
            of,
        });
    }
    let shards: Vec<Input> = shards.into_values().collect();
    let cases = cases(&shards)?;
    let swept = join_swept(&shards)?;
    let covered = shards
        .iter()
        .filter_map(|shard| shard.report.coverage.as_ref());
    let coverage = coverage::join(covered);
    if coverage.is_none() && required.is_any() {
        return Err(MergeError::NoCoverage);
    }
    let policy = Policy {
        // A report of an earlier version names its options alone.
        strict: first.report.policy.strict || of_first.options.iter().any(|o| o == "--strict"),
        required_coverage: required.sections,
        required_state: required.state,
        // What a shard was held against is not what the whole is held against.
        gate: Gate::All,
        ..first.report.policy.clone()
    };
    let described = shards
        .iter()
        .filter_map(|shard| shard.report.described.clone());
    let mut report = Report {
        shard: None,
        coverage,
        described: Described::join(described),
        accelerators: each_once(&shards, |report| &report.accelerators),
        confinement: each_once(&shards, |report| &report.confinement),
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
    baseline::forget(&mut report);
    Ok(report.judged_by(policy))
}

/// Returns what all shards have of a kind, each once.
fn each_once<T: Clone + PartialEq>(shards: &[Input], of: impl Fn(&Report) -> &Vec<T>) -> Vec<T> {
    let mut used: Vec<T> = Vec::new();
    for of_shard in shards.iter().flat_map(|shard| of(&shard.report)) {
        if !used.contains(of_shard) {
            used.push(of_shard.clone());
        }
    }
    used
}

/// Joins the notices of all shards, each once, behind those of shards that are missing.
fn notices(shards: &[Input], missing: &[u32], of: u32) -> Vec<Notice> {
    let missing = missing.iter().map(|index| {
        let shard = format!("{index}/{of}");
        NoticeKind::ShardMissing.about(shard, "the report is not whole")
    });
    let of_shards = each_once(shards, |report| &report.notices);
    missing.chain(of_shards).collect()
}

/// Joins the cases of all shards, in a report's order.
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

/// Joins the findings of the shards, each once. Every shard compares the same dumps, and each knows
/// only what its own cases confirm.
fn findings(shards: &[Input], cases: &[Case]) -> Vec<Finding> {
    // The whole run would have named the first case that confirms a finding, or else what was sent.
    let rank = |finding: &Finding| match &finding.confirmed_by {
        Some(by) => {
            let case = cases.iter().position(|case| by.is_case(&case.id));
            case.unwrap_or(cases.len())
        }
        None => usize::MAX,
    };
    let all = shards.iter().flat_map(|shard| &shard.report.findings);
    unite(all.cloned(), |known, other| rank(other) < rank(known))
}

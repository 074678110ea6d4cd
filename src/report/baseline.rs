//! A report held against an earlier one: for each finding and case, whether it is new.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{BuildRef, Direction};
use crate::report::identity::{CaseKey, FailureKey, FindingId, FindingKey, keys_of};
use crate::report::{
    BaselineStatus, Case, Evidence, Finding, Level, NoticeKind, Outcome, Report, Sought, Tool,
};

/// An earlier report, and how this one differs from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The file that it is from.
    pub file: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// Its old build.
    pub old: BuildRef,
    /// Its new build.
    pub new: BuildRef,
    /// Its machine type, where it is about one.
    pub machine: Option<String>,
    /// The findings and cases of each status.
    pub counts: BaselineCounts,
    /// Findings and cases that the baseline alone has.
    pub past: Vec<Past>,
}

/// Counts of the findings and cases of each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineCounts {
    /// Those that the baseline does not have.
    pub new: usize,
    /// Those that both have.
    pub same: usize,
    /// Those that the baseline alone has, although they were looked for.
    pub fixed: usize,
    /// Those that the baseline alone has, and that were not looked for.
    pub gone: usize,
}

impl BaselineCounts {
    fn add(&mut self, status: BaselineStatus) {
        *match status {
            BaselineStatus::New => &mut self.new,
            BaselineStatus::Same => &mut self.same,
            BaselineStatus::Fixed => &mut self.fixed,
            BaselineStatus::Gone => &mut self.gone,
        } += 1;
    }
}

/// A finding or a case that only the baseline has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// `fixed` or `gone`.
    pub status: BaselineStatus,
    /// The finding or the case.
    #[serde(flatten)]
    pub was: PastKind,
}

/// A finding or a case of an earlier report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum PastKind {
    /// A finding.
    Finding {
        /// Its id.
        id: String,
        /// Its level.
        level: Level,
        /// Its machines, in a run over several.
        machines: Vec<String>,
    },
    /// A case.
    Case {
        /// Its id.
        id: String,
        /// Its machine type.
        machine: String,
        /// Its outcome.
        outcome: Outcome,
    },
}

impl fmt::Display for Past {
    /// Writes what it was, without the status.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.was {
            PastKind::Finding {
                id,
                level,
                machines,
            } => {
                write!(f, "{level} {id}")?;
                match machines.as_slice() {
                    [] => Ok(()),
                    machines => write!(f, " on {}", machines.join(", ")),
                }
            }
            PastKind::Case {
                id,
                machine,
                outcome,
            } => write!(f, "{outcome} {id} ({machine})"),
        }
    }
}

impl Sought {
    /// Tells whether the run of a report had evidence of a kind.
    pub(crate) fn had(&self, evidence: Evidence, report: &Report) -> bool {
        let lacks = |kind| report.notices.iter().any(|notice| notice.kind == kind);
        let moved = !report.cases.is_empty();
        match evidence {
            Evidence::Dump => self.dumps && !lacks(NoticeKind::DumpsMissing),
            Evidence::Properties => moved && !lacks(NoticeKind::PropertiesNotCompared),
            Evidence::Stream => moved && !lacks(NoticeKind::StreamsNotCompared),
            Evidence::Live => moved,
        }
    }
}

/// The severity of what a report says of one key: the more, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Note,
    Allowed,
    Warning,
    Error,
}

impl Weight {
    fn of(finding: &Finding) -> Weight {
        match (finding.level, &finding.allowed_by) {
            (Level::Note, _) => Weight::Note,
            (_, Some(_)) => Weight::Allowed,
            (Level::Warning, None) => Weight::Warning,
            (Level::Error, None) => Weight::Error,
        }
    }
}

/// Notes at each finding and case of a report how it stands to a baseline, and in the report what the
/// baseline alone has.
pub(crate) fn hold_against(report: &mut Report, baseline: &Report, file: &str, sought: &Sought) {
    if let (Some(then), Some(now)) = (&baseline.machine, &report.machine)
        && then != now
    {
        let detail = format!("it is about {then}, and this run about {now}");
        report
            .notices
            .push(NoticeKind::BaselineDiffers.about(file, detail));
    }
    let past = Index::of(baseline);
    for finding in &mut report.findings {
        finding.baseline = Some(past.finding(finding, report.machine.as_deref()));
    }
    for case in &mut report.cases {
        case.baseline = Some(past.case(case));
    }
    let lost = Index::of(report).absent(report, baseline, sought);
    let mut counts = BaselineCounts::default();
    let findings = report.findings.iter().filter_map(|of| of.baseline);
    let cases = report.cases.iter().filter_map(|of| of.baseline);
    let lost_ones = lost.iter().map(|past| past.status);
    for status in findings.chain(cases).chain(lost_ones) {
        counts.add(status);
    }
    report.baseline = Some(Baseline {
        file: file.to_owned(),
        tool: baseline.tool.clone(),
        old: baseline.old.clone(),
        new: baseline.new.clone(),
        machine: baseline.machine.clone(),
        counts,
        past: lost,
    });
}

/// Notes at each finding whether a baseline has it. Where there is none, nothing is new.
pub(crate) fn mark(findings: &mut [Finding], machine: Option<&str>, baseline: Option<&Report>) {
    let past = baseline.map(Index::of);
    for finding in findings {
        let status = past.as_ref().map(|past| past.finding(finding, machine));
        finding.baseline = Some(status.unwrap_or(BaselineStatus::Same));
    }
}

/// Takes from a report what an earlier run said beside its evidence:
/// a shard may have been held against something.
pub(crate) fn forget(report: &mut Report) {
    report.baseline = None;
    report.owners.clear();
    for finding in &mut report.findings {
        (finding.baseline, finding.memory) = (None, None);
        finding.owners.clear();
    }
    for case in &mut report.cases {
        (case.baseline, case.memory, case.tier) = (None, None, None);
        case.owners.clear();
    }
}

/// The findings and cases of a report by their keys.
struct Index<'b> {
    findings: BTreeMap<FindingKey<'b>, Weight>,
    cases: BTreeMap<CaseKey<'b>, &'b Case>,
}

impl<'b> Index<'b> {
    fn of(report: &'b Report) -> Index<'b> {
        let mut findings: BTreeMap<FindingKey, Weight> = BTreeMap::new();
        for finding in &report.findings {
            let weight = Weight::of(finding);
            for key in keys_of(finding, report.machine.as_deref()) {
                let known = findings.entry(key).or_insert(weight);
                *known = weight.max(*known);
            }
        }
        let cases = report.cases.iter();
        Index {
            findings,
            cases: cases.map(|case| (CaseKey::of(case), case)).collect(),
        }
    }

    fn finding(&self, finding: &Finding, machine: Option<&str>) -> BaselineStatus {
        let weight = Weight::of(finding);
        let is_known = |key: &FindingKey| self.findings.get(key).is_some_and(|was| *was >= weight);
        match keys_of(finding, machine).iter().all(is_known) {
            true => BaselineStatus::Same,
            false => BaselineStatus::New,
        }
    }

    fn case(&self, case: &Case) -> BaselineStatus {
        let Some(was) = self.cases.get(&CaseKey::of(case)) else {
            return BaselineStatus::New;
        };
        match (FailureKey::of(was), FailureKey::of(case)) {
            (None, None) => BaselineStatus::Same,
            (Some(_), None) => BaselineStatus::Fixed,
            (None, Some(_)) => BaselineStatus::New,
            // What an entry excused counts when it excuses it no more.
            (Some(_), Some(_)) if case.gates() && was.allowed_by.is_some() => BaselineStatus::New,
            (Some(then), Some(now)) if now.is_like(then) => BaselineStatus::Same,
            (Some(_), Some(_)) => BaselineStatus::New,
        }
    }

    /// Returns what the baseline alone has, beside the report that this is of.
    fn absent(&self, report: &Report, baseline: &Report, sought: &Sought) -> Vec<Past> {
        let mut past = Vec::new();
        for finding in &baseline.findings {
            let mut keys = keys_of(finding, baseline.machine.as_deref()).into_iter();
            if keys.any(|key| self.findings.contains_key(&key)) {
                continue;
            }
            // It may be of a guest that was not moved again.
            let is_of_other =
                finding.evidence != Evidence::Dump && self.left_out(baseline, finding.direction);
            if is_of_other && sought.new_doubts_alone {
                continue;
            }
            past.push(Past {
                status: match looked_for(finding, report, baseline, sought) && !is_of_other {
                    true => BaselineStatus::Fixed,
                    false => BaselineStatus::Gone,
                },
                was: PastKind::Finding {
                    id: FindingId(finding).to_string(),
                    level: finding.level,
                    machines: finding.machines.clone(),
                },
            });
        }
        // The other shards have most of the cases.
        let cases = baseline.cases.iter().filter(|_| report.shard.is_none());
        let cases = cases.filter(|case| !(case.derived && sought.new_doubts_alone));
        for case in cases.filter(|case| !self.cases.contains_key(&CaseKey::of(case))) {
            past.push(Past {
                status: BaselineStatus::Gone,
                was: PastKind::Case {
                    id: case.id.clone(),
                    machine: case.machine.clone(),
                    outcome: case.outcome,
                },
            });
        }
        past
    }

    /// Tells whether a device that the baseline moved for a doubt alone was not moved again.
    fn left_out(&self, baseline: &Report, direction: Direction) -> bool {
        let mut derived = baseline.cases.iter().filter(|case| case.derived);
        derived
            .any(|case| case.direction == direction && !self.cases.contains_key(&CaseKey::of(case)))
    }
}

/// Tells whether a run would have found a finding of the baseline again: it was about the machine and
/// the direction, and had evidence of the kind.
fn looked_for(finding: &Finding, report: &Report, baseline: &Report, sought: &Sought) -> bool {
    let about = |name: &str| {
        let mut swept = report.swept.iter();
        report.machine.as_deref() == Some(name) || swept.any(|swept| swept.is_called(name))
    };
    let on_machine = match (finding.machines.as_slice(), &baseline.machine) {
        ([], None) => report.machine.is_none(),
        ([], Some(machine)) => about(machine),
        (machines, _) => machines.iter().all(|name| about(name)),
    };
    sought.directions.contains(&finding.direction)
        && on_machine
        && sought.had(finding.evidence, report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::{AD_HOC, Cause, Gate, Policy, ShardRef, TOGETHER, Verdict, testing};
    use BaselineStatus::{Fixed, New, Same};

    fn report(findings: Vec<Finding>, cases: Vec<Case>) -> Report {
        let build = testing::build("build");
        Report {
            findings,
            cases,
            ..Report::new(build.clone(), build, Some("pc-q35-7.2".to_owned()))
        }
    }

    fn finding(section: &str, also_in: &[&str], size: u64) -> Finding {
        testing::finding(json!({
            "section": section, "also_in": also_in, "new": {"size": size},
            "path": [format!("vmstate_{section}"), "esp", "x"],
        }))
    }

    fn case(set: &str, devices: &[&str], outcome: Outcome, section: Option<&str>) -> Case {
        let id = format!("q35/{set}/unix/forward");
        Case {
            outcome,
            devices: devices.iter().map(|&name| name.to_owned()).collect(),
            cause: section.map(|name| Cause {
                section: Some(name.into()),
                ..Cause::default()
            }),
            ..Case::untried(id, "pc-q35-7.2", set, "unix", Direction::Forward)
        }
    }

    fn held(mut now: Report, then: &Report) -> Report {
        let sought = Sought::with_dumps(&[Direction::Forward]);
        hold_against(&mut now, then, "base.json", &sought);
        now
    }

    #[test]
    fn a_case_is_known_by_what_it_is_and_how_it_failed() {
        use Outcome::{Crash, Fail, Lost, Pass, Skip};
        let status = |then: Case, now: Case| {
            let then = report(vec![], vec![then]);
            let now = held(report(vec![], vec![now]), &then);
            (now.cases[0].baseline, now.baseline.map(|b| b.counts.gone))
        };
        let one = |outcome, section| case("e1000", &["e1000"], outcome, section);
        let at = |section| one(Fail, Some(section));
        let mut allowed = one(Fail, None);
        allowed.allowed_by = Some("a list".to_owned());
        for (then, now, wanted) in [
            (one(Pass, None), one(Pass, None), Same),
            (one(Pass, None), one(Lost, None), New),
            (one(Pass, None), one(Skip, None), New),
            (one(Fail, None), one(Pass, None), Fixed),
            (one(Fail, None), one(Fail, None), Same),
            (one(Fail, None), one(Crash, None), New),
            (at("0000:00:01.0/e1000"), at("0000:00:02.0/e1000"), Same),
            (at("0000:00:01.0/e1000"), at("0000:00:01.0/esp"), New),
            (allowed, one(Fail, None), New),
        ] {
            let words = format!("{:?} {:?}", then.outcome, now.outcome);
            assert_eq!(status(then, now), (Some(wanted), Some(0)), "{words}");
        }
        // One name, other devices; and another number, the same devices.
        let ad_hoc = |device: &str| case(AD_HOC, &[device], Fail, None);
        let (other, gone) = status(ad_hoc("e1000"), ad_hoc("nvme"));
        assert_eq!((other, gone), (Some(New), Some(1)));
        let group = |number: usize| Case {
            id: format!("q35/together-{number}/unix/forward"),
            ..case(TOGETHER, &["a", "b"], Fail, None)
        };
        let (same, gone) = status(group(1), group(2));
        assert_eq!((same, gone), (Some(Same), Some(0)));
    }

    #[test]
    fn what_only_a_guest_showed_that_was_not_moved_again_is_not_fixed() {
        let of = |section: &str, evidence| Finding {
            evidence,
            ..finding(section, &[], 1)
        };
        let derived = |device: &str| Case {
            derived: true,
            ..case(device, &[device], Outcome::Fail, None)
        };
        let findings = vec![of("a", Evidence::Dump), of("b", Evidence::Stream)];
        let then = report(findings, vec![derived("dc390")]);
        let default = || case("default", &[], Outcome::Pass, None);
        let past = |cases: Vec<Case>, new_doubts_alone| -> Vec<String> {
            let mut now = report(vec![], cases);
            let sought = Sought::with_dumps(&[Direction::Forward]);
            let sought = Sought {
                new_doubts_alone,
                ..sought
            };
            hold_against(&mut now, &then, "base.json", &sought);
            let past = now.baseline.expect("held against it").past;
            let named = |past: &Past| format!("{}: {past}", past.status);
            past.iter().map(named).collect()
        };
        let [a, b] =
            ["a", "b"].map(|name| format!("error forward/field-added/{name}/vmstate_{name}/esp/x"));
        // It was moved again, and the finding did not show.
        let again = past(vec![default(), derived("dc390")], false);
        assert_eq!(again, [format!("fixed: {a}"), format!("fixed: {b}")]);
        let known = "gone: fail q35/dc390/unix/forward (pc-q35-7.2)".to_owned();
        let not_again = past(vec![default()], false);
        assert_eq!(
            not_again,
            [format!("fixed: {a}"), format!("gone: {b}"), known]
        );
        // Nobody asked for it.
        assert_eq!(past(vec![default()], true), [format!("fixed: {a}")]);
    }

    #[test]
    fn a_finding_is_new_in_one_more_section_and_in_another_size() {
        let both = report(vec![finding("a", &["b"], 1)], vec![]);
        let status = |now: Finding, then: &Report| {
            held(report(vec![now], vec![]), then).findings[0].baseline
        };
        let (new, same) = (Some(New), Some(Same));
        assert_eq!(status(finding("a", &[], 1), &both), same);
        assert_eq!(status(finding("b", &[], 1), &both), same);
        assert_eq!(status(finding("a", &["b", "c"], 1), &both), new);
        assert_eq!(status(finding("a", &["b"], 2), &both), new);
        let mut weaker = both.clone();
        weaker.findings[0].level = Level::Warning;
        assert_eq!(status(finding("a", &["b"], 1), &weaker), new);
    }

    #[test]
    fn new_breaks_alone_count_and_a_shard_misses_no_case_of_another() {
        let of = |set, outcome| case(set, &[], outcome, None);
        let cases = vec![of("x", Outcome::Fail), of("y", Outcome::Pass)];
        let then = report(vec![finding("a", &[], 1)], cases);
        let policy = Policy {
            gate: Gate::New,
            ..Policy::default()
        };
        let again = held(then.clone(), &then).judged_by(policy.clone());
        assert_eq!(again.verdict, Verdict::Compatible);
        let mut more = then.clone();
        more.cases.push(of("z", Outcome::Hang));
        let more = held(more, &then).judged_by(policy.clone());
        assert_eq!(more.verdict, Verdict::Incompatible);
        let shard = ShardRef {
            index: 1,
            of: 2,
            plan: String::new(),
            options: Vec::new(),
        };
        let part = Report {
            shard: Some(shard),
            ..report(vec![], vec![of("x", Outcome::Fail)])
        };
        let counts = held(part, &then).baseline.expect("held").counts;
        assert_eq!((counts.gone, counts.fixed, counts.same), (0, 1, 1));
    }
}

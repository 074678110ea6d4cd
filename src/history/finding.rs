//! Findings as rows. A finding is there, or was looked for and is not there: each look has a row of its own, which
//! says of every finding that it could have found and did not that it was not there. A look that left known ones out has
//! none: what it found is there, and of the rest it says nothing.

use std::collections::BTreeMap;

use crate::history::{Entry, Kind, Row, Trial};
use crate::model::{Direction, joined};
use crate::report::identity::{FindingId, history_keys};
use crate::report::{Evidence, Finding, Level, Outcome, Report, Sought};

const EVIDENCE: [Evidence; 4] = [
    Evidence::Dump,
    Evidence::Properties,
    Evidence::Stream,
    Evidence::Live,
];

/// The findings of a report above a note, and its looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    looks: Vec<Look>,
    pub sightings: Vec<Sighting>,
}

/// A finding in one section on one machine.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    /// Its place among the report's findings.
    pub index: usize,
    /// The key of the look that found it.
    pub look: String,
    pub row: Row,
}

#[derive(Debug, Clone)]
struct Look {
    evidence: Evidence,
    direction: Direction,
    /// As the report names it; nothing where it is about any machine.
    machine: Option<String>,
    /// What it did not find is not there.
    is_whole: bool,
    row: Row,
}

impl Findings {
    pub(crate) fn of(report: &Report, sought: &Sought) -> Findings {
        let looks = looks(report, sought);
        let mut sightings = Vec::new();
        let above_note = |(_, finding): &(usize, &Finding)| finding.level != Level::Note;
        for (index, finding) in report.findings.iter().enumerate().filter(above_note) {
            for (machine, key) in history_keys(finding, report.machine.as_deref()) {
                let is_of = |look: &&Look| {
                    look.evidence == finding.evidence
                        && look.direction == finding.direction
                        && is_about(look.machine.as_deref(), machine)
                };
                if let Some(look) = looks.iter().find(is_of) {
                    let look = look.row.key.clone();
                    let row = sighting(finding, machine, &look, &key);
                    sightings.push(Sighting { index, look, row });
                }
            }
        }
        Findings { looks, sightings }
    }

    /// Returns those of a saved report. One that does not say what it looked for has none.
    pub(crate) fn recorded(report: &Report) -> Findings {
        let sought = report.run.as_ref().and_then(|run| run.sought.as_ref());
        sought.map_or_else(Findings::default, |sought| Findings::of(report, sought))
    }

    /// Returns all rows to record.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = Row> {
        let whole = self.looks.into_iter().filter(|look| look.is_whole);
        let looks = whole.map(|look| look.row);
        looks.chain(self.sightings.into_iter().map(|sighting| sighting.row))
    }

    /// Returns the trial of a finding in this report, if it was looked for: as it was found, or not.
    pub(crate) fn trial(&self, look: &str, key: &str) -> Option<Trial> {
        let look = self.looks.iter().find(|known| known.row.key == look)?;
        let found = self.sightings.iter().find(|known| known.row.key == key);
        match found {
            Some(found) => Some(found.row.trial.clone()),
            None => look.is_whole.then(|| Trial::only(Outcome::Pass)),
        }
    }
}

/// Returns the rows that a saved report is recorded as.
pub(crate) fn rows_of(report: &Report) -> Vec<Row> {
    let cases = report.cases.iter().map(Row::of);
    cases
        .chain(Findings::recorded(report).into_rows())
        .collect()
}

/// Returns what each look came to, oldest first: the finding of its run, or that it was not there. A finding whose run
/// has no look on record was there, too.
pub(crate) fn over(looks: &[Entry], sightings: Vec<Entry>) -> Vec<Entry> {
    let mut found: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
    for sighting in sightings {
        found.entry(sighting.run.at).or_default().push(sighting);
    }
    let mut came_to = Vec::new();
    for look in looks {
        let of_then = found.entry(look.run.at).or_default();
        let own = of_then.iter().position(|found| found.run == look.run);
        came_to.push(own.map_or_else(|| look.clone(), |own| of_then.remove(own)));
    }
    came_to.extend(found.into_values().flatten());
    came_to.sort_by_key(|entry| entry.run.at);
    came_to
}

fn looks(report: &Report, sought: &Sought) -> Vec<Look> {
    let swept = report.swept.iter();
    let swept = swept.map(|swept| Some(format!("{}/{}", swept.architecture, swept.machine)));
    let machines: Vec<Option<String>> = match (&report.machine, report.swept.as_slice()) {
        (None, [_, ..]) => swept.collect(),
        (machine, _) => vec![machine.clone()],
    };
    // A shard looks at a part of it.
    let shard = report.shard.as_ref();
    let shard = shard.map(|shard| format!("shard {}/{}", shard.index, shard.of));
    let among = sought.among.iter().cloned().chain(shard);
    let among = joined(among, " ");
    let mut looks = Vec::new();
    for evidence in EVIDENCE
        .into_iter()
        .filter(|kind| sought.had(*kind, report))
    {
        for &direction in &sought.directions {
            for machine in &machines {
                looks.push(Look {
                    // Only guests are left out.
                    is_whole: evidence == Evidence::Dump || !sought.new_doubts_alone,
                    ..look(evidence, direction, machine.clone(), &among)
                });
            }
        }
    }
    looks
}

fn look(evidence: Evidence, direction: Direction, machine: Option<String>, among: &str) -> Look {
    let name = evidence.to_string();
    let on = machine.as_deref().unwrap_or("any");
    let key = format!("look {name} {direction} {on} {among}");
    let row = Row {
        kind: Kind::Look,
        key: key.clone(),
        name: key,
        machine: on.to_owned(),
        device_set: among.to_owned(),
        devices: Vec::new(),
        direction,
        transport: name,
        trial: Trial::only(Outcome::Pass),
    };
    Look {
        evidence,
        direction,
        machine,
        is_whole: true,
        row,
    }
}

/// Tells whether a finding's machine is that of a look: a sweep's report names it with the architecture if need be.
fn is_about(look: Option<&str>, machine: Option<&str>) -> bool {
    let (Some(look), Some(machine)) = (look, machine) else {
        return look == machine;
    };
    let before = look.strip_suffix(machine);
    before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

fn sighting(finding: &Finding, machine: Option<&str>, look: &str, key: &str) -> Row {
    let (_, below) = finding.path.split_at(finding.path.len().min(1));
    Row {
        kind: Kind::Finding,
        key: format!("{look}: {key}"),
        name: FindingId(finding).to_string(),
        machine: machine.unwrap_or("any").to_owned(),
        device_set: look.to_owned(),
        devices: Vec::new(),
        direction: finding.direction,
        transport: String::new(),
        trial: Trial {
            section: Some(finding.section.clone()),
            field: (!below.is_empty()).then(|| below.join("/")),
            rule: Some(finding.rule.id().to_owned()),
            message: Some(finding.message.clone()),
            allowed_by: finding.allowed_by.clone(),
            ..Trial::only(Outcome::Fail)
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::Run;
    use crate::report::{Case, testing};

    fn report(evidence: Option<Evidence>) -> Report {
        let build = testing::build("build");
        let mut report = Report::new(build.clone(), build, Some("pc-q35-7.2".to_owned()));
        let finding = |evidence| Finding {
            evidence,
            ..testing::finding(json!({"section": "a", "new": {"size": 1}}))
        };
        report.findings = evidence.map(finding).into_iter().collect();
        let id = "q35/default/unix/forward".to_owned();
        let machine = "pc-q35-7.2";
        report.cases = vec![Case::untried(
            id,
            machine,
            "default",
            "unix",
            Direction::Forward,
        )];
        report
    }

    #[test]
    fn a_run_that_left_known_doubts_out_misses_none_of_them() {
        let sought = |new_doubts_alone| Sought {
            new_doubts_alone,
            ..Sought::with_dumps(&[Direction::Forward])
        };
        for (evidence, missed) in EVIDENCE.into_iter().zip([true, false, false, false]) {
            let found = Findings::of(&report(Some(evidence)), &sought(true));
            let Sighting { look, row, .. } = found.sightings[0].clone();
            assert_eq!(row.trial.outcome, Outcome::Fail, "what is new is there");
            let none = Findings::of(&report(None), &sought(true));
            let absent = none.trial(&look, &row.key).map(|trial| trial.outcome);
            assert_eq!(absent, missed.then_some(Outcome::Pass), "{evidence}");
            let mut recorded = none.into_rows();
            assert_eq!(recorded.any(|row| row.key == look), missed, "{evidence}");
            // Another run looks at all.
            let all = Findings::of(&report(None), &sought(false));
            assert!(all.trial(&look, &row.key).is_some(), "{evidence}");
        }
    }

    #[test]
    fn a_finding_counts_with_the_look_of_its_run_and_without_one() {
        let entry = |at, outcome| Entry {
            run: Run {
                at,
                ..Run::default()
            },
            trial: Trial::only(outcome),
        };
        let looks = [1, 3, 4].map(|at| entry(at, Outcome::Pass));
        let sightings = vec![entry(2, Outcome::Fail), entry(3, Outcome::Fail)];
        let came_to: Vec<(u64, Outcome)> = over(&looks, sightings)
            .iter()
            .map(|entry| (entry.run.at, entry.trial.outcome))
            .collect();
        let (there, not) = (Outcome::Fail, Outcome::Pass);
        assert_eq!(came_to, [(1, not), (2, there), (3, there), (4, not)]);
    }
}

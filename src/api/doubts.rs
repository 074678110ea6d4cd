//! The doubts that the dumps leave, and that a migration can settle.
//!
//! A device is in doubt where the dumps have an error or a warning about it, and where one dump alone
//! describes it although both builds can create it: a build may register a section without a description that
//! its dump shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::error::Error;
use crate::api::found::Found;
use crate::api::progress::{Event, Progress};
use crate::devices::Drivers;
use crate::migration::channel::transport::Transport;
use crate::migration::config::{MigrationConfig, Repeat};
use crate::migration::coverage::Observed;
use crate::migration::endpoint::vm::RoleArgs;
use crate::model::Direction;
use crate::qemu::machine::ProfileCpu;
use crate::report::{
    BaselineStatus, Case, Confirmation, Finding, Level, NoticeKind, Outcome, Policy, by_reason,
    is_lone,
};
use crate::rules::known_issues::Scope;
use crate::sweep::assessment::Assessment;
use crate::sweep::case_id::BARE;
use crate::sweep::catalogue::Only;
use crate::sweep::findings::Forecast;
use crate::sweep::target::{self, Naming, SweepTarget};
use crate::sweep::{MachineResult, Options, Packing, SweepEvent, sweep};

/// The devices to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<'w> {
    /// Those that the dumps leave in doubt.
    Doubtful,
    /// One type, or the machine without any.
    Device(&'w str),
}

/// Migrates each device in doubt as it is after reset, and confirms or refutes the findings of the
/// dumps.
///
/// # Errors
/// A build does not start or does not answer, or the system gives no runtime.
pub(crate) fn settle(
    config: &MigrationConfig,
    findings: Vec<Finding>,
    wanted: Wanted<'_>,
    (scope, policy): (Scope<'_>, &Policy),
    directions: &[Direction],
    (jobs, progress): (usize, &dyn Progress),
) -> Result<Found, Error> {
    let config = MigrationConfig {
        // Each device is alone on a plain board.
        board: None,
        role_args: RoleArgs::default(),
        running: false,
        linux: None,
        driving: None,
        // A CPU that does not get across would keep every device from it.
        profile_cpu: ProfileCpu::Given,
        loops: None,
        retries: 0,
        repeat: Repeat::Times(0),
        transport: Transport::default(),
        capabilities: Vec::new(),
        ..config.clone()
    };
    let dumps = config.old.dump.clone().zip(config.new.dump.clone());
    let mut target = SweepTarget {
        label: target::label(
            &config.arch,
            &config.types(),
            Naming {
                all: &[],
                is_one: true,
                case: policy.case.as_ref(),
            },
        ),
        properties: BTreeMap::new(),
        virtio: BTreeSet::new(),
        forecast: Forecast::of(&findings),
        config,
    };
    let in_doubt: BTreeSet<String> = match wanted {
        Wanted::Doubtful => findings
            .iter()
            .filter(|finding| is_doubt(finding))
            .flat_map(|finding| concerned(&target, finding))
            .collect(),
        Wanted::Device(name) => [name.to_owned()].into(),
    };
    if in_doubt.is_empty() {
        return Ok(Found {
            findings,
            ..Found::default()
        });
    }
    let names: Vec<String> = in_doubt.into_iter().collect();
    let only = Only::new(&names);
    target.properties = target::facts(std::slice::from_ref(&target.config), &only, &[])?.properties;
    let options = Options {
        directions: directions.to_vec(),
        packing: Packing::Packed,
        only,
        exclude: policy.exclude.clone(),
        shard: None,
        second: Vec::new(),
    };
    let mut assessment =
        Assessment::of_findings(scope, &policy.levels, directions, dumps, findings);
    let results = sweep(
        std::slice::from_ref(&target),
        &options,
        jobs,
        |event| match event {
            SweepEvent::Sent { sent, .. } => assessment.compare_streams(&sent),
            SweepEvent::Advanced {
                target: number,
                advance,
                decided,
            } => progress.event(Event::SweepAdvanced {
                number,
                machine: &target.config.machines,
                advance,
                decided,
            }),
            SweepEvent::Done { .. } => {}
        },
    )?;
    let mut settled = Found::default();
    for mut result in results {
        if let Err(error) = assessment.conclude(&target, &mut result) {
            let machine = &*target.config.machines;
            settled
                .notices
                .push(NoticeKind::FailuresNotExplained.about(machine, error));
        }
        settled.add(result, wanted);
    }
    settled.described = assessment.described();
    settled.findings = assessment.into_findings();
    for finding in &mut settled.findings {
        let drivers = concerned(&target, finding);
        let passed = passed(finding, &drivers, &settled.cases, &settled.observed);
        finding.refuted_by = passed.map(|case| case.id.clone());
    }
    Ok(settled)
}

impl Found {
    /// Takes the cases that decide something: the other cases try the machine without devices as
    /// well, so that it counts only where it failed.
    fn add(&mut self, result: MachineResult, wanted: Wanted<'_>) {
        let is_told = |case: &Case| {
            case.device_set != BARE
                || case.outcome != Outcome::Pass
                || wanted == Wanted::Device(BARE)
        };
        let (not_tried, tried): (Vec<Case>, Vec<Case>) = result
            .cases
            .into_iter()
            .filter(is_told)
            .partition(|case| case.outcome == Outcome::Skip && !case.lacks_host());
        let not_tried = not_tried.iter().map(|case| {
            let why = case.message().unwrap_or("it was not moved");
            (&*case.device_set, why)
        });
        let left_out = result.swept.left_out.iter();
        let left_out = left_out.map(|left| (&*left.device, &*left.reason));
        let not_settled = not_tried.chain(left_out);
        let not_settled =
            not_settled.map(|(device, why)| NoticeKind::DoubtsNotSettled.about(device, why));
        self.notices.extend(by_reason(not_settled.collect()));
        let derived = tried.into_iter().map(|case| Case {
            derived: true,
            ..case
        });
        self.cases.extend(derived);
        self.observed.extend(result.observed);
    }
}

/// Tells whether a finding leaves open the result of a guest with the device. What a baseline has is known.
fn is_doubt(finding: &Finding) -> bool {
    // Where one dump alone describes a type, the other build may well send something for it, if it has it at all.
    let is_known = finding.baseline == Some(BaselineStatus::Same);
    !is_known && (is_lone(finding) || finding.level != Level::Note)
}

/// Returns the drivers, of those that both builds can create, that a finding is about. Where it is about types
/// that no user can plug in, those whose guests may send the section: a guess, good for what is tried.
fn concerned(target: &SweepTarget, finding: &Finding) -> BTreeSet<String> {
    let config = &target.config;
    let (Some(old), Some(new)) = (&config.old.drivers, &config.new.drivers) else {
        return BTreeSet::new();
    };
    let shared = |drivers: &Drivers, name: &str| drivers.contains(name);
    let types = finding.sections();
    let own: BTreeSet<String> = types
        .filter(|name| shared(old, name) && shared(new, name))
        .cloned()
        .collect();
    let Some(vmsd) = finding
        .path
        .first()
        .filter(|_| own.is_empty() && finding.level != Level::Note && !is_lone(finding))
    else {
        return own;
    };
    let senders = target.senders(vmsd);
    let names = old.names().filter(|name| shared(new, name));
    names
        .filter(|name| senders.may_include(name))
        .map(str::to_owned)
        .collect()
}

/// Returns the case in which a device came through that a finding warns of, if every such device did in that
/// direction and the section in question was sent.
fn passed<'c>(
    finding: &Finding,
    drivers: &BTreeSet<String>,
    cases: &'c [Case],
    observed: &[Observed],
) -> Option<&'c Case> {
    let by_case = matches!(finding.confirmed_by, Some(Confirmation::Case(_)));
    if finding.level == Level::Note || by_case {
        return None;
    }
    let vmsd = finding.path.first()?;
    let sent_by = |driver: &str| {
        observed.iter().any(|guest| {
            let mut sections = guest.sections.iter();
            guest.passed
                && guest.direction == finding.direction
                && guest.types.contains(driver)
                && sections.any(|sent| sent.vmsd_name == *vmsd)
        })
    };
    let mut about = cases.iter().filter(|case| {
        case.direction == finding.direction
            && drivers.contains(&case.device_set)
            && sent_by(&case.device_set)
    });
    let first = about.next()?;
    let came_through =
        |case: &Case| case.outcome == Outcome::Pass && case.state_unchecked.is_none();
    (came_through(first) && about.all(came_through)).then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::migration::coverage::SentSection;
    use crate::model::Rule;
    use crate::report::testing;

    fn finding(level: &str, direction: &str) -> Finding {
        testing::finding(json!({
            "rule": "conditional-field-added", "level": level, "direction": direction,
            "section": "am53c974", "path": ["pciespscsi", "esp", "asc_mode"],
        }))
    }

    fn case(driver: &str, direction: Direction, outcome: Outcome) -> Case {
        let id = format!("q35/{driver}/unix/{direction}");
        Case {
            outcome,
            ..Case::untried(id, "pc-q35-10.0", driver, "unix", direction)
        }
    }

    fn sent(driver: &str, vmsd: &str) -> Observed {
        Observed {
            sections: vec![SentSection {
                vmsd_name: vmsd.to_owned(),
                ..SentSection::default()
            }],
            direction: Direction::Forward,
            passed: true,
            types: [driver.to_owned()].into(),
        }
    }

    #[test]
    fn a_warning_is_refuted_by_a_guest_that_sent_the_section_that_way() {
        use Direction::{Backward, Forward};
        let drivers: BTreeSet<String> = ["am53c974".to_owned(), "dc390".to_owned()].into();
        let here = sent("am53c974", "pciespscsi");
        let pass = |driver, direction| case(driver, direction, Outcome::Pass);
        let refuted = |finding: &Finding, cases: &[Case], observed: &[Observed]| {
            passed(finding, &drivers, cases, observed).map(|case| case.id.clone())
        };
        let warning = finding("warning", "forward");
        let came = [pass("am53c974", Forward)];
        let by = refuted(&warning, &came, std::slice::from_ref(&here));
        assert_eq!(by.as_deref(), Some("q35/am53c974/unix/forward"));
        // That device did not send the section, or not in that direction.
        assert_eq!(refuted(&warning, &came, &[sent("am53c974", "esp")]), None);
        let another = [sent("e1000", "pciespscsi")];
        assert_eq!(refuted(&warning, &came, &another), None);
        let back = [pass("am53c974", Backward)];
        assert_eq!(refuted(&warning, &back, std::slice::from_ref(&here)), None);
        // Another device with the same section did not come through.
        let both = [here.clone(), sent("dc390", "pciespscsi")];
        let failed = [came[0].clone(), case("dc390", Forward, Outcome::Fail)];
        assert_eq!(refuted(&warning, &failed, &both), None);
        // What arrived was not compared.
        let blind = [Case {
            state_unchecked: Some("multifd".to_owned()),
            ..came[0].clone()
        }];
        assert_eq!(refuted(&warning, &blind, std::slice::from_ref(&here)), None);
        let confirmed = Finding {
            confirmed_by: Some(Confirmation::Case("another".to_owned())),
            ..warning
        };
        assert_eq!(refuted(&confirmed, &came, &[here]), None);
    }

    #[test]
    fn a_type_that_one_dump_alone_describes_is_in_doubt() {
        let note = finding("note", "backward");
        assert!(!is_doubt(&note));
        assert!(is_doubt(&finding("warning", "backward")));
        let rule = Rule::SectionAdded;
        assert!(is_doubt(&Finding { rule, ..note }));
        let known = Finding {
            baseline: Some(BaselineStatus::Same),
            ..finding("warning", "backward")
        };
        assert!(!is_doubt(&known));
    }
}

//! Guests with what the builds choose by themselves: the devices that `-nodefaults` leaves out, and the machine's own
//! CPU. Where the builds choose differently, such a guest is moved, for the others do not show it.

use std::collections::BTreeSet;

use crate::api::found::Found;
use crate::migration::batch;
use crate::migration::config::MigrationConfig;
use crate::migration::default_devices::{self, DEFAULTS, Trees, launch_of, specs, with_defaults};
use crate::migration::diagnosis::properties::{self, Senders, is_of_board, is_of_cpu};
use crate::migration::diagnosis::property_diff::{Difference, How, findings};
use crate::migration::pool::RunFailure;
use crate::model::{Direction, Rule, SectionName};
use crate::qemu::block_on;
use crate::report::{Case, Cause, Confirmation, Finding, Level, NoticeKind, Outcome};
use crate::rules::known_issues::KnownIssues;

/// Moves a machine as both builds make it by themselves, if what they add to it is not the same and no other guest
/// shows that. `by_default` is what the builds said of that machine, and `cpus` are its CPUs where it has another one in each
/// build and the guests are given one of ours.
///
/// # Errors
/// The system gives no runtime.
pub(crate) fn settle(
    config: &MigrationConfig,
    by_default: &Result<Trees, String>,
    cpus: Option<[String; 2]>,
    directions: &[Direction],
    (jobs, lists): (usize, &KnownIssues),
    name: impl Fn(Direction) -> Option<String>,
) -> Result<Found, RunFailure> {
    let machine = &*config.machines;
    let mut defaults = Found::default();
    // The directions in which the guest fails for something else than its devices.
    let mut explained = BTreeSet::new();
    let asked = match by_default {
        Ok(trees) => block_on(default_devices::other_defaults(config, trees))
            .map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    let other = asked.unwrap_or_else(|why| {
        let missing = NoticeKind::DefaultsNotCompared.about(machine, why);
        defaults.notices.push(missing);
        None
    });
    let is_hidden = cpus.is_some() || other.as_ref().is_some_and(|other| other.is_hidden);
    if is_hidden {
        let config = with_defaults(config);
        let ran = batch::run(&config, &specs(directions), jobs, |_, _| {})?;
        for mut ran in ran {
            ran.case.id = name(ran.case.direction).unwrap_or(ran.case.id);
            ran.case.derived = true;
            let before = ran.case.cause.clone();
            match of_board(&config, &mut ran.case, lists) {
                Ok(found) => properties::absorb(&mut defaults.findings, found),
                Err(why) => {
                    let missing = NoticeKind::FailuresNotExplained.about(machine, why);
                    defaults.notices.push(missing);
                }
            }
            // A section that one build alone sends may be that of a device which it alone adds.
            let rule = before.as_ref().and_then(|cause| cause.rule);
            let is_open = matches!(rule, None | Some(Rule::SectionAdded | Rule::SectionRemoved));
            if !is_open || ran.case.cause != before {
                explained.insert(ran.case.direction);
            }
            defaults.cases.push(ran.case);
            defaults.observed.push(ran.observed);
        }
    }
    let devices = other
        .into_iter()
        .map(|other| (other.is_hidden, other.difference));
    let cpus = cpus
        .into_iter()
        .map(|cpus| (true, Difference::of_default_cpu(cpus)));
    for (is_hidden, difference) in devices.chain(cpus) {
        for finding in findings(std::slice::from_ref(&difference), directions, machine) {
            let is_same = |known: &Finding| {
                known.section == finding.section && known.is_same_difference(&finding)
            };
            let judged = match is_hidden {
                _ if defaults.findings.iter().any(is_same) => continue,
                true => judged(finding, &difference.how, &mut defaults.cases, &explained),
                // Every guest has them.
                false => finding,
            };
            defaults.findings.push(judged);
        }
    }
    Ok(defaults)
}

/// Looks for a property of the memory or of the CPUs that explains a case which fails there: the builds choose these too,
/// and no device that is added has to do with them.
///
/// # Errors
/// A build does not start any more; in words.
fn of_board(
    config: &MigrationConfig,
    case: &mut Case,
    lists: &KnownIssues,
) -> Result<Vec<Finding>, String> {
    let cause = case.cause.as_ref().filter(|cause| cause.rule.is_none());
    let section = cause.and_then(|cause| cause.section.as_ref());
    if !section.is_some_and(|section| is_of_board(section.vmsd_name())) {
        return Ok(Vec::new());
    }
    let (launch, senders) = (launch_of(config), Senders::new());
    let explain = properties::explain(case, config, &launch, &senders, None, lists, &[]);
    let explained = block_on(explain).map_err(|error| error.to_string())?;
    explained.map_err(|error| error.to_string())
}

/// Judges a difference that other guests do not show by the guest that does.
fn judged(
    finding: Finding,
    how: &How,
    cases: &mut [Case],
    explained: &BTreeSet<Direction>,
) -> Finding {
    let mut cases = cases.iter_mut();
    let case = cases.find(|case| case.direction == finding.direction);
    // What fails within one build, too, fails for no difference of the two.
    let shows = |case: &&mut Case| {
        !matches!(case.outcome, Outcome::Skip | Outcome::Broken)
            && !explained.contains(&case.direction)
            && case
                .cause
                .as_ref()
                .is_none_or(|cause| may_be_of(how, cause))
    };
    let Some(case) = case.filter(shows) else {
        let message = format!("{}; no guest here shows it", finding.message);
        return Finding {
            level: Level::Warning,
            message,
            ..finding
        };
    };
    if case.outcome == Outcome::Pass {
        let message = format!("{}; a guest with them was moved whole", finding.message);
        return Finding { message, ..finding };
    }
    if let Some(cause) = &mut case.cause {
        cause.message.push_str("; ");
        cause.message.push_str(&finding.message);
    }
    Finding {
        level: Level::Warning,
        confirmed_by: Some(Confirmation::Case(case.id.clone())),
        ..finding
    }
}

/// Tells whether a failure can come of such a choice: a CPU has no memory, and devices change nothing of a CPU.
fn may_be_of(how: &How, cause: &Cause) -> bool {
    let Some(section) = cause.section.as_ref().map(SectionName::vmsd_name) else {
        return true;
    };
    match how {
        How::OtherCpu { .. } => is_of_cpu(section) || !is_of_board(section),
        _ => !is_of_cpu(section),
    }
}

/// Explains such cases by what the builds choose, where a finding about that names them and nothing else explains them.
pub(crate) fn explain(cases: &mut [Case], findings: &[Finding]) {
    let cases = cases
        .iter_mut()
        .filter(|case| case.device_set == DEFAULTS && case.gates());
    for case in cases {
        let of_case = Some(Confirmation::Case(case.id.clone()));
        let mut choices = findings.iter().filter(|finding| {
            finding.rule == Rule::PropertyDefaultChanged && finding.confirmed_by == of_case
        });
        if let (Some(cause), Some(_)) = (&mut case.cause, choices.next()) {
            cause.rule.get_or_insert(Rule::PropertyDefaultChanged);
        }
    }
}

/// Asks both builds for a machine as they make it by themselves.
///
/// # Errors
/// They cannot be asked; in words.
pub(crate) fn ask(config: &MigrationConfig) -> Result<Trees, String> {
    let asked = block_on(Trees::by_default(config));
    asked.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_explains_what_it_can_have_to_do_with() {
        let cpu = How::OtherCpu {
            old: "cortex-a57-arm-cpu".to_owned(),
            new: "neoverse-n2-arm-cpu".to_owned(),
        };
        let devices = How::OtherDevices {
            old: "VGA".to_owned(),
            new: "bochs-display".to_owned(),
        };
        for (section, of_cpu, of_devices) in [
            (None, true, true),
            (Some("cpu"), true, false),
            (Some("cpu_common"), true, false),
            (Some("ram"), false, true),
            (Some("0000:00:02.0/vga"), true, true),
        ] {
            let cause = Cause {
                section: section.map(SectionName::from),
                ..Cause::default()
            };
            let found = [&cpu, &devices].map(|how| may_be_of(how, &cause));
            assert_eq!(found, [of_cpu, of_devices], "{section:?}");
        }
    }
}

//! Guests with what the builds choose by themselves: the devices that `-nodefaults` leaves out, and the machine's own
//! CPU. Where the builds choose differently, such a guest is moved, for the others do not show it.

use crate::migration::batch;
use crate::migration::config::MigrationConfig;
use crate::migration::coverage::Observed;
use crate::migration::default_devices;
use crate::migration::default_devices::{DEFAULTS, OtherDefaults, specs, with_defaults};
use crate::migration::diagnosis::property_diff::{Difference, findings};
use crate::migration::pool::RunFailure;
use crate::model::{Direction, Rule};
use crate::report::{Case, Confirmation, Finding, Level, Notice, NoticeKind, Outcome};

/// Findings about guests that are started without our options.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub findings: Vec<Finding>,
    pub cases: Vec<Case>,
    pub observed: Vec<Observed>,
    pub notice: Option<Notice>,
}

/// Moves a machine as both builds make it by themselves, if what they add to it is not the same and no other guest
/// shows that. `asked` is what the builds said of its devices, and `cpus` are its CPUs where it has another one in each
/// build and the guests are given one of ours.
///
/// # Errors
/// The system gives no runtime.
pub(crate) fn settle(
    config: &MigrationConfig,
    asked: Result<Option<OtherDefaults>, String>,
    cpus: Option<[String; 2]>,
    directions: &[Direction],
    jobs: usize,
    name: impl Fn(Direction) -> Option<String>,
) -> Result<Defaults, RunFailure> {
    let machine = &*config.machine;
    let mut defaults = Defaults::default();
    let other = asked.unwrap_or_else(|why| {
        defaults.notice = Some(NoticeKind::DefaultsNotCompared.about(machine, why));
        None
    });
    let is_hidden = cpus.is_some() || other.as_ref().is_some_and(|other| other.is_hidden);
    if is_hidden {
        let config = with_defaults(config);
        let ran = batch::run(&config, &specs(directions), jobs, |_, _| {})?;
        for mut ran in ran {
            ran.case.id = name(ran.case.direction).unwrap_or(ran.case.id);
            ran.case.derived = true;
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
            let judged = match is_hidden {
                true => judged(finding, &mut defaults.cases),
                // Every guest has them.
                false => finding,
            };
            defaults.findings.push(judged);
        }
    }
    Ok(defaults)
}

/// Judges a difference that other guests do not show by the guest that does.
fn judged(finding: Finding, cases: &mut [Case]) -> Finding {
    let mut cases = cases.iter_mut();
    let case = cases.find(|case| case.direction == finding.direction);
    let Some(case) = case.filter(|case| case.outcome != Outcome::Skip) else {
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

/// Explains such cases by what the builds choose, where nothing else explains them.
pub(crate) fn explain(cases: &mut [Case]) {
    let cases = cases
        .iter_mut()
        .filter(|case| case.device_set == DEFAULTS && case.gates());
    for cause in cases.filter_map(|case| case.cause.as_mut()) {
        cause.rule.get_or_insert(Rule::PropertyDefaultChanged);
    }
}

/// Asks both builds for the devices of a machine by default.
///
/// # Errors
/// They cannot be asked; in words.
pub(crate) fn ask(config: &MigrationConfig) -> Result<Option<OtherDefaults>, String> {
    let asked = crate::qemu::block_on(default_devices::ask(config));
    asked.unwrap_or_else(|error| Err(error.to_string()))
}

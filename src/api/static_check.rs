//! Two dumps compared.

use crate::api::config::StaticConfig;
use crate::api::dumps::obtain;
use crate::api::error::{Error, Problem};
use crate::api::memory::{Means, Recalled};
use crate::api::progress::{Event, Progress};
use crate::api::{Outcome, outside_runtime};
use crate::compare::dump::compare::compare;
use crate::report::{Gate, Report, Sought};
use crate::rules::catalogue;
use crate::rules::judge::judge;
use crate::rules::known_issues::{KnownIssues, Scope, Shown};

/// Compares the vmstate dumps of two builds by what goes over the wire. No guest is started; a build is
/// asked for its dump, a file is read.
///
/// This blocks until it is done.
///
/// # Errors
/// A file is no dump, a build does not write one, a list is malformed, or the call is made inside a
/// runtime.
///
/// # Examples
/// ```
/// use migcompat::api::{Silent, StaticConfig, static_check};
/// use migcompat::report::Verdict;
///
/// let config = StaticConfig::new(
///     "fixtures/rules/field-added/old.json",
///     "fixtures/rules/field-added/new.json",
/// );
/// let report = static_check(&config, &Silent)?.report;
/// for finding in &report.findings {
///     println!("{} {}: {}", finding.level, finding.direction, finding.message);
/// }
/// assert_eq!(report.verdict, Verdict::Incompatible);
/// assert_eq!(report.findings.len(), 2);
/// # Ok::<(), migcompat::api::Error>(())
/// ```
pub fn static_check(config: &StaticConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    outside_runtime()?;
    if config.memory.gate == Gate::Tier {
        return Err(Problem::NoCases.into());
    }
    let mut recalled = Recalled::read(&config.memory)?;
    let policy = config.judging.policy.clone();
    let lists = KnownIssues::load(&config.judging.lists)?;
    recalled.hold(&lists, &[])?;
    let pair = obtain(&config.builds, config.machine.as_deref(), &|event| {
        progress.event(Event::Fetch(event));
    })?;
    let notices = pair.notices();
    let label = pair.machines.as_ref().map(ToString::to_string);
    let machine = label.as_deref();
    let (old, old_dump) = pair.old;
    let (new, new_dump) = pair.new;
    progress.event(Event::Opened {
        old: &old,
        new: &new,
        machine,
    });
    let scope = Scope::of(&lists, old.version, new.version, machine);
    let findings = compare(&old_dump, &new_dump, &config.builds.directions, &scope);
    let findings = judge(findings, &scope, &policy.levels);
    progress.event(Event::Compared {
        findings: &findings,
    });
    let described = old_dump.sections.iter().chain(&new_dump.sections);
    let shown = Shown::of_types(described.map(|section| &*section.type_name));
    let rules = catalogue::texts(&findings, &[]);
    let report = Report {
        findings,
        rules,
        notices,
        ..Report::new(old, new, label.clone())
    };
    Ok(recalled.conclude(
        report,
        policy,
        Means {
            sought: Sought::with_dumps(&config.builds.directions),
            lists: Some(&lists),
            builds: None,
            shown: Some(shown),
        },
    ))
}

//! Guests moved between two builds.

use crate::api::config::LiveConfig;
use crate::api::error::Error;
use crate::api::inquiry::Inquiry;
use crate::api::logs::LogFolder;
use crate::api::memory::{Means, Recalled};
use crate::api::opened::Opened;
use crate::api::progress::Progress;
use crate::api::{Outcome, one_case, outside_runtime};
use crate::qemu::properties::Asked;
use crate::report::{Policy, Sought};
use crate::rules::known_issues::{KnownIssues, Shown};

/// Moves guests between two builds, and compares what arrived with what was sent.
///
/// The report has a case for every device set and direction. Differences between what the builds send are
/// findings of it where they explain a case or are confirmed by one.
///
/// This blocks until it is done, for seconds to minutes. The guests are children of this process; none
/// is left when it returns.
///
/// # Errors
/// A build does not start or has no such machine, a device set or a list is malformed, or the call is
/// made inside a runtime. A migration that fails is no error, but a case of the report.
///
/// # Examples
/// Builds are needed for this, so it is not run with the other examples:
/// ```no_run
/// use migcompat::api::{Event, LiveConfig, live};
///
/// let mut config = LiveConfig::new("debian:bookworm", "debian:trixie", "q35");
/// config.guests.devices.push("am53c974".to_owned());
/// config.guests.paused = true;
/// let progress = |event: Event<'_>| {
///     if let Event::Fetch(fetch) = event {
///         eprintln!("{fetch}");
///     }
/// };
/// let report = live(&config, &progress)?.report;
/// for case in &report.cases {
///     println!("{} {}", case.outcome, case.id);
/// }
/// println!("{}", report.verdict);
/// # Ok::<(), migcompat::api::Error>(())
/// ```
pub fn live(config: &LiveConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    let case = config.case.as_ref();
    let mut config = config.clone();
    let mut policy = Policy {
        exclude: config.exclude.clone(),
        ..Policy::default()
    };
    let (builds, machine) = (&mut config.builds, &mut config.machine);
    one_case::place(case, builds, machine, &config.guests, &mut policy);
    run(&config, &policy, progress).map_err(|error| one_case::error(case, error))
}

fn run(config: &LiveConfig, policy: &Policy, progress: &dyn Progress) -> Result<Outcome, Error> {
    outside_runtime()?;
    let mut recalled = Recalled::read(&config.memory)?;
    let logs = LogFolder::new(config.guests.logs.as_deref())?;
    let lists = KnownIssues::load(&config.lists)?;
    recalled.hold(&lists, &config.guests.device_sets)?;
    let mut opened = Opened::new(
        &config.builds,
        config.machine.as_deref(),
        &config.guests,
        progress,
    )?;
    if let Some(case) = &config.case {
        opened.narrow(case);
    }
    let fingerprints = opened.pair.fingerprints();
    let running = !config.guests.paused && !config.guests.driven;
    let mut inquiry = Inquiry::new(&opened, &lists, policy, &config.guests);
    inquiry.migrate(running, logs.path(), progress)?;
    inquiry.survey(Asked::Features);
    inquiry.compare_features();
    // The dumps say which device sends a section, and more about its fields.
    inquiry.obtain_dumps();
    inquiry.compare_streams();
    inquiry.explain();
    inquiry.link();
    inquiry.link_symptoms();
    inquiry.excuse();
    inquiry.withdraw();
    let shown = inquiry.covered().as_ref().map(Shown::of_guests);
    let outcome = recalled.conclude(
        inquiry.into_report(),
        policy.clone(),
        Means {
            sought: Sought::without_dumps(&config.builds.directions).among(config.guests.names()),
            lists: Some(&lists),
            builds: Some(fingerprints),
            shown,
        },
    );
    logs.keep();
    Ok(outcome)
}

//! The dumps compared and guests moved, for one verdict.

use crate::api::config::{CheckConfig, Doubts, WorkloadKind};
use crate::api::error::Error;
use crate::api::inquiry::Inquiry;
use crate::api::logs::LogFolder;
use crate::api::memory::{Means, Recalled};
use crate::api::opened::Opened;
use crate::api::progress::Progress;
use crate::api::{Outcome, one_case, outside_runtime};
use crate::qemu::properties::Asked;
use crate::report::Sought;
use crate::rules::known_issues::KnownIssues;
use crate::workload;

/// Compares the dumps of two builds for a machine, moves guests between them, and draws one verdict from
/// both.
///
/// A finding that a case proves is confirmed by it, and a case that fails is explained by what was
/// found. Each device that an error or a warning of the dumps is about is migrated alone, as it is
/// after reset, where both builds can create it: the result confirms or refutes the finding. The
/// report says how much of the machine's sections was sent.
///
/// This blocks until it is done, for seconds to minutes. The guests are children of this process; none
/// is left when it returns.
///
/// # Errors
/// As for [`live`](crate::api::live). A build that writes no dump is no error, but a notice of the report.
pub fn check(config: &CheckConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    let case = config.case.as_ref();
    let mut config = config.clone();
    let (builds, machine) = (&mut config.builds, &mut config.machine);
    let policy = &mut config.judging.policy;
    one_case::place(case, builds, machine, &config.guests, policy);
    run(&config, progress).map_err(|error| one_case::error(case, error))
}

fn run(config: &CheckConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    outside_runtime()?;
    let mut recalled = Recalled::read(&config.memory)?;
    let logs = LogFolder::new(config.guests.logs.as_deref())?;
    let lists = KnownIssues::load(&config.judging.lists)?;
    recalled.hold(&lists, &config.guests.device_sets)?;
    let policy = config.judging.policy.clone();
    let mut opened = Opened::new(
        &config.builds,
        config.machine.as_deref(),
        &config.guests,
        progress,
    )?;
    let alone = config.case.as_ref().map(|case| opened.narrow(case));
    let fingerprints = opened.pair.fingerprints();
    // Without a workload guest the machine can at least be moved as it is after reset.
    let running = !config.guests.paused
        && !config.guests.driven
        && (config.guests.workload == WorkloadKind::Linux
            || workload::guest(opened.pair.arch()).is_some());
    let mut inquiry = Inquiry::new(&opened, &lists, &policy, &config.guests);
    inquiry.obtain_dumps();
    inquiry.compare_dumps(progress);
    inquiry.migrate(running, logs.path(), progress)?;
    inquiry.survey(Asked::Everything);
    inquiry.keep_own();
    inquiry.link();
    if config.doubts == Doubts::New {
        inquiry.mark_known(recalled.baseline());
    }
    inquiry.settle_doubts(alone.as_ref(), progress)?;
    inquiry.compare_properties();
    inquiry.compare_streams();
    if inquiry.lacks_dumps() {
        // These are the first findings that a case can prove.
        inquiry.link();
    }
    inquiry.explain();
    inquiry.link_symptoms();
    inquiry.withdraw();
    inquiry.cover();
    let mut report = inquiry.into_report();
    one_case::look_up(&mut report, &policy, [&opened.pair]);
    let outcome = recalled.conclude(
        report,
        policy.clone(),
        Means {
            sought: Sought {
                new_doubts_alone: config.doubts == Doubts::New,
                ..Sought::with_dumps(&config.builds.directions).among(config.guests.names())
            },
            lists: Some(&lists),
            builds: Some(fingerprints),
            shown: None,
        },
    );
    logs.keep();
    Ok(outcome)
}

//! The library: for programs that ask whether guests migrate between two builds.
//!
//! Each function takes a configuration and a reader of [`Event`]s, blocks until the question is answered
//! and returns an [`Outcome`] with the [`Report`], or an [`Error`] where there is no answer. An answer
//! that is `incompatible` is no error. What was degraded meanwhile is a [`Notice`] of the report.
//!
//! Nothing here prints, ends the process or changes how signals are handled. The functions start runtimes
//! and threads of their own and must not be called inside a runtime: that is an error. A caller that is
//! asynchronous gives them a thread:
//!
//! ```
//! use migcompat::api::{Outcome, Silent, StaticConfig, static_check};
//!
//! let config = StaticConfig::new(
//!     "fixtures/rules/field-renamed/old.json",
//!     "fixtures/rules/field-renamed/new.json",
//! );
//! let asked = std::thread::spawn(move || static_check(&config, &Silent));
//! let Outcome { report, .. } = asked.join().expect("no panic")?;
//! println!("{}: {} notes", report.verdict, report.summary.notes);
//! # assert_eq!(report.verdict, migcompat::report::Verdict::Compatible);
//! # Ok::<(), migcompat::api::Error>(())
//! ```
//!
//! [`Notice`]: crate::report::Notice

mod bisect;
mod boot_code;
mod check;
mod config;
mod confinement;
mod defaults;
mod doubts;
mod driven;
pub(crate) mod dumps;
mod error;
mod firmware;
mod found;
pub(crate) mod history;
mod host_cpu;
mod inquiry;
mod linux;
mod live;
mod load;
mod lock;
pub(crate) mod logs;
mod lone_types;
mod map;
mod memory;
mod merge;
mod names;
mod network;
mod one_case;
mod opened;
mod other_boards;
mod places;
mod progress;
mod question;
mod self_test;
mod static_check;
mod sweep;
mod unknown_name;

use nix::sys::resource::{Resource, getrlimit};

pub use bisect::{BisectConfig, Candidates, RevisionRange, bisect};
pub use check::check;
pub use config::{
    Builds, CheckConfig, Doubts, GuestDescription, Guests, Judging, LiveConfig, LoadConfig, Loops,
    Memory, MergeConfig, SecondPass, SideArgs, StaticConfig, SweepConfig, WorkloadKind,
};
pub(crate) use error::ObtainError;
pub use error::{Error, Reason};
pub use live::live;
pub use load::load;
pub use map::{MapConfig, map};
pub(crate) use merge::merge_saved;
pub use merge::{merge, merge_maps};
pub use progress::{Advance, CaseEvent, Event, Progress, Silent, SweepPhase};
pub(crate) use question::Question;
pub use self_test::{HostCheck, HostState, KnownCase, SelfTest, SelfTestConfig, Trust, self_test};
pub use static_check::static_check;
pub use sweep::sweep;

pub use crate::beside::{Broken as BrokenConnection, StandIn, StandInError};
pub use crate::history::TierRules;
pub use crate::migration::channel::transport::Transport;
pub use crate::migration::config::Step as CaseStep;
pub use crate::migration::endpoint::capability::Capability;
pub use crate::model::{Accelerator, AcceleratorPreference, BadAccelerator};
pub use crate::model::{BadCaseName, CaseName};
pub use crate::model::{Barrier, Confine, ConfinedBuild};
pub use crate::qemu::{CacheConfig, Damage, FetchEvent, FetchStep};
pub use crate::sweep::selection::MachineSelection as Machines;
pub use crate::sweep::shard::{BadShard, Shard};

use crate::report::Report;
use error::Problem;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Everything that was found out, the verdict and the notices.
    pub report: Report,
}

/// Refuses to block a runtime that is already running.
fn outside_runtime() -> Result<(), Error> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Err(Problem::InsideRuntime.into()),
        Err(_) => Ok(()),
    }
}

/// Files that this process has open besides those of its jobs.
const OPEN_FILES: u64 = 16;
/// Files that a job has open on our side: two moves side by side, between two builds each.
const OPEN_FILES_OF_JOB: u64 = 24;

/// Returns the number of files that this process has open at the most with so many jobs.
pub(crate) const fn open_files(jobs: u64) -> u64 {
    OPEN_FILES + jobs * OPEN_FILES_OF_JOB
}

/// Returns the number of jobs at once: by default one a processor, and no more than there may be files open for.
///
/// # Errors
/// There are too few for one: what fails in the middle of a migration would look like a break.
fn jobs(wanted: Option<usize>) -> Result<usize, Error> {
    let wanted =
        wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(wanted);
    };
    let least = open_files(1);
    if most < least {
        return Err(Problem::FewOpenFiles { most, least }.into());
    }
    let room = (most - OPEN_FILES) / OPEN_FILES_OF_JOB;
    Ok(wanted.min(room.try_into().unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(rule: &str) -> StaticConfig {
        let file = |side: &str| format!("fixtures/rules/{rule}/{side}.json");
        StaticConfig::new(file("old"), file("new"))
    }

    #[test]
    fn a_running_runtime_is_not_blocked() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let error = runtime.block_on(async {
            static_check(&pair("field-added"), &Silent).expect_err("it is inside")
        });
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains("thread"), "{error}");
        static_check(&pair("field-added"), &Silent).expect("it is outside");
    }

    #[test]
    fn errors_are_distinguished() {
        let missing = StaticConfig::new("none.json", "none.json");
        let error = static_check(&missing, &Silent).expect_err("there is no such file");
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        let mut wrong = pair("field-added");
        wrong.judging.lists.push("nowhere".into());
        let error = static_check(&wrong, &Silent).expect_err("there is no such folder");
        assert!(
            error.to_string().starts_with("cannot use the lists: "),
            "{error}"
        );
        // The shell is no QEMU.
        let error = live(&LiveConfig::new("/bin/false", "/bin/false", "q35"), &Silent)
            .expect_err("it does not start");
        assert!(matches!(error, Error::Untestable(_)), "{error:?}");
    }
}

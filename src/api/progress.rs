//! Progress as typed events.

pub use crate::migration::batch::Event as CaseEvent;
use crate::model::BuildRef;
use crate::qemu::FetchEvent;
use crate::report::bisection::{Bisection, Candidate, Place, Step as BisectionStep};
use crate::report::map::Map;
use crate::report::{Case, Finding, Swept};
pub use crate::sweep::{Advance, SweepPhase};

/// Something to know while a question is worked on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A build is fetched into the cache.
    Fetch(FetchEvent<'e>),
    /// The builds are ready.
    Opened {
        /// The build that guests come from.
        old: &'e BuildRef,
        /// The build that they move to.
        new: &'e BuildRef,
        /// The machine type, where there is one.
        machine: Option<&'e str>,
    },
    /// The dumps of the builds are compared; what is found later may change these findings.
    Compared {
        /// The findings.
        findings: &'e [Finding],
    },
    /// The number of cases that are about to be run; there are more when a failure is split into
    /// its culprits.
    CasesPlanned(usize),
    /// Something happened to a case.
    Case {
        /// The number of the case, unique in this run.
        number: usize,
        /// The case's id, as in the report.
        id: &'e str,
        /// True if it was not planned, but tries a culprit of a larger case that failed.
        culprit: bool,
        /// The event.
        event: CaseEvent<'e>,
    },
    /// A search is about to try a build.
    BuildChosen {
        /// The build.
        build: &'e Candidate,
        /// The reason for which it is tried.
        place: Place,
        /// The number of builds that may still be the first, besides those at the ends.
        left: usize,
        /// The search by now.
        so_far: &'e Bisection,
    },
    /// The pairs of a map are known.
    MapPlanned {
        /// The map, in which nothing was tried yet.
        map: &'e Map,
    },
    /// A search has tried a build.
    BuildTried {
        /// The build.
        build: &'e Candidate,
        /// The result.
        step: &'e BisectionStep,
    },
    /// A guest of a sweep has moved.
    SweepAdvanced {
        /// The number of the machine, unique in this run.
        number: usize,
        /// The machine type.
        machine: &'e str,
        /// The progress of its sweep.
        advance: Advance,
        /// The cases that this decided; what failed may still turn out to fail within one build, too.
        decided: &'e [Case],
    },
    /// A machine of a sweep is done.
    MachineSwept {
        /// The number of machines that are done, this one among them.
        done: usize,
        /// The number of all machines.
        of: usize,
        /// The builds, by their labels, where the run has several pairs of them.
        between: Option<[&'e str; 2]>,
        /// The machine, and what there was to try on it.
        swept: &'e Swept,
        /// Its cases.
        cases: &'e [Case],
    },
}

/// A reader of events. It is called from several threads at once, and the work waits for it.
pub trait Progress: Sync {
    /// Takes an event.
    fn event(&self, event: Event<'_>);
}

/// Every function that takes an event is a reader of events.
impl<F: Fn(Event<'_>) + Sync> Progress for F {
    fn event(&self, event: Event<'_>) {
        self(event);
    }
}

/// A reader that nothing matters to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event<'_>) {}
}

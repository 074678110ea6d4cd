//! The course of a case over its runs: whether it comes and goes, and how often it fails then.

use std::collections::HashMap;

use crate::history::{Entry, Tester};

/// A streak that a flake of the known rate makes less often than this ends the belief in it.
const PERSISTENT: f64 = 0.001;
/// Passes in a row that a flake of the known rate makes less often than this make it believable that it is gone.
const GONE: f64 = 0.001;
/// Tries above which older ones count half.
const MEMORY: u32 = 2000;

/// Tries, and those that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    pub failed: u32,
    pub of: u32,
}

impl Tries {
    fn add(&mut self, failed: u32, of: u32) {
        self.failed += failed;
        self.of += of;
        if self.of > MEMORY {
            self.failed = self.failed.div_ceil(2);
            self.of /= 2;
        }
    }

    /// Returns the part that failed.
    fn rate(self) -> f64 {
        f64::from(self.failed) / f64::from(self.of.max(1))
    }

    /// Returns the number of passes in a row after which it is believable that the flake is gone.
    pub(crate) fn passes_needed(self) -> u32 {
        let needed = GONE.ln() / (1.0 - self.rate()).ln();
        // A rate of 1 needs one, and a rate of 0 is none.
        match needed.is_finite() {
            true => (needed.ceil() as u32).max(1),
            false => 1,
        }
    }
}

/// The state of a case after some of its runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course<'e> {
    /// Since the case last failed for good.
    tries: Tries,
    flaky: bool,
    /// Tries in a row that passed, and that failed, at the end.
    passes: u32,
    failures: u32,
    /// Results of each program and tester: a pass, a failure.
    seen: HashMap<(&'e str, &'e str, &'e Tester), (bool, bool)>,
}

/// A run beside the course before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The same programs and tester pass and fail.
    Mixed,
    /// It passes or fails as a flake of the rate before does.
    Flake,
    /// It passed so often that a flake that was there is believable to be gone, for the first time.
    Gone,
    /// Nothing of the kind.
    Steady,
}

impl<'e> Course<'e> {
    /// Takes one more run.
    pub(crate) fn add(&mut self, entry: &'e Entry) -> Step {
        let (failed, of) = (entry.trial.failed, entry.trial.tries.max(1));
        let mixed = (failed > 0 && failed < of) | self.contradicts(entry, failed < of, failed > 0);
        let passed = of.saturating_sub(failed);
        if failed == 0 {
            self.passes += of;
            self.failures = 0;
        } else if passed == 0 {
            self.failures += of;
            self.passes = 0;
        } else {
            (self.passes, self.failures) = (0, 0);
        }
        if mixed {
            self.flaky = true;
            self.tries.add(failed, of);
            return Step::Mixed;
        }
        if failed == 0 {
            self.tries.add(0, of);
            if !self.flaky {
                return Step::Steady;
            }
            if self.passes >= self.tries.passes_needed() {
                self.flaky = false;
                return Step::Gone;
            }
            return Step::Flake;
        }
        let streak = i32::try_from(self.failures).unwrap_or(i32::MAX);
        if self.flaky && self.tries.rate().powi(streak) >= PERSISTENT {
            self.tries.add(failed, of);
            return Step::Flake;
        }
        // For good, until it passes again.
        self.flaky = false;
        self.tries = Tries::default();
        Step::Steady
    }

    /// Returns the tries by which a flake is rated.
    pub(crate) fn tries(&self) -> Tries {
        self.tries
    }

    /// Tells whether the same programs and tester showed the opposite before.
    fn contradicts(&mut self, entry: &'e Entry, passed: bool, failed: bool) -> bool {
        let run = &entry.run;
        let (Some(old), Some(new)) = (&run.old.hash, &run.new.hash) else {
            return false;
        };
        let seen = self.seen.entry((old, new, &run.tester)).or_default();
        seen.0 |= passed;
        seen.1 |= failed;
        *seen == (true, true) && passed != failed
    }
}

//! What a person sees while cases run: a line for each that ended, and on a terminal one that moves
//! for each that is under way.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::migration::batch::{Event, Subject};
use crate::migration::config::{Part, Step};
use crate::qemu::Progress;
use crate::report::{Case, Outcome};

/// Lines of a run. Dropping it clears those that move.
pub(crate) struct ProgressDisplay {
    progress: Progress,
    total: usize,
    lines: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: usize,
    /// By their numbers.
    moving: BTreeMap<usize, ProgressBar>,
}

impl ProgressDisplay {
    pub fn new(progress: Progress, total: usize) -> ProgressDisplay {
        ProgressDisplay {
            progress,
            total,
            lines: MultiProgress::new(),
            state: Mutex::default(),
        }
    }

    /// Shows what happened.
    pub fn tell(&self, subject: Subject, event: Event) {
        if self.progress == Progress::Quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Began if self.progress == Progress::Bar => {
                let bar = self.lines.add(ProgressBar::new_spinner());
                if let Ok(style) =
                    ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(subject.id.to_owned());
                bar.enable_steady_tick(Duration::from_millis(200));
                state.moving.insert(subject.number, bar);
            }
            Event::Began => {}
            Event::Step(step) => {
                if let Some(bar) = state.moving.get(&subject.number) {
                    bar.set_message(words(step));
                }
            }
            Event::Ended(case) => {
                if let Some(bar) = state.moving.remove(&subject.number) {
                    bar.finish_and_clear();
                }
                let count = match subject.part {
                    Part::Whole => {
                        state.done += 1;
                        format!("[{}/{}]", state.done, self.total)
                    }
                    Part::Culprit => "  of it".to_owned(),
                };
                let line = format!("{count} {}", ended(case));
                match self.progress {
                    // Above the lines that move.
                    Progress::Bar => {
                        let _gone = self.lines.println(line);
                    }
                    _ => eprintln!("{line}"),
                }
            }
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        let _no_terminal = self.lines.clear();
    }
}

fn words(step: Step) -> String {
    match step {
        Step::Leg { index, of } => format!("leg {} of {of}", index + 1),
        Step::Control => "failed; each build with itself".to_owned(),
        Step::Again { time, of } => format!("failed; once more, {time} of {of}"),
        Step::Blame => "failed; which device is to blame".to_owned(),
    }
}

fn ended(case: &Case) -> String {
    let mut line = format!("{} {}", case.outcome, case.id);
    let legs = case.legs.len();
    if legs > 1 {
        line.push_str(&format!(", {legs} legs"));
    }
    line.push_str(&format!(", {:.1} s", case.elapsed_ms as f64 / 1000.0));
    if case.outcome != Outcome::Pass
        && let Some(cause) = &case.cause
    {
        line.push_str(": ");
        line.push_str(cause.message.lines().next().unwrap_or_default());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_is_counted_from_one() {
        let words = [
            words(Step::Leg { index: 2, of: 20 }),
            words(Step::Again { time: 1, of: 2 }),
        ];
        assert_eq!(words, ["leg 3 of 20", "failed; once more, 1 of 2"]);
    }
}

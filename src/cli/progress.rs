//! Progress for a person: lines on standard error, and on a terminal bars that move.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::api::{CaseEvent, CaseStep, Event, FetchEvent, FetchStep, Progress};
use crate::model::visible;
use crate::report::bisection::Place;
use crate::report::{Case, Outcome, Swept};

/// The amount of progress that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    /// A line when a fetch begins a step, and one when a case or a machine is done: for logs.
    Lines,
    /// The same, and a bar for what is under way.
    Bars,
}

/// The standard error of this process. Dropping it clears the bars.
pub(crate) struct Display {
    mode: Mode,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Cases that were planned, and those of them that are done.
    planned: usize,
    done: usize,
    /// The bars by the numbers of their cases.
    cases: BTreeMap<usize, ProgressBar>,
    /// The bars by the suite.
    fetches: BTreeMap<String, ProgressBar>,
}

impl Display {
    /// Makes a display that is quiet if requested; else with bars on a terminal and lines anywhere
    /// else.
    pub(crate) fn new(quiet: bool) -> Display {
        Display {
            mode: match quiet {
                true => Mode::Quiet,
                false if std::io::stderr().is_terminal() => Mode::Bars,
                false => Mode::Lines,
            },
            bars: MultiProgress::new(),
            state: Mutex::default(),
        }
    }

    /// Shows what happens while a build is fetched.
    pub(crate) fn fetch(&self, event: FetchEvent<'_>) {
        self.event(Event::Fetch(event));
    }

    fn line(&self, line: &str) {
        let line = visible(line);
        match self.mode {
            Mode::Quiet => {}
            Mode::Lines => eprintln!("{line}"),
            // Above the bars.
            Mode::Bars => {
                let _gone = self.bars.println(line);
            }
        }
    }

    fn bar(&self, total: Option<u64>, template: &str) -> ProgressBar {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let bar = self.bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn fetching(&self, event: FetchEvent<'_>, fetches: &mut BTreeMap<String, ProgressBar>) {
        match event {
            FetchEvent::Began { suite, step } if self.mode == Mode::Bars => {
                let bar = self.bar(step.total(), template(step));
                bar.set_message(visible(&event.to_string()).into_owned());
                fetches.insert(suite.to_owned(), bar);
            }
            FetchEvent::Advanced { suite, position } => {
                if let Some(bar) = fetches.get(suite) {
                    bar.set_position(position);
                }
            }
            FetchEvent::Ended { suite } => {
                if let Some(bar) = fetches.remove(suite) {
                    bar.finish_and_clear();
                }
            }
            event => self.line(&event.to_string()),
        }
    }

    fn case(
        &self,
        number: usize,
        id: &str,
        culprit: bool,
        event: CaseEvent<'_>,
        state: &mut State,
    ) {
        match event {
            CaseEvent::Began if self.mode == Mode::Bars => {
                let bar = self.bar(None, "{spinner} {prefix} {msg} {elapsed}");
                bar.set_prefix(visible(id).into_owned());
                state.cases.insert(number, bar);
            }
            CaseEvent::Began => {}
            CaseEvent::Step(step) => {
                if let Some(bar) = state.cases.get(&number) {
                    bar.set_message(words(step));
                }
            }
            CaseEvent::Ended(case) => {
                if let Some(bar) = state.cases.remove(&number) {
                    bar.finish_and_clear();
                }
                let count = match culprit {
                    false => {
                        state.done += 1;
                        format!("[{}/{}]", state.done, state.planned)
                    }
                    true => "  of it".to_owned(),
                };
                self.line(&format!("{count} {}", ended(case)));
            }
        }
    }
}

impl Progress for Display {
    fn event(&self, event: Event<'_>) {
        if self.mode == Mode::Quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Fetch(event) => self.fetching(event, &mut state.fetches),
            Event::Opened { .. } | Event::Compared { .. } => {}
            Event::CasesPlanned(number) => state.planned += number,
            Event::Case {
                number,
                id,
                culprit,
                event,
            } => self.case(number, id, culprit, event, &mut state),
            Event::BuildChosen { build, place, left } => {
                let left = match place {
                    Place::Between => format!(", one of {left} that may be the first"),
                    Place::First | Place::Last => String::new(),
                };
                self.line(&format!("trying {build}, {place}{left}"));
            }
            Event::BuildTried { build, step } => {
                let seconds = step.elapsed_ms as f64 / 1000.0;
                self.line(&format!("{build} {}, {seconds:.1} s", step.judgement));
            }
            Event::MachineSwept {
                done,
                of,
                between,
                swept: machine,
                cases,
            } => {
                let between = between.map(|[old, new]| format!("{old} to {new}, "));
                let between = between.unwrap_or_default();
                self.line(&format!("[{done}/{of}] {between}{}", swept(machine, cases)));
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _no_terminal = self.bars.clear();
    }
}

fn template(step: FetchStep<'_>) -> &'static str {
    match step {
        FetchStep::Download { .. } => {
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}"
        }
        FetchStep::Unpack { .. } => "{msg} {wide_bar} {pos}/{len}",
        _ => "{spinner} {msg} {elapsed}",
    }
}

fn words(step: CaseStep) -> String {
    match step {
        CaseStep::Leg { index, of } => format!("leg {} of {of}", index + 1),
        CaseStep::Control => "failed; each build with itself".to_owned(),
        CaseStep::Again { time, of } => format!("failed; once more, {time} of {of}"),
        CaseStep::Blame => "failed; which device is to blame".to_owned(),
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

/// A line of a machine that was swept.
fn swept(swept: &Swept, cases: &[Case]) -> String {
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    for case in cases {
        *counts.entry(case.outcome).or_default() += 1;
    }
    let counts = counts.iter().map(|(outcome, n)| format!("{n} {outcome}"));
    let counts: Vec<String> = counts.collect();
    format!(
        "{} {}: {}; {} of {} device types, {} guests, {:.1} s",
        swept.architecture,
        swept.machine,
        counts.join(", "),
        swept.exercised,
        swept.shared,
        swept.guests,
        swept.elapsed_ms as f64 / 1000.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_is_counted_from_one() {
        let words = [
            words(CaseStep::Leg { index: 2, of: 20 }),
            words(CaseStep::Again { time: 1, of: 2 }),
        ];
        assert_eq!(words, ["leg 3 of 20", "failed; once more, 1 of 2"]);
    }
}

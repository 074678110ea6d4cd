//! Progress for a person: lines on standard error, and on a terminal bars that move.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::api::{
    Advance, CaseEvent, CaseStep, Event, FetchEvent, FetchStep, Progress, SweepPhase,
};
use crate::model::{count, joined, visible};
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
    /// The machines of a sweep, and how far each has come.
    sweeps: BTreeMap<usize, (String, Advance)>,
    /// The moment at which the first case was planned or decided.
    began: Option<Instant>,
    /// The moment of the last line about all cases.
    told: Option<Instant>,
    /// The bar of all cases.
    whole: Option<ProgressBar>,
}

/// The least time between two lines that say how far a run has come.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl State {
    /// Returns the cases that are done, and all that are known of.
    fn cases(&self) -> (usize, usize) {
        let advances = self.sweeps.values().map(|(_, advance)| advance);
        advances.fold((self.done, self.planned), |(done, all), advance| {
            (done + advance.done, all + advance.cases)
        })
    }

    /// Tells whether no machine of a sweep is under way.
    fn rests(&self) -> bool {
        let mut advances = self.sweeps.values().map(|(_, advance)| advance);
        advances.all(|advance| advance.phase == SweepPhase::Done)
    }

    /// Describes what is under way, and how long it may take.
    fn under_way(&self, elapsed: Duration) -> String {
        let mut running: Vec<String> = Vec::new();
        for (machine, advance) in self.sweeps.values() {
            let what = match advance.phase {
                SweepPhase::Machine => ", without devices",
                SweepPhase::Devices => "",
                SweepPhase::Controls => ", what failed",
                SweepPhase::Done => continue,
            };
            running.push(format!("{machine}{what}"));
        }
        let (done, all) = self.cases();
        let mut text = match running.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [one, others @ ..] => format!("{one} and {} more", others.len()),
        };
        if let Some(left) = left(elapsed, done, all) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&format!("about {} s left", left.as_secs() + 1));
        }
        text
    }
}

/// Returns the time that the other cases take, if they take as long as those that are done.
fn left(elapsed: Duration, done: usize, all: usize) -> Option<Duration> {
    let others = all.checked_sub(done).filter(|&others| others > 0)?;
    let ratio = others as f64 / Some(done).filter(|&done| done > 0)? as f64;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * ratio).ok()
}

impl Display {
    /// Makes a display that is quiet if requested; else with bars on a terminal and lines anywhere
    /// else.
    pub(crate) fn new(quiet: bool) -> Display {
        Display {
            mode: match quiet {
                true => Mode::Quiet,
                false if io::stderr().is_terminal() => Mode::Bars,
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
            Mode::Lines => {
                let _nobody_reads = writeln!(io::stderr(), "{line}");
            }
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

    /// Says how far the whole has come: on a terminal as a bar, and in a log as a line now and then.
    fn advanced(&self, state: &mut State) {
        let now = Instant::now();
        let elapsed = now.duration_since(*state.began.get_or_insert(now));
        let (done, all) = state.cases();
        match self.mode {
            Mode::Quiet => {}
            Mode::Bars => {
                let text = state.under_way(elapsed);
                let is_over = done == all && all > 0 && state.rests();
                let whole = state.whole.get_or_insert_with(|| {
                    self.bar(Some(0), "{bar:20} {pos}/{len} cases {elapsed} {msg}")
                });
                whole.set_length(all as u64);
                whole.set_position(done as u64);
                whole.set_message(visible(&text).into_owned());
                if is_over {
                    whole.finish_and_clear();
                    state.whole = None;
                }
            }
            // Cases that are tried one by one have a line each.
            Mode::Lines if state.sweeps.is_empty() => {}
            Mode::Lines => {
                let last = *state.told.get_or_insert(now);
                if now.duration_since(last) >= BETWEEN_LINES && done < all {
                    state.told = Some(now);
                    self.line(&format!(
                        "{done} of {all} cases; {}",
                        state.under_way(elapsed)
                    ));
                }
            }
        }
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
                self.advanced(state);
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
            Event::Opened { .. } | Event::Compared { .. } | Event::MapPlanned { .. } => {}
            Event::CasesPlanned(number) => {
                state.planned += number;
                self.advanced(&mut state);
            }
            Event::SweepAdvanced {
                number,
                machine,
                advance,
                ..
            } => {
                state.sweeps.insert(number, (machine.to_owned(), advance));
                self.advanced(&mut state);
            }
            Event::Case {
                number,
                id,
                culprit,
                event,
            } => self.case(number, id, culprit, event, &mut state),
            Event::BuildChosen {
                build, place, left, ..
            } => {
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
    if let Some(why) = case.message().filter(|_| case.outcome != Outcome::Pass) {
        line.push_str(": ");
        line.push_str(why.lines().next().unwrap_or_default());
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
    let counts = joined(counts, ", ");
    format!(
        "{} {}: {counts}; {} of {}, {}, {:.1} s",
        swept.architecture,
        swept.machine,
        swept.exercised,
        count(swept.shared, "device type"),
        count(swept.guests, "guest"),
        swept.elapsed_ms as f64 / 1000.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_and_how_long_it_takes_is_told() {
        let mut state = State::default();
        let mut at = |machine: &str, number, phase, done| {
            let cases = 40;
            let advance = Advance { phase, done, cases };
            state.sweeps.insert(number, (machine.to_owned(), advance));
            (state.cases(), state.under_way(Duration::from_secs(10)))
        };
        let first = at("pc-q35-7.2", 0, SweepPhase::Machine, 0);
        assert_eq!(first, ((0, 40), "pc-q35-7.2, without devices".to_owned()));
        let half = at("pc-q35-7.2", 0, SweepPhase::Devices, 20);
        assert_eq!(half.1, "pc-q35-7.2; about 11 s left");
        let two = at("pc-i440fx-7.2", 1, SweepPhase::Devices, 20);
        assert_eq!(
            two,
            (
                (40, 80),
                "pc-q35-7.2 and 1 more; about 11 s left".to_owned()
            )
        );
        at("pc-q35-7.2", 0, SweepPhase::Done, 40);
        let last = at("pc-i440fx-7.2", 1, SweepPhase::Done, 40);
        assert_eq!(last, ((80, 80), String::new()));
    }

    #[test]
    fn what_was_swept_is_told_in_one_line() {
        let line = |types: usize, guests: usize| {
            let machine = serde_json::json!({
                "architecture": "x86_64", "machine": "pc-q35-7.2", "shared": types, "exercised": 1, "by_fall_back": 0,
                "left_out": [], "only_old": [], "only_new": [], "guests": guests, "elapsed_ms": 1200
            });
            let machine: Swept = serde_json::from_value(machine).expect("a machine");
            swept(&machine, &[Case::default()])
        };
        let start = "x86_64 pc-q35-7.2: 1 skip; 1 of";
        assert_eq!(line(1, 1), format!("{start} 1 device type, 1 guest, 1.2 s"));
        assert_eq!(
            line(2, 0),
            format!("{start} 2 device types, 0 guests, 1.2 s")
        );
    }

    #[test]
    fn a_leg_is_counted_from_one() {
        let words = [
            words(CaseStep::Leg { index: 2, of: 20 }),
            words(CaseStep::Again { time: 1, of: 2 }),
        ];
        assert_eq!(words, ["leg 3 of 20", "failed; once more, 1 of 2"]);
    }
}

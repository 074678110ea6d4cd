//! One pass of a guest through the builds of a case.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::bench::{Bench, Step, Watcher};
use super::buses::Buses;
use super::cause;
use super::filler::{Arrival, NeverRan};
use super::integrity::{self, Trouble};
use super::leg::{self, End, Stats, Unfit};
use super::memory::Difference;
use super::post_mortem::{self, tail};
use super::state::Seen;
use super::tap::Passed;
use super::vm::{Party, Recipe, Role, Vm};
use super::workload::SerialLog;
use crate::model::{Cause, Direction, Leg, Outcome, StateDiff};
use crate::qemu::{StartError, private_dir};

/// One pass through the builds.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    pub legs: Vec<Leg>,
    pub source_stderr: String,
    pub destination_stderr: String,
    /// Transcripts and the like, by file name.
    pub files: Vec<(String, String)>,
    /// What builds said that did not start, by their labels.
    pub refusals: Vec<(String, String)>,
    pub state: Seen,
    /// All that is wrong is that values differ; `state` says which.
    pub values_differ: bool,
    /// Id of the device on a root bus whose section failed.
    pub suspect: Option<String>,
    /// Where the recipe wants it, and both builds started.
    pub buses: Option<Surveyed>,
}

/// What both builds have to plug a device into, or why that is not known.
pub(crate) type Surveyed = Result<Buses, String>;

impl Attempt {
    pub fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Pass | Outcome::Skip)
    }

    /// Whether this control, from a build to itself, fails in a way that says that a failure between
    /// the builds is not theirs. A control whose values alone differ does so only for the same ones.
    pub fn accounts_for(&self, between: &Attempt) -> bool {
        if !self.failed() {
            return false;
        }
        if !self.values_differ {
            return true;
        }
        let name = |diff: &StateDiff| (diff.section.clone(), diff.field.clone());
        let here: BTreeSet<_> = self.state.diffs.iter().map(name).collect();
        between.values_differ
            && between
                .state
                .diffs
                .iter()
                .map(name)
                .all(|d| here.contains(&d))
    }

    /// Whether both end the same way, at the same place.
    pub fn fails_like(&self, other: &Attempt) -> bool {
        let place = |attempt: &Attempt| {
            let cause = attempt.cause.as_ref()?;
            Some((cause.section.clone(), cause.field.clone()))
        };
        self.outcome == other.outcome && place(self) == place(other)
    }

    fn refused(errors: &[StartError]) -> Attempt {
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let refusal = |error: &StartError| (error.label.clone(), error.words());
        Attempt {
            refusals: errors.iter().map(refusal).collect(),
            // One is enough for a reader.
            ..Attempt::skip(words.into_iter().next().unwrap_or_default())
        }
    }

    /// A destination that does not start in a later leg.
    fn stillborn(index: usize, error: &StartError, legs: Vec<Leg>) -> Attempt {
        Attempt {
            outcome: Outcome::Crash,
            cause: Some(Cause {
                message: format!(
                    "the destination of leg {} does not start, as its build did before: {}: {}",
                    index + 1,
                    error.label,
                    error.problem
                ),
                ..Cause::default()
            }),
            legs,
            source_stderr: String::new(),
            destination_stderr: tail(&error.stderr),
            files: vec![("destination.stderr".to_owned(), error.stderr.clone())],
            ..Attempt::skip(String::new())
        }
    }

    fn skip(message: String) -> Attempt {
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        let message = lines.join(" ");
        Attempt {
            outcome: Outcome::Skip,
            cause: Some(Cause {
                message,
                ..Cause::default()
            }),
            legs: Vec::new(),
            source_stderr: String::new(),
            destination_stderr: String::new(),
            files: Vec::new(),
            refusals: Vec::new(),
            state: Seen::default(),
            values_differ: false,
            suspect: None,
            buses: None,
        }
    }
}

/// When to look at how the state arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The guest goes on, or there is no further leg.
    Now,
    /// A guest that does not run is sent on as it arrived.
    InNextLeg,
}

/// A leg whose source has not left yet.
struct Staged {
    outcome: Result<Stats, Unfit>,
    sent: Passed,
    /// What the destination saved to be looked at now.
    held: Option<Passed>,
}

/// Why a guest does not get as far as a migration.
enum NoStart {
    Refused(Box<StartError>),
    Idle(String),
}

fn ended(index: usize, direction: Direction, outcome: Outcome, stats: Stats) -> Leg {
    Leg {
        index,
        direction,
        outcome,
        total_ms: stats.total_ms,
        downtime_ms: stats.downtime_ms,
        setup_ms: stats.setup_ms,
        bytes: stats.bytes,
        pages: stats.pages,
    }
}

impl Bench {
    /// Sends one guest along the builds.
    pub(crate) async fn attempt(
        &self,
        route: &[&Party],
        recipe: &Recipe,
        first: Direction,
        watcher: Watcher<'_>,
    ) -> Attempt {
        let folder = match private_dir() {
            Ok(folder) => folder,
            Err(error) => return Attempt::skip(format!("no folder to run in: {error}")),
        };
        if let Err(error) = recipe.prepare(folder.path()) {
            return Attempt::skip(format!("cannot write the guest: {error}"));
        }
        let mut buses = None;
        let travelled = self
            .travel(route, recipe, first, folder.path(), watcher, &mut buses)
            .await;
        Attempt { buses, ..travelled }
    }

    async fn travel(
        &self,
        route: &[&Party],
        recipe: &Recipe,
        first: Direction,
        folder: &Path,
        watcher: Watcher<'_>,
        surveyed: &mut Option<Surveyed>,
    ) -> Attempt {
        let mut log = SerialLog::new();
        let Some((&from, destinations)) = route.split_first() else {
            return Attempt::skip("there is no way to go".to_owned());
        };
        // A destination starts while the guest before it still gets going: half of a short case.
        let start = async |index: usize| match destinations.get(index) {
            Some(&to) => Some(Vm::start(to, recipe, Role::Destination, folder, index + 1).await),
            None => None,
        };
        let (source, mut next) = tokio::join!(self.begin(from, recipe, folder, &mut log), start(0));
        let mut source = match (source, &mut next) {
            (Ok(source), _) => source,
            (Err(NoStart::Idle(message)), _) => return Attempt::skip(message),
            (Err(NoStart::Refused(error)), next) => {
                let also = next.take().and_then(Result::err);
                let errors: Vec<StartError> = std::iter::once(*error).chain(also).collect();
                return Attempt::refused(&errors);
            }
        };
        if let (true, Some(Ok(destination))) = (recipe.survey, &next) {
            let asked = tokio::try_join!(source.buses(), destination.buses());
            let shared = asked.map(|(ours, theirs)| ours.shared(&theirs));
            *surveyed = Some(shared.map_err(|error| error.to_string()));
        }
        let mut legs: Vec<Leg> = Vec::new();
        let mut direction = first;
        let mut state = Seen::default();
        let mut never_ran = NeverRan::default();
        // What was sent in the leg before, where nobody has looked yet how it arrived.
        let mut before: Option<Passed> = None;
        for index in 0..destinations.len() {
            let of = destinations.len();
            watcher(Step::Leg { index, of });
            let mut destination = match next.take() {
                Some(Ok(destination)) => destination,
                // The same build, with the same guest, has started before.
                Some(Err(error)) if index > 0 => {
                    legs.push(ended(index, direction, Outcome::Crash, Stats::default()));
                    return Attempt::stillborn(index, &error, legs);
                }
                Some(Err(error)) => return Attempt::refused(&[error]),
                None => return Attempt::skip("there is no destination".to_owned()),
            };
            let last = index + 1 == of;
            let look = match recipe.guest {
                None if !last => Look::InNextLeg,
                _ => Look::Now,
            };
            let Staged {
                outcome,
                sent,
                held,
            } = self
                .stage(&mut source, &mut destination, recipe, &mut log, look)
                .await;
            if index == 0 {
                state.first = sent.stream.clone().ok();
            }
            // A guest that did not run between two legs is sent on as it arrived.
            if let Some(before) = before.take() {
                if outcome.is_ok()
                    && let Some(unfit) = unlike(index - 1, &before, &sent)
                {
                    // The leg turns out not to have passed.
                    if let Some(leg) = legs.last_mut() {
                        leg.outcome = unfit.outcome;
                    }
                    return post_mortem::of_leg(unfit, legs, state, source, destination).await;
                }
                if let (Ok(before), Ok(sent)) = (&before.stream, &sent.stream) {
                    let arrival = Arrival {
                        leg: index - 1,
                        direction: direction.reversed(),
                        destination: destinations[index - 1],
                        sent: before,
                        held: sent,
                    };
                    if !self
                        .holds(&mut state, arrival, recipe, &mut never_ran)
                        .await
                    {
                        if let Some(leg) = legs.last_mut() {
                            leg.outcome = Outcome::Lost;
                        }
                        return post_mortem::of_values(state, legs, source, destination).await;
                    }
                }
            }
            let stats = match outcome {
                Ok(stats) => stats,
                Err(unfit) => {
                    state.refused = sent.stream.ok();
                    legs.push(ended(index, direction, unfit.outcome, Stats::default()));
                    return post_mortem::of_leg(unfit, legs, state, source, destination).await;
                }
            };
            let mut kept = true;
            match (&sent.stream, held) {
                (Ok(sent), Some(held)) => match held.stream {
                    Ok(held) => {
                        let arrival = Arrival {
                            leg: index,
                            direction,
                            destination: destinations[index],
                            sent,
                            held: &held,
                        };
                        kept = self
                            .holds(&mut state, arrival, recipe, &mut never_ran)
                            .await;
                        state.arrived = Some(held);
                    }
                    Err(why) => state.leave(format!(
                        "after leg {index} the destination could not save again: {why}"
                    )),
                },
                (Ok(_), None) => {}
                (Err(why), _) => state.leave(why.clone()),
            }
            if !kept {
                legs.push(ended(index, direction, Outcome::Lost, stats));
                return post_mortem::of_values(state, legs, source, destination).await;
            }
            if look == Look::InNextLeg {
                before = Some(sent);
            }
            let resume = async {
                self.resume(&mut destination, recipe, &mut log).await?;
                if last {
                    // It has answered all that was asked, and has nothing to put in order.
                    destination.monitored.process.kill().await;
                }
                Ok(())
            };
            let (left, resumed, started) =
                tokio::join!(leave(&mut source), resume, start(index + 1));
            if let Err(unfit) = left.and(resumed) {
                legs.push(ended(index, direction, unfit.outcome, Stats::default()));
                return post_mortem::of_leg(unfit, legs, state, source, destination).await;
            }
            legs.push(ended(index, direction, Outcome::Pass, stats));
            next = started;
            // A loop has the ways alternate; a control's builds are the same anyway.
            direction = direction.reversed();
            source.sweep();
            source = destination;
        }
        Attempt {
            outcome: Outcome::Pass,
            cause: None,
            legs,
            source_stderr: String::new(),
            destination_stderr: String::new(),
            files: Vec::new(),
            refusals: Vec::new(),
            state,
            values_differ: false,
            suspect: None,
            buses: None,
        }
    }

    /// Starts the first build; its guest works then, if it is to.
    async fn begin(
        &self,
        from: &Party,
        recipe: &Recipe,
        folder: &Path,
        log: &mut SerialLog,
    ) -> Result<Vm, NoStart> {
        let mut source = Vm::start(from, recipe, Role::First, folder, 0)
            .await
            .map_err(|error| NoStart::Refused(Box::new(error)))?;
        if recipe.guest.is_some() {
            let started = async {
                source.cont().await.map_err(|error| error.to_string())?;
                source
                    .wait_for_beat(log, None, self.patience.boot)
                    .await
                    .map_err(|why| why.to_string())
            };
            if let Err(why) = started.await {
                let stderr = source.monitored.process.stderr();
                let label = from.build.label();
                return Err(NoStart::Idle(format!(
                    "{label}: the guest does not work before any migration: {why} {stderr}"
                )));
            }
        }
        Ok(source)
    }

    /// One leg and what is compared after it. Both sides are stopped then.
    async fn stage(
        &self,
        source: &mut Vm,
        destination: &mut Vm,
        recipe: &Recipe,
        log: &mut SerialLog,
        look: Look,
    ) -> Staged {
        let patience = self.patience.leg;
        let how = (self.transport, self.capabilities.as_slice());
        let moved = leg::migrate(source, destination, how.0, how.1, patience).await;
        let mut sent = moved.sent;
        if let Some(graft) = &recipe.graft {
            // What the destination was not given is nothing that it could hold.
            sent.stream = sent.stream.map(|stream| graft.without(stream));
        }
        let stats = match moved.outcome {
            Ok(stats) => stats,
            Err(unfit) => {
                return Staged {
                    outcome: Err(unfit),
                    sent,
                    held: None,
                };
            }
        };
        // Nothing writes to the memory of a machine that does not run: what passed by is what it has.
        // A guest that runs does, and what passed by last need not be what it wrote last.
        let by_stream = recipe.guest.is_none() && sent.memory.is_ok();
        let arrived = &*destination;
        let compared = async {
            match by_stream {
                true => integrity::shared(source, arrived).await.map(drop),
                false => integrity::compare(source, arrived, recipe.guest, log)
                    .await
                    .map(drop),
            }
        };
        let save = async {
            if look == Look::InNextLeg || (sent.stream.is_err() && !by_stream) {
                return None;
            }
            let saved = leg::save(arrived, patience).await;
            let settled = match recipe.guest {
                Some(_) => leg::settle(arrived, patience).await,
                None => Ok(()),
            };
            Some(match settled {
                Ok(()) => saved,
                Err(why) => Passed::nothing(&why),
            })
        };
        // Saving changes nothing of what is compared, and takes as long.
        let (mut compared, held) = tokio::join!(compared, save);
        if let (true, true, Some(held)) = (by_stream, compared.is_ok(), &held) {
            compared = match (&sent.memory, &held.memory) {
                (Ok(sent), Ok(held)) => match sent.difference(held) {
                    Some(found) => Err(Trouble::Found(found.into())),
                    None => Ok(()),
                },
                _ => integrity::compare(source, destination, None, log)
                    .await
                    .map(drop),
            };
        }
        let outcome = match compared {
            Ok(()) => Ok(stats),
            Err(trouble) => Err(Trouble::unfit(trouble, source, destination).await),
        };
        Staged {
            outcome,
            sent,
            held,
        }
    }

    /// Lets the guest go on where it arrived, and sees that it does.
    async fn resume(
        &self,
        destination: &mut Vm,
        recipe: &Recipe,
        log: &mut SerialLog,
    ) -> Result<(), Unfit> {
        if recipe.guest.is_some() {
            if let Err(error) = destination.cont().await {
                return Err(leg::broken(destination, End::Destination, error).await);
            }
            let last = log.last_beat();
            let beat = destination.wait_for_beat(log, last, self.patience.beat);
            if let Err(why) = beat.await {
                return Err(match leg::ended(destination, Duration::ZERO).await {
                    Some(how) => Unfit::new(
                        Outcome::Crash,
                        format!("the destination {how} when the guest went on"),
                    ),
                    None => Unfit::new(Outcome::Lost, format!("after the move, {why}")),
                });
            }
        }
        if let Some(line) = cause::complaint(&destination.monitored.process.stderr()) {
            return Err(Unfit::new(
                Outcome::Lost,
                format!("it loaded, but the destination says: {line}"),
            ));
        }
        Ok(())
    }
}

impl From<Difference> for Unfit {
    fn from(found: Difference) -> Self {
        let mut unfit = Unfit::new(Outcome::Lost, found.message);
        unfit.place = Some(found.block);
        unfit
    }
}

/// Why the memory that a guest was sent with in a leg is not what it is sent on with.
fn unlike(leg: usize, sent: &Passed, sent_on: &Passed) -> Option<Unfit> {
    match (&sent.memory, &sent_on.memory) {
        (Ok(sent), Ok(sent_on)) => sent.difference(sent_on).map(Unfit::from),
        (Ok(_), Err(why)) => Some(Unfit::new(
            Outcome::Lost,
            format!("what leg {leg} left in memory was not seen again: {why}"),
        )),
        // It was read from both sides then.
        (Err(_), _) => None,
    }
}

/// Ends the source, which has done its work: it has to go without a complaint.
async fn leave(source: &mut Vm) -> Result<(), Unfit> {
    let deadline = source.command;
    if let Err(error) = source.monitored.session.quit(deadline).await {
        return Err(leg::broken(source, End::Source, error).await);
    }
    match leg::ended(source, deadline).await {
        Some(how) if how.0.success() => {}
        Some(how) => {
            return Err(Unfit::new(
                Outcome::Crash,
                format!("the source {how} when it was asked to quit"),
            ));
        }
        None => {
            return Err(Unfit::new(
                Outcome::Hang,
                format!("the source did not quit within {} s", deadline.as_secs()),
            ));
        }
    }
    match cause::complaint(&source.monitored.process.stderr()) {
        None => Ok(()),
        Some(line) => Err(Unfit::new(
            Outcome::Lost,
            format!("the migration completed, but the source says: {line}"),
        )),
    }
}

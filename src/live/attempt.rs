//! One pass of a guest through the builds of a case.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::bench::{Bench, Step, Watcher};
use super::cause;
use super::filler::{Arrival, NeverRan};
use super::integrity::{self, Trouble};
use super::leg::{self, End, Stats, Unfit};
use super::post_mortem::{self, tail};
use super::state::Seen;
use super::vm::{Party, Recipe, Role, Vm};
use super::workload::SerialLog;
use crate::model::{Cause, Direction, Leg, Outcome, StateDiff};
use crate::qemu::{StartError, private_dir};
use crate::stream::Stream;

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
}

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

/// A stream, or why there is none to look at.
type Sent = Result<Stream, String>;

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
        self.travel(route, recipe, first, folder.path(), watcher)
            .await
    }

    async fn travel(
        &self,
        route: &[&Party],
        recipe: &Recipe,
        first: Direction,
        folder: &Path,
        watcher: Watcher<'_>,
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
        let mut legs: Vec<Leg> = Vec::new();
        let mut direction = first;
        let mut state = Seen::default();
        let mut never_ran = NeverRan::default();
        // What was sent in the leg before, where nobody has looked yet how it arrived.
        let mut before: Option<Stream> = None;
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
            let look = match recipe.guest {
                None if index + 1 < of => Look::InNextLeg,
                _ => Look::Now,
            };
            let (stage, sent, held) = self
                .stage(&mut source, &mut destination, recipe, &mut log, look)
                .await;
            if index == 0 {
                state.first = sent.clone().ok();
            }
            // A guest that did not run between two legs is sent on as it arrived.
            if let (Some(before), Ok(sent)) = (before.take(), &sent) {
                let arrival = Arrival {
                    leg: index - 1,
                    direction: direction.reversed(),
                    destination: destinations[index - 1],
                    sent: &before,
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
            let mut kept = true;
            let stage = match stage {
                Ok(stats) => {
                    match (sent, held) {
                        (Ok(sent), Some(Ok(held))) => {
                            let arrival = Arrival {
                                leg: index,
                                direction,
                                destination: destinations[index],
                                sent: &sent,
                                held: &held,
                            };
                            kept = self
                                .holds(&mut state, arrival, recipe, &mut never_ran)
                                .await;
                        }
                        (Ok(_), Some(Err(why))) => state.leave(format!(
                            "after leg {index} the destination could not save again: {why}"
                        )),
                        (Ok(sent), None) => before = Some(sent),
                        (Err(why), _) => state.leave(why),
                    }
                    if kept {
                        let resumed = self.resume(&mut destination, recipe, &mut log);
                        let (resumed, started) = tokio::join!(resumed, start(index + 1));
                        next = started;
                        resumed.map(|()| stats)
                    } else {
                        Ok(stats)
                    }
                }
                Err(unfit) => {
                    state.refused = sent.ok();
                    Err(unfit)
                }
            };
            let outcome = match &stage {
                Ok(_) if kept => Outcome::Pass,
                Ok(_) => Outcome::Lost,
                Err(unfit) => unfit.outcome,
            };
            let stats = match &stage {
                Ok(stats) => *stats,
                Err(_) => Stats::default(),
            };
            legs.push(ended(index, direction, outcome, stats));
            if let Err(unfit) = stage {
                let mut attempt = post_mortem::of_leg(unfit, legs, source, destination).await;
                attempt.state = state;
                return attempt;
            }
            if !kept {
                return post_mortem::of_values(state, legs, source, destination).await;
            }
            // A loop has the ways alternate; a control's builds are the same anyway.
            direction = direction.reversed();
            source.sweep();
            source = destination;
        }
        // It has answered all that was asked, and has nothing to put in order.
        source.monitored.process.kill().await;
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

    /// One leg and what is compared after it. The source is gone then, the destination stopped. What
    /// the source sent comes back too, and what the destination saved to be looked at now.
    async fn stage(
        &self,
        source: &mut Vm,
        destination: &mut Vm,
        recipe: &Recipe,
        log: &mut SerialLog,
        look: Look,
    ) -> (Result<Stats, Unfit>, Sent, Option<Sent>) {
        let patience = self.patience.leg;
        let how = (self.transport, self.capabilities.as_slice());
        let moved = leg::migrate(source, destination, how.0, how.1, patience).await;
        // What the destination was not given is nothing that it could hold.
        let sent = match &recipe.graft {
            Some(graft) => moved.sent.map(|sent| graft.without(sent)),
            None => moved.sent,
        };
        let stats = match moved.outcome {
            Ok(stats) => stats,
            Err(unfit) => return (Err(unfit), sent, None),
        };
        let arrived = &*destination;
        let compared = async {
            integrity::compare(source, arrived, recipe.guest, log).await?;
            Ok(leave(source).await?)
        };
        let save = async {
            match &sent {
                Ok(_) if look == Look::Now => Some(leg::save(arrived, patience).await),
                _ => None,
            }
        };
        // Saving changes nothing of what is compared, and takes as long.
        let (compared, held) = tokio::join!(compared, save);
        let outcome = match compared {
            Ok(()) => Ok(stats),
            Err(trouble) => Err(Trouble::unfit(trouble, source, destination).await),
        };
        (outcome, sent, held)
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

//! One migration between two started QEMUs, from the first capability to "completed" on both sides.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;

use crate::migration::channel::connect;
use crate::migration::channel::connect::{Outgoing, Tapped};
use crate::migration::channel::proxy::{Passed, StreamProxy};
use crate::migration::channel::transport::Transport;
use crate::migration::checks::memory::Memory;
use crate::migration::endpoint::capability::{Capability, Pace, parameters};
use crate::migration::endpoint::commands::{
    CapabilityState, Migrate, MigrateIncoming, MigrationReply, QueryCapabilities, QueryMigrate,
    QueryStatus, SetCapabilities, StartPostcopy,
};
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{AFTERWORD, End, LegError, broken, dead};
use crate::model::Version;
use crate::qemu::Ended;
use crate::qemu::qmp::{Event, QmpError};
use crate::report::Outcome;

/// The first QEMU whose destination stays after a failed load and can be asked why.
const STAYS_SINCE: Version = Version::new(9, 1, 0);

/// How often both sides are asked, in case an event is never sent.
const POLL: Duration = Duration::from_millis(100);
/// Between two questions whether a machine that has saved itself is through.
const FINISHING: Duration = Duration::from_millis(1);

/// What a build told about a migration that completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub total_ms: Option<u64>,
    pub downtime_ms: Option<u64>,
    pub setup_ms: Option<u64>,
    pub bytes: Option<u64>,
    pub pages: Option<u64>,
}

impl From<MigrationReply> for Stats {
    fn from(reply: MigrationReply) -> Self {
        let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
        let ram = reply.ram.unwrap_or_default();
        Stats {
            total_ms: number(reply.total_time),
            downtime_ms: number(reply.downtime),
            setup_ms: number(reply.setup_time),
            bytes: number(ram.transferred),
            pages: number(ram.normal).map(|n| n + number(ram.duplicate).unwrap_or(0)),
        }
    }
}

/// How one side stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    UnderWay,
    Completed,
    Failed(Option<String>),
    Ended(Ended),
}

impl State {
    fn is_over(&self) -> bool {
        *self != State::UnderWay
    }

    fn of(status: &str, reason: Option<String>) -> State {
        match status {
            "completed" => State::Completed,
            // A source waits like this for ever, once its destination has gone.
            "failed" | "cancelled" | "postcopy-paused" => State::Failed(reason),
            _ => State::UnderWay,
        }
    }
}

/// A leg that is over.
#[derive(Debug)]
pub struct Moved {
    pub outcome: Result<Stats, LegError>,
    /// What the source sent. Of a leg that failed too: a source whose
    /// destination refuses the stream is heard to its end.
    pub sent: Passed,
}

/// Moves the guest between two sides that are prepared. Afterwards both are stopped.
pub async fn migrate(
    source: &mut Vm,
    destination: &mut Vm,
    transport: Transport,
    capabilities: &[Capability],
    deadline: Duration,
) -> Moved {
    let mut tap = None;
    let how = (transport, capabilities);
    let outcome = relay(source, destination, how, deadline, &mut tap).await;
    let sent = match tap {
        // A side that hangs has not said the end of its stream, and will not.
        Some(tap) if !matches!(&outcome, Err(unfit) if unfit.outcome == Outcome::Hang) => {
            tap.passed().await
        }
        _ => Passed::nothing("the migration did not end"),
    };
    Moved { outcome, sent }
}

async fn relay(
    source: &mut Vm,
    destination: &mut Vm,
    (transport, capabilities): (Transport, &[Capability]),
    deadline: Duration,
    tapped: &mut Option<StreamProxy>,
) -> Result<Stats, LegError> {
    let end = Instant::now() + deadline;
    if source.works() {
        hold_back(source, capabilities).await?;
    }
    let passes = match capabilities.first() {
        None => Tapped::Yes,
        Some(&capability) => Tapped::No(capability),
    };
    let way = connect::lay(transport, passes, source, destination).await?;
    source.monitored.session.forget_events();
    destination.monitored.session.forget_events();
    let mut watch = Watch::default();
    // A file has to be whole before it is read; everywhere else the listener comes first.
    let after = transport == Transport::File;
    if !after && let Err(error) = listen(destination, way.incoming.clone()).await {
        return Err(broken(destination, End::Destination, error).await);
    }
    let (uri, tap) = match way.outgoing {
        Outgoing::Known(uri, tap) => (uri, tap),
        Outgoing::AskForPort => match connect::port(destination, passes).await {
            Ok(found) => found,
            Err(error) => return Err(broken(destination, End::Destination, error).await),
        },
    };
    let started = source
        .monitored
        .session
        .execute(Migrate { uri }, source.command)
        .await;
    if let Err(error) = started {
        return Err(broken(source, End::Source, error).await);
    }
    // From here on something is on its way to us.
    *tapped = Some(tap);
    let postcopy = capabilities.contains(&Capability::PostcopyRam);
    if postcopy {
        // Right after the reply: what it waits for, that the first pass is under way, is the build's
        // own business.
        let command = source
            .monitored
            .session
            .execute(StartPostcopy {}, source.command);
        if let Err(error) = command.await {
            return Err(broken(source, End::Source, error).await);
        }
    }
    if after {
        watch.until(source, destination, end, true).await;
        if watch.source == State::Completed
            && let Err(error) = listen(destination, way.incoming).await
        {
            return Err(broken(destination, End::Destination, error).await);
        }
    }
    watch.until(source, destination, end, false).await;
    let came_after = watch.postcopy;
    let stats = watch.verdict(source, deadline).await?;
    if postcopy && !came_after {
        return Err(LegError::new(
            Outcome::Skip,
            "all memory was across before postcopy began",
        ));
    }
    Ok(stats)
}

/// Has a stopped machine save itself to us, with whatever `prepare` has set. It cannot be moved any
/// more then until it has run.
pub async fn save(vm: &Vm, deadline: Duration) -> Passed {
    match saved(vm, deadline).await {
        Ok(passed) => passed,
        Err(why) => Passed::nothing(&why),
    }
}

async fn saved(vm: &Vm, deadline: Duration) -> Result<Passed, String> {
    let path = vm.folder.join(format!("t{}", vm.index));
    let said = |error: &dyn fmt::Display| error.to_string();
    // The leg that brought the guest here has left its own.
    let _absent = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(|error| said(&error))?;
    let tap = StreamProxy::sink(listener, Memory::of(vm));
    let uri = format!("unix:{}", path.display());
    let session = &vm.monitored.session;
    let started = session.execute(Migrate { uri }, vm.command).await;
    started.map_err(|error| said(&error))?;
    tokio::time::timeout(deadline, tap.passed())
        .await
        .map_err(|_| format!("it did not end within {} s", deadline.as_secs()))
}

/// Waits until a machine that has saved itself is ready for the next command, a moment after its last
/// byte.
///
/// # Errors
/// Why it is not.
pub(crate) async fn settle(vm: &Vm, deadline: Duration) -> Result<(), String> {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        let asked = vm.monitored.session.execute(QueryStatus {}, vm.command);
        let status = asked.await.map_err(|error| error.to_string())?.status;
        if status != "finish-migrate" {
            return Ok(());
        }
        tokio::time::sleep(FINISHING).await;
    }
    Err("it was not through with the migration".to_owned())
}

/// Sets the pace of a source whose guest works.
async fn hold_back(source: &mut Vm, capabilities: &[Capability]) -> Result<(), LegError> {
    let command = parameters(capabilities, Pace::OnePass);
    let set = source.monitored.session.execute(command, source.command);
    match set.await {
        Ok(_) => Ok(()),
        Err(error) => Err(broken(source, End::Source, error).await),
    }
}

/// Capabilities and parameters, the same on both sides. What a build does not have, or cannot use
/// where it runs, is no break between versions.
pub(crate) async fn prepare(vm: &mut Vm, end: End, wanted: &[Capability]) -> Result<(), LegError> {
    let session = &vm.monitored.session;
    let set = async |name: String| {
        let capabilities = vec![CapabilityState {
            capability: name,
            state: true,
        }];
        let command = SetCapabilities { capabilities };
        session.execute(command, vm.command).await.map(drop)
    };
    let list = async {
        match wanted {
            [] => Ok(Vec::new()),
            _ => session.execute(QueryCapabilities {}, vm.command).await,
        }
    };
    // Says what happens instead of being asked; of no consequence for the stream, so that one side
    // may lack it.
    let events = async {
        match set("events".to_owned()).await {
            Err(QmpError::Refused { .. }) => Ok(()),
            other => other,
        }
    };
    let parameters = session.execute(parameters(wanted, Pace::Full), vm.command);
    // What does not wait for an answer goes together: a leg is short.
    let (listed, mut done, set_up) = tokio::join!(list, events, parameters);
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return Err(broken(vm, end, error).await),
    };
    let has = |name: &str| listed.iter().any(|c| c.capability == name);
    for capability in wanted {
        if !has(&capability.to_string()) {
            let message = format!("{end}, a QEMU {}, has no {capability}", vm.version);
            return Err(LegError::new(Outcome::Skip, message));
        }
        if done.is_ok() {
            done = set(capability.to_string()).await;
        }
        if let Err(QmpError::Refused { description, .. }) = done {
            let message = format!("{end}, a QEMU {}: {description}", vm.version);
            return Err(LegError::new(Outcome::Skip, message));
        }
    }
    match done.and(set_up) {
        Ok(_) => Ok(()),
        Err(error) => Err(broken(vm, end, error).await),
    }
}

async fn listen(vm: &Vm, uri: String) -> Result<(), QmpError> {
    let command = MigrateIncoming {
        uri,
        exit_on_error: (vm.version >= STAYS_SINCE).then_some(false),
    };
    vm.monitored
        .session
        .execute(command, vm.command)
        .await
        .map(drop)
}

/// Both sides while the stream goes over.
#[derive(Debug, Default)]
struct Watch {
    source: State,
    destination: State,
    /// A side that does not answer questions.
    silent: Option<End>,
    /// The source has gone over to sending what was not sent yet after the guest.
    postcopy: bool,
    /// What a source that is through says of it.
    told: Option<Stats>,
}

impl Watch {
    /// Follows the events of both sides until both are through, or one has failed and the other one
    /// had the time to say why, or the deadline passed.
    async fn until(&mut self, source: &mut Vm, destination: &mut Vm, end: Instant, alone: bool) {
        let mut last = end;
        loop {
            let now = Instant::now();
            let through = self.source.is_over() && (alone || self.destination.is_over());
            if through || now >= last {
                // What is known of a failure from an event alone has no reason yet.
                let soon = now + POLL;
                self.ask(source, End::Source, soon).await;
                self.ask(destination, End::Destination, soon).await;
                return;
            }
            let failed = |state: &State| matches!(state, State::Failed(_) | State::Ended(_));
            if failed(&self.source) || failed(&self.destination) {
                if alone {
                    return;
                }
                last = last.min(now + AFTERWORD);
            }
            let pause = POLL.min(last - now);
            let (s, d) = (&mut source.monitored, &mut destination.monitored);
            let quiet = tokio::select! {
                Ok(Some(event)) = s.session.next_event(pause) => {
                    self.source.hear(&event);
                    self.postcopy |= status(&event) == Some("postcopy-active");
                    false
                }
                Ok(Some(event)) = d.session.next_event(pause) => {
                    self.destination.hear(&event);
                    false
                }
                Ok(status) = s.process.wait(Duration::MAX), if !ended_already(&self.source) => {
                    self.source = State::Ended(Ended(status));
                    false
                }
                Ok(status) = d.process.wait(Duration::MAX), if !ended_already(&self.destination) => {
                    self.destination = State::Ended(Ended(status));
                    false
                }
                () = tokio::time::sleep(pause) => true,
            };
            if self.source == State::Completed && self.told.is_none() {
                // The destination takes a moment longer. A source that does not answer is asked again.
                let left = last.saturating_duration_since(Instant::now());
                self.told = told_by(source, source.command.min(left)).await.ok();
            }
            if quiet {
                self.silent = None;
                self.ask(source, End::Source, last).await;
                self.ask(destination, End::Destination, last).await;
            }
        }
    }

    async fn ask(&mut self, vm: &Vm, end: End, last: Instant) {
        let state = match end {
            End::Source => &mut self.source,
            End::Destination => &mut self.destination,
        };
        // A failure heard as an event has no reason yet.
        if !matches!(state, State::UnderWay | State::Failed(None)) {
            return;
        }
        let deadline = vm
            .command
            .min(last.saturating_duration_since(Instant::now()));
        let asked = vm
            .monitored
            .session
            .execute(QueryMigrate {}, deadline)
            .await;
        match asked {
            Ok(reply) => {
                if let Some(status) = &reply.status {
                    let new = State::of(status, reply.error_desc);
                    if new.is_over() {
                        *state = new;
                    }
                }
            }
            Err(QmpError::Deadline { .. }) => self.silent = Some(end),
            // Its process is about to tell more.
            Err(_) => {}
        }
    }

    async fn verdict(mut self, source: &mut Vm, deadline: Duration) -> Result<Stats, LegError> {
        let mut reasons = Vec::new();
        for state in [&mut self.destination, &mut self.source] {
            if let State::Failed(Some(reason)) = state {
                reasons.push(reason.clone());
            }
        }
        let mut unfit = match (&self.source, &self.destination) {
            (State::Completed, State::Completed) => {
                if let Some(stats) = self.told {
                    return Ok(stats);
                }
                return match told_by(source, source.command).await {
                    Ok(stats) => Ok(stats),
                    Err(error) => Err(broken(source, End::Source, error).await),
                };
            }
            (_, State::Ended(how)) if how.0.code() != Some(1) => dead(End::Destination, *how),
            (State::Ended(how), _) => dead(End::Source, *how),
            (_, State::Ended(how)) => dead(End::Destination, *how),
            (_, State::Failed(reason)) => LegError::new(
                Outcome::Fail,
                reason.clone().unwrap_or_else(|| "the load failed".into()),
            ),
            (State::Failed(reason), _) => LegError::new(
                Outcome::Fail,
                reason.clone().unwrap_or_else(|| "the save failed".into()),
            ),
            (source, _) => {
                let seconds = deadline.as_secs_f32();
                let who = match (self.silent, source) {
                    (Some(end), _) => format!("{end} does not answer"),
                    (None, State::Completed) => "the destination is not through".to_owned(),
                    (None, _) => "the source is not through".to_owned(),
                };
                LegError::new(
                    Outcome::Hang,
                    format!("{who} {seconds} s after the migration began"),
                )
            }
        };
        unfit.reasons = reasons;
        Err(unfit)
    }
}

/// What a source says of the migration that it made.
async fn told_by(source: &Vm, deadline: Duration) -> Result<Stats, QmpError> {
    let asked = source.monitored.session.execute(QueryMigrate {}, deadline);
    Ok(asked.await?.into())
}

impl State {
    fn hear(&mut self, event: &Event) {
        if let Some(status) = status(event) {
            let new = State::of(status, None);
            if new.is_over() && !self.is_over() {
                *self = new;
            }
        }
    }
}

/// What a MIGRATION event says.
fn status(event: &Event) -> Option<&str> {
    match event.name.as_str() {
        "MIGRATION" => event.data.get("status")?.as_str(),
        _ => None,
    }
}

fn ended_already(state: &State) -> bool {
    matches!(state, State::Ended(_))
}

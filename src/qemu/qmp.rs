//! A session on a build's monitor.
//!
//! The `qapi` crate carries commands and replies, and its types serve where all versions since 5.2 agree:
//! a command without a reply, a string, a list of names. Its schema is one version's: it refuses a
//! reply that lacks a key which came later (`query-machines`) or has a word that it does not know (a
//! target, a run state, the status or a capability of a migration). For those the commands have
//! replies of our own, with the keys that are read. Events never reach the crate: it gives up on the
//! stream at the first one that its schema does not know. They are separated line by line before it
//! and kept as they came.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp::QmpCommand;
use qapi::{Command, ExecuteError, qmp};
use serde::{Deserialize, Serialize};

use crate::model::visible_lines;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;
use tracing::{Span, trace};

/// No reply is longer, in bytes: the longest, the whole schema, has a quarter of a megabyte.
const MAX_LINE: u64 = 64 << 20;
/// Events that wait to be taken. A build sends a handful; more are dropped, and the state is asked for anyway.
const MOST_EVENTS: usize = 1024;
/// Number of characters that an error quotes of a line that is no QMP.
const QUOTED: usize = 120;

/// Marks what we sent in a transcript.
const ASKED: &str = "->";

/// A broken session, or a command that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QmpError {
    #[error("its output on the monitor socket is not QMP: {0:?}")]
    NotQmp(String),
    #[error("it closed the monitor socket")]
    Closed,
    #[error("no answer to {what} within {} s", after.as_secs_f32())]
    Deadline { what: &'static str, after: Duration },
    /// The build refused the command; the session is still usable.
    #[error("{command}: {description}")]
    Refused {
        command: &'static str,
        description: String,
        /// Set if this build has no such command.
        unknown: bool,
    },
    #[error("{command}: the reply cannot be read: {detail}")]
    Reply {
        command: &'static str,
        detail: String,
    },
    #[error("monitor socket: {0}")]
    Io(String),
}

/// An unsolicited message of a build. Unknown names and data of any form are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: Value,
    /// The time since the epoch, by the build's clock, if it gives one.
    pub time: Option<Duration>,
}

/// A session with capabilities negotiated. It ends when dropped; the build keeps running.
pub struct Session {
    service: QapiService<QmpStreamTokio<OwnedWriteHalf>>,
    events: mpsc::Receiver<Event>,
    /// The socket once more, for what the crate cannot send.
    socket: OwnedFd,
    /// The line that was no QMP, once there was one.
    garbage: Arc<Mutex<Option<String>>>,
    transcript: Transcript,
    turn: Turn,
    _tasks: JoinSet<()>,
}

/// The turn to send a command, and whether the session is over. Without ids one command waits for the other anyway; and
/// the crate panics when another one is sent after one that could not be.
type Turn = Arc<tokio::sync::Mutex<Over>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over(bool);

impl Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Waits for the greeting on a connected socket and answers it.
    ///
    /// # Errors
    /// No QMP, no greeting in time, or the socket closed.
    pub async fn open(socket: UnixStream, deadline: Duration) -> Result<Session, QmpError> {
        const WHAT: &str = "the greeting";
        let again = socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| QmpError::Io(error.to_string()))?;
        let (read, write) = socket.into_split();
        let (feed, fed) = tokio::io::duplex(64 << 10);
        let (sender, events) = mpsc::channel(MOST_EVENTS);
        let garbage = Arc::new(Mutex::new(None));
        let transcript = Transcript::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(sort_lines(
            read,
            feed,
            sender,
            Arc::clone(&garbage),
            transcript.clone(),
        ));

        let negotiated = async {
            let greeted = QmpStreamTokio::open_split(fed, write).await?;
            greeted.negotiate().await
        };
        let stream = match tokio::time::timeout(deadline, negotiated).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(broken(&garbage, WHAT, error)),
            Err(_) => {
                return Err(QmpError::Deadline {
                    what: WHAT,
                    after: deadline,
                });
            }
        };
        let (service, replies) = stream.into_parts();
        tasks.spawn(replies.into_future());
        tracing::debug!("the monitor is open");
        Ok(Session {
            service,
            events,
            socket: again,
            garbage,
            transcript,
            turn: Turn::new(Over(false).into()),
            _tasks: tasks,
        })
    }

    /// Runs a command and waits for its reply.
    ///
    /// # Errors
    /// The build refuses ([`QmpError::Refused`]), or the session broke, or the deadline passed: the
    /// session may be used on then, and a reply that comes late is dropped.
    pub async fn execute<C>(&self, command: C, deadline: Duration) -> Result<C::Ok, QmpError>
    where
        C: QmpCommand + 'static,
        C::Ok: Send,
    {
        let arguments = serde_json::to_string(&command).unwrap_or_default();
        self.transcript
            .add(ASKED, &format!("{} {arguments}", C::NAME));
        // In a task of its own, so that a reply is awaited even when the caller has gone: without
        // ids the crate would take it for that of the next command, with ids end the session.
        let reply = in_turn(Arc::clone(&self.turn), self.service.execute(command));
        let reply = tokio::spawn(reply);
        match tokio::time::timeout(deadline, reply).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(ExecuteError::Qapi(error)))) => Err(QmpError::Refused {
                command: C::NAME,
                unknown: error.class == qapi::ErrorClass::CommandNotFound,
                description: visible_lines(&error.desc).into_owned(),
            }),
            Ok(Ok(Err(ExecuteError::Io(error)))) => Err(broken(&self.garbage, C::NAME, error)),
            Ok(Err(_)) => Err(QmpError::Closed),
            Err(_) => Err(QmpError::Deadline {
                what: C::NAME,
                after: deadline,
            }),
        }
    }

    /// Runs a command that not every build or target has; `None` where it is refused.
    ///
    /// # Errors
    /// The session broke, or the deadline passed.
    pub(crate) async fn ask<C>(
        &self,
        command: C,
        deadline: Duration,
    ) -> Result<Option<C::Ok>, QmpError>
    where
        C: QmpCommand + 'static,
        C::Ok: Send,
    {
        match self.execute(command, deadline).await {
            Ok(answer) => Ok(Some(answer)),
            Err(QmpError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands the build a descriptor, which addresses then name as `fd:NAME`. No other command may be
    /// under way.
    ///
    /// # Errors
    /// As for [`Session::execute`].
    pub async fn give(
        &self,
        descriptor: BorrowedFd<'_>,
        name: &str,
        deadline: Duration,
    ) -> Result<(), QmpError> {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        // A build keeps a descriptor that came with the last bytes until a getfd asks for it. A
        // space between two commands belongs to neither, so the command itself is sent as usual.
        let fds = [descriptor.as_raw_fd()];
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(b" ")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|error| broken(&self.garbage, qmp::getfd::NAME, error.into()))?;
        let command = qmp::getfd {
            fdname: name.to_owned(),
        };
        self.execute(command, deadline).await.map(drop)
    }

    /// Returns the next event, those included that came between two calls. `None` once the session
    /// is over.
    ///
    /// # Errors
    /// There was none within the deadline.
    pub async fn next_event(&mut self, deadline: Duration) -> Result<Option<Event>, QmpError> {
        tokio::time::timeout(deadline, self.events.recv())
            .await
            .map_err(|_| QmpError::Deadline {
                what: "an event",
                after: deadline,
            })
    }

    /// Returns the next event that has come already. What came before the answer to a command is among them.
    pub(crate) fn queued_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Returns why the session is over, once [`Session::next_event`] has given no event.
    pub(crate) fn failure(&self) -> QmpError {
        let garbage = self.garbage.lock().unwrap_or_else(PoisonError::into_inner);
        garbage.clone().map_or(QmpError::Closed, QmpError::NotQmp)
    }

    /// Returns the last command and the last message of the build, with the time since each.
    pub(crate) fn last_exchange(&self) -> Exchange {
        let last = self.transcript.last.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Discards the events that have come since the last one was taken.
    pub fn forget_events(&mut self) {
        while self.events.try_recv().is_ok() {}
    }

    /// Returns the conversation so far, a line a message.
    pub fn transcript(&self) -> String {
        self.transcript.text()
    }

    /// Asks the build to end. Some close the socket before they reply, which is as good.
    ///
    /// # Errors
    /// It does not react.
    pub async fn quit(&self, deadline: Duration) -> Result<(), QmpError> {
        match self.execute(qmp::quit {}, deadline).await {
            Ok(_) | Err(QmpError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sends a command once the one before it has its reply, unless the session is over.
async fn in_turn<T>(
    turn: Turn,
    command: impl Future<Output = Result<T, ExecuteError>>,
) -> Result<T, ExecuteError> {
    let mut over = turn.lock().await;
    if over.0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let reply = command.await;
    // A reply of another form than is known ends nothing.
    over.0 = matches!(&reply, Err(ExecuteError::Io(error)) if error.kind() != io::ErrorKind::InvalidData);
    reply
}

fn broken(garbage: &Mutex<Option<String>>, command: &'static str, error: io::Error) -> QmpError {
    let garbage = garbage.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = garbage.as_ref() {
        return QmpError::NotQmp(line.clone());
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => QmpError::Closed,
        io::ErrorKind::InvalidData => QmpError::Reply {
            command,
            detail: error.to_string(),
        },
        _ => QmpError::Io(error.to_string()),
    }
}

/// Sends events to one receiver and everything else to the other, until either end closes or a line
/// is no QMP.
async fn sort_lines(
    read: OwnedReadHalf,
    mut replies: tokio::io::DuplexStream,
    events: mpsc::Sender<Event>,
    garbage: Arc<Mutex<Option<String>>>,
    transcript: Transcript,
) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut read)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        transcript.add("<-", String::from_utf8_lossy(&line).trim_end());
        match serde_json::from_slice(&line) {
            Ok(Value::Object(message)) if message.contains_key("event") => {
                // The receiver may be gone, or have more than it needs.
                let _unheard = events.try_send(event(&message));
                // Thousands of events come with some reads of the socket, and who waits for a reply has the same thread.
                consume_budget().await;
            }
            Ok(Value::Object(_)) => {
                if replies.write_all(&line).await.is_err() {
                    return;
                }
            }
            _ => {
                let text = String::from_utf8_lossy(&line);
                let quoted = text.trim_end().chars().take(QUOTED).collect();
                *garbage.lock().unwrap_or_else(PoisonError::into_inner) = Some(quoted);
                return;
            }
        }
    }
}

fn event(message: &serde_json::Map<String, Value>) -> Event {
    let time = message.get("timestamp").and_then(|time| {
        let part = |name: &str| time.get(name)?.as_u64();
        let micros = u32::try_from(part("microseconds")?).ok()?;
        Some(Duration::from_secs(part("seconds")?) + Duration::from_micros(micros.into()))
    });
    Event {
        name: match &message["event"] {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        },
        data: message.get("data").cloned().unwrap_or(Value::Null),
        time,
    }
}

/// The last messages on a monitor, and when they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub asked: Option<(String, Instant)>,
    pub answered: Option<(String, Instant)>,
}

/// A conversation as it went, up to a size that a polled session does not reach.
#[derive(Clone)]
struct Transcript {
    text: Arc<Mutex<String>>,
    last: Arc<Mutex<Exchange>>,
    /// Names the process in the log.
    span: Span,
}

impl Transcript {
    const MOST: usize = 1 << 20;

    fn new() -> Transcript {
        Transcript {
            text: Arc::default(),
            last: Arc::default(),
            span: Span::current(),
        }
    }

    fn add(&self, mark: &str, message: &str) {
        self.span.in_scope(|| trace!("{mark} {message}"));
        let beginning = message.chars().take(QUOTED).collect();
        let now = Some((beginning, Instant::now()));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match mark {
            ASKED => last.asked = now,
            _ => last.answered = now,
        }
        drop(last);
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() + message.len() < Self::MOST {
            text.push_str(mark);
            text.push(' ');
            text.push_str(message);
            text.push('\n');
        }
    }

    fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }
}

/// Makes a type a command, with a reply of our own.
macro_rules! command {
    ($type:ident, $name:literal, $reply:ty) => {
        impl ::qapi::Command for $type {
            type Ok = $reply;
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
        }
        impl ::qapi::qmp::QmpCommand for $type {}
    };
}
pub(crate) use command;

/// A command of the human monitor.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HumanCommand {
    command_line: String,
}
command!(HumanCommand, "human-monitor-command", String);

impl HumanCommand {
    pub(crate) fn new(command_line: &str) -> HumanCommand {
        HumanCommand {
            command_line: command_line.to_owned(),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct QueryTarget {}
command!(QueryTarget, "query-target", TargetReply);

#[derive(Debug, Clone, Deserialize)]
pub struct TargetReply {
    pub arch: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct QueryMachines {}
command!(QueryMachines, "query-machines", Vec<MachineType>);

/// A machine type of a build, by the keys that all versions since 5.2 have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineType {
    pub name: String,
    /// The short name that means this type in this build: `q35`.
    pub alias: Option<String>,
    #[serde(default)]
    pub is_default: bool,
    #[serde(default)]
    pub deprecated: bool,
    /// The QOM type of the CPU that it has where none is chosen, if it has one and the build tells.
    #[serde(rename = "default-cpu-type")]
    pub default_cpu: Option<String>,
}

/// Asks a virtio device about itself: QEMU 7.2 and later.
#[derive(Debug, Clone, Serialize)]
pub struct QueryVirtioStatus {
    /// The device in the tree of objects.
    pub path: String,
}
command!(QueryVirtioStatus, "x-query-virtio-status", VirtioStatus);

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VirtioStatus {
    pub host_features: HostFeatures,
}

/// The features that a device offers. Each is a name and, after a colon, words about it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostFeatures {
    pub transports: Vec<String>,
    pub dev_features: Vec<String>,
    /// Those that the build has no name for, as a mask.
    pub unknown_dev_features: u64,
    /// The same of bits from 64 on, which devices have since 10.2.
    pub unknown_dev_features2: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryCapabilities {}
command!(
    QueryCapabilities,
    "query-migrate-capabilities",
    Vec<CapabilityState>
);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CapabilityState {
    pub capability: String,
    pub state: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct QueryCpuDefinitions {}
command!(QueryCpuDefinitions, "query-cpu-definitions", Vec<CpuModel>);

/// A CPU model, by the keys that all targets give.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CpuModel {
    pub name: String,
    pub typename: Option<String>,
    /// Set if it stays what it is for a machine type with a version; `None` where nobody promises anything.
    pub migration_safe: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryCpuModelExpansion {
    #[serde(rename = "type")]
    pub expansion: &'static str,
    pub model: CpuModelInfo,
}
command!(
    QueryCpuModelExpansion,
    "query-cpu-model-expansion",
    CpuModelExpansion
);

/// A CPU model with its properties.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CpuModelInfo {
    pub name: String,
    #[serde(default)]
    pub props: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CpuModelExpansion {
    pub model: CpuModelInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::block_on;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 5}, "package": "p"}, "capabilities": ["oob"]}}"#;
    const SOON: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_secs(10);

    /// A monitor that greets and then answers each command with some lines, `ID` standing for the
    /// command's id and `LATE ` for a pause; after the last answer it stays silent.
    async fn stub(socket: UnixStream, greeting: &str, answers: &[&str]) {
        let (read, mut write) = socket.into_split();
        let mut commands = BufReader::new(read).lines();
        let line = |text: String| text + "\r\n";
        write
            .write_all(line(greeting.to_owned()).as_bytes())
            .await
            .unwrap();
        for answer in answers {
            let Some(command) = commands.next_line().await.unwrap() else {
                return;
            };
            let answer = match answer.strip_prefix("LATE ") {
                Some(answer) => {
                    tokio::time::sleep(SOON * 2).await;
                    answer
                }
                None => answer,
            };
            let id = serde_json::from_str::<Value>(&command).unwrap()["id"].to_string();
            write
                .write_all(line(answer.replace("ID", &id)).as_bytes())
                .await
                .unwrap();
        }
        while let Ok(Some(_)) = commands.next_line().await {}
    }

    fn talk<T>(
        greeting: &str,
        answers: &[&str],
        with: impl AsyncFnOnce(Result<Session, QmpError>) -> T,
    ) -> T {
        block_on(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let ours = async { with(Session::open(ours, SOON).await).await };
            tokio::select! {
                biased;
                done = ours => done,
                () = async { stub(theirs, greeting, answers).await; std::future::pending().await } => unreachable!(),
            }
        })
        .unwrap()
    }

    const READY: &str = r#"{"return": {}, "id": ID}"#;

    /// A build that dies is noticed by the first command that cannot be sent, before anybody looks at the socket.
    #[test]
    fn commands_to_a_build_that_is_gone_are_refused_one_by_one() {
        const NO_IDS: &str = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;
        block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let greeting = format!("{NO_IDS}\r\n{{\"return\": {{}}}}\r\n");
            theirs.write_all(greeting.as_bytes()).await.unwrap();
            let session = Session::open(ours, LATE).await.unwrap();
            drop(theirs);
            let (one, other) = tokio::join!(
                session.execute(QueryTarget {}, LATE),
                session.execute(HumanCommand::new("info qtree"), LATE),
            );
            let third = session.quit(LATE).await;
            assert!(matches!(one, Err(QmpError::Closed)), "{one:?}");
            assert!(matches!(other, Err(QmpError::Closed)), "{other:?}");
            assert!(third.is_ok(), "{third:?}");
        })
        .unwrap();
    }

    #[test]
    fn events_of_any_form_arrive_and_end_nothing() {
        let answers = [
            READY,
            concat!(
                r#"{"event": "NOBODY_KNOWS", "data": [1], "timestamp": {"seconds": 1, "microseconds": 5}}"#,
                "\n",
                r#"{"event": "MIGRATION", "data": {"status": "brand-new"}, "timestamp": "noon"}"#,
                "\n",
                r#"{"event": 7}"#,
                "\n",
                r#"{"return": {"arch": "x86_64", "new": 1}, "id": ID}"#,
            ),
        ];
        talk(GREETING, &answers, async |session| {
            let mut session = session.unwrap();
            assert_eq!(
                session.execute(QueryTarget {}, LATE).await.unwrap().arch,
                "x86_64"
            );
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(session.next_event(LATE).await.unwrap().unwrap());
            }
            assert_eq!(seen[0].name, "NOBODY_KNOWS");
            assert_eq!(seen[0].time, Some(Duration::from_micros(1_000_005)));
            assert_eq!(seen[1].data["status"], "brand-new");
            assert_eq!((seen[1].time, seen[2].name.as_str()), (None, "7"));
            assert!(matches!(
                session.next_event(SOON).await,
                Err(QmpError::Deadline { .. })
            ));
        });
    }

    #[test]
    fn a_late_reply_is_not_taken_for_the_next_one() {
        let answers = [
            READY,
            r#"LATE {"return": {"arch": "late"}, "id": ID}"#,
            r#"{"return": {"arch": "ours"}, "id": ID}"#,
        ];
        talk(GREETING, &answers, async |session| {
            let session = session.unwrap();
            let error = session.execute(QueryTarget {}, SOON).await.unwrap_err();
            let what = "query-target";
            assert_eq!(error, QmpError::Deadline { what, after: SOON });
            let next = session.execute(QueryTarget {}, LATE).await.unwrap();
            assert_eq!(next.arch, "ours");
        });
    }

    #[test]
    fn a_refusal_an_odd_reply_and_garbage_are_distinguished() {
        let answers = [
            READY,
            r#"{"error": {"class": "CommandNotFound", "desc": "no"}, "id": ID}"#,
            r#"{"return": {"no": "arch"}, "id": ID}"#,
            "Segmentation fault",
        ];
        talk(GREETING, &answers, async |session| {
            let session = session.unwrap();
            let mut errors = Vec::new();
            for _ in 0..4 {
                errors.push(session.execute(QueryTarget {}, LATE).await.unwrap_err());
            }
            assert!(
                matches!(&errors[0], QmpError::Refused { unknown: true, .. }),
                "{errors:?}"
            );
            assert!(matches!(&errors[1], QmpError::Reply { .. }), "{errors:?}");
            assert_eq!(errors[2], QmpError::NotQmp("Segmentation fault".into()));
            assert_eq!(errors[3], QmpError::NotQmp("Segmentation fault".into()));
        });
    }

    #[test]
    fn events_that_nobody_takes_do_not_pile_up() {
        let event = "{\"event\": \"X\"}\n".repeat(3 * MOST_EVENTS);
        let answer = format!("{event}{{\"return\": {{\"arch\": \"a\"}}, \"id\": ID}}");
        talk(GREETING, &[READY, &answer], async |session| {
            let mut session = session.unwrap();
            assert_eq!(
                session.execute(QueryTarget {}, LATE).await.unwrap().arch,
                "a"
            );
            let mut kept = 0;
            while session.next_event(SOON).await.is_ok() {
                kept += 1;
            }
            assert_eq!(kept, MOST_EVENTS);
            assert_eq!(session.last_exchange().asked.unwrap().0, "query-target {}");
        });
    }

    /// Whoever has the same thread, a deadline or the other side of a migration, gets its turn between some events.
    #[test]
    fn a_flood_of_events_leaves_others_their_turn() {
        let events = ["{}", "[1, 2, 3]", "\"text\""].map(|data| {
            let event = format!("{{\"event\": \"X\", \"data\": {data}}}\n");
            event.repeat(3 * MOST_EVENTS)
        });
        for flood in events {
            let answer = format!("{flood}{{\"return\": {{\"arch\": \"a\"}}, \"id\": ID}}");
            talk(GREETING, &[READY, &answer], async |session| {
                let session = session.unwrap();
                let others = async {
                    let (mut had, mut most) = (0, 0);
                    while had < MOST_EVENTS {
                        tokio::task::yield_now().await;
                        let has = session.events.len();
                        most = most.max(has - had);
                        had = has;
                    }
                    most
                };
                let (reply, most) = tokio::join!(session.execute(QueryTarget {}, LATE), others);
                assert_eq!(reply.unwrap().arch, "a");
                assert!(most < MOST_EVENTS / 4, "{most} events at once");
            });
        }
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        for (greeting, garbage) in [("hello", true), ("[1]", true), ("{\"a\": 1}", false)] {
            talk(greeting, &[], async |session| match session.unwrap_err() {
                QmpError::NotQmp(line) => assert!(garbage && line == greeting, "{line}"),
                QmpError::Reply { .. } => assert!(!garbage),
                other => panic!("{greeting}: {other:?}"),
            });
        }
        // No line end and nothing more: silence.
        let error = block_on(async {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            Session::open(ours, SOON).await.unwrap_err()
        });
        assert!(matches!(error.unwrap(), QmpError::Deadline { .. }));
        let error = block_on(async {
            let (ours, _) = UnixStream::pair().unwrap();
            Session::open(ours, SOON).await.unwrap_err()
        });
        assert_eq!(error.unwrap(), QmpError::Closed);
    }
}

//! A connection to a build by QEMU's qtest protocol: a line a command, a line an answer, in order.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tracing::trace;

use crate::driver::access::{Access, Space};
use crate::model::c_number;
use crate::qemu::option_value;
use crate::qemu::qmp::QmpError;

/// The longest answer that is read, in bytes; a value has 20.
const LONGEST: usize = 4096;

/// A machine that could not be driven.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    #[error("its qtest socket: {0}")]
    Io(#[from] io::Error),
    #[error("its monitor: {0}")]
    Monitor(#[from] QmpError),
    #[error("it closed its qtest socket after `{after}`")]
    Closed { after: String },
    #[error("it did not answer `{command}` within {} s", after.as_secs_f32())]
    Deadline { command: String, after: Duration },
    #[error("it answered `{command}` with {answer:?}")]
    Answer { command: String, answer: String },
    #[error("{device}: {error}")]
    At {
        device: String,
        error: Box<DriveError>,
    },
}

impl DriveError {
    /// Names the device that was driven.
    pub(crate) fn at(self, device: impl ToString) -> DriveError {
        DriveError::At {
            device: device.to_string(),
            error: Box::new(self),
        }
    }

    /// Tells whether the machine had more time than it may take.
    pub(crate) fn is_deadline(&self) -> bool {
        match self {
            DriveError::Deadline { .. } | DriveError::Monitor(QmpError::Deadline { .. }) => true,
            DriveError::At { error, .. } => error.is_deadline(),
            DriveError::Io(_)
            | DriveError::Monitor(_)
            | DriveError::Closed { .. }
            | DriveError::Answer { .. } => false,
        }
    }
}

/// The socket on which a build that is being started will connect.
#[derive(Debug)]
pub(crate) struct Waiting {
    listener: UnixListener,
    path: PathBuf,
}

impl Waiting {
    /// Listens on a path.
    ///
    /// # Errors
    /// No socket can be made there.
    pub(crate) fn on(path: PathBuf) -> io::Result<Waiting> {
        let listener = UnixListener::bind(&path)?;
        Ok(Waiting { listener, path })
    }

    /// Returns the options that have a build connect to it.
    pub(crate) fn args(&self) -> [String; 4] {
        [
            "-qtest".to_owned(),
            format!("unix:{}", option_value(&self.path.to_string_lossy())),
            // Every command would be printed as if it were an error.
            "-qtest-log".to_owned(),
            "none".to_owned(),
        ]
    }

    /// Waits until the build has connected.
    ///
    /// # Errors
    /// It does not in time.
    pub(crate) async fn connected(self, deadline: Duration) -> Result<Qtest, DriveError> {
        let accepted = tokio::time::timeout(deadline, self.listener.accept()).await;
        let Ok(accepted) = accepted else {
            return Err(DriveError::Deadline {
                command: "the first connection".to_owned(),
                after: deadline,
            });
        };
        let (socket, _) = accepted?;
        Ok(Qtest::new(socket, deadline))
    }
}

/// The byte order of the devices that accesses go to. The protocol knows that of the processor alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    /// That of the processor.
    Native,
}

/// A connection to a build that takes accesses.
#[derive(Debug)]
pub(crate) struct Qtest {
    lines: BufReader<OwnedReadHalf>,
    commands: OwnedWriteHalf,
    deadline: Duration,
    /// Set if the processor is big-endian, once that was asked.
    is_big: Option<bool>,
    /// Set while the devices have another byte order than the processor.
    swaps: bool,
}

/// Asks for the byte order of the processor.
const ENDIANNESS: &str = "endianness";

impl Qtest {
    fn new(socket: UnixStream, deadline: Duration) -> Qtest {
        let (read, commands) = socket.into_split();
        Qtest {
            lines: BufReader::new(read),
            commands,
            deadline,
            is_big: None,
            swaps: false,
        }
    }

    /// Has the accesses that follow go to devices of a byte order.
    ///
    /// # Errors
    /// The build ends, does not answer in time, or does not say which order the processor has.
    pub(crate) async fn expect(&mut self, order: ByteOrder) -> Result<(), DriveError> {
        let is_big = match self.is_big {
            Some(is_big) => is_big,
            None => self.ask_for_order().await?,
        };
        self.is_big = Some(is_big);
        self.swaps = is_big && order == ByteOrder::Little;
        Ok(())
    }

    async fn ask_for_order(&mut self) -> Result<bool, DriveError> {
        let mut is_big = None;
        self.exchange(&[ENDIANNESS], |_, words| {
            is_big = match words {
                ["big"] => Some(true),
                ["little"] => Some(false),
                _ => None,
            };
            is_big.is_some()
        })
        .await?;
        Ok(is_big == Some(true))
    }

    /// Returns a value in the other byte order, if the device of an access has it.
    fn in_order(&self, access: &Access, value: u64) -> u64 {
        match access.space {
            Space::Memory if self.swaps => access.width.swap(value),
            _ => value,
        }
    }

    /// Makes accesses in order, and returns the values of those that read. They are sent together: an answer is
    /// waited for once, not each time.
    ///
    /// # Errors
    /// The build ends, does not answer in time, or refuses one.
    pub(crate) async fn perform(&mut self, accesses: &[Access]) -> Result<Vec<u64>, DriveError> {
        let ordered = accesses.iter().map(|access| Access {
            value: access.value.map(|value| self.in_order(access, value)),
            ..*access
        });
        let ordered: Vec<Access> = ordered.collect();
        let mut values = Vec::new();
        let take = |access: &Access, words: &[&str]| match (words, access.value) {
            (_, Some(_)) => true,
            ([value], None) => {
                let read = c_number(value);
                values.extend(read);
                read.is_some()
            }
            _ => false,
        };
        self.exchange(&ordered, take).await?;
        let reads = ordered.iter().filter(|access| access.value.is_none());
        let values = reads.zip(values);
        Ok(values.map(|(of, value)| self.in_order(of, value)).collect())
    }

    /// Has the build execute commands, which are sent together, and passes on each with the words of its answer behind
    /// the `OK`. `take` says whether these are such.
    async fn exchange<C: Display>(
        &mut self,
        all: &[C],
        mut take: impl FnMut(&C, &[&str]) -> bool,
    ) -> Result<(), DriveError> {
        let mut text = String::new();
        for command in all {
            trace!(%command, "qtest");
            text.push_str(&format!("{command}\n"));
        }
        let Qtest {
            lines,
            commands,
            deadline,
            ..
        } = self;
        let mut left = all;
        let written = async { Ok(commands.write_all(text.as_bytes()).await?) };
        let answered = async {
            while let [command, rest @ ..] = left {
                let answer = next_line(lines, command).await?;
                let words: Vec<&str> = answer.split_ascii_whitespace().collect();
                match words.as_slice() {
                    // An interrupt that nobody asked for.
                    ["IRQ", ..] => continue,
                    ["OK", words @ ..] if take(command, words) => left = rest,
                    _ => {
                        let command = command.to_string();
                        return Err(DriveError::Answer { command, answer });
                    }
                }
            }
            Ok(())
        };
        // A build that answers is not read from by us while we only write: both at once.
        let both = async { tokio::try_join!(written, answered) };
        match tokio::time::timeout(*deadline, both).await {
            Ok(done) => done.map(drop),
            Err(_) => Err(DriveError::Deadline {
                command: left.first().map_or_else(String::new, C::to_string),
                after: *deadline,
            }),
        }
    }
}

async fn next_line(
    lines: &mut BufReader<OwnedReadHalf>,
    access: &impl Display,
) -> Result<String, DriveError> {
    let closed = || DriveError::Closed {
        after: access.to_string(),
    };
    let mut line = Vec::new();
    loop {
        let chunk = match lines.fill_buf().await {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(closed()),
            Err(error) => return Err(error.into()),
        };
        if chunk.is_empty() {
            return Err(closed());
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(chunk.len(), |end| end + 1);
        line.extend_from_slice(&chunk[..taken]);
        lines.consume(taken);
        if end.is_some() || line.len() > LONGEST {
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::access::Width;
    use crate::qemu::block_on;

    /// Results of two reads, and a write between them, on a machine that gives these answers.
    fn perform(answers: &str) -> Result<Vec<u64>, DriveError> {
        let accesses = [
            Access::load(0, Width::Long),
            Access::store(4, Width::Long, 1),
            Access::load(8, Width::Byte),
        ];
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        io::Write::write_all(&mut theirs, answers.as_bytes()).expect("written");
        theirs
            .shutdown(std::net::Shutdown::Write)
            .expect("shut down");
        ours.set_nonblocking(true).expect("a socket");
        block_on(async {
            let ours = UnixStream::from_std(ours).expect("a socket");
            Qtest::new(ours, Duration::from_secs(5))
                .perform(&accesses)
                .await
        })
        .expect("a runtime")
    }

    #[test]
    fn values_come_back_in_the_order_of_the_reads() {
        let answers = "OK 0x10051af4\nIRQ raise 3\nOK\nOK 0x00000000000000ff\n";
        assert_eq!(perform(answers).expect("values"), [0x1005_1af4, 0xff]);
    }

    #[test]
    fn what_goes_wrong_names_the_access() {
        for (answers, words) in [
            (
                "OK 0x1\nOK\n",
                "it closed its qtest socket after `readb 0x8`",
            ),
            (
                "OK 0x1\nFAIL Unknown command\n",
                "it answered `writel 0x4 0x1` with \"FAIL Unknown command\"",
            ),
            ("OK one\n", "it answered `readl 0x0` with \"OK one\""),
        ] {
            let error = perform(answers).expect_err(answers);
            assert_eq!(error.to_string(), words);
        }
    }
}

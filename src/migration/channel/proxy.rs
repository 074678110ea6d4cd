//! A proxy between the two QEMUs of a leg: it passes the stream on and reads it meanwhile.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Duration, sleep, timeout};

use crate::migration::checks::stream_memory::StreamMemory;
use crate::migration::endpoint::capability::Capability;
use crate::migration::leg::error::LegError;
use crate::parallel::blocking;
use crate::report::Phase;
use crate::stream::machine_name::Renaming;
use crate::stream::section_override::SectionOverride;
use crate::stream::{Options, Parser, Reading, Stream};

/// Bytes passed on at once.
const CHUNK: usize = 128 << 10;
/// Largest stream that is changed by the proxy, in bytes: machines that never ran send a few megabytes.
const MAX_REPLACED: u64 = 256 << 20;
/// Time for the rest of a stream once both sides have completed.
const REST: Duration = Duration::from_secs(10);

/// Time without one more byte after which a copy is as whole as it will be.
const STILL: Duration = Duration::from_secs(1);
/// Pause between two looks at a copy.
const LOOK: Duration = Duration::from_millis(2);

/// A reader of a stream while it lasts. Dropping it cuts the connection.
#[derive(Debug)]
pub(crate) enum StreamProxy {
    Relay(Relay),
    /// The stream is in a file, whole by the time it is looked at.
    File(PathBuf, StreamMemory),
    /// Another program copies the stream.
    Copy(StreamCopy, StreamMemory),
    /// The stream does not pass through the proxy.
    None(Capability),
}

/// A copy of a stream, made by a program that may not be done by the time that both sides are.
#[derive(Debug)]
pub(crate) struct StreamCopy {
    /// The copy while it is made.
    pub part: PathBuf,
    /// The same, once it is whole.
    pub whole: PathBuf,
}

impl StreamCopy {
    /// Waits for the copy, and returns where it is: what whoever was killed has left of it does not grow any more.
    async fn made(&self, time: Duration) -> &Path {
        let size = || std::fs::metadata(&self.part).map_or(0, |data| data.len());
        let (end, mut grown, mut known) = (Instant::now() + time, Instant::now(), size());
        while !self.whole.exists() {
            let now = size();
            if now != known {
                (grown, known) = (Instant::now(), now);
            }
            if grown.elapsed() > STILL || Instant::now() > end {
                return &self.part;
            }
            sleep(LOOK).await;
        }
        &self.whole
    }
}

type Relayed = Result<io::Result<Reading<StreamMemory>>, JoinError>;

#[derive(Debug)]
pub(crate) struct Relay {
    task: JoinHandle<io::Result<Reading<StreamMemory>>>,
    /// The result, once it was waited for.
    ended: Option<Box<Relayed>>,
    /// Set if the connection is not to be cut.
    goes_on: bool,
}

impl Relay {
    async fn end(&mut self) -> &Relayed {
        match &mut self.ended {
            Some(ended) => ended,
            ended => ended.insert(Box::new((&mut self.task).await)),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.goes_on {
            self.task.abort();
        }
    }
}

/// Returns the connection to a destination. One that has gone by then leaves a stream that explains why; anything
/// else that is in the way is this host's.
pub(crate) fn unless_gone<T>(connected: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    match connected {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if matches!(error.kind(), ConnectionRefused | ConnectionReset | NotFound) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl StreamProxy {
    /// Has the source connect to us, and connects to the destination, which may be sent other sections.
    pub(crate) fn unix(
        listener: UnixListener,
        path: PathBuf,
        (replaced, renaming): (Option<Arc<SectionOverride>>, Option<Renaming>),
        memory: StreamMemory,
    ) -> StreamProxy {
        StreamProxy::spawn(async move {
            let (from, _) = listener.accept().await?;
            let to = unless_gone(UnixStream::connect(path).await)?;
            match replaced {
                Some(replaced) => {
                    relay_with_override(from, to, (&replaced, renaming), memory).await
                }
                None => relay(from, to, renaming, memory).await,
            }
        })
    }

    /// Has the source connect to us, and connects to the destination.
    pub(crate) fn tcp(
        listener: TcpListener,
        address: SocketAddr,
        renaming: Option<Renaming>,
        memory: StreamMemory,
    ) -> StreamProxy {
        StreamProxy::spawn(async move {
            let (from, _) = listener.accept().await?;
            let to = unless_gone(TcpStream::connect(address).await)?;
            relay(from, to, renaming, memory).await
        })
    }

    /// Passes on between sockets that are connected already.
    pub(crate) fn sockets(
        from: UnixStream,
        to: UnixStream,
        renaming: Option<Renaming>,
        memory: StreamMemory,
    ) -> StreamProxy {
        StreamProxy::spawn(relay(from, Some(to), renaming, memory))
    }

    /// Reads what a stopped machine saves to our socket, without passing it on.
    pub(crate) fn sink(listener: UnixListener, memory: StreamMemory) -> StreamProxy {
        StreamProxy::spawn(async move {
            let (from, _) = listener.accept().await?;
            relay(from, None::<UnixStream>, None, memory).await
        })
    }

    /// Passes on a stream that is read from a file, on a thread of its own.
    pub(crate) fn feed(
        feed: impl FnOnce() -> io::Result<Reading<StreamMemory>> + Send + 'static,
    ) -> StreamProxy {
        StreamProxy::spawn(async { blocking(feed)?.await })
    }

    fn spawn(
        relay: impl Future<Output = io::Result<Reading<StreamMemory>>> + Send + 'static,
    ) -> StreamProxy {
        StreamProxy::Relay(Relay {
            task: tokio::spawn(relay),
            ended: None,
            goes_on: false,
        })
    }

    /// Waits until this host cannot pass the stream on; for ever where nothing is in the way.
    pub(crate) async fn broken(&mut self) -> LegError {
        if let StreamProxy::Relay(relay) = self
            && let Ok(Err(error)) = relay.end().await
        {
            return LegError::no_channel(Phase::Transfer, "connection", error);
        }
        std::future::pending().await
    }

    /// Returns what was sent, once both sides are done.
    pub(crate) async fn captured(self) -> Captured {
        self.captured_within(REST).await
    }

    /// Returns what is sent, if that ends in time. What is sent later is still taken: a build that cannot get rid of its
    /// stream complains.
    pub(crate) async fn captured_within(self, time: Duration) -> Captured {
        match self.reading(time).await {
            Ok(reading) => Captured::of(reading),
            Err(why) => Captured::nothing(&why),
        }
    }

    async fn reading(self, time: Duration) -> Result<Reading<StreamMemory>, String> {
        let reading = match self {
            StreamProxy::Relay(mut relay) => {
                if timeout(time, relay.end()).await.is_err() {
                    relay.goes_on = true;
                    let seconds = time.as_secs();
                    return Err(format!("the stream did not end within {seconds} s"));
                }
                match relay.ended.take().map(|ended| *ended) {
                    Some(Ok(reading)) => reading,
                    Some(Err(error)) => return Err(format!("the relay ended: {error}")),
                    None => return Err("the relay did not end".to_owned()),
                }
            }
            StreamProxy::None(capability) => {
                return Err(format!(
                    "with {capability} the stream does not pass through the proxy"
                ));
            }
            StreamProxy::File(path, memory) => read_file(&path, memory),
            StreamProxy::Copy(copy, memory) => read_file(copy.made(time).await, memory),
        };
        reading.map_err(|error| format!("the stream could not be passed on: {error}"))
    }
}

/// A stream that was read in transit, or why there is nothing of it.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    /// The stream, if it names its fields.
    pub stream: Result<Stream, String>,
    /// Every page of the guest, as it was last sent.
    pub memory: Result<StreamMemory, String>,
}

impl Captured {
    pub(crate) fn nothing(why: &str) -> Captured {
        Captured {
            stream: Err(why.to_owned()),
            memory: Err(why.to_owned()),
        }
    }

    fn of(reading: Reading<StreamMemory>) -> Captured {
        let Reading {
            stream,
            error,
            visitor: memory,
        } = reading;
        if let Some(error) = error {
            return Captured::nothing(&format!("the stream cannot be read: {error}"));
        }
        let described = stream.vmdesc().is_some();
        Captured {
            stream: match described {
                true => Ok(stream),
                false => Err("the stream does not describe its sections".to_owned()),
            },
            memory: match memory.is_whole() {
                true => Ok(memory),
                false => Err("not all of the memory passed by as the guest has it".to_owned()),
            },
        }
    }
}

fn read_file(path: &Path, memory: StreamMemory) -> io::Result<Reading<StreamMemory>> {
    let file = std::fs::File::open(path)?;
    Ok(crate::stream::read(file, Options::default(), memory))
}

/// Returns the bytes that were read. A source that died has nothing more to send, and is looked at as such.
fn or_end(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
        read => read,
    }
}

/// Copies until the source has nothing more. A destination that closes its end stops the copying
/// alone: what it refused is to be explained, and that takes the end of the stream.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: Option<impl AsyncWrite + Unpin>,
    mut renaming: Option<Renaming>,
    memory: StreamMemory,
) -> io::Result<Reading<StreamMemory>> {
    let mut parser = Parser::new(Options::default(), memory);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = or_end(from.read(&mut chunk).await)?;
        if read == 0 {
            break;
        }
        let bytes = &chunk[..read];
        let passed = match &mut renaming {
            Some(renaming) => renaming.pass(bytes),
            None => Cow::Borrowed(bytes),
        };
        if let Some(destination) = &mut to
            && destination.write_all(&passed).await.is_err()
        {
            to = None;
        }
        // A stream that cannot be read is still passed on.
        let _kept_for_the_end = parser.feed(bytes);
    }
    if let Some(mut destination) = to {
        let held = renaming.map(|mut renaming| renaming.rest());
        let _refused = destination.write_all(&held.unwrap_or_default()).await;
        let _gone_already = destination.shutdown().await;
    }
    Ok(parser.finish())
}

/// Copies with sections of another stream in the place of some. That takes the whole stream: a
/// section's name is known when it begins, its end only by its description.
async fn relay_with_override(
    mut from: impl AsyncRead + Unpin,
    to: Option<impl AsyncWrite + Unpin>,
    (replaced, renaming): (&SectionOverride, Option<Renaming>),
    memory: StreamMemory,
) -> io::Result<Reading<StreamMemory>> {
    let mut bytes = Vec::new();
    or_end((&mut from).take(MAX_REPLACED).read_to_end(&mut bytes).await)?;
    if bytes.len() as u64 == MAX_REPLACED {
        return Err(io::Error::other("the stream is too large to be changed"));
    }
    let reading = crate::stream::read(bytes.as_slice(), Options::default(), memory);
    if let Some(mut destination) = to {
        let changed = replaced.apply(&bytes, &reading.stream);
        let changed = match renaming {
            Some(mut renaming) => renaming.pass(&changed).into_owned(),
            None => changed,
        };
        // One that refuses closes its end.
        let _refused = destination.write_all(&changed).await;
        let _gone_already = destination.shutdown().await;
    }
    Ok(reading)
}

/// A port of this machine's own.
pub(crate) async fn loopback() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// Both sides may be done before the program that copies is.
    #[tokio::test]
    async fn a_copy_is_waited_for_until_it_is_whole_or_nobody_makes_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let copy = StreamCopy {
            part: folder.path().join("part"),
            whole: folder.path().join("whole"),
        };
        std::fs::write(&copy.part, "QEVM").unwrap();
        let writes = async {
            for text in ["QEVM and", "QEVM and more"] {
                sleep(STILL / 2).await;
                std::fs::write(&copy.part, text).unwrap();
            }
            sleep(STILL / 2).await;
            std::fs::rename(&copy.part, &copy.whole).unwrap();
        };
        let (found, ()) = tokio::join!(copy.made(STILL * 20), writes);
        assert_eq!(found, copy.whole);
        // Whoever made it was killed.
        std::fs::rename(&copy.whole, &copy.part).unwrap();
        assert_eq!(copy.made(STILL * 20).await, copy.part);
    }

    /// A build that writes its stream slowly, on a busy host, is not cut off by who has stopped waiting for it.
    #[tokio::test]
    async fn a_stream_that_is_late_is_taken_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let sink = StreamProxy::sink(listener, StreamMemory::default());
        let mut source = UnixStream::connect(&path).await.unwrap();
        source.write_all(b"QEVM").await.unwrap();
        let captured = sink.captured_within(Duration::from_millis(20)).await;
        let why = captured.stream.unwrap_err();
        assert!(why.starts_with("the stream did not end within"), "{why}");
        for _ in 0..8 {
            source.write_all(&[0; CHUNK]).await.unwrap();
        }
    }

    #[test]
    fn who_is_gone_ends_a_stream_and_anything_else_is_this_hosts() {
        assert_eq!(or_end(Ok(5)).unwrap(), 5);
        assert_eq!(or_end(Err(ErrorKind::ConnectionReset.into())).unwrap(), 0);
        assert!(or_end(Err(ErrorKind::OutOfMemory.into())).is_err());
        for (kind, is_gone) in [
            (ErrorKind::ConnectionRefused, true),
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::NotFound, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::QuotaExceeded, false),
        ] {
            let connected = unless_gone::<()>(Err(kind.into()));
            assert_eq!(matches!(connected, Ok(None)), is_gone, "{kind}");
        }
    }
}

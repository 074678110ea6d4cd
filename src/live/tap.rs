//! Between the two QEMUs of a leg: passes the stream on and reads it on its way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use super::capability::Capability;
use crate::stream::graft::Graft;
use crate::stream::{Options, Parser, Reading, Stream};

/// Bytes passed on at once.
const CHUNK: usize = 128 << 10;
/// Bytes of a stream that is changed on its way: machines that never ran send a few megabytes.
const MOST_GRAFTED: u64 = 256 << 20;
/// How long the rest of a stream may take once both sides have said that they are done.
const REST: Duration = Duration::from_secs(10);

/// The two ends of a way that a stream takes, ours to connect.
#[derive(Debug)]
pub(super) enum Ends {
    /// The source connects here, the destination listens there, and may be given other sections.
    Unix(UnixListener, PathBuf, Option<Arc<Graft>>),
    Tcp(TcpListener, SocketAddr),
    /// Connected already.
    Sockets(UnixStream, UnixStream),
    /// The stream is in a file, or a copy of it is, whole by the time it is looked at.
    File(PathBuf),
}

/// Reads a stream while it lasts. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) enum Tap {
    Relay(Relay),
    File(PathBuf),
    /// The stream goes another way.
    None(Capability),
}

#[derive(Debug)]
pub(super) struct Relay(JoinHandle<io::Result<Reading>>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tap {
    pub fn start(ends: Ends) -> Tap {
        match ends {
            Ends::Unix(listener, path, Some(graft)) => Tap::relay(async move {
                let (from, _) = listener.accept().await?;
                pass_grafted(from, UnixStream::connect(path).await.ok(), &graft).await
            }),
            Ends::Unix(listener, path, None) => Tap::relay(async move {
                let (from, _) = listener.accept().await?;
                // A destination that has gone by then leaves a stream that explains why.
                pass(from, UnixStream::connect(path).await.ok()).await
            }),
            Ends::Tcp(listener, address) => Tap::relay(async move {
                let (from, _) = listener.accept().await?;
                pass(from, TcpStream::connect(address).await.ok()).await
            }),
            Ends::Sockets(from, to) => Tap::relay(pass(from, Some(to))),
            Ends::File(path) => Tap::File(path),
        }
    }

    /// Takes what a stopped machine saves to our socket, and gives it to nobody.
    pub fn sink(listener: UnixListener) -> Tap {
        Tap::relay(async move {
            let (from, _) = listener.accept().await?;
            pass(from, None::<UnixStream>).await
        })
    }

    fn relay(relay: impl Future<Output = io::Result<Reading>> + Send + 'static) -> Tap {
        Tap::Relay(Relay(tokio::spawn(relay)))
    }

    /// What came by, once both sides are done. `Err` says why there is nothing to look at.
    pub async fn stream(self) -> Result<Stream, String> {
        let reading = match self {
            Tap::Relay(mut relay) => match timeout(REST, &mut relay.0).await {
                Ok(Ok(reading)) => reading,
                Ok(Err(error)) => return Err(format!("the relay ended: {error}")),
                Err(_) => {
                    let seconds = REST.as_secs();
                    return Err(format!("the stream did not end within {seconds} s"));
                }
            },
            Tap::None(capability) => {
                return Err(format!("with {capability} the stream does not pass by"));
            }
            Tap::File(path) => std::fs::File::open(path)
                .map(|file| crate::stream::read(file, Options::default(), ())),
        };
        let reading =
            reading.map_err(|error| format!("the stream could not be passed on: {error}"))?;
        readable(reading)
    }
}

/// A stream that names its fields.
fn readable(reading: Reading) -> Result<Stream, String> {
    let stream = reading
        .into_result()
        .map_err(|error| format!("the stream cannot be read: {error}"))?;
    if stream.vmdesc().is_none() {
        return Err("the stream does not say what its sections hold".to_owned());
    }
    Ok(stream)
}

/// Copies until the source has nothing more. A destination that closes its end stops the copying
/// alone: what it refused is to be explained, and that takes the end of the stream.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: Option<impl AsyncWrite + Unpin>,
) -> io::Result<Reading> {
    let mut parser = Parser::new(Options::default(), ());
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        };
        let bytes = &chunk[..read];
        if let Some(destination) = &mut to
            && destination.write_all(bytes).await.is_err()
        {
            to = None;
        }
        // A stream that we cannot read is passed on all the same.
        let _kept_for_the_end = parser.feed(bytes);
    }
    if let Some(mut destination) = to {
        let _gone_already = destination.shutdown().await;
    }
    Ok(parser.finish())
}

/// The same with sections of another stream in the place of some. That takes the whole stream: what
/// a section is called is known when it begins, where it ends only by its description.
async fn pass_grafted(
    mut from: impl AsyncRead + Unpin,
    to: Option<impl AsyncWrite + Unpin>,
    graft: &Graft,
) -> io::Result<Reading> {
    let mut bytes = Vec::new();
    (&mut from)
        .take(MOST_GRAFTED)
        .read_to_end(&mut bytes)
        .await?;
    if bytes.len() as u64 == MOST_GRAFTED {
        return Err(io::Error::other("the stream is too large to be changed"));
    }
    let reading = crate::stream::parse(&bytes);
    if let Some(mut destination) = to {
        let grafted = graft.apply(&bytes, &reading.stream);
        // One that refuses closes its end.
        let _refused = destination.write_all(&grafted).await;
        let _gone_already = destination.shutdown().await;
    }
    Ok(reading)
}

/// A port of this machine's own.
pub(super) async fn loopback() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

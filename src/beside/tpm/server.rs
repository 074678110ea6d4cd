//! A TPM on a socket, for the one build that connects to it.

use std::fmt::Display;
use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg, shutdown,
};
use tracing::debug;

use crate::beside::tpm::control::{Answered, State, answer, answer_driver};

/// A TPM that a build connects to as it starts. It ends with the connection, or when this is dropped before there is one.
#[derive(Debug)]
pub(in crate::beside) struct Tpm {
    listener: UnixListener,
}

impl Tpm {
    /// Waits for a build on a path, with a state that names its owner. Threads of their own answer, since a build waits for
    /// its TPM while somebody else waits for the build.
    ///
    /// # Errors
    /// No socket can be made there, or there are too many threads.
    pub(in crate::beside) fn listen(path: &Path, owner: impl Display) -> io::Result<Tpm> {
        let listener = UnixListener::bind(path)?;
        let accepting = listener.try_clone()?;
        let state = State::new(&owner.to_string());
        let (to_driver, of_driver) = mpsc::channel::<UnixStream>();
        // Both at once: what this host has no room for is known before a build waits for it.
        in_thread(move || {
            of_driver
                .recv()
                .map_or(Ok(()), |mut data| answer_driver(&mut data))
        })?;
        in_thread(move || serve(&accepting, state, &to_driver))?;
        Ok(Tpm { listener })
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Whoever still waits for a build there waits no longer.
        let _ended_before = shutdown(&self.listener, Shutdown::Both);
    }
}

fn in_thread(task: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let named = thread::Builder::new().name("tpm".to_owned());
    let run = move || match task() {
        // A build that ends says no goodbye.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => debug!(%error, "a TPM has ended"),
        _ => {}
    };
    named.spawn(run).map(drop)
}

/// Answers the build that connects, until it ends, and passes the connection of its driver on.
fn serve(
    listener: &UnixListener,
    mut state: State,
    to_driver: &Sender<UnixStream>,
) -> io::Result<()> {
    let (mut control, _) = listener.accept()?;
    loop {
        let (command, data) = read_command(&control)?;
        match (answer(command, &mut state, &mut control)?, data) {
            (Answered::TakesData, Some(data)) => {
                // A driver has one connection.
                let _taken_before = to_driver.send(UnixStream::from(data));
            }
            (Answered::TakesData, None) => return Err(io::Error::from(ErrorKind::InvalidData)),
            (Answered::Done, _) => {}
        }
    }
}

/// Reads the number of the next command, and the connection that comes with it, if one does.
fn read_command(control: &UnixStream) -> io::Result<(u32, Option<OwnedFd>)> {
    let mut word = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let into = &mut [IoSliceMut::new(&mut word)];
    let read = rustix::io::retry_on_intr(|| recvmsg(control, into, &mut with, flags))?;
    if read.bytes < size_of::<u32>() {
        return Err(io::Error::from(ErrorKind::UnexpectedEof));
    }
    let descriptor = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((u32::from_be_bytes(word), descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn listening() -> (tempfile::TempDir, std::path::PathBuf, Tpm) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tpm");
        let tpm = Tpm::listen(&path, "a source").unwrap();
        (folder, path, tpm)
    }

    fn ask(stream: &mut UnixStream, words: &[u32], answer: &mut [u8]) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        stream.write_all(&bytes).unwrap();
        stream.read_exact(answer).unwrap();
    }

    #[test]
    fn a_build_that_connects_is_answered_on_both_its_connections() {
        let (_folder, path, _tpm) = listening();
        let mut control = UnixStream::connect(&path).unwrap();
        let mut capabilities = [0; 8];
        ask(&mut control, &[1], &mut capabilities);
        assert_eq!(u64::from_be_bytes(capabilities) & 1, 1);
        // The end of the other connection comes with a command.
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = rustix::net::SendAncillaryBuffer::new(&mut space);
        let fds = [std::os::fd::AsFd::as_fd(&theirs)];
        assert!(with.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
        let command = 0x10_u32.to_be_bytes();
        let bytes = &[io::IoSlice::new(&command)];
        rustix::net::sendmsg(&control, bytes, &mut with, rustix::net::SendFlags::empty()).unwrap();
        drop(theirs);
        let mut result = [1; 4];
        control.read_exact(&mut result).unwrap();
        assert_eq!(result, [0; 4]);
        let mut unknown = [0; 10];
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        ours.write_all(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x81])
            .unwrap();
        ours.read_exact(&mut unknown).unwrap();
        assert_eq!(unknown, [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x43]);
        // The first one is still answered; without what should come with it, it is closed.
        ask(&mut control, &[0x0e], &mut result);
        control.write_all(&command).unwrap();
        let mut rest = Vec::new();
        control.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0; 4]);
    }

    #[test]
    fn nobody_waits_on_after_it_is_dropped() {
        let (_folder, path, tpm) = listening();
        drop(tpm);
        // The thread has the listener open until it has ended.
        let refused = (0..6000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            UnixStream::connect(&path).is_err()
        });
        assert!(refused);
    }
}

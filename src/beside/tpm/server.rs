//! A TPM on a socket, for the one build that connects to it.

use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Sender};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::beside::socket::in_thread;
use crate::beside::tpm::control::{Answered, State, answer, answer_driver};

/// Has a TPM wait for a build that connects as it starts, with a state that names its owner.
///
/// # Errors
/// There are too many threads.
pub(in crate::beside) fn serve(accepting: UnixListener, owner: &str) -> io::Result<()> {
    let state = State::new(owner);
    let (to_driver, of_driver) = mpsc::channel::<UnixStream>();
    // Both at once: what this host has no room for is known before a build waits for it.
    in_thread("tpm", move || {
        of_driver
            .recv()
            .map_or(Ok(()), |mut data| answer_driver(&mut data))
    })?;
    in_thread("tpm", move || control(&accepting, state, &to_driver))
}

/// Answers the build that connects, until it ends, and passes the connection of its driver on.
fn control(
    accepting: &UnixListener,
    mut state: State,
    to_driver: &Sender<UnixStream>,
) -> io::Result<()> {
    let (mut control, _) = accepting.accept()?;
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

    fn ask(stream: &mut UnixStream, words: &[u32], answer: &mut [u8]) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        stream.write_all(&bytes).unwrap();
        stream.read_exact(answer).unwrap();
    }

    #[test]
    fn a_build_that_connects_is_answered_on_both_its_connections() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tpm");
        serve(UnixListener::bind(&path).unwrap(), "a source").unwrap();
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
}

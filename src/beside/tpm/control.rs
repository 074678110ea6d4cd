//! The commands by which QEMU controls an emulated TPM, and what is answered: numbers with the most significant byte first,
//! a command's number, what it comes with, and back a result with what else is due (backends/tpm/tpm_ioctl.h and
//! tpm_emulator.c of QEMU).

use std::io::{self, ErrorKind, Read, Write};

/// What QEMU may ask of it: all that a TPM 2.0 needs that is migrated.
const CAPABILITIES: u64 = INIT
    | SHUTDOWN
    | GET_ESTABLISHED
    | SET_LOCALITY
    | CANCEL
    | RESET_ESTABLISHED
    | GET_STATE
    | SET_STATE
    | STOP
    | SET_DATA_FD
    | SET_BUFFER_SIZE;
const INIT: u64 = 1;
const SHUTDOWN: u64 = 1 << 1;
const GET_ESTABLISHED: u64 = 1 << 2;
const SET_LOCALITY: u64 = 1 << 3;
const CANCEL: u64 = 1 << 5;
const RESET_ESTABLISHED: u64 = 1 << 7;
const GET_STATE: u64 = 1 << 8;
const SET_STATE: u64 = 1 << 9;
const STOP: u64 = 1 << 10;
const SET_DATA_FD: u64 = 1 << 12;
const SET_BUFFER_SIZE: u64 = 1 << 13;

/// The number of the command that comes with the end of a connection, for the commands of a driver.
const OF_DATA_FD: u32 = 0x10;

/// A result of the control channel.
const SUCCESS: u32 = 0;
/// "operation failed" (TPM_RC_FAILURE).
const FAILURE: u32 = 0x101;

/// The sizes that the buffer for a command or an answer may have, in bytes: that of a TIS is 4096, and a CRB is given more
/// than it has room for, as by a TPM that knows keys of the next kind, so that it works in pieces.
const SMALLEST_BUFFER: u32 = 1024;
const LARGEST_BUFFER: u32 = 8192;

/// The most bytes of a state that are taken: a TPM's are some thousand.
const LONGEST_STATE: u32 = 1 << 20;

/// What a TPM keeps, by the numbers that QEMU has for its three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    parts: [Part; 3],
    buffer_size: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    flags: u32,
    bytes: Vec<u8>,
}

impl State {
    /// A TPM that nobody has given a state, whose bytes tell whose it was. The third part is what it kept when it was told
    /// to save itself, which nobody has.
    pub(super) fn new(owner: &str) -> State {
        let part = |of: &str, lines: usize| Part {
            flags: 0,
            bytes: format!("{of} state of the TPM of {owner}\n")
                .repeat(lines)
                .into(),
        };
        State {
            parts: [part("permanent", 64), part("volatile", 16), Part::default()],
            buffer_size: LARGEST_BUFFER,
        }
    }

    fn part(&mut self, kind: u32) -> Option<&mut Part> {
        self.parts
            .get_mut(usize::try_from(kind).ok()?.checked_sub(1)?)
    }
}

/// What a command calls for besides its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Done,
    /// The end of a connection came with it, on which a driver's commands arrive.
    TakesData,
}

/// Reads the rest of a command of this number and answers it.
///
/// # Errors
/// The connection ended, or the command is one that QEMU was not told of.
pub(super) fn answer(
    command: u32,
    state: &mut State,
    control: &mut (impl Read + Write),
) -> io::Result<Answered> {
    let mut words = Vec::new();
    let mut data = Vec::new();
    match command {
        // Its capabilities come without a result.
        0x01 => {
            control.write_all(&CAPABILITIES.to_be_bytes())?;
            return Ok(Answered::Done);
        }
        // Flags; a locality, in as many bytes; the same.
        0x02 | 0x05 | 0x0b => {
            read(control)?;
            words.push(SUCCESS);
        }
        // SHUTDOWN, CANCEL_TPM_CMD, STOP.
        0x03 | 0x09 | 0x0e | OF_DATA_FD => words.push(SUCCESS),
        // Nobody has begun a measured launch.
        0x04 => words.extend([SUCCESS, 0]),
        0x0c => {
            let [_flags, kind, offset] = [read(control)?, read(control)?, read(control)?];
            match state.part(kind).filter(|_| offset == 0) {
                Some(part) => {
                    let length = part.bytes.len() as u32;
                    words.extend([SUCCESS, part.flags, length, length]);
                    data.clone_from(&part.bytes);
                }
                None => words.extend([FAILURE, 0, 0, 0]),
            }
        }
        0x0d => {
            let [flags, kind, length] = [read(control)?, read(control)?, read(control)?];
            if length > LONGEST_STATE {
                return Err(unexpected(format!("a state of {length} bytes")));
            }
            let mut bytes = vec![0; length as usize];
            control.read_exact(&mut bytes)?;
            words.push(match state.part(kind) {
                Some(part) => {
                    *part = Part { flags, bytes };
                    SUCCESS
                }
                None => FAILURE,
            });
        }
        // 0 asks for the size in use, which is told with the smallest and the largest.
        0x11 => {
            match read(control)? {
                0 => {}
                size => state.buffer_size = size.clamp(SMALLEST_BUFFER, LARGEST_BUFFER),
            }
            let size = state.buffer_size;
            words.extend([SUCCESS, size, SMALLEST_BUFFER, LARGEST_BUFFER]);
        }
        other => return Err(unexpected(format!("command {other:#x}"))),
    }
    let mut answer: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    answer.extend(data);
    control.write_all(&answer)?;
    Ok(match command {
        OF_DATA_FD => Answered::TakesData,
        _ => Answered::Done,
    })
}

fn unexpected(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn read(control: &mut impl Read) -> io::Result<u32> {
    let mut word = [0; 4];
    control.read_exact(&mut word)?;
    Ok(u32::from_be_bytes(word))
}

/// Bytes in front of what a driver's command or its answer says: a tag, the length of all of it, a code.
const HEADER: usize = 10;
/// The longest command of a driver that is read, in bytes.
const LONGEST_COMMAND: usize = 1 << 16;
/// Marks a TPM 2.0's commands without a session, and its answers.
const NO_SESSIONS: u16 = 0x8001;
/// "command code not supported" (TPM_RC_COMMAND_CODE).
const UNKNOWN_COMMAND: u32 = 0x143;

/// Answers each command of a driver until the connection ends: there is no such command. That it is a TPM 2.0 can be seen by
/// the answer, and QEMU asks for no more.
///
/// # Errors
/// The connection broke, or a command is none.
pub(super) fn answer_driver(data: &mut (impl Read + Write)) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        data.read_exact(&mut header)?;
        let [_, _, length @ .., _, _, _, _] = header;
        let length = u32::from_be_bytes(length) as usize;
        let rest = length.checked_sub(HEADER);
        let Some(rest) = rest.filter(|_| length <= LONGEST_COMMAND) else {
            return Err(unexpected(format!("a driver's command of {length} bytes")));
        };
        data.read_exact(&mut vec![0; rest])?;
        let mut answer = NO_SESSIONS.to_be_bytes().to_vec();
        answer.extend((HEADER as u32).to_be_bytes());
        answer.extend(UNKNOWN_COMMAND.to_be_bytes());
        data.write_all(&answer)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Both directions of a connection: what was sent to us, and what we answered.
    struct Talk {
        sent: Cursor<Vec<u8>>,
        answered: Vec<u8>,
    }

    impl Talk {
        fn of(words: &[u32], data: &[u8]) -> Talk {
            let words = words.iter().flat_map(|word| word.to_be_bytes());
            Talk {
                sent: Cursor::new(words.chain(data.iter().copied()).collect()),
                answered: Vec::new(),
            }
        }
    }

    impl Read for Talk {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.sent.read(buffer)
        }
    }

    impl Write for Talk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.answered.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Has a command answered of which nothing may be left unread; returns the answer.
    fn ask(state: &mut State, command: u32, words: &[u32], data: &[u8]) -> Vec<u8> {
        let mut talk = Talk::of(words, data);
        answer(command, state, &mut talk).unwrap();
        assert_eq!(talk.sent.position() as usize, talk.sent.get_ref().len());
        talk.answered
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn each_command_takes_and_gives_what_qemu_expects() {
        let state = &mut State::new("a source");
        for (command, comes_with, answered) in [
            (0x01, &[][..], &[0, 0x37af][..]),
            (0x02, &[1], &[0]),
            (0x03, &[], &[0]),
            (0x04, &[], &[0, 0]),
            (0x05, &[2 << 24], &[0]),
            (0x09, &[], &[0]),
            (0x0b, &[0], &[0]),
            (0x0e, &[], &[0]),
            (0x10, &[], &[0]),
            (0x11, &[0], &[0, 8192, 1024, 8192]),
            (0x11, &[4096], &[0, 4096, 1024, 8192]),
            (0x11, &[0], &[0, 4096, 1024, 8192]),
            (0x11, &[1], &[0, 1024, 1024, 8192]),
            (0x0c, &[1, 3, 0], &[0, 0, 0, 0]),
            // There is no such part, and none is read in pieces.
            (0x0c, &[1, 4, 0], &[0x101, 0, 0, 0]),
            (0x0c, &[1, 0, 0], &[0x101, 0, 0, 0]),
            (0x0c, &[1, 1, 8], &[0x101, 0, 0, 0]),
        ] {
            let given = ask(state, command, comes_with, &[]);
            assert_eq!(given, words(answered), "{command:#x} {comes_with:?}");
        }
    }

    #[test]
    fn a_state_is_kept_until_there_is_another_and_tells_whose_it_was() {
        let (mut source, mut destination) = (State::new("a source"), State::new("another"));
        let permanent = |state: &mut State| ask(state, 0x0c, &[1, 1, 0], &[]);
        let sent = permanent(&mut source);
        assert_ne!(sent, permanent(&mut destination));
        let (header, bytes) = sent.split_at(16);
        let length = bytes.len() as u32;
        assert_eq!(header, words(&[0, 0, length, length]));
        let given = ask(&mut destination, 0x0d, &[0, 1, length], bytes);
        assert_eq!(given, words(&[0]));
        assert_eq!(permanent(&mut destination), sent);
        // Its flags come back as well.
        ask(&mut destination, 0x0d, &[2, 2, 1], b"v");
        let volatile = ask(&mut destination, 0x0c, &[1, 2, 0], &[]);
        assert_eq!(volatile, [&words(&[0, 2, 1, 1])[..], b"v"].concat());
        assert_eq!(
            ask(&mut destination, 0x0d, &[0, 9, 1], b"x"),
            words(&[0x101])
        );
    }

    #[test]
    fn what_is_no_command_ends_the_connection() {
        let state = &mut State::new("a source");
        for (command, comes_with) in [
            (0x0d, &[0, 1, u32::MAX][..]),
            (0x0d, &[0, 1, 16]),
            (0x0c, &[1, 1]),
            (0x06, &[]),
            (0xdead_beef, &[]),
        ] {
            let mut talk = Talk::of(comes_with, &[]);
            answer(command, state, &mut talk).unwrap_err();
            assert!(talk.answered.is_empty(), "{command:#x}");
        }
    }

    #[test]
    fn a_driver_is_told_that_there_is_no_such_command() {
        let command = |length: u32| {
            let mut bytes = NO_SESSIONS.to_be_bytes().to_vec();
            bytes.extend(words(&[length, 0x181]));
            bytes
        };
        let mut sent = command(10);
        sent.extend(command(14));
        sent.extend([1, 2, 3, 4]);
        let mut talk = Talk::of(&[], &sent);
        let end = answer_driver(&mut talk).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
        let unknown = [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x43];
        assert_eq!(talk.answered, [unknown, unknown].concat());
        for length in [0, 9, u32::MAX] {
            let mut talk = Talk::of(&[], &command(length));
            let refused = answer_driver(&mut talk).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidData, "{length}");
        }
    }
}

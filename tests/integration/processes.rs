//! What tests have other processes do: this program once more, which a test started for one of these.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, raise};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::unistd::{Pid, close};
use serde::de::IgnoredAny;

use migcompat::internals::qemu::{self, Cache};

use crate::common::{build, script};

/// Set to a cache: `debian:bookworm` is opened there.
const OPEN: &str = "MIGCOMPAT_TEST_OPEN";
/// Set to the arguments of a QEMU: its monitor is played.
const ARGS: &str = "MIGCOMPAT_TEST_ARGS";
/// What that monitor says.
const LINE: &str = "MIGCOMPAT_TEST_LINE";

/// Set to a fault: a build is started, and something goes wrong on its monitor.
const FAULT: &str = "MIGCOMPAT_TEST_FAULT";

/// Does what a test started this program for, if one did.
pub fn done_for_a_test() -> bool {
    let var = |name| std::env::var(name).ok();
    if let Some(dir) = var(OPEN) {
        open(Path::new(&dir));
    } else if let (Some(args), Some(line)) = (var(ARGS), var(LINE)) {
        play_the_monitor(&args, &line);
    } else if let Some(fault) = var(FAULT) {
        interpose(&fault);
    } else {
        return false;
    }
    true
}

/// A process that opens `debian:bookworm`: it can be killed, or given another environment.
pub fn open_elsewhere(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(OPEN, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn open(dir: &Path) {
    let cache = Cache::new(Some(dir.to_owned())).unwrap();
    let arg = qemu::parse("debian:bookworm").unwrap();
    match qemu::open(&arg, "x86_64", &cache, &|event| eprintln!("{event}")) {
        Ok(build) => eprintln!("OPENED {}", build.label()),
        Err(error) => eprintln!("REFUSED usage={} {error}", error.is_usage()),
    }
}

/// A line of a script that stands for a build: it connects to us as QEMU would, says `line` if there is
/// any, and waits until nobody listens.
pub fn monitor(line: &str) -> String {
    let this = std::env::current_exe().unwrap();
    format!("{ARGS}=\"$*\" {LINE}='{line}' exec '{}'", this.display())
}

fn play_the_monitor(args: &str, line: &str) {
    let socket = args.split(' ').rfind(|arg| arg.contains("path=")).unwrap();
    let (_, path) = socket.split_once("path=").unwrap();
    let path = path.split(',').next().unwrap();
    let mut socket = UnixStream::connect(path).unwrap();
    if !line.is_empty() {
        writeln!(socket, "{line}").unwrap();
    }
    let _ = io::copy(&mut socket, &mut io::sink());
}

/// What goes wrong with a build.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The build gets a signal so many milliseconds after the command.
    Signal(&'static str, u64),
    /// The build ends with this status.
    Exit(i32),
    /// The socket closes, and the build goes on.
    Close,
    /// A line comes that is no QMP.
    Garbage,
    /// A line of 100 MB comes.
    LongLine,
    /// Events come without end.
    Events,
    /// Nothing more comes.
    Silence,
    /// A byte is written to a port of the build, before what it said is passed on.
    Write(u16, u8),
    /// Nothing but the marker, for another build that waits for it.
    Nothing,
}

/// A line of a script that starts `build` with a fault, which comes once where `marker` can be made.
///
/// It comes with a command (`cont`), before one arrives (`!quit`), before the first thing that the build says (`<`), after one that has some text in
/// it (`<"completed"`), or when there is a file (`@PATH`).
pub fn faulty(build: &str, at: &str, fault: Fault, marker: Option<&Path>) -> String {
    let this = std::env::current_exe().unwrap();
    let what = match fault {
        Fault::Signal(name, after) => format!("{name} {after}"),
        Fault::Exit(status) => format!("Exit {status}"),
        Fault::Write(port, byte) => format!("o_/b_{port}_{byte} 0"),
        other => format!("{other:?} 0"),
    };
    let marker = marker.map_or_else(String::new, |path| path.display().to_string());
    format!(
        "{FAULT}='{at} {what} {marker}' exec '{}' env {build} \"$@\"",
        this.display()
    )
}

/// Makes a build like this one in a folder, which has another index of a register of the clock once a load is over.
pub fn losing(folder: &Path, suite: &str) -> String {
    let prefix = build(suite).shell_prefix();
    let text = faulty(&prefix, "<\"completed\"", Fault::Write(0x70, 0x33), None);
    script(folder, "qemu-system-x86_64", &text)
}

/// Where a fault comes.
enum Place {
    Command(String),
    BeforeCommand(String),
    BeforeTheGreeting,
    Line(String),
    File(PathBuf),
}

impl Place {
    fn read(text: &str) -> Place {
        match text.split_at(1) {
            ("<", "") => Place::BeforeTheGreeting,
            ("<", part) => Place::Line(part.to_owned()),
            ("!", command) => Place::BeforeCommand(format!("\"{command}\"")),
            ("@", path) => Place::File(path.into()),
            _ => Place::Command(format!("\"{text}\"")),
        }
    }
}

/// A build behind us, and what we do to it.
struct Victim {
    pid: Pid,
    what: String,
    number: u64,
    marker: String,
    /// The way to those who think that we are the build, while it is open.
    out: Mutex<Option<UnixStream>>,
    /// The way to the build, once it is there.
    build: Mutex<Option<UnixStream>>,
}

/// What the answer to a command of ours is known by.
const OURS: &str = "\"migcompat-test\"";

impl Victim {
    fn say(&self, line: &[u8]) -> bool {
        let mut out = self.out.lock().unwrap();
        out.as_mut().is_some_and(|out| out.write_all(line).is_ok())
    }

    /// Tells the build a whole command, and nothing else meanwhile.
    fn tell(&self, command: &[u8], passed: &[RawFd]) -> io::Result<()> {
        let mut build = self.build.lock().unwrap();
        send(build.as_mut().unwrap(), command, passed)
    }

    fn strike(self: &Arc<Victim>) {
        if !self.marker.is_empty() && std::fs::create_dir(&self.marker).is_err() {
            return;
        }
        match self.what.as_str() {
            "Nothing" => {}
            "Exit" => {
                let _ended = kill(self.pid, Signal::SIGKILL);
                std::process::exit(i32::try_from(self.number).unwrap());
            }
            "Close" => {
                if let Some(out) = self.out.lock().unwrap().take() {
                    let _closed = out.shutdown(std::net::Shutdown::Both);
                }
            }
            "Garbage" => {
                self.say(b"Segmentation fault\n");
            }
            // Nothing else is said meanwhile.
            "LongLine" => {
                let long = b"x".repeat(100_000_000);
                self.say(&[b"{\"event\": \"", &long[..], b"\"}\n"].concat());
            }
            "Events" => {
                let this = Arc::clone(self);
                let event = b"{\"event\": \"X\", \"data\": {\"a\": [1, 2, 3]}}\n".repeat(50);
                thread::spawn(move || while this.say(&event) {});
            }
            "Silence" => std::mem::forget(self.out.lock().unwrap().take()),
            typed if typed.contains('_') => {
                let typed = typed.replace('_', " ");
                let command = format!(
                    "{{\"execute\": \"human-monitor-command\", \"id\": {OURS}, \
                     \"arguments\": {{\"command-line\": \"{typed}\"}}}}"
                );
                self.tell(command.as_bytes(), &[]).unwrap();
            }
            signal => {
                thread::sleep(Duration::from_millis(self.number));
                // It may have ended by itself.
                let _sent = kill(self.pid, signal.parse::<Signal>().unwrap());
            }
        }
    }
}

fn interpose(fault: &str) {
    let mut parts = fault.split(' ').map(str::to_owned);
    let mut part = || parts.next().unwrap();
    let (place, what, number, marker) = (Place::read(&part()), part(), part(), part());
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let socket = words
        .iter_mut()
        .find(|word| word.starts_with("socket,id=migcompat,"));
    let mut sockets = None;
    if let Some(word) = socket {
        let path = word.split_once("path=").unwrap().1.to_owned();
        let between = format!("{path}i");
        *word = word.replace(&path, &between);
        sockets = Some((path, UnixListener::bind(between).unwrap()));
    }
    let mut build = Command::new(&words[0]);
    let mut build = build.args(&words[1..]).env_remove(FAULT).spawn().unwrap();
    if let Some((path, listener)) = sockets {
        let theirs = UnixStream::connect(path).unwrap();
        let victim = Arc::new(Victim {
            pid: Pid::from_raw(i32::try_from(build.id()).unwrap()),
            what,
            number: number.parse().unwrap(),
            marker,
            out: Mutex::new(Some(theirs.try_clone().unwrap())),
            build: Mutex::default(),
        });
        if let Place::File(path) = &place {
            let (path, victim) = (path.clone(), Arc::clone(&victim));
            thread::spawn(move || {
                while !path.exists() {
                    thread::sleep(Duration::from_millis(1));
                }
                victim.strike();
            });
        }
        thread::spawn(move || relay(&place, &victim, &listener, theirs));
    }
    let status = build.wait().unwrap();
    if let Some(signal) = status.signal() {
        let signal = Signal::try_from(signal).unwrap();
        // The runtime has a handler for some, which lets the second one through.
        for _ in 0..2 {
            let _ends_here = raise(signal);
        }
    }
    std::process::exit(status.code().unwrap_or(1));
}

/// A connection, and the descriptors that came with what was read.
struct WithDescriptors<'p> {
    stream: UnixStream,
    passed: &'p RefCell<Vec<RawFd>>,
}

impl io::Read for WithDescriptors<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut parts = [io::IoSliceMut::new(buffer)];
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let (stream, flags) = (self.stream.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        let message = recvmsg::<UnixAddr>(stream, &mut parts, Some(&mut space), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                self.passed.borrow_mut().extend(descriptors);
            }
        }
        Ok(message.bytes)
    }
}

/// Passes on what was said, with descriptors, which are no longer needed here.
fn send(to: &mut UnixStream, line: &[u8], passed: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(passed)];
    let rights = if passed.is_empty() { &[] } else { &rights[..] };
    let (parts, flags) = ([io::IoSlice::new(line)], MsgFlags::empty());
    let sent = sendmsg::<UnixAddr>(to.as_raw_fd(), &parts, rights, flags, None)?;
    for &descriptor in passed {
        close(descriptor)?;
    }
    to.write_all(&line[sent..])
}

/// Carries what both say, until the fault comes.
fn relay(place: &Place, victim: &Arc<Victim>, listener: &UnixListener, theirs: UnixStream) {
    let (ours, _) = listener.accept().unwrap();
    let answers = ours.try_clone().unwrap();
    *victim.build.lock().unwrap() = Some(ours.try_clone().unwrap());
    let (text, first) = match place {
        Place::Line(text) => (Some(text.clone()), false),
        other => (None, matches!(other, Place::BeforeTheGreeting)),
    };
    let to = Arc::clone(victim);
    thread::spawn(move || {
        if first {
            to.strike();
        }
        for line in BufReader::new(answers).split(b'\n').map_while(Result::ok) {
            let said = String::from_utf8_lossy(&line).replace(' ', "");
            if said.contains(OURS) {
                continue;
            }
            let hit = text.as_ref().is_some_and(|text| said.contains(text));
            let before = to.what.contains('_');
            if hit && before {
                to.strike();
            }
            to.say(&[&line[..], b"\n"].concat());
            if hit && !before {
                to.strike();
            }
        }
        to.out.lock().unwrap().take();
    });
    let passed = RefCell::default();
    let mut lines = BufReader::new(WithDescriptors {
        stream: theirs,
        passed: &passed,
    });
    let mut said = Vec::new();
    while lines.read_until(b'}', &mut said).is_ok_and(|read| read > 0) {
        // What comes between two parts of a command makes it another one.
        if serde_json::from_slice::<IgnoredAny>(&said).is_err_and(|error| error.is_eof()) {
            continue;
        }
        let text = String::from_utf8_lossy(&said);
        let hit = matches!(place, Place::Command(command) if text.contains(command));
        if matches!(place, Place::BeforeCommand(command) if text.contains(command)) {
            victim.strike();
        }
        if victim.tell(&said, &passed.take()).is_err() {
            return;
        }
        said.clear();
        if hit {
            victim.strike();
        }
    }
    // Nobody asks any more: the build goes on, as it would by itself.
    std::mem::forget(ours);
}

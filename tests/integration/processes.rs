//! What tests have other processes do: this program once more, which a test started for one of these.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

use migcompat::internals::qemu::{self, Cache};

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

/// What goes wrong on a monitor.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The build gets a signal so many milliseconds after the command.
    Signal(&'static str, u64),
    /// The socket closes, and the build goes on.
    Close,
    /// A line comes that is no QMP.
    Garbage,
    /// Events come without end.
    Events,
    /// Nothing more comes.
    Silence,
}

/// A line of a script that starts `build` with a fault: it comes with a command, and once where `marker` can be made.
pub fn faulty(build: &str, command: &str, fault: Fault, marker: Option<&Path>) -> String {
    let this = std::env::current_exe().unwrap();
    let what = match fault {
        Fault::Signal(name, after) => format!("{name} {after}"),
        other => format!("{other:?} 0"),
    };
    let marker = marker.map_or_else(String::new, |path| path.display().to_string());
    format!(
        "{FAULT}='{command} {what} {marker}' exec '{}' env {build} \"$@\"",
        this.display()
    )
}

fn interpose(fault: &str) {
    let mut parts = fault.split(' ').map(str::to_owned);
    let mut part = || parts.next().unwrap();
    let (command, what, after, marker) = (format!("\"{}\"", part()), part(), part(), part());
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
    let pid = Pid::from_raw(i32::try_from(build.id()).unwrap());
    if let Some((path, listener)) = sockets {
        let theirs = UnixStream::connect(path).unwrap();
        thread::spawn(move || {
            let (ours, _) = listener.accept().unwrap();
            let out = Arc::new(Mutex::new(Some(theirs.try_clone().unwrap())));
            let say = |out: &Mutex<Option<UnixStream>>, line: &[u8]| {
                let mut out = out.lock().unwrap();
                out.as_mut().is_some_and(|out| out.write_all(line).is_ok())
            };
            let (answers, to) = (ours.try_clone().unwrap(), Arc::clone(&out));
            thread::spawn(move || {
                for line in BufReader::new(answers).split(b'\n').map_while(Result::ok) {
                    say(&to, &[&line[..], b"\n"].concat());
                }
                to.lock().unwrap().take();
            });
            let mut ours = ours;
            let mut lines = BufReader::new(theirs);
            let mut line = Vec::new();
            while lines.read_until(b'}', &mut line).is_ok_and(|read| read > 0) {
                let hit = String::from_utf8_lossy(&line).contains(&command);
                if ours.write_all(&line).is_err() {
                    return;
                }
                line.clear();
                if !hit || (!marker.is_empty() && std::fs::create_dir(&marker).is_err()) {
                    continue;
                }
                match what.as_str() {
                    "Close" => {
                        let closed = out.lock().unwrap().take().unwrap();
                        closed.shutdown(std::net::Shutdown::Both).unwrap();
                    }
                    "Garbage" => {
                        say(&out, b"Segmentation fault\n");
                    }
                    "Events" => {
                        let out = Arc::clone(&out);
                        let event =
                            b"{\"event\": \"X\", \"data\": {\"a\": [1, 2, 3]}}\n".repeat(50);
                        thread::spawn(move || while say(&out, &event) {});
                    }
                    "Silence" => {
                        std::mem::forget(out.lock().unwrap().take());
                    }
                    signal => {
                        thread::sleep(Duration::from_millis(after.parse().unwrap()));
                        kill(pid, signal.parse::<Signal>().unwrap()).unwrap();
                    }
                }
            }
            // Nobody asks any more: the build goes on, as it would by itself.
            std::mem::forget(ours);
        });
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

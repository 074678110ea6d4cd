//! What tests have other processes do: this program once more, which a test started for one of these.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use migcompat::internals::qemu::{self, Cache};

/// Set to a cache: `debian:bookworm` is opened there.
const OPEN: &str = "MIGCOMPAT_TEST_OPEN";
/// Set to the arguments of a QEMU: its monitor is played.
const ARGS: &str = "MIGCOMPAT_TEST_ARGS";
/// What that monitor says.
const LINE: &str = "MIGCOMPAT_TEST_LINE";

/// Does what a test started this program for, if one did.
pub fn done_for_a_test() -> bool {
    let var = |name| std::env::var(name).ok();
    if let Some(dir) = var(OPEN) {
        open(Path::new(&dir));
    } else if let (Some(args), Some(line)) = (var(ARGS), var(LINE)) {
        play_the_monitor(&args, &line);
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

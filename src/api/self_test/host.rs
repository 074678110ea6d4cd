//! The things that tests of migrations need, as far as this host has them.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use crate::api::open_files;
use crate::model::{Confine, ConfinedBuild, display_as_serialized};
use crate::qemu::Cache;

const MIB: u64 = 1 << 20;
/// Guests of tests, their logs and their streams take some megabytes.
const LEAST_DISK: u64 = 64 * MIB;
/// A fetched build takes some hundred megabytes.
const ENOUGH_DISK: u64 = 1024 * MIB;
const LEAST_DESCRIPTORS: u64 = open_files(2);
const ENOUGH_DESCRIPTORS: u64 = 1024;
/// Postcopy may lock the memory of a small guest.
const ENOUGH_LOCKED: u64 = 8 * MIB;
/// A pause, and how much longer it may last: deadlines are of some seconds.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSES: u32 = 10;
const SLOW: Duration = Duration::from_millis(200);
const UNUSABLE: Duration = Duration::from_secs(1);
/// 2026-01-01: this program is younger.
const BEFORE: Duration = Duration::from_secs(1_767_225_600);

/// The state of a host in one respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It has what is needed.
    Ok,
    /// Something does not work here, and results can be trusted nonetheless.
    Warning,
    /// Results cannot be trusted.
    Failed,
}

display_as_serialized!(HostState);

/// One respect in which a host is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostCheck {
    /// The respect: `kvm`, `locked-memory`, `apt`, `time`, `disk`, `cache`, `descriptors`,
    /// `confinement`.
    pub name: &'static str,
    /// The state.
    pub state: HostState,
    /// The facts, and what follows from them.
    pub detail: String,
}

/// Looks at everything. Fetched builds are in `cache`, which need not be there yet.
pub(super) fn checks(cache: &Cache) -> Vec<HostCheck> {
    [
        ("kvm", kvm()),
        ("locked-memory", locked_memory()),
        ("apt", apt()),
        ("time", time()),
        ("disk", disk(&std::env::temp_dir(), LEAST_DISK)),
        (
            "cache",
            match cache.path() {
                Ok(folder) => disk(folder, 0),
                Err(error) => warning(error),
            },
        ),
        ("descriptors", descriptors()),
    ]
    .map(|(name, (state, detail))| HostCheck {
        name,
        state,
        detail,
    })
    .into()
}

fn ok(detail: impl Display) -> (HostState, String) {
    (HostState::Ok, detail.to_string())
}

fn warning(detail: impl Display) -> (HostState, String) {
    (HostState::Warning, detail.to_string())
}

fn failed(detail: impl Display) -> (HostState, String) {
    (HostState::Failed, detail.to_string())
}

/// Tells how the build at hand is confined here, and so how others are.
pub(super) fn confinement(build: &ConfinedBuild, wish: Confine) -> HostCheck {
    HostCheck {
        name: "confinement",
        state: match (wish, &build.lacking) {
            (Confine::Off, _) | (_, None) => HostState::Ok,
            (_, Some(_)) => HostState::Warning,
        },
        detail: build.to_string(),
    }
}

fn kvm() -> (HostState, String) {
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => ok("/dev/kvm can be used; guests are emulated unless --accel says otherwise"),
        // Nothing here needs it.
        Err(error) => ok(format!(
            "/dev/kvm cannot be used ({error}); guests are emulated, which takes no KVM"
        )),
    }
}

fn locked_memory() -> (HostState, String) {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Err(error) => warning(format!("the limit is not known: {error}")),
        Ok((soft, _)) if soft < ENOUGH_LOCKED => warning(format!(
            "{} KiB can be locked (ulimit -l): postcopy of a guest that locks its memory may fail",
            soft >> 10
        )),
        Ok((soft, _)) => ok(format!("{} can be locked", amount(soft))),
    }
}

fn apt() -> (HostState, String) {
    let mut programs = vec!["apt-get", "dpkg-deb"];
    programs.retain(|program| {
        let mut command = Command::new(program);
        let asked = command.arg("--version").stdin(Stdio::null());
        let asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).status();
        !asked.is_ok_and(|status| status.success())
    });
    match programs.as_slice() {
        [] => ok("apt-get and dpkg-deb run"),
        lacking => warning(format!(
            "{} cannot be run: debian:SUITE cannot be fetched",
            lacking.join(" and ")
        )),
    }
}

fn time() -> (HostState, String) {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    if clock.is_ok_and(|since| since < BEFORE) {
        return failed(
            "the clock says a time before this program was made: ends of list entries, tiers and signatures of \
             archives go by it",
        );
    }
    let late = |_| {
        let began = Instant::now();
        std::thread::sleep(PAUSE);
        began.elapsed().saturating_sub(PAUSE)
    };
    let latest = (0..PAUSES).map(late).max().unwrap_or_default();
    let ms = latest.as_millis();
    match latest {
        latest if latest >= UNUSABLE => failed(format!(
            "a pause ended {ms} ms late: deadlines of seconds mean nothing on so busy a host"
        )),
        latest if latest >= SLOW => warning(format!(
            "a pause ended {ms} ms late: the host is busy, and --timeout may have to be longer"
        )),
        _ => ok(format!("pauses end at most {ms} ms late")),
    }
}

/// Looks at the room where a folder is, or is to be.
fn disk(folder: &Path, least: u64) -> (HostState, String) {
    let there = folder.ancestors().find(|folder| folder.exists());
    let place = there.unwrap_or(folder);
    let place_name = place.display();
    match statvfs(place) {
        Err(error) => warning(format!("the room in {place_name} is not known: {error}")),
        Ok(found) => {
            let free = found.blocks_available() * found.fragment_size();
            let text = format!("{} free in {place_name}", amount(free));
            match free {
                free if free < least => failed(text),
                0..ENOUGH_DISK => warning(text),
                _ => ok(text),
            }
        }
    }
}

fn descriptors() -> (HostState, String) {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Err(error) => warning(format!("the limit is not known: {error}")),
        Ok((soft, _)) => {
            let text = format!("{soft} files can be open (ulimit -n)");
            match soft {
                0..LEAST_DESCRIPTORS => failed(text),
                LEAST_DESCRIPTORS..ENOUGH_DESCRIPTORS => {
                    warning(format!("{text}: use fewer --jobs"))
                }
                _ => ok(text),
            }
        }
    }
}

fn amount(bytes: u64) -> String {
    match bytes {
        u64::MAX => "any amount".to_owned(),
        bytes if bytes >= 1024 * MIB => format!("{:.1} GiB", bytes as f64 / (1024 * MIB) as f64),
        bytes => format!("{} MiB", bytes / MIB),
    }
}

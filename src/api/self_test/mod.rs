//! Migrations with known outcomes on this host, and what the host lacks: whether results of it can be trusted.

mod host;

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::api::config::{Builds, Guests, LiveConfig, SideArgs};
use crate::api::error::{Error, Problem};
use crate::api::live::live;
use crate::api::progress::{Event, Progress};
use crate::api::{Silent, confinement, outside_runtime};
use crate::cleanup::OWN;
use crate::migration::case::milliseconds;
use crate::model::{AcceleratorPreference, BuildRef, Confine, ConfinedBuild, Direction};
use crate::qemu::{self, Cache, CacheConfig, Means, QemuError, machine, private_dir};
use crate::report::{Outcome, Tool};

pub use host::{HostCheck, HostState};

/// The name of the form, written into every result.
const SCHEMA: &str = "migcompat-self-test-1";
/// The device whose settings are changed on one side; it needs no drive, and every bus of PCI takes it.
const DEVICE: &str = "virtio-scsi-pci,vectors=4";
/// The time limit of a migration that is to hang: within one build the same one has to be through in it, on a busy host, too.
const HANG: Duration = Duration::from_secs(10);
/// Memory of a guest that is to hang: it takes a while to be sent.
const ROOMY: [&str; 2] = ["-m", "1G"];

/// A test of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfTestConfig {
    /// The build; by default the one that was fetched last, or else the program in the path.
    pub build: Option<String>,
    /// The machine type; by default the usual one of the architecture.
    pub machine: Option<String>,
    /// The guest's architecture; by default what the machine type implies, else x86_64.
    pub architecture: Option<String>,
    /// The folder for fetched builds; by default `migcompat` in the user's cache folder.
    pub cache: CacheConfig,
    /// The confinement of the build.
    pub confine: Confine,
    /// The accelerators of the guests, the preferred one first; by default TCG alone.
    pub accelerators: AcceleratorPreference,
}

/// The answer of a self-test in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Every outcome is the known one, and the host has what is needed.
    Trusted,
    /// An outcome is another one, or the host lacks something that is needed.
    NotTrusted,
    /// There is no build to test with.
    Untested,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Trust::Trusted => "trusted",
            Trust::NotTrusted => "not trusted",
            Trust::Untested => "untested",
        })
    }
}

/// The result of a self-test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SelfTest {
    /// The form's name.
    pub schema: &'static str,
    /// The program that tested.
    pub tool: Tool,
    /// The answer.
    pub verdict: Trust,
    /// The build that guests were moved with; nothing where there is none.
    pub build: Option<BuildRef>,
    /// The reason why there is none.
    pub no_build: Option<String>,
    /// The migrations with known outcomes.
    pub cases: Vec<KnownCase>,
    /// The checks of the host.
    pub host: Vec<HostCheck>,
}

/// A migration whose outcome is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KnownCase {
    /// The way in which the outcome is provoked.
    pub what: &'static str,
    /// The known outcome.
    pub expected: Outcome,
    /// The outcome here; nothing where there is none.
    pub outcome: Option<Outcome>,
    /// The reason that was given for it.
    pub detail: Option<String>,
    /// Wall time, in milliseconds.
    pub elapsed_ms: u64,
}

impl KnownCase {
    /// Tells whether the outcome is the known one.
    pub fn is_as_known(&self) -> bool {
        self.outcome == Some(self.expected)
    }
}

/// The way in which one case is provoked.
struct Recipe {
    what: &'static str,
    expected: Outcome,
    /// The new build is one that a signal stops as the guest arrives, once.
    stops: bool,
    guests: Guests,
}

fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn recipes() -> [Recipe; 5] {
    let recipe = |what, expected, device: &str, side_args| Recipe {
        what,
        expected,
        stops: false,
        guests: Guests {
            side_args,
            devices: vec![device.to_owned()],
            paused: true,
            retries: 0,
            ..Guests::default()
        },
    };
    let global = |property: &str| args(&["-global", &format!("virtio-scsi-pci.{property}")]);
    // A side without MSI has another capability in the PCI configuration space, which the other refuses.
    let no_msi = || global("vectors=0");
    let same = SideArgs::default;
    let mut hangs = recipe(
        "the destination is stopped while the guest arrives",
        Outcome::Hang,
        "virtio-scsi-pci",
        SideArgs {
            old: args(&ROOMY),
            new: args(&ROOMY),
            ..same()
        },
    );
    hangs.stops = true;
    hangs.guests.timeout = HANG;
    let mut works = recipe(
        "a guest that works moves to its own build",
        Outcome::Pass,
        DEVICE,
        same(),
    );
    works.guests.paused = false;
    [
        works,
        recipe(
            "the new build sets up a device without interrupts by message",
            Outcome::Fail,
            "virtio-scsi-pci",
            SideArgs {
                new: no_msi(),
                ..same()
            },
        ),
        recipe(
            "the new build has more queues of a device than were sent",
            Outcome::Lost,
            DEVICE,
            SideArgs {
                old: global("num_queues=1"),
                new: global("num_queues=4"),
                ..same()
            },
        ),
        recipe(
            "every destination sets up a device without interrupts by message",
            Outcome::Broken,
            "virtio-scsi-pci",
            SideArgs {
                destination: no_msi(),
                ..same()
            },
        ),
        hangs,
    ]
}

/// Moves guests of one build whose outcomes are known, and looks at what the host has.
///
/// This blocks until it is done, for some seconds. The guests are children of this process; none is left when it
/// returns. A build that is not there or does not start is no error: the result is untested then.
///
/// # Errors
/// The build that is named is no build, or the call is made inside a runtime.
pub fn self_test(config: &SelfTestConfig, progress: &dyn Progress) -> Result<SelfTest, Error> {
    outside_runtime()?;
    let folder = private_dir().map_err(Problem::NoTemporaryFolder)?;
    let cache = Cache::new(config.cache.clone()).map_err(QemuError::from)?;
    let host = host::checks(&cache);
    let mut result = SelfTest {
        schema: SCHEMA,
        tool: Tool::this(),
        verdict: Trust::Untested,
        build: None,
        no_build: None,
        cases: Vec::new(),
        host,
    };
    let hand = match Hand::take(config, &cache, folder.path(), progress) {
        Ok(hand) => hand,
        Err(error @ Error::Usage(_)) if config.build.is_some() => return Err(error),
        Err(error) => {
            result.no_build = Some(error.to_string());
            return Ok(result);
        }
    };
    result.build = Some(hand.reference.clone());
    let confinement = host::confinement(&hand.confinement, config.confine);
    result.host.push(confinement);
    for recipe in recipes() {
        result.cases.push(hand.provoke(config, recipe));
    }
    let as_known = result.cases.iter().all(KnownCase::is_as_known);
    let lacks = |check: &HostCheck| check.state == HostState::Failed;
    result.verdict = match as_known && !result.host.iter().any(lacks) {
        true => Trust::Trusted,
        false => Trust::NotTrusted,
    };
    Ok(result)
}

/// The build at hand, and one that stops.
struct Hand<'f> {
    label: String,
    reference: BuildRef,
    confinement: ConfinedBuild,
    /// A script that starts the build, and stops it once as a guest arrives.
    stopping: String,
    folder: &'f Path,
}

impl<'f> Hand<'f> {
    fn take(
        config: &SelfTestConfig,
        cache: &Cache,
        folder: &'f Path,
        progress: &dyn Progress,
    ) -> Result<Hand<'f>, Error> {
        let machine = config.machine.as_deref();
        let architecture = machine::architecture(config.architecture.as_deref(), machine);
        let label = match &config.build {
            Some(build) => build.clone(),
            None => at_hand(cache, architecture)?,
        };
        let means = Means {
            architecture: architecture.to_owned(),
            cache: config.cache.clone(),
            watcher: &|event| progress.event(Event::Fetch(event)),
            lists_drivers: false,
            confine: confinement::of_own(config.confine),
        };
        let opened = qemu::Opened::new(&qemu::parse(&label)?, &means)?;
        let reference = opened.reference();
        let stopping = folder.join(format!("qemu-system-{architecture}"));
        let text = stopping_script(&opened.build.shell_prefix(), folder);
        std::fs::write(&stopping, text)
            .and_then(|()| std::fs::set_permissions(&stopping, Permissions::from_mode(0o700)))
            .map_err(Problem::NoTemporaryFolder)?;
        Ok(Hand {
            label,
            reference,
            confinement: opened.confinement(),
            stopping: stopping.display().to_string(),
            folder,
        })
    }

    /// Moves a guest as a recipe says.
    fn provoke(&self, config: &SelfTestConfig, recipe: Recipe) -> KnownCase {
        let new = if recipe.stops {
            &self.stopping
        } else {
            &self.label
        };
        let builds = Builds {
            architecture: config.architecture.clone(),
            cache: config.cache.clone(),
            // The script that stops a build keeps in mind that it did.
            confine: match recipe.stops {
                true => Confine::Auto,
                false => config.confine,
            },
            directions: vec![Direction::Forward],
            ..Builds::new(&self.label, new)
        };
        let guests = Guests {
            logs: Some(self.folder.join("logs")),
            accelerators: config.accelerators.clone(),
            ..recipe.guests
        };
        let live_config = LiveConfig {
            machine: config.machine.clone(),
            guests,
            ..LiveConfig::of(builds, "")
        };
        let began = Instant::now();
        let (outcome, detail) = match live(&live_config, &Silent) {
            Ok(answer) => match answer.report.cases.first() {
                Some(case) => (Some(case.outcome), case.message().map(str::to_owned)),
                None => (None, None),
            },
            Err(error) => (None, Some(error.to_string())),
        };
        KnownCase {
            what: recipe.what,
            expected: recipe.expected,
            outcome,
            detail,
            elapsed_ms: milliseconds(began),
        }
    }
}

/// Returns the build that was fetched last, or else the program in the path.
fn at_hand(cache: &Cache, architecture: &str) -> Result<String, Error> {
    let packages = machine::packages(architecture).unwrap_or_default();
    let entries = cache.list().map_err(QemuError::from)?.into_iter();
    let fitting = entries.filter(|entry| packages.contains(&entry.record.package));
    let last = fitting.max_by(|a, b| a.record.date.cmp(&b.record.date));
    Ok(match last {
        Some(entry) => format!("debian:{}", entry.record.suite),
        None => format!("qemu-system-{architecture}"),
    })
}

/// Returns a script that starts a build. The first one that a guest arrives in is stopped once the guest is on its way:
/// its socket is in the folder of the other files that it is given. The file of the socket is gone as soon as
/// somebody has connected; the connection has its name until all has arrived.
fn stopping_script(start: &str, folder: &Path) -> String {
    let once = qemu::quote(&folder.join("stopped").to_string_lossy());
    let own = OWN.replace('.', "[.]");
    format!(
        "#!/bin/sh\n\
         case \" $* \" in *' -incoming '*)\n\
         at=$(printf '%s\\n' \"$@\" | sed -n 's|^.*\\(/[^=,]*/{own}[^/]*\\)/[a-z][0-9].*$|\\1|p' | head -n 1)\n\
         if [ -n \"$at\" ] && mkdir {once} 2>/dev/null; then\n\
         (while kill -0 $$; do if grep -q \"$at/m1$\" /proc/net/unix; then kill -STOP $$; exit; fi; done) 2>/dev/null &\n\
         fi;; esac\n\
         exec {start} \"$@\"\n"
    )
}

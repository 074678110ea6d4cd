//! Two builds made ready side by side, and their common machine types and drivers.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::model::{BuildRef, Confine, ConfinedBuild, Side};
use crate::parallel::{Meanwhile, side_by_side};
use crate::qemu::identity::RunningProgram;
use crate::qemu::machine::Machines;
use crate::qemu::{
    Build, BuildArg, BuildInfo, Cache, CacheConfig, ConfinePolicy, FetchWatcher, Firmware,
    FirmwareSource, Lacking, NoCommonMachine, Problem, QemuError, StartError, machine,
};

/// The means by which builds are made ready.
#[derive(Clone)]
pub struct Means<'w> {
    /// The target that a suite's program is chosen for; see [`machine::architecture`].
    pub architecture: String,
    /// The folder where fetched builds are kept, unless the usual place is meant.
    pub cache: CacheConfig,
    /// The watcher of what is fetched.
    pub watcher: FetchWatcher<'w>,
    /// Set if devices are to be plugged into guests: a build is asked for its drivers with the rest.
    pub lists_drivers: bool,
    /// The confinement of all that the builds start.
    pub confine: ConfinePolicy,
}

/// A build that was started once to read its version.
#[derive(Debug, Clone)]
pub struct Opened {
    pub build: Build,
    pub info: BuildInfo,
    /// Firmware that it is given, since it finds none.
    pub firmware: Option<Firmware>,
    help: Arc<OnceLock<String>>,
}

impl Opened {
    /// Makes a build ready and asks for its version and machine types. Where it finds no firmware, it is given that of
    /// a fetched build.
    ///
    /// # Errors
    /// It is not available, does not start or does not answer.
    pub fn new(arg: &BuildArg, means: &Means<'_>) -> Result<Opened, QemuError> {
        let (mut opened, found) = Opened::with_found(arg, means)?;
        if found.is_empty() {
            opened.fetched_firmware(means)?;
        }
        Ok(opened)
    }

    /// Makes a build ready, and says in which folders it has firmware: those where it looks, or of its tree.
    fn with_found(arg: &BuildArg, means: &Means<'_>) -> Result<(Opened, Vec<PathBuf>), QemuError> {
        let cache = Cache::new(means.cache.clone())?;
        let build = crate::qemu::open(arg, &means.architecture, &cache, means.watcher)?;
        let label = build.label().to_owned();
        let not_confined = |lacking| QemuError::NotConfined {
            label: label.clone(),
            lacking,
        };
        let build = build.confined(&means.confine).map_err(&not_confined)?;
        let ask = |build: &Build| {
            side_by_side(
                || match means.lists_drivers {
                    true => build.info_with_help(),
                    false => build.info().map(|info| (info, None)),
                },
                || build.found_firmware(),
            )
        };
        let (build, (asked, mut found)) = match ask(&build) {
            (Err(QemuError::Start(refused)), found) if may_start_with_less(&build, &refused) => {
                let wish = means.confine.wish;
                let plain = build.without_sandbox();
                match (plain.map(|plain| (ask(&plain), plain)), wish) {
                    (Some(((Ok(_), _), _)), Confine::Require) => {
                        return Err(not_confined(Lacking::NoSandbox(refused.reason())));
                    }
                    (Some((asked @ (Ok(_), _), plain)), _) => {
                        (plain.lacking(Lacking::NoSandbox(refused.reason())), asked)
                    }
                    (_, Confine::Auto) => {
                        let open = build.unconfined(Lacking::DoesNotStart(refused.reason()));
                        match ask(&open) {
                            // It is not for the barriers.
                            (Err(_), found) => (build, (Err(refused.into()), found)),
                            asked => (open, asked),
                        }
                    }
                    _ => (build, (Err(refused.into()), found)),
                }
            }
            asked => (build, asked),
        };
        let (info, help) = asked?;
        let mut opened = Opened {
            build,
            info,
            firmware: None,
            help: Arc::new(help.map_or_else(OnceLock::new, OnceLock::from)),
        };
        if found.is_empty() {
            let program = opened.info.program.as_ref().map(RunningProgram::file);
            if let Some(of_tree) = program.and_then(Firmware::in_tree) {
                found.clone_from(&of_tree.folders);
                opened.give(of_tree, None);
            }
        }
        Ok((opened, found))
    }

    /// Returns the barriers around the build's processes.
    pub(crate) fn confinement(&self) -> ConfinedBuild {
        self.build.confinement()
    }

    fn give(&mut self, firmware: Firmware, owner: Option<&Build>) {
        self.build = self.build.clone().with_firmware(&firmware.folders, owner);
        self.firmware = Some(firmware);
    }

    fn borrow_from(&mut self, other: &Opened, found: &[PathBuf]) {
        let firmware = Firmware {
            source: FirmwareSource::OtherBuild(other.build.label().to_owned()),
            folders: found.to_owned(),
        };
        self.give(firmware, Some(&other.build));
    }

    fn fetched_firmware(&mut self, means: &Means<'_>) -> Result<(), QemuError> {
        let cache = Cache::new(means.cache.clone())?;
        if let Some((firmware, owner)) = Firmware::fetched(&cache, &self.info.target)? {
            self.give(firmware, Some(&owner));
        }
        Ok(())
    }

    /// Returns the output of `-device help`; asked when first needed, and empty where a build gives
    /// none.
    pub fn device_help(&self) -> &str {
        self.help
            .get_or_init(|| self.build.device_help().unwrap_or_default())
    }

    /// Returns a hash of the program that runs and of the options that a script adds. Where the system does not
    /// show the program, one of the files that start it.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        let program = self.info.program.as_ref().and_then(RunningProgram::hash);
        program.or_else(|| self.build.hash_of_files())
    }

    /// Returns the build as a report names it.
    pub fn reference(&self) -> BuildRef {
        BuildRef {
            label: self.build.label().to_owned(),
            kind: self.build.kind(),
            version: Some(self.info.version),
        }
    }
}

/// Tells whether a build that did not start may start with fewer barriers, which may be in its way: a verdict that
/// they make would be a wrong one. One that was silent would be so for as long again.
fn may_start_with_less(build: &Build, refused: &StartError) -> bool {
    build.is_confined() && !matches!(refused.problem, Problem::Silent(_))
}

/// Two builds for one target.
#[derive(Debug, Clone)]
pub struct Pair {
    pub old: Opened,
    pub new: Opened,
}

/// Hashes of the programs of a pair, made while guests run: each is of tens of megabytes.
#[derive(Debug)]
pub(crate) struct Fingerprints(Meanwhile<(Option<String>, Option<String>)>);

impl Fingerprints {
    /// Takes the hashes of the old and of the new build, where they are known.
    pub(crate) fn known(old: Option<String>, new: Option<String>) -> Fingerprints {
        Fingerprints(Meanwhile::Done((old, new)))
    }

    /// Waits for the hashes of the old and of the new build; `None` for one that cannot be read.
    pub(crate) fn wait(self) -> (Option<String>, Option<String>) {
        self.0.wait()
    }
}

impl Pair {
    /// Begins to hash the programs of the builds.
    pub(crate) fn fingerprints(&self) -> Fingerprints {
        let (old, new) = (self.old.clone(), self.new.clone());
        let both = move || (old.fingerprint(), new.fingerprint());
        Fingerprints(Meanwhile::begin(both))
    }

    /// Opens both builds side by side.
    ///
    /// # Errors
    /// One is not available or does not start, or they are for different targets.
    pub fn open(old: &BuildArg, new: &BuildArg, means: &Means<'_>) -> Result<Pair, QemuError> {
        let open = |arg| Opened::with_found(arg, means);
        let (old, new) = side_by_side(|| open(old), || open(new));
        let ((mut old, found_old), (mut new, found_new)) = (old?, new?);
        // The sizes of ROMs are sent: firmware that is not a build's own is the same on both sides.
        match (found_old.is_empty(), found_new.is_empty()) {
            (true, true) => {
                old.fetched_firmware(means)?;
                new.fetched_firmware(means)?;
            }
            (true, false) => old.borrow_from(&new, &found_new),
            (false, true) => new.borrow_from(&old, &found_old),
            (false, false) => {}
        }
        Pair::of(old, new)
    }

    /// Makes a pair of two builds that are open already.
    ///
    /// # Errors
    /// They are for different targets.
    pub fn of(old: Opened, new: Opened) -> Result<Pair, QemuError> {
        if old.info.target != new.info.target {
            return Err(QemuError::OtherTarget {
                old: old.build.label().to_owned(),
                old_target: old.info.target,
                new: new.build.label().to_owned(),
                new_target: new.info.target,
            });
        }
        Ok(Pair { old, new })
    }

    /// The target of both, as in `qemu-system-TARGET`.
    pub fn arch(&self) -> &str {
        &self.old.info.target
    }

    /// The CPU types that a machine has by default in the old and in the new build, where they differ.
    pub fn other_default_cpu(&self, machines: &Machines) -> Option<[String; 2]> {
        let cpu = |build: &'_ Opened, machine: &str| -> Option<String> {
            let mut known = build.info.machines.iter();
            let found = known.find(|known| known.name == machine)?;
            found.default_cpu.clone()
        };
        let old = cpu(&self.old, &machines.old)?;
        let new = cpu(&self.new, &machines.new)?;
        (old != new).then_some([old, new])
    }

    /// The machine type that a wanted name means for both.
    ///
    /// # Errors
    /// They have none in common.
    pub fn machine(&self, wanted: &str) -> Result<String, Box<NoCommonMachine>> {
        machine::resolve(wanted, &self.old.info, &self.new.info)
    }

    /// The machine types that a wanted name means: one for both, or with `OLD=NEW` one of each.
    ///
    /// # Errors
    /// They have none in common, or a build lacks that of its side.
    pub fn machines(&self, wanted: &str) -> Result<Machines, Box<NoCommonMachine>> {
        Ok(match machine::sides(wanted) {
            (old, Some(new)) => {
                let old = machine::resolve_side(old, Side::Old, &self.old.info);
                let new = machine::resolve_side(new, Side::New, &self.new.info);
                match (old, new) {
                    // What no build has is the greater mistake.
                    (Err(lacking), Err(unknown))
                        if unknown.is_unknown() && !lacking.is_unknown() =>
                    {
                        return Err(unknown);
                    }
                    (old, new) => Machines {
                        old: old?,
                        new: new?,
                    },
                }
            }
            (both, None) => Machines::same(self.machine(both)?),
        })
    }

    /// The machine type that is meant where none is named: of the target's usual families the first that both
    /// have.
    pub fn usual_machine(&self) -> Option<String> {
        machine::usual_of(self.arch()).find_map(|family| self.machine(family).ok())
    }
}

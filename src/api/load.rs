//! A saved guest loaded into one build.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::config::{GuestDescription, LoadConfig};
use crate::api::error::{Error, Problem};
use crate::api::host_cpu::HostCpu;
use crate::api::logs::LogFolder;
use crate::api::network::connect;
use crate::api::opened::read_guest;
use crate::api::progress::{Event, Progress};
use crate::api::{Outcome, boot_code, confinement, firmware, jobs, outside_runtime};
use crate::devices::{Composition, Target};
use crate::guest::GuestSpec;
use crate::migration::accelerator::choose;
use crate::migration::channel::transport::Transport;
use crate::migration::checks::state::Names;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, RoleArgs};
use crate::migration::load::{
    DEVICE_SET, Loaded, OtherArchitecture, Saved, StateFile, Tried, Unfit, bare,
    load as load_state, other_architecture, try_load, untried_load,
};
use crate::migration::timeouts::Timeouts;
use crate::model::{AcceleratorPreference, BuildKind, BuildRef, first_few, joined};
use crate::qemu::machine::{self, ProfileCpu};
use crate::qemu::{self, Means, Opened, QemuError, block_on};
use crate::report::{
    Cause, FailureKind, LegSide, Notice, NoticeKind, Outcome as CaseOutcome, Policy, Report,
    notices_of,
};
use crate::rules::catalogue;
use crate::rules::known_issues::{KnownIssues, Scope};
use crate::stream::{Place, Stream};
use crate::vmstate::dump::Dump;
use crate::vmstate::read::parse_dump;
use crate::workload::linux::Network;

/// Loads a saved guest into a build, without running it, and compares what the build has then with what was saved.
///
/// The report has one case, forward, from the state (the old side) to the build.
///
/// # Errors
/// The file has no state that can be read, the build does not start or has no such machine, or the call is made
/// inside a runtime. A state that is refused is no error, but a case of the report.
///
/// # Examples
/// A build is needed for this, so it is not run with the other examples:
/// ```no_run
/// use migcompat::api::{LoadConfig, Silent, load};
///
/// let report = load(&LoadConfig::new("guest.save", "debian:trixie"), &Silent)?.report;
/// for case in &report.cases {
///     println!("{}: {}", case.id, case.outcome);
/// }
/// # Ok::<(), migcompat::api::Error>(())
/// ```
pub fn load(config: &LoadConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    outside_runtime()?;
    jobs(Some(1))?;
    let place = Place {
        offset: config.offset,
        snapshot: config.snapshot.clone(),
    };
    let state = StateFile::open(config.state.clone(), place)?;
    let label = config.state.display().to_string();
    let domain = || {
        let content = state.domain.clone()?;
        Some(GuestDescription::new(label.clone(), content))
    };
    let guest = config.guest.clone().or_else(domain);
    let flash = [0, 1].map(|unit| flash_size(&state.stream, unit));
    let guest = guest.as_ref().map(|guest| read_guest(guest, flash));
    let guest = guest.transpose()?;
    let logs = LogFolder::new(config.logs.as_deref())?;
    let lists = KnownIssues::load(&config.lists)?;
    let wanted = config.machine.as_deref().or(state.stream.machine());
    let of_guest = guest.as_ref().and_then(|guest| guest.arch.as_deref());
    let asked = config.architecture.as_deref().or(of_guest);
    let means = Means {
        architecture: machine::architecture(asked, wanted).to_owned(),
        cache: config.cache.clone(),
        watcher: &|event| progress.event(Event::Fetch(event)),
        lists_drivers: true,
        confine: confinement::of_state(config),
    };
    let opened = Opened::new(&qemu::parse(&config.build)?, &means)?;
    let wanted = wanted.ok_or_else(|| Problem::StateOfNoMachine {
        file: config.state.clone(),
    })?;
    let machine = machine::resolve_one(wanted, &opened.info).map_err(QemuError::from)?;
    let asked = Question {
        config,
        state: &state,
        machine: &machine,
        opened: &opened,
        lists: &lists,
        logs: &logs,
    };
    let old = BuildRef {
        label,
        kind: BuildKind::State,
        version: None,
    };
    progress.event(Event::Opened {
        old: &old,
        new: &opened.reference(),
        machine: Some(&machine),
    });
    progress.event(Event::CasesPlanned(1));
    let mut migration = asked.migration();
    migration.new.dump = asked.dump().map(Arc::new);
    let has_boot_code = boot_code::is_in_state(&state.stream);
    migration.board = guest
        .as_ref()
        .map(|guest| boot_code::with_boot_code(&guest.board, has_boot_code));
    let mut saved = guest.as_ref().map(Saved::of).unwrap_or_default();
    let preference = config.accelerators.clone().unwrap_or_default();
    let mut used = choose(&mut migration, &preference)?;
    let mut host_cpu = HostCpu::give(&mut migration, &used)?;
    let mut begun = asked.begin(&mut migration, guest.as_ref());
    if config.accelerators.is_none() && wants_another_accelerator(&migration, &saved, &begun) {
        let before = used.accelerator;
        used = choose(&mut migration, &AcceleratorPreference::auto())?;
        if used.accelerator != before {
            host_cpu = HostCpu::give(&mut migration, &used)?;
            begun = asked.begin(&mut migration, guest.as_ref());
        }
    }
    if host_cpu.is_taken() {
        saved.has_its_processor();
    }
    let fits = begun.as_ref().is_ok_and(|begun| !begun.tried.run.failed());
    if !fits && let Ok(Some(other)) = wait(other_architecture(&migration, &state.stream)) {
        begun = Err(Unfit::Architecture(other));
    }
    let begun_well = begun.as_mut().ok();
    let no_network = begun_well.and_then(|begun| asked.connect(&mut migration, &saved, begun));
    let Loaded { case, not_in_state } = asked.conclude(&migration, &saved, begun);
    let guest = guest.map(|guest| {
        let mut report = guest.report;
        report.answer(std::slice::from_ref(&case), &[], DEVICE_SET);
        host_cpu.correct(&mut report);
        report
    });
    let cases = vec![case];
    let mut notices: Vec<Notice> = notices_of(&cases).into_iter().collect();
    notices.extend(firmware::notices([&opened]));
    let file = config.state.display().to_string();
    notices.extend(confinement::notice(file, &[opened.confinement()]));
    notices.extend(used.notices());
    notices.extend(host_cpu.notice);
    notices.extend(no_network);
    notices.extend(not_in_state.iter().map(|section| {
        let why = "what it is of is as after reset; where the guest had it, the description is of another guest";
        NoticeKind::NotInState.about(section.to_string(), why)
    }));
    let report = Report {
        rules: catalogue::texts(&[], &cases),
        notices,
        cases,
        guest,
        accelerators: vec![used],
        confinement: vec![opened.confinement()],
        ..Report::new(old, opened.reference(), Some(machine.clone()))
    };
    logs.keep();
    let report = report.judged_by(Policy::default());
    Ok(Outcome { report })
}

/// A state, and everything about the build that is to load it.
struct Question<'q> {
    config: &'q LoadConfig,
    state: &'q StateFile,
    machine: &'q str,
    opened: &'q Opened,
    lists: &'q KnownIssues,
    logs: &'q LogFolder,
}

impl Question<'_> {
    /// Loads the state once, of this guest or of a bare machine.
    fn begin(
        &self,
        migration: &mut MigrationConfig,
        guest: Option<&GuestSpec>,
    ) -> Result<Begun, Unfit> {
        let composition = match guest {
            Some(guest) => guest.devices.compose(&Target {
                arch: &migration.arch,
                machine: self.machine,
                old: migration.old.known(),
                new: migration.new.known(),
            }),
            None => {
                let board = wait(bare(migration, &self.state.stream))??;
                migration.board = Some(Arc::new(board));
                Composition::default()
            }
        };
        let tried = wait(try_load(migration, self.state, &composition))?;
        Ok(Begun { composition, tried })
    }

    /// Gives a guest networks like those that its cards had, and loads the state once more, if it was refused for that
    /// of a card. A notice says why it can have none.
    fn connect(
        &self,
        migration: &mut MigrationConfig,
        saved: &Saved,
        begun: &mut Begun,
    ) -> Option<Notice> {
        if !saved.is_of_card(migration, &begun.tried.run) {
            return None;
        }
        let args = migration.launch(begun.composition.args.clone());
        let args = args.plugged_in();
        let described = [Network::AsDescribed];
        let (network, notice) = connect(migration, &args, Transport::default(), &described);
        migration.network = network;
        if notice.is_none()
            && let Ok(tried) = wait(try_load(migration, self.state, &begun.composition))
        {
            begun.tried = tried;
        }
        notice
    }

    /// Says what became of the load.
    fn conclude(
        &self,
        migration: &MigrationConfig,
        saved: &Saved,
        begun: Result<Begun, Unfit>,
    ) -> Loaded {
        let loaded = begun.and_then(|Begun { composition, tried }| {
            let state = (self.state, saved);
            wait(load_state(migration, state, &composition, tried))
        });
        loaded.unwrap_or_else(|unfit| self.unfit(migration, unfit))
    }

    fn migration(&self) -> MigrationConfig {
        let build = Endpoint::of(self.opened);
        let scope = Scope::of(
            self.lists,
            None,
            Some(self.opened.info.version),
            Some(self.machine),
        );
        let arch = self.opened.info.target.clone();
        MigrationConfig {
            role_args: RoleArgs {
                source: self.config.args.clone(),
                destination: self.config.args.clone(),
            },
            profile_cpu: ProfileCpu::LeftOut,
            retries: self.config.retries.into(),
            timeouts: Timeouts {
                leg: self.config.timeout,
                ..Timeouts::default()
            },
            ..MigrationConfig::paused(
                (build.clone(), build),
                self.machine.to_owned(),
                arch.clone(),
                self.logs.path().to_owned(),
                Names::of(&scope, &arch),
            )
        }
    }

    /// Returns the build's dump; without it less can be explained.
    fn dump(&self) -> Option<Dump> {
        let build = &self.opened.build;
        let json = block_on(build.dump(self.machine)).ok()?.ok()?;
        parse_dump(&json, build.label()).ok()
    }

    /// Makes the case of a state that was not tried.
    fn unfit(&self, migration: &MigrationConfig, unfit: Unfit) -> Loaded {
        let label = self.opened.build.label();
        let (outcome, cause) = match unfit {
            Unfit::Refused {
                section,
                instance,
                rule,
                why,
            } => (
                CaseOutcome::Fail,
                Cause {
                    side: Some(LegSide::Destination),
                    kind: Some(FailureKind::Refused),
                    section: Some(section),
                    instance: Some(instance.into()),
                    rule: Some(rule),
                    message: format!("{label}: {why}"),
                    ..Cause::default()
                },
            ),
            Unfit::Devices(sections) => (CaseOutcome::Skip, Cause::not_set_up(devices(&sections))),
            Unfit::Accelerator(wanted) => {
                let why = format!(
                    "the state has sections that a guest has under {wanted} alone: load it with --accel {wanted}, on a \
                     host that can"
                );
                (CaseOutcome::Skip, Cause::not_set_up(why))
            }
            Unfit::Architecture(other) => {
                let OtherArchitecture {
                    section,
                    here,
                    others,
                } = other;
                let why = format!(
                    "{section} of the state is none of {here}: name the architecture with --arch; there is {} of {}, too",
                    machine::family(self.machine),
                    joined(others, " and of ")
                );
                (CaseOutcome::Skip, Cause::not_set_up(why))
            }
            Unfit::NotKnown(why) => (CaseOutcome::Skip, Cause::not_set_up(why)),
        };
        let mut case = untried_load(migration, &Composition::default());
        case.outcome = outcome;
        case.cause = Some(cause);
        Loaded {
            case,
            not_in_state: Vec::new(),
        }
    }
}

/// Returns the bytes of a flash device of a guest that was saved: boards name its memory after its number.
fn flash_size(state: &Stream, unit: usize) -> Option<u64> {
    let name = format!("flash{unit}");
    let mut blocks = state.ram.blocks.iter();
    Some(blocks.find(|block| block.name.ends_with(&name))?.length)
}

/// A state that was loaded once.
struct Begun {
    composition: Composition,
    tried: Tried,
}

/// Waits for an answer; it is not known where the system gives no runtime.
fn wait<T>(answer: impl Future<Output = T>) -> Result<T, Unfit> {
    block_on(answer).map_err(|error| Unfit::NotKnown(error.to_string()))
}

/// Tells whether a load failed by what is of another accelerator.
fn wants_another_accelerator(
    migration: &MigrationConfig,
    saved: &Saved,
    begun: &Result<Begun, Unfit>,
) -> bool {
    match begun {
        Err(unfit) => matches!(unfit, Unfit::Accelerator(_)),
        Ok(begun) => saved.is_of_accelerator(migration, &begun.tried.run),
    }
}

/// Sections that a sentence lists.
const LISTED: usize = 5;

fn devices(sections: &BTreeSet<String>) -> String {
    format!(
        "the state has sections of devices that the machine lacks unless they are plugged in: {}; describe the guest \
         with --guest",
        first_few(sections, LISTED)
    )
}

//! Every device that two builds have, moved.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::api::config::SweepConfig;
use crate::api::defaults;
use crate::api::defaults::Defaults;
use crate::api::dumps::{ObtainError, Pair as Dumps, dumps};
use crate::api::error::{Error, Problem};
use crate::api::logs::LogFolder;
use crate::api::memory;
use crate::api::memory::Recalled;
use crate::api::names;
use crate::api::one_case;
use crate::api::progress::{Event, Progress};
use crate::api::{Outcome, jobs, load_lists, outside_runtime};
use crate::migration::boot::PlainBoots;
use crate::migration::channel::transport::Transport;
use crate::migration::checks::state::Names;
use crate::migration::config::MigrationConfig;
use crate::migration::coverage::{cover, join};
use crate::migration::default_devices::DEFAULTS;
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::saved::SavedGuests;
use crate::migration::timeouts::Timeouts;
use crate::model::{BuildRef, Direction};
use crate::qemu;
use crate::qemu::machine::ProfileCpu;
use crate::qemu::{BuildArg, Means, NoCommonMachine, Pair, QemuError, machine};
use crate::report::{
    Coverage, Described, LevelOverride, Notice, NoticeKind, Report, Sought, Swept, notices_of,
};
use crate::rules::catalogue;
use crate::rules::known_issues::{KnownIssues, Scope};
use crate::sweep::assessment::Assessment;
use crate::sweep::case_id::is_of_group;
use crate::sweep::catalogue::{Only, in_guests};
use crate::sweep::findings;
use crate::sweep::findings::Forecast;
use crate::sweep::selection::Machines::{Named, Usual, Versioned};
use crate::sweep::selection::{MachineSelection, ResolvedMachines, UnavailableMachine, resolve};
use crate::sweep::target;
use crate::sweep::target::{SweepTarget, is_part_of};
use crate::sweep::{MachineResult, Options, Packing, SweepEvent, merge};
use crate::vmstate::dump::Dump;

/// Moves every device type that both builds have, on every machine asked for.
///
/// The report has a case for every device type and direction, the reason why a type was left out of all
/// guests, and how much of the machines' sections was sent.
///
/// This blocks until it is done, for seconds to many minutes. The guests are children of this process;
/// none is left when it returns.
///
/// # Errors
/// A build does not start, is for another architecture or does not answer, a list is malformed, or the
/// call is made inside a runtime. Of several architectures, one for which there is no build is no error,
/// but a case of the report. Where coverage is required, a build that writes no dump is an error.
pub fn sweep(config: &SweepConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    let mut config = config.clone();
    let case = config.case.clone();
    let policy = &mut config.judging.policy;
    one_case::narrow(case.as_ref(), &mut config.builds, policy);
    run(&config, progress).map_err(|error| one_case::error(case.as_ref(), error))
}

fn run(config: &SweepConfig, progress: &dyn Progress) -> Result<Outcome, Error> {
    outside_runtime()?;
    let mut recalled = Recalled::read(&config.memory)?;
    let logs = LogFolder::new(config.logs.as_deref())?;
    let lists = load_lists(&config.judging.lists)?;
    recalled.hold(&lists, &[])?;
    let options = Options {
        directions: config.builds.directions.clone(),
        packing: if config.one_by_one {
            Packing::OneByOne
        } else {
            Packing::Packed
        },
        only: match &config.case {
            // A group of devices is found among all of them.
            Some(case) if !is_of_group(case) => Only::new(&[case.subject().to_owned()]),
            _ => Only::new(&config.only),
        },
        exclude: config.judging.policy.exclude.clone(),
        shard: config.shard,
    };
    let opened = Opened::open(config, progress)?;
    let first = opened.builds.first();
    let fingerprints = first.map(|builds| builds.pair.fingerprints());
    let mut sites = Sites::prepare(config, &options, &opened, &lists, logs.path())?;
    let results = sites.sweep(config, &options, progress)?;
    let report = sites.into_report(config, &options, &opened, &lists, results);
    let outcome = recalled.conclude(
        report,
        config.judging.policy.clone(),
        memory::Means {
            sought: Sought::with_dumps(&options.directions).among(config.only.iter().cloned()),
            lists: Some(&lists),
            builds: fingerprints,
        },
    );
    logs.keep();
    Ok(outcome)
}

/// Two builds for one architecture, and their machines to sweep.
struct Builds {
    pair: Pair,
    machines: Vec<String>,
    /// One dump of each build: the device types in it do not depend on the machine.
    dumps: Option<(Arc<Dump>, Arc<Dump>)>,
}

impl Builds {
    fn scope<'t>(&'t self, lists: &'t KnownIssues, machine: &'t str) -> Scope<'t> {
        Scope {
            lists,
            old: Some(self.pair.old.info.version),
            new: Some(self.pair.new.info.version),
            machine: Some(machine),
            any_machine: false,
        }
    }
}

/// Everything that is asked for, as far as it is available.
struct Opened {
    /// The builds as a report names them, of the first architecture.
    old: BuildRef,
    new: BuildRef,
    builds: Vec<Builds>,
    unavailable: Vec<UnavailableMachine>,
    notices: Vec<Notice>,
}

impl Opened {
    /// Opens the builds for each architecture that is asked for.
    fn open(config: &SweepConfig, progress: &dyn Progress) -> Result<Opened, Error> {
        let (old, new) = (
            qemu::parse(&config.builds.old)?,
            qemu::parse(&config.builds.new)?,
        );
        let selection = MachineSelection {
            machines: config.machines.names.clone(),
            architectures: config.machines.architectures.clone(),
            all_machines: config.machines.all_machines,
            all_architectures: config.machines.all_architectures,
        };
        let mut builds = Vec::new();
        let mut unavailable = Vec::new();
        let mut notices = Vec::new();
        let mut first = None;
        let required = config.judging.policy.required_coverage.is_some();
        for asked in selection.by_architecture() {
            let wanted = asked.architecture.as_deref();
            let means = Means {
                architecture: machine::architecture(wanted, None).to_owned(),
                cache: config.builds.cache.clone(),
                watcher: &|event| progress.event(Event::Fetch(event)),
                lists_drivers: true,
            };
            match pair(&old, &new, wanted, &means) {
                Ok(pair) => {
                    let ResolvedMachines {
                        machines,
                        unavailable: lacking,
                    } = resolve(&asked.machines, &pair);
                    unavailable.extend(lacking);
                    let dumps = match of_first(&pair, &machines) {
                        Some(Err(error)) if required => return Err(error.into()),
                        // Guests that can be moved are worth more than predictions.
                        Some(Err(error)) => {
                            let kind = NoticeKind::DumpsMissing;
                            notices.push(Notice::new(kind, pair.arch(), error));
                            None
                        }
                        Some(Ok(dumps)) => Some((Arc::new(dumps.old.1), Arc::new(dumps.new.1))),
                        None => None,
                    };
                    builds.push(Builds {
                        pair,
                        machines,
                        dumps,
                    });
                }
                Err(error @ Error::Untestable(_)) => {
                    unavailable.push(UnavailableMachine {
                        architecture: means.architecture,
                        machine: asked.machines.to_string(),
                        reason: error.to_string(),
                        unknown: None,
                    });
                    first = first.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = unknown_machine(&selection, &unavailable) {
            return Err(QemuError::from(error).into());
        }
        names::check_only(&config.only, builds.iter().map(|of| &of.pair))?;
        match (builds.first(), first) {
            (Some(Builds { pair, .. }), _) => Ok(Opened {
                old: pair.old.reference(),
                new: pair.new.reference(),
                builds,
                unavailable,
                notices,
            }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Problem::NoBuild.into()),
        }
    }
}

/// Returns why a requested machine exists on none of its architectures, if there is such a machine.
fn unknown_machine(
    selection: &MachineSelection,
    unavailable: &[UnavailableMachine],
) -> Option<NoCommonMachine> {
    let asked = selection.by_architecture();
    let mut unknown = unavailable.iter().filter(|one| one.unknown.is_some());
    let everywhere = |one: &&UnavailableMachine| {
        let on = asked.iter().filter(|of| match &of.machines {
            Named(names) => names.contains(&one.machine),
            Usual | Versioned => false,
        });
        let same =
            |other: &&UnavailableMachine| other.unknown.is_some() && other.machine == one.machine;
        on.count() == unavailable.iter().filter(same).count()
    };
    unknown.find(everywhere)?.unknown.clone()
}

/// Has the builds write their dumps for the first machine, if there is one.
fn of_first(pair: &Pair, machines: &[String]) -> Option<Result<Dumps, ObtainError>> {
    let machine = machines.first()?;
    Some(dumps(pair, Some(machine.clone())))
}

/// Opens both builds for an architecture, where one is wanted.
fn pair(
    old: &BuildArg,
    new: &BuildArg,
    wanted: Option<&str>,
    means: &Means<'_>,
) -> Result<Pair, Error> {
    let pair = Pair::open(old, new, means)?;
    match wanted.filter(|wanted| *wanted != pair.arch()) {
        None => Ok(pair),
        Some(wanted) => Err(Problem::OtherTarget {
            label: pair.old.build.label().to_owned(),
            target: pair.arch().to_owned(),
            wanted: wanted.to_owned(),
        }
        .into()),
    }
}

/// The machines of all builds, each with what is known of it.
struct Sites<'t> {
    targets: Vec<SweepTarget>,
    assessments: Vec<Assessment<'t>>,
    /// The builds of each machine.
    owners: Vec<&'t Builds>,
    notices: Vec<Notice>,
}

impl<'t> Sites<'t> {
    /// Makes all machines ready to be swept, and compares their dumps.
    fn prepare(
        config: &'t SweepConfig,
        options: &'t Options,
        opened: &'t Opened,
        lists: &'t KnownIssues,
        logs: &Path,
    ) -> Result<Sites<'t>, Error> {
        let levels = &config.judging.policy.levels;
        let directions = &options.directions;
        let mut sites = Sites {
            targets: Vec::new(),
            assessments: Vec::new(),
            owners: Vec::new(),
            notices: opened.notices.clone(),
        };
        for builds in &opened.builds {
            let targets = targets(config, options, builds, lists, logs)?;
            for (mut target, machine) in targets.into_iter().zip(&builds.machines) {
                let scope = builds.scope(lists, machine);
                // A device that only a user plugs in is in no guest, unless it was asked for or is a part of one
                // that is.
                let only = &options.only;
                let plugged = target.config.old.drivers.as_ref();
                let in_guests = LazyCell::new(|| in_guests(&target.config, only));
                let concerns = |name: &str| {
                    only.covers(name)
                        || plugged.is_none_or(|all| !all.contains(name))
                        || in_guests.iter().any(|driver| is_part_of(name, driver))
                };
                let dumps = builds.dumps.clone();
                let assessment = Assessment::of_dumps(scope, levels, directions, dumps, concerns);
                target.forecast = assessment.forecast();
                sites.targets.push(target);
                sites.assessments.push(assessment);
                sites.owners.push(builds);
            }
        }
        Ok(sites)
    }

    /// Sweeps all machines, and explains what failed.
    fn sweep(
        &mut self,
        config: &SweepConfig,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Vec<MachineResult>, Error> {
        let Sites {
            targets,
            assessments,
            notices,
            owners,
        } = self;
        let mut done = 0;
        let jobs = jobs(config.jobs);
        let mut results = crate::sweep::sweep(targets, options, jobs, |event| match event {
            SweepEvent::Sent { target, sent } => assessments[target].compare_streams(&sent),
            SweepEvent::Done(result) => {
                done += 1;
                progress.event(Event::MachineSwept {
                    done,
                    of: targets.len(),
                    swept: &result.swept,
                    cases: &result.cases,
                });
            }
        })?;
        let mut defaults = Vec::new();
        for (target, builds) in targets.iter().zip(owners) {
            let family = target.device_family(DEFAULTS);
            let settled = match family.is_in(options.shard) {
                true => {
                    let config = &target.config;
                    let cpus = builds.pair.other_default_cpu(&config.machine);
                    let asked = defaults::ask(config);
                    let name = |direction| Some(family.case(direction).to_string());
                    defaults::settle(config, asked, cpus, &options.directions, jobs, name)?
                }
                false => Defaults::default(),
            };
            defaults.push(settled);
        }
        for ((assessment, target), (result, settled)) in assessments
            .iter_mut()
            .zip(targets)
            .zip(results.iter_mut().zip(defaults))
        {
            notices.extend(settled.notice);
            assessment.absorb(settled.findings);
            result.cases.extend(settled.cases);
            result.observed.extend(settled.observed);
            if let Err(error) = assessment.conclude(target, result) {
                let kind = NoticeKind::FailuresNotExplained;
                notices.push(Notice::new(kind, &*target.config.machine, error));
            }
            defaults::explain(&mut result.cases);
        }
        Ok(results)
    }

    /// Puts everything into a report, which has no verdict yet.
    fn into_report(
        self,
        config: &SweepConfig,
        options: &Options,
        opened: &Opened,
        lists: &KnownIssues,
        results: Vec<MachineResult>,
    ) -> Report {
        let coverage = self.coverage(&results, &options.directions);
        let mut planned = Vec::new();
        let mut cases = Vec::new();
        for machine in &opened.unavailable {
            for &direction in &options.directions {
                let id = machine.case_id(Transport::default(), direction);
                if id.family.is_in(options.shard) {
                    cases.push(machine.case(&id));
                }
                planned.push(id);
            }
        }
        let mut swept = Vec::new();
        for result in results {
            planned.extend(result.planned);
            cases.extend(result.cases);
            swept.push(result.swept);
        }
        merge::order(&mut cases);
        let mut notices = self.notices;
        notices.extend(notices_of(&cases));
        notices.extend(nothing_tried(&swept, &config.only));
        let machine = match (self.targets.as_slice(), opened.unavailable.as_slice()) {
            ([one], []) => Some(one.config.machine.clone()),
            _ => None,
        };
        let described = self.assessments.iter().filter_map(Assessment::described);
        let described = Described::join(described);
        let architectures = opened.builds.len();
        let names = self.targets.iter().map(|target| target.name(architectures));
        let judged = self.assessments.into_iter().map(Assessment::into_findings);
        let findings = findings::join(names.zip(judged).collect());
        let shard = options
            .shard
            .map(|shard| shard.reference(planned, as_typed(config, lists)));
        Report {
            rules: catalogue::texts(&findings, &cases),
            findings,
            cases,
            swept,
            shard,
            coverage,
            described,
            notices,
            ..Report::new(opened.old.clone(), opened.new.clone(), machine)
        }
    }

    /// Counts how much of the sections that the builds know was sent, on all machines together.
    fn coverage(&self, results: &[MachineResult], directions: &[Direction]) -> Option<Coverage> {
        let of = |(owner, result): (&&Builds, &MachineResult)| {
            let (old, new) = owner.dumps.as_ref()?;
            Some(cover(
                [old, new],
                &result.observed,
                &result.reach,
                directions,
            ))
        };
        let all: Vec<Coverage> = self.owners.iter().zip(results).filter_map(of).collect();
        join(&all)
    }
}

/// Returns the machines of two builds, ready to be swept.
fn targets(
    config: &SweepConfig,
    options: &Options,
    builds: &Builds,
    lists: &KnownIssues,
    logs: &Path,
) -> Result<Vec<SweepTarget>, Error> {
    if builds.machines.is_empty() {
        return Ok(Vec::new());
    }
    let (mut old, mut new) = Endpoint::both(&builds.pair);
    if let Some((of_old, of_new)) = &builds.dumps {
        old.dump = Some(Arc::clone(of_old));
        new.dump = Some(Arc::clone(of_new));
    }
    let arch = builds.pair.arch();
    let configured = |name: &String| MigrationConfig {
        old: old.clone(),
        new: new.clone(),
        machine: name.clone(),
        arch: arch.to_owned(),
        board: None,
        role_args: Default::default(),
        cpu: None,
        profile_cpu: ProfileCpu::Given,
        transport: Transport::default(),
        capabilities: Vec::new(),
        running: false,
        linux: None,
        driving: None,
        saved: SavedGuests::default(),
        loops: None,
        retries: 0,
        repeat: 0,
        plain_boots: PlainBoots::default(),
        timeouts: Timeouts {
            leg: config.timeout,
            ..Timeouts::default()
        },
        logs: logs.to_owned(),
        names: Names::of(&builds.scope(lists, name), arch),
    };
    let configs: Vec<MigrationConfig> = builds.machines.iter().map(configured).collect();
    let facts = target::facts(&configs, &options.only, &target::VIRTIO_PROXIES)?;
    let target = |config: MigrationConfig| SweepTarget {
        label: target::label(arch, &config.machine, &builds.machines),
        properties: facts.properties.clone(),
        virtio: facts.derived.clone(),
        forecast: Forecast::default(),
        config,
    };
    Ok(configs.into_iter().map(target).collect())
}

/// Returns the notice that every device type which `--only` selects is left out, if that is so: the machines alone
/// say nothing of what was asked.
fn nothing_tried(swept: &[Swept], only: &[String]) -> Option<Notice> {
    let is_idle = |of: &Swept| of.exercised == 0 && of.left_out.len() >= of.shared;
    if only.is_empty() || swept.is_empty() || !swept.iter().all(is_idle) {
        return None;
    }
    let left_out = swept.iter().flat_map(|of| &of.left_out);
    let why = left_out.map(|left| format!("{}: {}", left.device, left.reason));
    let why: BTreeSet<String> = why.collect();
    let why: Vec<String> = why.into_iter().collect();
    let kind = NoticeKind::NothingTried;
    Some(Notice::new(kind, only.join(", "), why.join("; ")))
}

/// The options that influence the results, as one would type them; of lists, what is in them.
fn as_typed(config: &SweepConfig, lists: &KnownIssues) -> Vec<String> {
    let repeated = |option: &str, values: &[String]| -> Vec<String> {
        let typed = values.iter().map(|value| format!("{option} {value}"));
        typed.collect()
    };
    let direction = match config.builds.directions.as_slice() {
        [only] => only.to_string(),
        _ => "both".to_owned(),
    };
    let mut options = vec![
        format!("--direction {direction}"),
        format!("--timeout {}", config.timeout.as_secs()),
    ];
    options.extend(lists.fingerprint().map(|of| format!("--lists {of}")));
    options.extend(repeated("-M", &config.machines.names));
    options.extend(repeated("--arch", &config.machines.architectures));
    options.extend(repeated("--only", &config.only));
    let policy = &config.judging.policy;
    let excluded: Vec<String> = policy.exclude.iter().map(|of| of.cases.clone()).collect();
    options.extend(repeated("--exclude", &excluded));
    for (&rule, level) in &policy.levels {
        let option = match level {
            LevelOverride::Deny => "--deny",
            LevelOverride::Warn => "--warn",
            LevelOverride::Allow => "--allow",
        };
        options.push(format!("{option} {rule}"));
    }
    let flags = [
        ("--strict", policy.strict),
        ("--all-machines", config.machines.all_machines),
        ("--all-arches", config.machines.all_architectures),
        ("--one-by-one", config.one_by_one),
    ];
    let given = flags.into_iter().filter(|(_, given)| *given);
    options.extend(given.map(|(flag, _)| flag.to_owned()));
    options
}

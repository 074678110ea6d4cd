//! The machines that are swept, from their dumps to their part of the report.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::path::Path;

use crate::api::config::{SecondPass as Pass, SweepConfig};
use crate::api::dumps::{endpoints, paired_notice};
use crate::api::error::Error;
use crate::api::found::Found;
use crate::api::progress::{Event, Progress};
use crate::api::sweep::opened::{Builds, Opened};
use crate::api::{confinement, defaults, firmware, lone_types, other_boards};
use crate::migration::accelerator::choose;
use crate::migration::channel::transport::Transport;
use crate::migration::checks::state::Names;
use crate::migration::config::MigrationConfig;
use crate::migration::coverage::{cover, join};
use crate::migration::default_devices::DEFAULTS;
use crate::migration::diagnosis::cpu_models::{ComparedModels, compare_models};
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::timeouts::Timeouts;
use crate::model::{AcceleratorPreference, Direction, joined};
use crate::parallel::each;
use crate::qemu::block_on;
use crate::qemu::machine::Machines;
use crate::report::{
    AcceleratorUsed, Coverage, Described, Notice, NoticeKind, Report, Swept, by_reason, notices_of,
};
use crate::rules::catalogue;
use crate::rules::known_issues::KnownIssues;
use crate::sweep::assessment::Assessment;
use crate::sweep::catalogue::in_guests;
use crate::sweep::findings::{self, Forecast};
use crate::sweep::selection::AvailableMachine;
use crate::sweep::target::{self, BuildTypes, Naming, SecondPass, SweepTarget};
use crate::sweep::{MachineResult, Options, SweepEvent, merge};
use crate::vmstate::senders::is_part_of;

/// The machines of all builds, each with what is known of it.
pub(crate) struct Sites<'t> {
    targets: Vec<SweepTarget>,
    assessments: Vec<Assessment<'t>>,
    /// The builds of each machine.
    owners: Vec<&'t Builds>,
    accelerators: Vec<AcceleratorUsed>,
    notices: Vec<Notice>,
}

impl<'t> Sites<'t> {
    /// Makes all machines ready to be swept, and compares their dumps.
    pub(crate) fn prepare(
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
            accelerators: Vec::new(),
            notices: opened.notices.clone(),
        };
        for builds in &opened.builds {
            let of_firmware = firmware::notices([&builds.pair.old, &builds.pair.new]);
            sites.notices.extend(of_firmware);
            let ready = targets(config, options, builds, lists, logs)?;
            let used = ready.accelerator;
            sites
                .notices
                .extend(used.iter().flat_map(AcceleratorUsed::notices));
            sites.accelerators.extend(used);
            for (mut target, machine) in ready.targets.into_iter().zip(&builds.machines) {
                let name = target.name(opened.builds.len());
                let cannot = options
                    .second
                    .iter()
                    .filter(|pass| target.at_work(pass).is_none());
                sites.notices.extend(cannot.map(|pass| match pass {
                    SecondPass::Driven(_) => {
                        let why = "nothing says where its buses are";
                        NoticeKind::NotDrivable.about(&*name, why)
                    }
                    SecondPass::Linux(_) => {
                        let why = format!("there is no Linux guest for {}", target.config.arch);
                        NoticeKind::NoLinux.about(&*name, why)
                    }
                }));
                let types = &machine.types;
                let paired = types.are_paired().then(|| paired_notice(types));
                sites.notices.extend(paired);
                let scope = builds.scope(lists, &machine.name);
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
                let mut assessment =
                    Assessment::of_dumps(scope, levels, directions, dumps, concerns);
                lone_types::tell_apart_by(&ready.types, assessment.findings());
                target.forecast = assessment.forecast();
                sites.targets.push(target);
                sites.assessments.push(assessment);
                sites.owners.push(builds);
            }
        }
        Ok(sites)
    }

    /// Returns the labels of the builds that the machines are of.
    fn labels(&self) -> Option<[&str; 2]> {
        let pair = &self.owners.first()?.pair;
        Some([pair.old.build.label(), pair.new.build.label()])
    }

    /// Tries each machine as both builds make it by themselves, so many guests at a time, and explains what failed.
    fn conclude(
        &mut self,
        results: &mut [MachineResult],
        options: &Options,
        jobs: usize,
    ) -> Result<(), Error> {
        let Sites {
            targets,
            assessments,
            notices,
            owners,
            accelerators: _,
        } = self;
        let lists = assessments.first().map(Assessment::lists);
        let models = each(jobs, targets.iter().collect(), |target: &SweepTarget| {
            let lists = lists.filter(|_| target.device_family(DEFAULTS).is_in(options.shard))?;
            let (config, only) = (&target.config, &options.only);
            let compared =
                compare_models(config, &options.directions, lists, |name| only.covers(name));
            Some(block_on(compared).unwrap_or_else(|error| Err(error.to_string())))
        });
        let machines = targets.iter().zip(owners.iter());
        let judged = assessments.iter_mut().zip(results);
        for (((target, builds), (assessment, result)), models) in machines.zip(judged).zip(models) {
            let family = target.device_family(DEFAULTS);
            let by_default = LazyCell::new(|| defaults::ask(&target.config));
            let settled = match family.is_in(options.shard) {
                true => {
                    let config = &target.config;
                    let cpus = builds.pair.other_default_cpu(&config.types());
                    let name = |direction| Some(family.case(direction).to_string());
                    let means = (jobs, assessment.lists());
                    defaults::settle(config, &by_default, cpus, &options.directions, means, name)?
                }
                false => Found::default(),
            };
            match models {
                Some(Ok(ComparedModels { models, findings })) => {
                    result.swept.cpu_models_compared = models;
                    assessment.absorb(findings);
                }
                Some(Err(why)) => {
                    let machine = &*target.config.machines;
                    notices.push(NoticeKind::CpuModelsNotCompared.about(machine, why));
                }
                None => {}
            }
            notices.extend(settled.notices);
            assessment.absorb(settled.findings);
            result.cases.extend(settled.cases);
            result.observed.extend(settled.observed);
            let by_default = || by_default.as_ref().ok();
            other_boards::rule_out(&target.config, by_default, assessment.findings());
            if let Err(error) = assessment.conclude(target, result) {
                notices
                    .push(NoticeKind::FailuresNotExplained.about(&*target.config.machines, error));
            }
            defaults::explain(&mut result.cases, assessment.findings());
        }
        Ok(())
    }

    /// Puts everything into a report, which has no verdict yet.
    pub(crate) fn into_report(
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
        let mut notices = self.notices;
        for (target, result) in self.targets.iter().zip(results) {
            let no_linux = result.no_linux.iter();
            let name = target.name(opened.builds.len());
            notices.extend(no_linux.map(|why| NoticeKind::NoLinux.about(&*name, why)));
            planned.extend(result.planned);
            cases.extend(result.cases);
            swept.push(result.swept);
        }
        merge::order(&mut cases);
        notices.extend(by_reason(notices_of(&cases)));
        notices.extend(nothing_tried(&swept, &config.only));
        let machine = match (self.targets.as_slice(), opened.unavailable.as_slice()) {
            ([one], []) => Some(one.config.machines.clone()),
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
        let pairs = opened.builds.iter().map(|builds| &builds.pair);
        let confinement = confinement::of_pairs(pairs);
        Report {
            rules: catalogue::texts(&findings, &cases),
            findings,
            cases,
            swept,
            shard,
            coverage,
            described,
            accelerators: self.accelerators,
            confinement,
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

/// Sweeps the machines of all pairs of builds at once, so many guests at a time, and explains what failed. The
/// results are by pair.
///
/// # Errors
/// The system gives no runtime.
pub(crate) fn sweep_all(
    sites: &mut [Sites<'_>],
    options: &Options,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Vec<Vec<MachineResult>>, Error> {
    let mut targets = Vec::new();
    // The pair of each target, and its place among the pair's.
    let mut places = Vec::new();
    for (pair, site) in sites.iter_mut().enumerate() {
        places.extend((0..site.targets.len()).map(|at| (pair, at)));
        targets.append(&mut site.targets);
    }
    let several = sites.len() > 1;
    let mut done = 0;
    let swept = crate::sweep::sweep(&targets, options, jobs, |event| match event {
        SweepEvent::Sent { target, sent } => {
            if let Some(&(pair, at)) = places.get(target) {
                sites[pair].assessments[at].compare_streams(&sent);
            }
        }
        SweepEvent::Advanced {
            target,
            advance,
            decided,
        } => {
            if let Some(of) = targets.get(target) {
                progress.event(Event::SweepAdvanced {
                    number: target,
                    machine: &of.config.machines,
                    advance,
                    decided,
                });
            }
        }
        SweepEvent::Done { target, result } => {
            done += 1;
            let pair = places.get(target).map(|&(pair, _)| pair);
            let site = pair.and_then(|pair| sites.get(pair));
            progress.event(Event::MachineSwept {
                done,
                of: targets.len(),
                between: site.filter(|_| several).and_then(Sites::labels),
                swept: &result.swept,
                cases: &result.cases,
            });
        }
    })?;
    let mut results: Vec<Vec<MachineResult>> = sites.iter().map(|_| Vec::new()).collect();
    for (((pair, _), target), result) in places.into_iter().zip(targets).zip(swept) {
        sites[pair].targets.push(target);
        results[pair].push(result);
    }
    let work: Vec<_> = sites.iter_mut().zip(&mut results).collect();
    // Pairs take turns, or else the guests of the only one do.
    let guests = if several { 1 } else { jobs };
    let concluded = each(jobs, work, |(site, results)| {
        site.conclude(results, options, guests)
    });
    concluded.into_iter().collect::<Result<Vec<()>, Error>>()?;
    Ok(results)
}

/// The machines of two builds, ready to be swept.
#[derive(Default)]
struct Ready {
    targets: Vec<SweepTarget>,
    types: BuildTypes,
    /// The accelerator of their guests.
    accelerator: Option<AcceleratorUsed>,
}

/// Gets the machines of two builds ready.
fn targets(
    config: &SweepConfig,
    options: &Options,
    builds: &Builds,
    lists: &KnownIssues,
    logs: &Path,
) -> Result<Ready, Error> {
    let arch = builds.pair.arch();
    let both = endpoints(&builds.pair, builds.dumps.as_ref());
    let configured = |machine: &AvailableMachine| MigrationConfig {
        timeouts: Timeouts {
            leg: config.timeout,
            ..Timeouts::default()
        },
        ..MigrationConfig::paused(
            Endpoint::with_types(both.clone(), &machine.types),
            machine.types.old.clone(),
            arch.to_owned(),
            logs.to_owned(),
            Names::of(&builds.scope(lists, &machine.name), arch),
        )
    };
    let (is_one, case) = (config.machines.names.len() == 1, config.case.as_ref());
    let mut configs: Vec<MigrationConfig> = builds.machines.iter().map(configured).collect();
    let Some(first) = configs.first_mut() else {
        return Ok(Ready::default());
    };
    let used = choose(first, &config.accelerators)?;
    for config in &mut configs {
        config.accelerate(used.accelerator);
    }
    let facts = target::facts(&configs, &options.only, &target::VIRTIO_PROXIES)?;
    let all: Vec<&Machines> = builds.machines.iter().map(|of| &of.types).collect();
    let naming = Naming {
        all: &all,
        is_one,
        case,
    };
    let target = |config: MigrationConfig| SweepTarget {
        label: target::label(arch, &config.types(), naming),
        properties: facts.properties.clone(),
        virtio: facts.derived.clone(),
        forecast: Forecast::default(),
        config,
    };
    Ok(Ready {
        targets: configs.into_iter().map(target).collect(),
        types: facts.types,
        accelerator: Some(used),
    })
}

/// The options that influence the results, as one would type them; of lists, what is in them.
pub(crate) fn as_typed(config: &SweepConfig, lists: &KnownIssues) -> Vec<String> {
    let direction = match config.builds.directions.as_slice() {
        [only] => only.to_string(),
        _ => "both".to_owned(),
    };
    let mut options = vec![
        format!("--direction {direction}"),
        format!("--timeout {}", config.timeout.as_secs()),
    ];
    if config.accelerators != AcceleratorPreference::default() {
        options.push(format!("--accel {}", config.accelerators));
    }
    options.extend(lists.fingerprint().map(|of| format!("--lists {of}")));
    let policy = &config.judging.policy;
    let excluded: Vec<String> = policy.exclude.iter().map(|of| of.cases.clone()).collect();
    for (option, values) in [
        ("-M", &config.machines.names),
        ("--arch", &config.machines.architectures),
        ("--only", &config.only),
        ("--exclude", &excluded),
    ] {
        options.extend(values.iter().map(|value| format!("{option} {value}")));
    }
    let levels = policy.levels.iter();
    options.extend(levels.map(|(rule, level)| format!("--{level} {rule}")));
    let flags = [
        ("--strict", policy.strict),
        ("--all-machines", config.machines.all_machines),
        ("--all-arches", config.machines.all_architectures),
        ("--one-by-one", config.one_by_one),
        ("--driven", config.second.contains(&Pass::Driven)),
        ("--workload linux", config.second.contains(&Pass::Linux)),
    ];
    let given = flags.into_iter().filter(|(_, given)| *given);
    options.extend(given.map(|(flag, _)| flag.to_owned()));
    options
}

/// Returns the notice that every device type which `--only` selects is left out, if that is so, and no CPU model is selected: the
/// machines alone say nothing of what was asked.
fn nothing_tried(swept: &[Swept], only: &[String]) -> Option<Notice> {
    let is_idle = |of: &Swept| {
        of.exercised == 0 && of.left_out.len() >= of.shared && of.cpu_models_compared == 0
    };
    if only.is_empty() || swept.is_empty() || !swept.iter().all(is_idle) {
        return None;
    }
    let left_out = swept.iter().flat_map(|of| &of.left_out);
    let why = left_out.map(|left| format!("{}: {}", left.device, left.reason));
    let why: BTreeSet<String> = why.collect();
    let why = joined(why, "; ");
    Some(NoticeKind::NothingTried.about(only.join(", "), why))
}

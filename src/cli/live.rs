//! `migcompat live`: guests that move between two builds.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::api::dumps::dumps;
use crate::cli::args::{LiveArgs, MigrationArgs, PairArgs};
use crate::cli::board::ProgressDisplay;
use crate::cli::logs::LogFolder;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, output, static_};
use crate::devices::{DeviceError, DeviceSet};
use crate::migration::batch;
use crate::migration::batch::RunFailure;
use crate::migration::checks::state::Names;
use crate::migration::config::{CaseSpec, MigrationConfig, Part, Timeouts};
use crate::migration::coverage::Observed;
use crate::migration::diagnosis::cause::link;
use crate::migration::diagnosis::layouts;
use crate::migration::diagnosis::properties;
use crate::migration::diagnosis::properties::{Senders, suspect};
use crate::migration::endpoint::vm::Endpoint;
use crate::model::Direction;
use crate::qemu;
use crate::qemu::{Means, Pair, PairError, Progress, QemuError, machine};
use crate::report::{Case, Described, Finding, Report};
use crate::rules::catalogue;
use crate::rules::judge::{LevelOverrides, judge};
use crate::rules::lists::Scope;
use crate::vmstate::dump::Dump;
use crate::workload;

/// The set of a run that asks for none.
const DEFAULT_SET: &str = "default";

impl From<PairError> for Failure {
    fn from(error: PairError) -> Self {
        if error.is_usage() {
            Failure::usage(error)
        } else {
            Failure::untestable(error)
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Failure::usage(error)
    }
}

impl From<RunFailure> for Failure {
    fn from(error: RunFailure) -> Self {
        match error {
            error @ RunFailure::Runtime(_) => Failure::untestable(error),
        }
    }
}

pub(crate) fn run(args: &LiveArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let logs = LogFolder::new(args.migration.keep_logs.as_deref())?;
    let (pair, machine) = open(&args.pair, args.output.quiet)?;
    let sets = device_sets(&args.migration, pair.arch())?;
    let (old, new) = (pair.old.reference(), pair.new.reference());
    let directions = args.pair.direction.list();
    let lists = static_::read_lists(&args.rules)?;
    let scope = Scope {
        lists: &lists,
        old: old.version,
        new: new.version,
        machine: Some(&machine),
        any_machine: false,
    };
    let mut moved = migrate(
        &pair,
        &scope,
        &sets,
        directions,
        &Guests {
            args: &args.migration,
            running: !args.migration.paused,
            quiet: args.output.quiet,
            logs: logs.path(),
        },
    )?;
    let mut findings = Vec::new();
    let mut described = None;
    // The dumps say which device sends a section, and tell more of its fields. A build that cannot dump
    // leaves the cases as they are.
    match dumps(&pair, Some(machine.clone())) {
        Ok(dumps) => {
            let wishes = LevelOverrides::new();
            let both = (&dumps.old.1, &dumps.new.1);
            let judged = (&scope, &wishes);
            described = compare_sent(&moved, &sets, directions, both, judged, &mut findings);
            if moved.cases.iter().any(|case| suspect(case).is_some()) {
                let senders = properties::senders(&[both.0, both.1]);
                explain(&mut moved, &senders, &scope, &wishes, &mut findings);
            }
        }
        Err(error) => eprintln!("what the builds send is not compared: {error}"),
    }
    for case in &mut moved.cases {
        let foreseen = link(case, &mut findings);
        case.allowed_by = scope.allows_case(case, foreseen);
        // Here a finding is what a case comes to, and no more than it.
        let confirmed = |finding: &&mut Finding| finding.confirmed_by.as_ref() == Some(&case.id);
        for finding in findings.iter_mut().filter(confirmed) {
            // A list may allow it for itself.
            if finding.allowed_by.is_none() {
                finding.allowed_by.clone_from(&case.allowed_by);
            }
        }
    }
    let rules = catalogue::texts(&findings, &moved.cases);
    let report = Report::of_findings(old, new, Some(machine.clone()), findings, rules, false)
        .with_cases(moved.cases, false);
    let report = Report {
        described,
        ..report
    };
    let exit = output::write_report(&report, target, &args.output, false)?;
    logs.keep();
    Ok(exit)
}

/// Both builds, for the machine that the arguments have to name.
pub(crate) fn open(args: &PairArgs, quiet: bool) -> Result<(Pair, String), Failure> {
    let wanted = args.build.machine.as_deref().ok_or_else(|| {
        Failure::usage(anyhow::anyhow!(
            "a migration needs a machine: give one with -M, for instance -M q35"
        ))
    })?;
    let means = Means {
        architecture: machine::architecture(args.build.arch.as_deref(), Some(wanted)).to_owned(),
        cache: args.build.cache.clone(),
        progress: Progress::auto(quiet),
    };
    let pair = Pair::open(&qemu::parse(&args.old)?, &qemu::parse(&args.new)?, &means)?;
    let machine = pair.machine(wanted).map_err(QemuError::from)?;
    Ok((pair, machine))
}

/// What the guests have: the sets asked for, and one more of single devices.
pub(crate) fn device_sets(args: &MigrationArgs, arch: &str) -> Result<Vec<DeviceSet>, Failure> {
    let mut sets = Vec::new();
    for name in &args.device_set {
        sets.extend(device_set(name)?.guests());
    }
    if !args.device.is_empty() {
        sets.push(DeviceSet::ad_hoc(&args.device, arch)?);
    }
    if sets.is_empty() {
        sets = DeviceSet::shipped(DEFAULT_SET)?.guests();
    }
    Ok(sets)
}

/// A shipped set, or one in a file.
fn device_set(name: &str) -> Result<DeviceSet, Failure> {
    if name.contains('/') || name.ends_with(".toml") {
        return Ok(DeviceSet::load(Path::new(name))?);
    }
    Ok(DeviceSet::shipped(name)?.clone())
}

/// How the guests of a run are moved.
pub(crate) struct Guests<'g> {
    pub args: &'g MigrationArgs,
    /// Whether they work meanwhile.
    pub running: bool,
    pub quiet: bool,
    /// Where the logs of cases that do not pass are kept.
    pub logs: &'g Path,
}

/// Cases that were run, and what they were run with.
pub(crate) struct Moved {
    pub cases: Vec<Case>,
    /// What was sent in them. `live` says nothing of it: it compares no dumps, so it does not know what
    /// there is.
    pub observed: Vec<Observed>,
    pub config: MigrationConfig,
    wanted: Vec<CaseSpec>,
}

/// Runs every set in every direction, or in a loop, on the machine of the scope.
pub(crate) fn migrate(
    pair: &Pair,
    scope: &Scope,
    sets: &[DeviceSet],
    directions: &[Direction],
    guests: &Guests,
) -> Result<Moved, Failure> {
    let Guests { args, quiet, .. } = *guests;
    let first = [args.first.direction()];
    let directions = if args.loops.is_some() {
        &first
    } else {
        directions
    };
    let wanted: Vec<CaseSpec> = sets
        .iter()
        .flat_map(|set| {
            directions.iter().map(|&direction| CaseSpec {
                set: set.clone(),
                direction,
                part: Part::Whole,
            })
        })
        .collect();
    let (old, new) = Endpoint::both(pair);
    let config = MigrationConfig {
        old,
        new,
        machine: scope.machine.unwrap_or_default().to_owned(),
        arch: pair.arch().to_owned(),
        cpu: args.cpu.clone(),
        transport: args.transport,
        capabilities: BTreeSet::from_iter(args.capability.iter().copied())
            .into_iter()
            .collect(),
        running: guests.running,
        loops: args.loops.map(usize::from),
        retries: args.retries.into(),
        timeouts: Timeouts {
            leg: Duration::from_secs(args.timeout),
            ..Timeouts::default()
        },
        logs: guests.logs.to_owned(),
        names: Names::of(scope, pair.arch()),
    };
    let jobs = args.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let board = ProgressDisplay::new(Progress::auto(quiet), wanted.len());
    let ran = batch::run(&config, &wanted, jobs, |subject, event| {
        board.tell(subject, event);
    });
    drop(board);
    let ran = ran?.into_iter().map(|ran| (ran.case, ran.observed));
    let (cases, observed) = ran.unzip();
    Ok(Moved {
        cases,
        observed,
        config,
        wanted,
    })
}

/// Looks for what the builds set up differently on the devices of failed cases.
pub(crate) fn explain(
    moved: &mut Moved,
    senders: &Senders,
    scope: &Scope,
    wishes: &LevelOverrides,
    findings: &mut Vec<Finding>,
) {
    let Moved {
        cases,
        config,
        wanted,
        ..
    } = moved;
    match properties::explain_all(config, wanted, cases, senders, scope.lists) {
        Ok(found) => properties::absorb(findings, judge(found, scope, wishes)),
        // The case has failed all the same, and says so.
        Err(error) => eprintln!("whether a property explains a failure is unknown: {error}"),
    }
}

/// Compares what both builds send of each set's machine, before it runs. How much of that the dumps
/// describe comes back.
pub(crate) fn compare_sent(
    moved: &Moved,
    sets: &[DeviceSet],
    directions: &[Direction],
    dumps: (&Dump, &Dump),
    (scope, wishes): (&Scope, &LevelOverrides),
    findings: &mut Vec<Finding>,
) -> Option<Described> {
    let mut described = Vec::new();
    for set in sets {
        let (old, new) = match layouts::streams(&moved.config, set) {
            Ok(streams) => streams,
            Err(error) => {
                let name = &set.name;
                eprintln!("what the builds send of {name} is not compared: {error}");
                continue;
            }
        };
        described.push(layouts::described((&old, &new), dumps));
        let cases = moved
            .cases
            .iter()
            .filter(|case| case.device_set == set.name);
        let cases: Vec<&Case> = cases.collect();
        let survived = |direction| layouts::survived(&cases, direction);
        let streams = (&old, &new);
        let found = layouts::findings(streams, dumps, directions, scope, findings, survived);
        properties::absorb(findings, judge(found, scope, wishes));
    }
    Described::join(described)
}

/// Whether a machine of this architecture has a guest to run in it.
pub(crate) fn has_guest(pair: &Pair) -> bool {
    workload::guest(pair.arch()).is_some()
}

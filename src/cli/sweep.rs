//! `migcompat sweep`: every device that both builds have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::api::dumps::dumps;
use crate::cli::args::SweepArgs;
use crate::cli::live::log_folder;
use crate::cli::static_::{load_lists, wishes};
use crate::cli::{Exit, Failure, output};
use crate::migration::channel::transport::Transport;
use crate::migration::checks::state::Names;
use crate::migration::config::{MigrationConfig, Timeouts};
use crate::migration::coverage::{cover, join};
use crate::migration::endpoint::vm::Endpoint;
use crate::qemu;
use crate::qemu::{BuildArg, Means, Pair, Progress, machine};
use crate::report::{Case, Coverage, Described, Outcome, Report};
use crate::rules::catalogue;
use crate::rules::lists::{Lists, Scope};
use crate::sweep::assessment::Assessment;
use crate::sweep::catalogue::Only;
use crate::sweep::findings;
use crate::sweep::findings::Forecast;
use crate::sweep::selection::{
    ArchitectureSelection, MachineSelection, Machines, ResolvedMachines, UnavailableMachine,
    resolve,
};
use crate::sweep::target;
use crate::sweep::target::SweepTarget;
use crate::sweep::{MachineResult, Options, Packing, SweepEvent, merge, sweep};
use crate::vmstate::dump::Dump;

pub(crate) fn run(args: &SweepArgs) -> Result<Exit, Failure> {
    let (old, new) = (qemu::parse(&args.old)?, qemu::parse(&args.new)?);
    let selection = MachineSelection {
        machines: args.machine.clone(),
        architectures: args.arch.clone(),
        all_machines: args.all_machines,
        all_architectures: args.all_arches,
    };
    let options = Options {
        directions: args.direction.list().to_vec(),
        packing: if args.one_by_one {
            Packing::OneByOne
        } else {
            Packing::Packed
        },
        only: Only(args.only.clone()),
        shard: args.shard,
    };
    let (logs, temporary) = log_folder(args.keep_logs.as_deref())?;
    let lists = load_lists(&args.judge)?;
    let wishes = wishes(&args.judge);
    let asked = selection.by_architecture();
    let (pairs, mut missing) = pairs(args, &asked, &old, &new)?;
    // Machines first: what is known of each borrows its name.
    let mut machines = Vec::new();
    for (asked, pair) in &pairs {
        let ResolvedMachines {
            machines: found,
            unavailable,
        } = resolve(&asked.machines, pair);
        missing.extend(unavailable);
        machines.push(found);
    }
    let mut targets = Vec::new();
    let mut assessments = Vec::new();
    // Of each target, its pair.
    let mut owners = Vec::new();
    // Of each pair, its dumps.
    let mut known = Vec::new();
    for (at, ((_, pair), machines)) in pairs.iter().zip(&machines).enumerate() {
        let Some(first) = machines.first() else {
            known.push(None);
            continue;
        };
        // What a build knows does not depend on the machine: one dump is for all of them.
        let dumps = match dumps(pair, Some(first.clone())) {
            Ok(dumps) => Some((Arc::new(dumps.old.1), Arc::new(dumps.new.1))),
            Err(error) if args.coverage.min_coverage.is_some() => return Err(error.into()),
            // What can be moved is worth more than what is known beforehand.
            Err(error) => {
                eprintln!("no dumps are compared and no coverage is told: {error}");
                None
            }
        };
        owners.extend(machines.iter().map(|_| at));
        let ready = prepare(
            args,
            pair,
            machines,
            &options,
            &logs,
            &lists,
            dumps.as_ref(),
        )?;
        for (mut target, machine) in ready.into_iter().zip(machines) {
            let scope = scope(&lists, pair, machine);
            let directions = &options.directions;
            // What a user plugs in, and nobody asked for, is in no guest.
            let only = &options.only;
            let plugged = target.config.old.drivers.as_ref();
            let concerns =
                |name: &str| only.covers(name) || plugged.is_none_or(|all| !all.contains(name));
            let dumps = dumps.clone();
            let assessment = Assessment::of_dumps(scope, &wishes, directions, dumps, concerns);
            target.forecast = assessment.forecast();
            targets.push(target);
            assessments.push(assessment);
        }
        known.push(dumps);
    }
    let jobs = args.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let total = targets.len();
    let mut done = 0;
    let found = sweep(&targets, &options, jobs, |event| match event {
        SweepEvent::Sent { target, sent } => assessments[target].compare_streams(&sent),
        SweepEvent::Done { target, result } => {
            done += 1;
            if !args.output.quiet {
                progress(done, total, &targets[target], result);
            }
        }
    });
    if temporary {
        // Stays where a case has left something in it.
        let _in_use = std::fs::remove_dir(&logs);
    }
    let mut found = found?;
    for ((assessment, target), found) in assessments.iter_mut().zip(&targets).zip(&mut found) {
        if let Err(error) = assessment.conclude(target, found) {
            eprintln!("whether a property explains a failure is unknown: {error}");
        }
    }

    let transport = Transport::default();
    let mut planned = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    for &direction in &options.directions {
        for machine in &missing {
            let id = machine.case_id(transport, direction);
            if id.family.is_in(args.shard) {
                cases.push(machine.case(transport, direction));
            }
            planned.push(id);
        }
    }
    let machine = match (targets.as_slice(), missing.as_slice()) {
        ([one], []) => Some(one.config.machine.clone()),
        _ => None,
    };
    let mut swept = Vec::new();
    let covered = coverage(&known, &owners, &found);
    for MachineResult {
        swept: of,
        cases: all,
        planned: ids,
        ..
    } in found
    {
        planned.extend(ids);
        cases.extend(all);
        swept.push(of);
    }
    merge::order(&mut cases);
    let Some((_, pair)) = pairs.first() else {
        return Err(Failure::untestable(anyhow::anyhow!("no build to sweep")));
    };
    let (old, new) = (pair.old.reference(), pair.new.reference());
    let described = Described::join(assessments.iter().filter_map(Assessment::described));
    let judged = assessments.into_iter().map(Assessment::into_findings);
    let names = targets.iter().map(|target| target.name(pairs.len()));
    let findings = findings::join(names.zip(judged).collect());
    let rules = catalogue::texts(&findings, &cases);
    let strict = args.judge.strict;
    let report = Report::of_findings(old, new, machine, findings, rules, strict);
    let shard = args
        .shard
        .map(|shard| shard.reference(planned, asked_for(args, &lists)));
    let mut report = Report {
        swept,
        shard,
        described,
        ..report
    }
    .with_cases(cases, strict);
    if let Some(coverage) = covered {
        report = report.with_coverage(Coverage {
            required: args.coverage.min_coverage,
            ..coverage
        });
    }
    output::write_report(&report, &args.output, strict)
}

/// What the lists say there.
fn scope<'l>(lists: &'l Lists, pair: &Pair, machine: &'l str) -> Scope<'l> {
    Scope {
        lists,
        old: Some(pair.old.info.version),
        new: Some(pair.new.info.version),
        machine: Some(machine),
        any_machine: false,
    }
}

/// What is known of wire forms by both builds of a pair.
type Dumps = (Arc<Dump>, Arc<Dump>);

/// How much of the sections that the builds know was sent, on all machines together.
fn coverage(
    known: &[Option<Dumps>],
    owners: &[usize],
    found: &[MachineResult],
) -> Option<Coverage> {
    let of = |(owner, found): (&usize, &MachineResult)| {
        let (old, new) = known.get(*owner)?.as_ref()?;
        Some(cover([old, new], &found.observed, &found.reach))
    };
    let all: Vec<Coverage> = owners.iter().zip(found).filter_map(of).collect();
    join(&all)
}

/// The options that bear on the results, as one would type them; of lists, what is in them.
fn asked_for(args: &SweepArgs, lists: &Lists) -> Vec<String> {
    let repeated = |option: &str, values: &[String]| -> Vec<String> {
        let typed = values.iter().map(|value| format!("{option} {value}"));
        typed.collect()
    };
    let direction = match args.direction.list() {
        [only] => only.to_string(),
        _ => "both".to_owned(),
    };
    let mut options = vec![
        format!("--direction {direction}"),
        format!("--timeout {}", args.timeout),
    ];
    options.extend(lists.fingerprint().map(|of| format!("--rules {of}")));
    options.extend(repeated("-M", &args.machine));
    options.extend(repeated("--arch", &args.arch));
    options.extend(repeated("--only", &args.only));
    for (option, rules) in [
        ("--deny", &args.judge.deny),
        ("--warn", &args.judge.warn),
        ("--allow", &args.judge.allow),
    ] {
        let ids: Vec<String> = rules.iter().map(|rule| rule.id().to_owned()).collect();
        options.extend(repeated(option, &ids));
    }
    let flags = [
        ("--strict", args.judge.strict),
        ("--all-machines", args.all_machines),
        ("--all-arches", args.all_arches),
        ("--one-by-one", args.one_by_one),
    ];
    let given = flags.into_iter().filter(|(_, given)| *given);
    options.extend(given.map(|(flag, _)| flag.to_owned()));
    options
}

/// What could be opened of what is asked for, and what could not.
type Opened<'a> = (
    Vec<(&'a ArchitectureSelection, Pair)>,
    Vec<UnavailableMachine>,
);

/// The builds for each architecture that is asked for. Of several, one that is not to be had is told
/// in the report.
fn pairs<'a>(
    args: &SweepArgs,
    asked: &'a [ArchitectureSelection],
    old: &BuildArg,
    new: &BuildArg,
) -> Result<Opened<'a>, Failure> {
    let mut pairs = Vec::new();
    let mut missing = Vec::new();
    let mut first = None;
    for asked in asked {
        let wanted = asked.architecture.as_deref();
        let means = Means {
            architecture: machine::architecture(wanted, None).to_owned(),
            cache: args.cache.clone(),
            progress: Progress::auto(args.output.quiet),
        };
        let error = match Pair::open(old, new, &means) {
            Ok(pair) => match wanted.filter(|wanted| *wanted != pair.arch()) {
                None => {
                    pairs.push((asked, pair));
                    continue;
                }
                Some(wanted) => Failure::usage(anyhow::anyhow!(
                    "{} is a build for {}, and {wanted} was asked for",
                    pair.old.build.label(),
                    pair.arch()
                )),
            },
            Err(error) => Failure::from(error),
        };
        if matches!(error, Failure::Usage(_)) {
            return Err(error);
        }
        let name = match &asked.machines {
            Machines::Named(names) => names.join(" "),
            Machines::Usual | Machines::Versioned => "none".to_owned(),
        };
        missing.push(UnavailableMachine {
            architecture: means.architecture,
            machine: name,
            reason: error.to_string(),
        });
        first = first.or(Some(error));
    }
    match first {
        Some(error) if pairs.is_empty() => Err(error),
        _ => Ok((pairs, missing)),
    }
}

/// The machines of one architecture, ready to be swept.
fn prepare(
    args: &SweepArgs,
    pair: &Pair,
    machines: &[String],
    options: &Options,
    logs: &Path,
    lists: &Lists,
    dumps: Option<&Dumps>,
) -> Result<Vec<SweepTarget>, Failure> {
    let (mut old, mut new) = Endpoint::both(pair);
    if let Some((of_old, of_new)) = dumps {
        old.dump = Some(Arc::clone(of_old));
        new.dump = Some(Arc::clone(of_new));
    }
    let arch = pair.arch();
    let config = |name: &String| MigrationConfig {
        old: old.clone(),
        new: new.clone(),
        machine: name.clone(),
        arch: arch.to_owned(),
        cpu: None,
        transport: Transport::default(),
        capabilities: Vec::new(),
        running: false,
        loops: None,
        retries: 0,
        timeouts: Timeouts {
            leg: Duration::from_secs(args.timeout),
            ..Timeouts::default()
        },
        logs: logs.to_owned(),
        names: Names::of(&scope(lists, pair, name), arch),
    };
    let configs: Vec<MigrationConfig> = machines.iter().map(config).collect();
    let properties = target::properties(&configs, &options.only)?;
    let target = |config: MigrationConfig| SweepTarget {
        label: target::label(arch, &config.machine, machines),
        properties: properties.clone(),
        forecast: Forecast::default(),
        config,
    };
    Ok(configs.into_iter().map(target).collect())
}

/// A line a machine, written at once.
fn progress(done: usize, total: usize, target: &SweepTarget, found: &MachineResult) {
    let swept = &found.swept;
    let count = |outcome| {
        let cases = found.cases.iter();
        cases.filter(|case| case.outcome == outcome).count()
    };
    let all = [
        Outcome::Pass,
        Outcome::Fail,
        Outcome::Crash,
        Outcome::Hang,
        Outcome::Lost,
        Outcome::Broken,
        Outcome::Skip,
    ];
    let counts: Vec<String> = all
        .into_iter()
        .map(|outcome| (count(outcome), outcome))
        .filter(|(count, _)| *count > 0)
        .map(|(count, outcome)| format!("{count} {outcome}"))
        .collect();
    eprintln!(
        "[{done}/{total}] {} {}: {}; {} of {} device types, {} guests, {:.1} s",
        target.config.arch,
        target.config.machine,
        counts.join(", "),
        swept.exercised,
        swept.shared,
        swept.guests,
        swept.elapsed_ms as f64 / 1000.0
    );
}

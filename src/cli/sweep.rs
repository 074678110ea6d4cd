//! `migcompat sweep`: every device that both builds have.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::args::SweepArgs;
use super::live::log_folder;
use super::{Exit, Failure, output};
use crate::live::case::{Bench, Patience};
use crate::live::coverage::{cover, join};
use crate::live::state::Names;
use crate::live::transport::Transport;
use crate::live::vm::Party;
use crate::model::{Case, Coverage, Outcome, Report};
use crate::qemu::{self, BuildArg, Means, Pair, Progress, machine};
use crate::rules::lists::{Lists, Scope};
use crate::sweep::catalogue::Only;
use crate::sweep::place::{self, Absent, Asked, Machines, Place, Wish};
use crate::sweep::{Found, Options, Packing, absent, is_held, merge, sweep};
use crate::vmstate::obtain::{ObtainError, dumps};

pub(super) fn run(args: &SweepArgs) -> Result<Exit, Failure> {
    let (old, new) = (qemu::parse(&args.old)?, qemu::parse(&args.new)?);
    let wish = Wish {
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
    let asked = wish.asked();
    let (pairs, mut missing) = pairs(args, &asked, &old, &new)?;
    let mut places = Vec::new();
    // Of each place, its pair.
    let mut owners = Vec::new();
    for (at, (asked, pair)) in pairs.iter().enumerate() {
        let (found, lacking) = place::machines(&asked.machines, pair);
        missing.extend(lacking);
        if !found.is_empty() {
            owners.extend(found.iter().map(|_| at));
            places.extend(prepare(args, pair, &found, &options, &logs)?);
        }
    }
    let jobs = args.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let total = places.len();
    let mut done = 0;
    let found = sweep(&places, &options, jobs, |place, found| {
        done += 1;
        if !args.output.quiet {
            progress(done, total, place, found);
        }
    });
    if temporary {
        // Stays where a case has left something in it.
        let _in_use = std::fs::remove_dir(&logs);
    }
    let found = found?;

    let transport = Transport::default().to_string();
    let directions = options.directions.iter();
    let mut cases: Vec<Case> = directions
        .flat_map(|&direction| {
            let transport = &transport;
            let case = move |machine| absent(machine, transport, direction);
            missing.iter().map(case)
        })
        .collect();
    let machine = match (places.as_slice(), missing.as_slice()) {
        ([one], []) => Some(one.bench.machine.clone()),
        _ => None,
    };
    let mut planned: Vec<String> = cases.iter().map(|case| case.id.clone()).collect();
    cases.retain(|case| is_held(&case.id, args.shard));
    let mut swept = Vec::new();
    let covered = coverage(&pairs, &owners, &found);
    for Found {
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
    let report = Report::of_findings(old, new, machine, Vec::new(), BTreeMap::new(), false);
    let ids = planned.iter().map(String::as_str);
    let shard = args
        .shard
        .map(|shard| shard.reference(ids, asked_for(args)));
    let mut report = Report {
        swept,
        shard,
        ..report
    }
    .with_cases(cases, false);
    let required = args.coverage.min_coverage;
    match covered {
        Ok(Some(coverage)) => {
            report = report.with_coverage(Coverage {
                required,
                ..coverage
            });
        }
        Ok(None) => {}
        Err(error) if required.is_some() => return Err(error.into()),
        // What was swept is worth more than a percentage.
        Err(error) => eprintln!("no coverage is told: {error}"),
    }
    output::write_report(&report, &args.output, false)
}

/// How much of the sections that the builds know was sent, on all machines together.
fn coverage(
    pairs: &[(&Asked, Pair)],
    owners: &[usize],
    found: &[Found],
) -> Result<Option<Coverage>, ObtainError> {
    let mut all = Vec::new();
    for (at, (_, pair)) in pairs.iter().enumerate() {
        let own = owners.iter().zip(found).filter(|(owner, _)| **owner == at);
        let own: Vec<&Found> = own.map(|(_, found)| found).collect();
        let Some(first) = own.first() else {
            continue;
        };
        // What a build knows does not depend on the machine: one dump is for all of them.
        let dumps = dumps(pair, Some(first.swept.machine.clone()))?;
        let dumps = [&dumps.old.1, &dumps.new.1];
        all.extend(own.iter().map(|of| cover(dumps, &of.observed, &of.reach)));
    }
    Ok(join(&all))
}

/// The options that bear on the results, as one would type them.
fn asked_for(args: &SweepArgs) -> Vec<String> {
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
    options.extend(repeated("-M", &args.machine));
    options.extend(repeated("--arch", &args.arch));
    options.extend(repeated("--only", &args.only));
    let flags = [
        ("--all-machines", args.all_machines),
        ("--all-arches", args.all_arches),
        ("--one-by-one", args.one_by_one),
    ];
    let given = flags.into_iter().filter(|(_, given)| *given);
    options.extend(given.map(|(flag, _)| flag.to_owned()));
    options
}

/// What could be opened of what is asked for, and what could not.
type Opened<'a> = (Vec<(&'a Asked, Pair)>, Vec<Absent>);

/// The builds for each architecture that is asked for. Of several, one that is not to be had is told
/// in the report.
fn pairs<'a>(
    args: &SweepArgs,
    asked: &'a [Asked],
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
        missing.push(Absent {
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
) -> Result<Vec<Place>, Failure> {
    let (old, new) = Party::both(pair);
    let arch = pair.arch();
    let properties = place::properties(&old, &new, arch, &options.only)?;
    let lists = Lists::load(&[]).map_err(Failure::usage)?;
    let names = |machine: &str| {
        Names::of(&Scope {
            lists: &lists,
            old: Some(old.info.version),
            new: Some(new.info.version),
            machine: Some(machine),
            any_machine: false,
        })
    };
    let place = |name: &String| Place {
        label: place::label(arch, name, machines),
        properties: properties.clone(),
        bench: Bench {
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
            patience: Patience {
                leg: Duration::from_secs(args.timeout),
                ..Patience::default()
            },
            logs: logs.to_owned(),
            names: names(name),
        },
    };
    Ok(machines.iter().map(place).collect())
}

/// A line a machine, written at once.
fn progress(done: usize, total: usize, place: &Place, found: &Found) {
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
        place.bench.arch,
        place.bench.machine,
        counts.join(", "),
        swept.exercised,
        swept.shared,
        swept.guests,
        swept.elapsed_ms as f64 / 1000.0
    );
}

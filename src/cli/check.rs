//! `migcompat check`: the dumps compared and the usual guest moved, one verdict.

use crate::api::dumps::dumps;
use crate::cli::args::CheckBuildsArgs;
use crate::cli::logs::LogFolder;
use crate::cli::static_::{load_lists, wishes};
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, live, output};
use crate::compare::dump::compare::compare;
use crate::migration::coverage::{Reach, cover};
use crate::migration::diagnosis::cause::link;
use crate::migration::diagnosis::properties;
use crate::report::{Coverage, Report, Verdict};
use crate::rules::catalogue;
use crate::rules::judge::judge;
use crate::rules::lists::Scope;

pub(crate) fn run(args: &CheckBuildsArgs) -> Result<Exit, Failure> {
    let quiet = args.output.quiet;
    let target = Target::new(args.output.output.as_deref())?;
    let logs = LogFolder::new(args.migration.keep_logs.as_deref())?;
    let lists = load_lists(&args.judge)?;
    let (pair, machine) = live::open(&args.pair, quiet)?;
    let sets = live::device_sets(&args.migration, pair.arch())?;
    let dumps = dumps(&pair, Some(machine.clone()))?;
    let scope = Scope {
        lists: &lists,
        old: Some(pair.old.info.version),
        new: Some(pair.new.info.version),
        machine: Some(&machine),
        any_machine: false,
    };
    let findings = compare(
        &dumps.old.1,
        &dumps.new.1,
        args.pair.direction.list(),
        &scope,
    );
    let wished = wishes(&args.judge);
    let mut findings = judge(findings, &scope, &wished);

    let (old, new) = (pair.old.reference(), pair.new.reference());
    // Without a guest of ours the machine can at least be moved as it is after reset.
    let running = !args.migration.paused && live::has_guest(&pair);
    let directions = args.pair.direction.list();
    let mut moved = live::migrate(
        &pair,
        &scope,
        &sets,
        directions,
        &live::Guests {
            args: &args.migration,
            running,
            quiet,
            logs: logs.path(),
        },
    )?;
    for case in &mut moved.cases {
        let foreseen = link(case, &mut findings);
        case.allowed_by = scope.allows_case(case, foreseen);
    }
    for set in &sets {
        match properties::survey(&moved.config, set, directions, &lists) {
            Ok(found) => properties::absorb(&mut findings, judge(found, &scope, &wished)),
            Err(error) => eprintln!("what the builds set up differently is unknown: {error}"),
        }
    }
    let both = (&dumps.old.1, &dumps.new.1);
    let judged = (&scope, &wished);
    let described = live::compare_sent(&moved, &sets, directions, both, judged, &mut findings);
    let senders = properties::senders(&[&dumps.old.1, &dumps.new.1]);
    live::explain(&mut moved, &senders, &scope, &wished, &mut findings);
    let rules = catalogue::texts(&findings, &moved.cases);
    let strict = args.judge.strict;
    let coverage = match unseen(&moved) {
        None => {
            let both = [&dumps.old.1, &dumps.new.1];
            let coverage = cover(both, &moved.observed, &Reach::of(&moved.config, &sets));
            Some(Coverage {
                required: args.coverage.min_coverage,
                ..coverage
            })
        }
        Some(why) => {
            eprintln!("no coverage is told: {why}");
            None
        }
    };
    let mut report = Report::of_findings(old, new, Some(machine), findings, rules, strict)
        .with_cases(moved.cases, strict);
    match coverage {
        Some(coverage) => report = report.with_coverage(coverage),
        // Nobody knows whether it is enough.
        None if args.coverage.min_coverage.is_some() && report.verdict == Verdict::Compatible => {
            report.verdict = Verdict::Untested;
        }
        None => {}
    }
    report.described = described;
    let exit = output::write_report(&report, target, &args.output, strict)?;
    logs.keep();
    Ok(exit)
}

/// Why guests moved, and what they sent could not be read.
fn unseen(moved: &live::Moved) -> Option<String> {
    let sent = moved.observed.iter().any(|case| !case.sections.is_empty());
    let mut went = moved.cases.iter().filter(|case| !case.legs.is_empty());
    let first = went.next().filter(|_| !sent)?;
    let why = first.state_unchecked.clone();
    Some(why.unwrap_or_else(|| "what was sent could not be read".to_owned()))
}

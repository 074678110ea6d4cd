//! `migcompat check`: the dumps compared and the usual guest moved, one verdict.

use crate::api::dumps::dumps;
use crate::cli::args::CheckBuildsArgs;
use crate::cli::static_::{load_lists, policy};
use crate::cli::{Exit, Failure, live, output};
use crate::compare::dump::compare::compare;
use crate::migration::coverage::{Reach, cover};
use crate::migration::diagnosis::cause::link;
use crate::migration::diagnosis::properties;
use crate::report::{Notice, NoticeKind, Policy, Report};
use crate::rules::catalogue;
use crate::rules::judge::judge;
use crate::rules::lists::Scope;

pub(crate) fn run(args: &CheckBuildsArgs) -> Result<Exit, Failure> {
    let quiet = args.output.quiet;
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
    let policy = Policy {
        required_coverage: args.coverage.min_coverage,
        ..policy(&args.judge)
    };
    let mut notices = Vec::new();
    let mut findings = judge(findings, &scope, &policy.levels);

    let (old, new) = (pair.old.reference(), pair.new.reference());
    // Without a guest of ours the machine can at least be moved as it is after reset.
    let running = !args.migration.paused && live::has_guest(&pair);
    let directions = args.pair.direction.list();
    let mut moved = live::migrate(
        &pair,
        &scope,
        &sets,
        directions,
        &args.migration,
        running,
        quiet,
    )?;
    for case in &mut moved.cases {
        let foreseen = link(case, &mut findings);
        case.allowed_by = scope.allows_case(case, foreseen);
    }
    for set in &sets {
        match properties::survey(&moved.config, set, directions, &lists) {
            Ok(found) => properties::absorb(&mut findings, judge(found, &scope, &policy.levels)),
            Err(error) => notices.push(Notice::new(
                NoticeKind::PropertiesNotCompared,
                &set.name,
                error,
            )),
        }
    }
    let both = (&dumps.old.1, &dumps.new.1);
    let judged = (&scope, &policy.levels);
    let described = live::compare_sent(
        &moved,
        &sets,
        directions,
        both,
        judged,
        &mut findings,
        &mut notices,
    );
    let senders = properties::senders(&[&dumps.old.1, &dumps.new.1]);
    let explained = live::explain(&mut moved, &senders, &scope, &policy.levels, &mut findings);
    notices.extend(explained);
    let rules = catalogue::texts(&findings, &moved.cases);
    let coverage = match unseen(&moved) {
        None => {
            let both = [&dumps.old.1, &dumps.new.1];
            Some(cover(
                both,
                &moved.observed,
                &Reach::of(&moved.config, &sets),
            ))
        }
        Some(why) => {
            notices.push(Notice::new(NoticeKind::CoverageUnknown, &*machine, why));
            None
        }
    };
    let report = Report {
        findings,
        rules,
        cases: moved.cases,
        coverage,
        described,
        notices,
        ..Report::new(old, new, Some(machine))
    };
    output::write_report(&report.judged_by(policy), &args.output)
}

/// Why guests moved, and what they sent could not be read.
fn unseen(moved: &live::Moved) -> Option<String> {
    let sent = moved.observed.iter().any(|case| !case.sections.is_empty());
    let mut went = moved.cases.iter().filter(|case| !case.legs.is_empty());
    let first = went.next().filter(|_| !sent)?;
    let why = first.state_unchecked.clone();
    Some(why.unwrap_or_else(|| "what was sent could not be read".to_owned()))
}

//! `migcompat static`: two dumps compared.

use std::path::PathBuf;

use anyhow::Context;

use crate::api::dumps::{DumpRequest, obtain};
use crate::cli::args::{JudgeArgs, StaticArgs};
use crate::cli::{Exit, Failure, output};
use crate::compare::dump::compare::compare;
use crate::qemu::Progress;
use crate::report::{Finding, LevelOverride, LevelOverrides, Policy, Report};
use crate::rules::judge::judge;
use crate::rules::lists::{Lists, Scope};
use crate::rules::{catalogue, suggest};

pub(crate) fn run(args: &StaticArgs) -> Result<Exit, Failure> {
    let lists = load_lists(&args.judge)?;
    let pair = obtain(&DumpRequest {
        old: &args.pair.old,
        new: &args.pair.new,
        machine: args.pair.build.machine.as_deref(),
        architecture: args.pair.build.arch.as_deref(),
        cache: args.pair.build.cache.clone(),
        progress: Progress::auto(args.output.quiet),
    })?;
    let (old, old_dump) = pair.old;
    let (new, new_dump) = pair.new;
    let scope = Scope {
        lists: &lists,
        old: old.version,
        new: new.version,
        machine: pair.machine.as_deref(),
        any_machine: false,
    };
    let policy = policy(&args.judge);
    let findings = compare(&old_dump, &new_dump, args.pair.direction.list(), &scope);
    let findings = judge(findings, &scope, &policy.levels);
    if args.suggest {
        return suggestions(&findings, &scope);
    }
    let rules = catalogue::texts(&findings, &[]);
    let report = Report {
        findings,
        rules,
        ..Report::new(old, new, pair.machine.clone())
    };
    output::write_report(&report.judged_by(policy), &args.output)
}

fn suggestions(findings: &[Finding], scope: &Scope) -> Result<Exit, Failure> {
    output::print(|out| suggest::write(findings, scope, out))
        .context("cannot print the entries")
        .map_err(Failure::usage)?;
    Ok(Exit::Compatible)
}

pub(crate) fn load_lists(args: &JudgeArgs) -> Result<Lists, Failure> {
    read_lists(&args.lists)
}

pub(crate) fn read_lists(folders: &[PathBuf]) -> Result<Lists, Failure> {
    Lists::load(folders)
        .context("cannot use the lists")
        .map_err(Failure::usage)
}

/// The policy that the arguments ask for, without any coverage.
pub(crate) fn policy(args: &JudgeArgs) -> Policy {
    let mut levels = LevelOverrides::new();
    for (rules, level) in [
        (&args.allow, LevelOverride::Allow),
        (&args.warn, LevelOverride::Warn),
        (&args.deny, LevelOverride::Deny),
    ] {
        levels.extend(rules.iter().map(|&rule| (rule, level)));
    }
    Policy {
        strict: args.strict,
        required_coverage: None,
        levels,
    }
}

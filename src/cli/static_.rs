//! `migcompat static`: two dumps compared.

use std::path::PathBuf;

use anyhow::Context;

use crate::api::dumps::{DumpRequest, obtain};
use crate::cli::args::{JudgeArgs, StaticArgs};
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, output};
use crate::compare::dump::compare::compare;
use crate::qemu::Progress;
use crate::report::Report;
use crate::rules::judge::{LevelOverride, LevelOverrides, judge};
use crate::rules::lists::{Lists, Scope};
use crate::rules::{catalogue, suggest};

pub(crate) fn run(args: &StaticArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
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
    let findings = compare(&old_dump, &new_dump, args.pair.direction.list(), &scope);
    let findings = judge(findings, &scope, &wishes(&args.judge));
    if args.suggest {
        target.write_text(|out| suggest::write(&findings, &scope, out))?;
        return Ok(Exit::Compatible);
    }
    let rules = catalogue::texts(&findings, &[]);
    let strict = args.judge.strict;
    let report = Report::of_findings(old, new, pair.machine.clone(), findings, rules, strict);
    output::write_report(&report, target, &args.output, strict)
}

pub(crate) fn load_lists(args: &JudgeArgs) -> Result<Lists, Failure> {
    read_lists(&args.rules)
}

pub(crate) fn read_lists(folders: &[PathBuf]) -> Result<Lists, Failure> {
    Lists::load(folders)
        .context("cannot use the lists")
        .map_err(Failure::usage)
}

pub(crate) fn wishes(args: &JudgeArgs) -> LevelOverrides {
    let mut wishes = LevelOverrides::new();
    for (rules, wish) in [
        (&args.allow, LevelOverride::Allow),
        (&args.warn, LevelOverride::Warn),
        (&args.deny, LevelOverride::Deny),
    ] {
        wishes.extend(rules.iter().map(|&rule| (rule, wish)));
    }
    wishes
}

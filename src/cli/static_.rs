//! `migcompat static`: two dumps compared.

use std::path::Path;

use anyhow::Context;

use super::args::{JudgeArgs, StaticArgs};
use super::{Exit, Failure, output};
use crate::model::{BuildKind, BuildRef, Report};
use crate::rules::catalogue;
use crate::rules::judge::{Wish, Wishes, judge};
use crate::rules::lists::{Lists, Scope};
use crate::vmstate::compare::compare;
use crate::vmstate::dump::Dump;
use crate::vmstate::read::read_dump;

pub(super) fn run(args: &StaticArgs) -> Result<Exit, Failure> {
    let read = |label: &str| -> Result<(BuildRef, Dump), Failure> {
        let dump = read_dump(Path::new(label)).map_err(Failure::usage)?;
        let build = BuildRef {
            label: label.to_owned(),
            kind: BuildKind::Dump,
            version: None,
        };
        Ok((build, dump))
    };
    let (old, old_dump) = read(&args.old)?;
    let (new, new_dump) = read(&args.new)?;
    let machine = old_dump.machine.clone();
    let lists = load_lists(&args.judge)?;
    let scope = Scope {
        lists: &lists,
        old: old.version,
        new: new.version,
        machine: machine.as_deref(),
    };
    let findings = compare(&old_dump, &new_dump, args.direction.list(), &scope);
    let findings = judge(findings, &scope, &wishes(&args.judge));
    let rules = catalogue::texts(&findings);
    let report = Report::of_findings(old, new, machine, findings, rules, args.judge.strict);
    output::write_report(&report, &args.output)
}

pub(super) fn load_lists(args: &JudgeArgs) -> Result<Lists, Failure> {
    Lists::load(&args.rules)
        .context("cannot use the lists")
        .map_err(Failure::usage)
}

pub(super) fn wishes(args: &JudgeArgs) -> Wishes {
    let mut wishes = Wishes::new();
    for (rules, wish) in [
        (&args.allow, Wish::Allow),
        (&args.warn, Wish::Warn),
        (&args.deny, Wish::Deny),
    ] {
        wishes.extend(rules.iter().map(|&rule| (rule, wish)));
    }
    wishes
}

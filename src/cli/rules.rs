//! `migcompat rules`: what the rules mean, and whether the lists are in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

use crate::cli::args::{CheckArgs, RulesArgs, RulesCommand};
use crate::cli::{Exit, Failure, target};
use crate::compare::dump::compare::{compare, names};
use crate::compare::renames::Renames;
use crate::model::{Direction, Rule, Version, count};
use crate::rules::check::{self, Comparison};
use crate::rules::judge::{LevelOverrides, judge_and_note};
use crate::rules::known_issues::{KnownIssues, Match, Place, Scope};
use crate::vmstate::read::read_dump;

pub(crate) fn run(args: &RulesArgs) -> Result<Exit, Failure> {
    match args.command {
        RulesCommand::List => list(),
        RulesCommand::Explain { rule } => explain(rule),
        RulesCommand::Check(ref args) => check(args),
    }
}

fn list() -> Result<Exit, Failure> {
    target::print(|out| {
        for rule in Rule::ALL {
            let entry = rule.entry();
            writeln!(out, "{:8} {:26} {}", entry.level, rule, entry.name)?;
        }
        Ok(())
    })
    .context("cannot print the rules")?;
    Ok(Exit::Compatible)
}

fn explain(rule: Rule) -> Result<Exit, Failure> {
    let entry = rule.entry();
    let width = textwrap::termwidth().min(100);
    target::print(|out| {
        writeln!(out, "{}[{rule}]: {}\n", entry.level, entry.name)?;
        for (heading, text) in [
            ("On the wire", &entry.wire),
            ("What happens", &entry.why),
            ("What to do", &entry.fix),
            ("Shown by", &entry.source),
        ] {
            let options = textwrap::Options::new(width)
                .initial_indent("  ")
                .subsequent_indent("  ");
            writeln!(out, "{heading}\n{}\n", textwrap::fill(text.trim(), options))?;
        }
        Ok(())
    })
    .context("cannot print the rule")?;
    Ok(Exit::Compatible)
}

fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let lists = KnownIssues::load(&args.lists).context("cannot use the lists")?;
    let mut defects = check::review(&lists);
    let total = lists.renames.len()
        + lists.conditions.len()
        + lists.breaks.len()
        + lists.migrations.len()
        + lists.volatile.len()
        + lists.failures.len();
    let mut closing = format!("{total} entries");
    let mut matched = BTreeMap::new();
    match &args.dumps {
        Some(folder) => {
            let tried = try_on(&lists, folder)?;
            let outcome = check::check_against(&lists, &tried);
            closing.push_str(&format!(
                " tried on {} comparisons: {} matched, {} stale, {} untried (no dumps of theirs)",
                tried.len(),
                outcome.matched.len(),
                outcome.stale.len(),
                outcome.untried
            ));
            defects.extend(outcome.stale);
            matched = outcome.matched;
        }
        None => closing.push_str(" read over; with --dumps DIR they are tried on real dumps"),
    }
    // Whoever has written an entry wants to see that it serves; the shipped ones do.
    let is_own = |place: &Place| {
        let mut folders = args.lists.iter();
        folders.any(|folder| Path::new(&place.file).starts_with(folder))
    };
    matched.retain(|place, _| args.verbose || is_own(place));
    target::print(|out| {
        for (place, times) in &matched {
            writeln!(out, "{place}: matched in {}", count(*times, "comparison"))?;
        }
        for defect in &defects {
            writeln!(out, "{defect}")?;
        }
        writeln!(out, "{closing}")
    })
    .context("cannot print")?;
    Ok(Exit::of(defects.is_empty()))
}

/// Compares every two versions of each dump in the folder with the lists.
fn try_on<'k>(lists: &'k KnownIssues, folder: &Path) -> Result<Vec<Comparison<'k>>, Failure> {
    let mut by_name: BTreeMap<String, BTreeMap<Version, PathBuf>> = BTreeMap::new();
    let read = |folder: &Path| -> anyhow::Result<Vec<(String, PathBuf)>> {
        let named = |entry: DirEntry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        };
        std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(named)).collect())
            .with_context(|| format!("cannot read {}", folder.display()))
    };
    for (name, version_folder) in read(folder)? {
        let Ok(version) = name.parse::<Version>() else {
            continue;
        };
        for (name, file) in read(&version_folder)? {
            if name.contains(".json") {
                by_name.entry(name).or_default().insert(version, file);
            }
        }
    }
    if by_name.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} holds no dumps as VERSION/NAME.json",
            folder.display()
        )));
    }
    let mut tried = Vec::new();
    for versions in by_name.values() {
        let dumps = versions
            .iter()
            .map(|(version, file)| Ok((*version, read_dump(file)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (at, (old, old_dump)) in dumps.iter().enumerate() {
            for (new, new_dump) in &dumps[at + 1..] {
                // A break is limited to machines; here the question is only whether it matches.
                let scope = Scope {
                    old: Some(*old),
                    new: Some(*new),
                    ..Scope::anywhere(lists)
                };
                let renames = Noted::of(scope);
                let findings = compare(old_dump, new_dump, &Direction::BOTH, &renames);
                let mut judged = judge_and_note(findings, &scope, &LevelOverrides::new());
                judged.used.extend(renames.into_used());
                tried.push(Comparison {
                    old: *old,
                    new: *new,
                    names: names(&[old_dump, new_dump]),
                    used: judged.used,
                });
            }
        }
    }
    Ok(tried)
}

/// Renames that note which entries answered. A rename that a comparison takes for granted shows in no
/// finding.
struct Noted<'k> {
    scope: Scope<'k>,
    used: Mutex<BTreeSet<&'k Place>>,
}

impl<'k> Noted<'k> {
    fn of(scope: Scope<'k>) -> Noted<'k> {
        Noted {
            scope,
            used: Mutex::default(),
        }
    }

    fn into_used(self) -> BTreeSet<&'k Place> {
        self.used
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, found: Option<Match<'k>>) -> Option<String> {
        let found = found?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(found.entry);
        Some(found.reason)
    }
}

impl Renames for Noted<'_> {
    fn mentions(&self, field: &str) -> bool {
        self.scope.mentions(field)
    }

    fn field(&self, section: &str, description: &str, old: &str, new: &str) -> Option<String> {
        self.note(Scope::field(&self.scope, section, description, old, new))
    }

    fn section(&self, description: &str, old: &str, new: &str) -> Option<String> {
        self.note(Scope::section(&self.scope, description, old, new))
    }
}

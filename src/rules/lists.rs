//! The lists: names that changed and breaks that upstream chose.
//!
//! The shipped ones are `rename-lists/*.toml`; `--rules DIR` adds a folder of the same form. An
//! entry holds between the releases that it names and nowhere else; where a build's version is not
//! known, as for a dump file, it is taken to hold.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Rule;
use crate::model::{Direction, Finding, Level, Version};

const SHIPPED: &[(&str, &str)] = &[
    (
        "rename-lists/sections.toml",
        include_str!("../../rename-lists/sections.toml"),
    ),
    (
        "rename-lists/descriptions.toml",
        include_str!("../../rename-lists/descriptions.toml"),
    ),
    (
        "rename-lists/fields.toml",
        include_str!("../../rename-lists/fields.toml"),
    ),
    (
        "rename-lists/known-conditions.toml",
        include_str!("../../rename-lists/known-conditions.toml"),
    ),
    (
        "rename-lists/absent-devices.toml",
        include_str!("../../rename-lists/absent-devices.toml"),
    ),
    (
        "rename-lists/deliberate-breaks.toml",
        include_str!("../../rename-lists/deliberate-breaks.toml"),
    ),
];

/// A list file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("cannot read the lists in {}: {source}", folder.display())]
    Io {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("{file}: {reason}")]
    Malformed { file: String, reason: String },
    #[error("{place}: {reason}")]
    Entry { place: Place, reason: String },
}

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The releases between which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The last release known to be as before.
    pub after: Option<Version>,
    /// The first release that has the change.
    pub by: Version,
}

/// How two builds lie around a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The old build is before it, the new one has it.
    InOrder,
    /// The other way round: the user named the newer build first.
    Swapped,
    /// A version is not known.
    Perhaps,
    No,
}

impl Span {
    pub fn holds(&self, old: Option<Version>, new: Option<Version>) -> Holds {
        // Distributions carry changes back into point releases, so only the release counts.
        let before = |v: Version| (v.major, v.minor) < (self.by.major, self.by.minor);
        match (old, new) {
            (Some(old), Some(new)) => match (before(old), before(new)) {
                (true, false) => Holds::InOrder,
                (false, true) => Holds::Swapped,
                _ => Holds::No,
            },
            _ => Holds::Perhaps,
        }
    }
}

/// What an entry renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renamed {
    /// A QOM type whose vmsd name stayed.
    Section,
    /// A vmsd name.
    Description,
    Field,
}

#[derive(Debug, Clone)]
pub struct Rename {
    pub what: Renamed,
    /// QOM type, where the entry is limited to one.
    pub section: Option<String>,
    /// The innermost description that holds the field, or the one that the renamed types share.
    pub description: Option<String>,
    pub old: String,
    pub new: String,
    pub span: Span,
    /// A field of this name that prints another size and is the same on the wire.
    pub size_change: Option<String>,
    pub source: String,
    pub reason: String,
    pub place: Place,
    used: Cell<bool>,
}

#[derive(Debug, Clone)]
pub struct Break {
    pub section: String,
    pub rule: Rule,
    /// Names from the vmsd name down; a finding at or below it matches.
    pub path: Vec<String>,
    /// Both when absent.
    pub direction: Option<Direction>,
    pub machines: Vec<String>,
    /// No other machine can have the device, so that the break is moot everywhere else.
    pub only_there: bool,
    pub span: Span,
    pub reason: String,
    pub commit: Option<String>,
    /// The entry means to allow every finding of the rule in the section.
    pub whole_section: bool,
    pub place: Place,
    used: Cell<bool>,
}

/// What a run-time test says for every machine type that both builds know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sent {
    Never,
    Always,
}

/// A run-time test whose answer is known, because a compat property of the machine type gives it.
#[derive(Debug, Clone)]
pub struct Condition {
    /// QOM type, where the entry is limited to one.
    pub section: Option<String>,
    pub description: String,
    /// Fields or subsections that hang on the test.
    pub items: Vec<String>,
    pub sent: Sent,
    pub span: Span,
    pub source: String,
    pub reason: String,
    pub place: Place,
    used: Cell<bool>,
}

/// Device types that some machines cannot have.
#[derive(Debug, Clone)]
pub struct Absent {
    pub machines: Vec<String>,
    /// QOM types; a trailing `*` stands for any rest.
    pub types: Vec<String>,
    pub source: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
pub struct Lists {
    pub absent: Vec<Absent>,
    pub renames: Vec<Rename>,
    pub conditions: Vec<Condition>,
    pub breaks: Vec<Break>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    section: Vec<Spanned<RawRename>>,
    description: Vec<Spanned<RawRename>>,
    field: Vec<Spanned<RawRename>>,
    condition: Vec<Spanned<RawCondition>>,
    absent: Vec<RawAbsent>,
    r#break: Vec<Spanned<RawBreak>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRename {
    section: Option<String>,
    description: Option<String>,
    old: String,
    new: String,
    after: Option<Version>,
    by: Version,
    size_change: Option<String>,
    source: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    section: Option<String>,
    description: String,
    items: Vec<String>,
    sent: Sent,
    after: Option<Version>,
    by: Version,
    source: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAbsent {
    machines: Vec<String>,
    types: Vec<String>,
    source: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBreak {
    section: String,
    rule: String,
    #[serde(default)]
    path: Vec<String>,
    direction: Option<Direction>,
    machines: Vec<String>,
    #[serde(default)]
    only_there: bool,
    after: Option<Version>,
    by: Version,
    reason: String,
    commit: Option<String>,
    #[serde(default)]
    whole_section: bool,
}

impl Lists {
    /// The shipped lists and those of the folders.
    pub fn load(folders: &[PathBuf]) -> Result<Lists, ListError> {
        let mut lists = Lists::default();
        for (name, text) in SHIPPED {
            lists.add(name, text)?;
        }
        for folder in folders {
            lists.add_folder(folder)?;
        }
        Ok(lists)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), ListError> {
        let failed = |source| ListError::Io {
            folder: folder.to_owned(),
            source,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                files.push(path);
            }
        }
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(failed)?;
            self.add(&file.display().to_string(), &text)?;
        }
        Ok(())
    }

    pub fn add(&mut self, name: &str, text: &str) -> Result<(), ListError> {
        let file: File = toml::from_str(text).map_err(|e| ListError::Malformed {
            file: name.to_owned(),
            reason: e.to_string().trim_end().to_owned(),
        })?;
        let place = |offset: usize| Place {
            file: name.to_owned(),
            line: 1 + text[..offset.min(text.len())].matches('\n').count(),
        };
        for (what, entries) in [
            (Renamed::Section, file.section),
            (Renamed::Description, file.description),
            (Renamed::Field, file.field),
        ] {
            for entry in entries {
                let place = place(entry.span().start);
                self.renames.push(rename(what, entry.into_inner(), place)?);
            }
        }
        for entry in file.condition {
            let place = place(entry.span().start);
            let raw = entry.into_inner();
            if raw.items.is_empty() {
                return Err(ListError::Entry {
                    place,
                    reason: "items is empty; name the fields or subsections".to_owned(),
                });
            }
            self.conditions.push(Condition {
                section: raw.section,
                description: raw.description,
                items: raw.items,
                sent: raw.sent,
                span: span(raw.after, raw.by, &place)?,
                source: raw.source,
                reason: raw.reason,
                place,
                used: Cell::new(false),
            });
        }
        self.absent
            .extend(file.absent.into_iter().map(|raw| Absent {
                machines: raw.machines,
                types: raw.types,
                source: raw.source,
                reason: raw.reason,
            }));
        for entry in file.r#break {
            let place = place(entry.span().start);
            self.breaks.push(deliberate(entry.into_inner(), place)?);
        }
        Ok(())
    }

    /// Entries that some comparison made use of, by place, since the lists were loaded.
    pub fn used(&self) -> BTreeMap<&Place, bool> {
        let renames = self.renames.iter().map(|r| (&r.place, r.used.get()));
        let conditions = self.conditions.iter().map(|c| (&c.place, c.used.get()));
        let breaks = self.breaks.iter().map(|b| (&b.place, b.used.get()));
        renames.chain(conditions).chain(breaks).collect()
    }
}

fn span(after: Option<Version>, by: Version, place: &Place) -> Result<Span, ListError> {
    if after.is_some_and(|after| after >= by) {
        return Err(ListError::Entry {
            place: place.clone(),
            reason: "after must be an older release than by".to_owned(),
        });
    }
    Ok(Span { after, by })
}

fn rename(what: Renamed, raw: RawRename, place: Place) -> Result<Rename, ListError> {
    let fail = |reason: &str| {
        Err(ListError::Entry {
            place: place.clone(),
            reason: reason.to_owned(),
        })
    };
    if raw.section.is_none() && raw.description.is_none() {
        return fail("an entry without section and description would match everywhere");
    }
    if raw.old == raw.new && raw.size_change.is_none() {
        return fail("old and new are the same name, and no size_change is given");
    }
    let span = span(raw.after, raw.by, &place)?;
    Ok(Rename {
        what,
        section: raw.section,
        description: raw.description,
        old: raw.old,
        new: raw.new,
        span,
        size_change: raw.size_change,
        source: raw.source,
        reason: raw.reason,
        place,
        used: Cell::new(false),
    })
}

fn deliberate(raw: RawBreak, place: Place) -> Result<Break, ListError> {
    let fail = |reason: String| {
        Err(ListError::Entry {
            place: place.clone(),
            reason,
        })
    };
    let Some(rule) = Rule::from_id(&raw.rule) else {
        return fail(format!("there is no rule `{}`", raw.rule));
    };
    if raw.machines.is_empty() {
        return fail(
            "machines is empty; name them, or write [\"*\"] if it is every one".to_owned(),
        );
    }
    let span = span(raw.after, raw.by, &place)?;
    if raw.path.is_empty() && !raw.whole_section && !names_section(rule) {
        return fail(format!(
            "without a path this allows every {rule} in `{}`; narrow it, or say whole_section = true",
            raw.section
        ));
    }
    Ok(Break {
        section: raw.section,
        rule,
        path: raw.path,
        direction: raw.direction,
        machines: raw.machines,
        only_there: raw.only_there,
        span,
        reason: raw.reason,
        commit: raw.commit,
        whole_section: raw.whole_section,
        place,
        used: Cell::new(false),
    })
}

/// Rules of which a section has at most one finding a direction, so that a path says no more.
pub(super) fn names_section(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::VersionTooNew
            | Rule::VersionTooOld
            | Rule::VmsdRenamed
            | Rule::SectionRemoved
            | Rule::Unmigratable
    )
}

/// The lists as they hold between two builds.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'l> {
    pub lists: &'l Lists,
    pub old: Option<Version>,
    pub new: Option<Version>,
    pub machine: Option<&'l str>,
    /// Breaks hold whatever the machine: to see which entries match at all.
    pub any_machine: bool,
}

impl Scope<'_> {
    fn rename(
        &self,
        what: Renamed,
        matches: impl Fn(&Rename, &str, &str) -> bool,
    ) -> Option<String> {
        self.lists
            .renames
            .iter()
            .filter(|entry| entry.what == what)
            .find_map(|entry| {
                let in_order = || matches(entry, &entry.old, &entry.new);
                let swapped = || matches(entry, &entry.new, &entry.old);
                let hit = match entry.span.holds(self.old, self.new) {
                    Holds::InOrder => in_order(),
                    Holds::Swapped => swapped(),
                    Holds::Perhaps => in_order() || swapped(),
                    Holds::No => false,
                };
                hit.then(|| {
                    entry.used.set(true);
                    format!("{} ({})", entry.reason, entry.source)
                })
            })
    }

    /// Why the field `old` of a description is `new` in the other build.
    pub fn field(&self, section: &str, description: &str, old: &str, new: &str) -> Option<String> {
        self.rename(Renamed::Field, |entry, a, b| {
            a == old
                && b == new
                && entry.section.as_deref().is_none_or(|s| s == section)
                && entry
                    .description
                    .as_deref()
                    .is_none_or(|d| d == description)
        })
    }

    /// Why the QOM type `old` is `new` in the other build.
    pub fn section(&self, description: &str, old: &str, new: &str) -> Option<String> {
        self.rename(Renamed::Section, |entry, a, b| {
            a == old
                && b == new
                && entry
                    .description
                    .as_deref()
                    .is_none_or(|d| d == description)
        })
    }

    /// Whether the machine is one of those, or of one of those families.
    fn on(&self, machines: &[String]) -> bool {
        machines.iter().any(|wanted| {
            wanted == "*"
                || self.machine.is_some_and(|machine| {
                    machine
                        .strip_prefix(wanted.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
                })
        })
    }

    /// Why the machine cannot have a device of the section's type.
    fn lacks(&self, section: &str) -> Option<String> {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(front) => section.starts_with(front),
            None => section == pattern,
        };
        let entry = self
            .lists
            .absent
            .iter()
            .find(|entry| self.on(&entry.machines) && entry.types.iter().any(matches))?;
        Some(format!(
            "{} cannot have it: {} ({})",
            self.machine.unwrap_or("the machine"),
            entry.reason,
            entry.source
        ))
    }

    /// What the lists say of the names that a finding is about, if they know them.
    pub fn explains(&self, finding: &Finding) -> Option<String> {
        let rule = Rule::from_id(&finding.rule)?;
        let mut reasons: Vec<String> = Vec::new();
        for item in &finding.items {
            let (Some(old), Some(new)) = (&item.old, &item.new) else {
                continue;
            };
            let reason = match rule {
                Rule::FieldRenamed => self.field(&finding.section, &item.description, old, new),
                Rule::DescriptionRenamed => self.description(&finding.section, old, new),
                _ => None,
            };
            reasons.extend(reason.filter(|reason| !finding.message.contains(reason.as_str())));
        }
        reasons.dedup();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Why the description `old` is `new` in the other build.
    fn description(&self, section: &str, old: &str, new: &str) -> Option<String> {
        self.rename(Renamed::Description, |entry, a, b| {
            a == old && b == new && entry.section.as_deref().is_none_or(|s| s == section)
        })
    }

    /// Which entry allows a finding, if one does.
    pub fn allows(&self, finding: &Finding) -> Option<String> {
        if finding.rule == Rule::VmsdRenamed.id()
            && let (Some(old), Some(new)) = (&finding.old, &finding.new)
            && let (Some(old), Some(new)) = (&old.name, &new.name)
            && let Some(reason) = self.description(&finding.section, old, new)
        {
            return Some(reason);
        }
        let deliberate = self
            .lists
            .breaks
            .iter()
            .find(|entry| self.applies(entry, finding))
            .map(|entry| {
                entry.used.set(true);
                let only = if entry.only_there {
                    format!(" (only on {})", entry.machines.join(", "))
                } else {
                    String::new()
                };
                match &entry.commit {
                    Some(commit) => {
                        format!("{}: {}{only} (commit {commit})", entry.place, entry.reason)
                    }
                    None => format!("{}: {}{only}", entry.place, entry.reason),
                }
            });
        // A finding that the machine cannot meet is moot, but an entry about it says more.
        deliberate.or_else(|| {
            (finding.level != Level::Note)
                .then(|| self.lacks(&finding.section))
                .flatten()
        })
    }

    /// Why the run-time test that a finding hangs on cannot matter between these builds.
    pub fn settles(&self, finding: &Finding) -> Option<String> {
        let rule = Rule::from_id(&finding.rule)?;
        let wanted = match rule {
            Rule::ConditionalFieldAdded
            | Rule::ConditionalFieldRemoved
            | Rule::SubsectionUnknown => Sent::Never,
            Rule::ConditionAdded | Rule::ConditionRemoved => Sent::Always,
            _ => return None,
        };
        let mut reasons: Vec<String> = Vec::new();
        for item in &finding.items {
            let name = item.new.as_ref().or(item.old.as_ref())?;
            let entry = self.lists.conditions.iter().find(|entry| {
                entry.sent == wanted
                    && entry.span.holds(self.old, self.new) != Holds::No
                    && entry
                        .section
                        .as_deref()
                        .is_none_or(|s| s == finding.section)
                    && entry.description == item.description
                    && entry.items.contains(name)
            })?;
            entry.used.set(true);
            let reason = format!("{} ({})", entry.reason, entry.source);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn applies(&self, entry: &Break, finding: &Finding) -> bool {
        let same_way = |rule: Rule, direction: Direction| {
            finding.rule == rule.id()
                && entry
                    .direction
                    .is_none_or(|_| finding.direction == direction)
        };
        let direction = entry.direction.unwrap_or(Direction::Forward);
        let in_order = || same_way(entry.rule, direction);
        let swapped = || same_way(entry.rule.mirror(), direction.reversed());
        let holds = match entry.span.holds(self.old, self.new) {
            Holds::InOrder => in_order(),
            Holds::Swapped => swapped(),
            Holds::Perhaps => in_order() || swapped(),
            Holds::No => false,
        };
        let machine = self.any_machine || entry.only_there || self.on(&entry.machines);
        holds
            && machine
            && entry.section == finding.section
            && finding.path.starts_with(&entry.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(text: &str) -> Result<Lists, ListError> {
        let mut lists = Lists::default();
        lists.add("own.toml", text)?;
        Ok(lists)
    }

    const APIC: &str = r#"
[[field]]
description = "apic"
old = "timer"
new = "timer_expiry"
by = "8.0"
source = "QEMU 8.0"
reason = "the same 8 bytes"
"#;

    #[test]
    fn the_shipped_lists_can_be_read() {
        let lists = Lists::load(&[]).expect("they are part of the program");
        assert!(lists.renames.len() > 50, "{}", lists.renames.len());
        assert!(!lists.breaks.is_empty());
    }

    #[test]
    fn a_rename_is_a_pair_with_a_direction_in_time() {
        let lists = lists(APIC).expect("good");
        let v = |text: &str| text.parse::<Version>().ok();
        let known = |old, new, a, b| {
            let scope = Scope {
                lists: &lists,
                old: v(old),
                new: v(new),
                machine: None,
                any_machine: false,
            };
            scope.field("apic", "apic", a, b).is_some()
        };
        assert!(
            known("7.2", "8.0", "timer", "timer_expiry"),
            "across the change"
        );
        assert!(
            !known("7.2", "8.0", "timer_expiry", "timer"),
            "not back in time"
        );
        assert!(
            known("9.0", "7.2", "timer_expiry", "timer"),
            "builds swapped"
        );
        assert!(
            !known("8.0", "9.0", "timer", "timer_expiry"),
            "both after it"
        );
        assert!(
            !known("5.2", "7.2", "timer", "timer_expiry"),
            "both before it"
        );
        assert!(
            !known("7.2", "8.0", "timer", "other"),
            "a pair, not a bag of names"
        );
        assert!(
            known("", "", "timer", "timer_expiry"),
            "a dump has no version"
        );
    }

    #[test]
    fn an_entry_that_is_wrong_says_where() {
        let refused = |text: &str| lists(text).expect_err(text).to_string();
        let cases = [
            (APIC.replace("description", "descripton"), "own.toml: TOML parse error at line 3"),
            (APIC.replace("description = \"apic\"", ""), "own.toml:2: an entry without section"),
            (APIC.replace("timer_expiry", "timer"), "own.toml:2: old and new are the same"),
            (APIC.replace("by =", "after = \"9.0\"\nby ="), "own.toml:2: after must be"),
            (APIC.replace("8.0\"\nsource", "eight\"\nsource"), "is not a QEMU version"),
            (
                "[[break]]\nsection='esp'\nrule='nope'\nmachines=['q800']\nby='9.0'\nreason='x'".to_owned(),
                "own.toml:1: there is no rule `nope`",
            ),
            (
                "[[break]]\nsection='esp'\nrule='field-added'\nmachines=['q800']\nby='9.0'\nreason='x'".to_owned(),
                "own.toml:1: without a path this allows every field-added in `esp`",
            ),
        ];
        for (text, wanted) in cases {
            let message = refused(&text);
            assert!(message.contains(wanted), "wanted {wanted:?} in {message:?}");
        }
    }
}

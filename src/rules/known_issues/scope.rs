//! The known issues between two builds, and their answers about a finding.

use crate::model::{Direction, Pattern, Rule, Version};
use crate::report::{Changed, Finding, Level};
use crate::rules::known_issues::{Break, Holds, KnownIssues, Match, Renamed, Sent};

/// The known issues as they apply between two builds.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'k> {
    pub lists: &'k KnownIssues,
    pub old: Option<Version>,
    pub new: Option<Version>,
    pub machine: Option<&'k str>,
    /// Set if breaks apply whatever the machine: to see which entries match at all.
    pub any_machine: bool,
}

impl<'k> Scope<'k> {
    /// Returns the known issues where neither the builds nor the machine are known.
    pub fn anywhere(lists: &'k KnownIssues) -> Scope<'k> {
        Scope {
            any_machine: true,
            ..Scope::of(lists, None, None, None)
        }
    }

    /// Returns the known issues between two builds on a machine, as far as these are known.
    pub fn of(
        lists: &'k KnownIssues,
        old: Option<Version>,
        new: Option<Version>,
        machine: Option<&'k str>,
    ) -> Scope<'k> {
        Scope {
            lists,
            old,
            new,
            machine,
            any_machine: false,
        }
    }

    /// Returns the entry by which `old` is `new`, in a section and a description as far as these are known.
    fn rename(
        &self,
        what: Renamed,
        (section, description): (Option<&str>, Option<&str>),
        (old, new): (&str, &str),
    ) -> Option<Match<'k>> {
        let is_or_any = |limit: &Option<String>, name: Option<&str>| {
            name.is_none_or(|name| is_or_any(limit.as_deref(), name))
        };
        let mut entries = self.lists.renames.iter().filter(|entry| {
            entry.what == what
                && is_or_any(&entry.section, section)
                && is_or_any(&entry.description, description)
        });
        let entry = entries.find(|entry| {
            Holds::of(entry.by, self.old, self.new).fits(
                || entry.old == old && entry.new == new,
                || entry.new == old && entry.old == new,
            )
        })?;
        Some(Match::sourced(&entry.place, &entry.reason, &entry.source))
    }

    /// Returns the entry by which the field `old` of a description is `new` in the other build.
    pub fn field(
        &self,
        section: &str,
        description: &str,
        old: &str,
        new: &str,
    ) -> Option<Match<'k>> {
        let of = (Some(section), Some(description));
        self.rename(Renamed::Field, of, (old, new))
    }

    /// Looks a field up as [`Scope::field`] does, where the QOM type is not known, as in a stream.
    pub fn field_on_wire(&self, description: &str, old: &str, new: &str) -> Option<Match<'k>> {
        self.rename(Renamed::Field, (None, Some(description)), (old, new))
    }

    /// Returns the entry by which the description `old` is called `new` in the other build, where the
    /// QOM type is not known.
    pub fn description_on_wire(&self, old: &str, new: &str) -> Option<Match<'k>> {
        self.rename(Renamed::Description, (None, None), (old, new))
    }

    /// Returns the entry by which the QOM type `old` is `new` in the other build.
    pub fn section(&self, description: &str, old: &str, new: &str) -> Option<Match<'k>> {
        self.rename(Renamed::Section, (None, Some(description)), (old, new))
    }

    /// Returns the entry by which the machine cannot have a device of the section's type.
    fn lacks(&self, section: &str) -> Option<Match<'k>> {
        let entry = self.lists.absent.iter().find(|entry| {
            entry.machines.include(self.machine) && Pattern::any(&entry.types, section)
        })?;
        let machine = self.machine.unwrap_or("the machine");
        let reason = format!("{machine} cannot have it: {}", entry.reason);
        Some(Match::sourced(&entry.place, &reason, &entry.source))
    }

    /// Returns the entry about a pair of names that a finding is about.
    pub(crate) fn explains(
        &self,
        finding: &Finding,
        description: &str,
        old: &str,
        new: &str,
    ) -> Option<Match<'k>> {
        match finding.rule {
            Rule::FieldRenamed => self.field(&finding.section, description, old, new),
            Rule::DescriptionRenamed => self.description(&finding.section, old, new),
            Rule::SectionRenamed => self.section(description, old, new),
            _ => None,
        }
    }

    /// Returns the entry by which the description `old` is `new` in the other build.
    fn description(&self, section: &str, old: &str, new: &str) -> Option<Match<'k>> {
        self.rename(Renamed::Description, (Some(section), None), (old, new))
    }

    /// Returns the entry that allows a finding, if one does.
    pub fn allows(&self, finding: &Finding) -> Option<Match<'k>> {
        // A finding that the machine cannot meet is moot, but an entry about it says more.
        let chosen = self.chosen(finding);
        if chosen.is_some() || finding.level == Level::Note {
            return chosen;
        }
        let moot = self.lacks(&finding.section);
        moot.or_else(|| self.known_finding(finding))
    }

    /// Returns the entry by which upstream chose what a finding reports, so that guests that have
    /// it fail.
    pub(crate) fn chosen(&self, finding: &Finding) -> Option<Match<'k>> {
        if finding.rule == Rule::VmsdRenamed
            && let (Some(old), Some(new)) = (&finding.old, &finding.new)
            && let (Some(old), Some(new)) = (&old.name, &new.name)
            && let Some(found) = self.description(&finding.section, old, new)
        {
            return Some(found);
        }
        let mut breaks = self.lists.breaks.iter();
        let entry = breaks.find(|entry| self.applies(entry, finding))?;
        let mut reason = format!("{}: {}", entry.place, entry.reason);
        if entry.only_there {
            reason.push_str(&format!(" (only on {})", entry.machines));
        }
        if let Some(commit) = &entry.commit {
            reason.push_str(&format!(" (commit {commit})"));
        }
        Some(Match {
            entry: &entry.place,
            reason,
        })
    }

    /// Returns the entries by which the run-time tests that a finding depends on cannot matter between
    /// these builds; none unless there is one for each test.
    pub fn settles(&self, finding: &Finding) -> Vec<Match<'k>> {
        let wanted = match finding.rule {
            Rule::ConditionalFieldAdded
            | Rule::ConditionalFieldRemoved
            | Rule::SubsectionUnknown => Sent::Never,
            Rule::ConditionAdded | Rule::ConditionRemoved => Sent::Always,
            Rule::FieldPadded => Sent::Unused,
            _ => return Vec::new(),
        };
        // The padding of a pair is not the field that the entry names.
        let named = |item: &Changed, names: &[String]| match wanted {
            Sent::Unused => [&item.old, &item.new]
                .into_iter()
                .flatten()
                .any(|name| names.contains(name)),
            _ => item
                .new
                .as_ref()
                .or(item.old.as_ref())
                .is_some_and(|name| names.contains(name)),
        };
        let settled = finding.items.iter().map(|item| {
            let entry = self.lists.conditions.iter().find(|entry| {
                entry.sent == wanted
                    && Holds::of(entry.by, self.old, self.new) != Holds::No
                    && is_or_any(entry.section.as_deref(), &finding.section)
                    && entry.description == item.description
                    && named(item, &entry.items)
            })?;
            Some(Match::sourced(&entry.place, &entry.reason, &entry.source))
        });
        settled.collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    pub(super) fn applies(&self, entry: &Break, finding: &Finding) -> bool {
        let same_way = |rule: Rule, direction: Direction| {
            finding.rule == rule
                && entry
                    .direction
                    .is_none_or(|_| finding.direction == direction)
        };
        let direction = entry.direction.unwrap_or(Direction::Forward);
        let in_order = || same_way(entry.rule, direction);
        let swapped = || same_way(entry.rule.mirror(), direction.reversed());
        let holds = || Holds::of(entry.by, self.old, self.new).fits(in_order, swapped);
        let machine =
            || self.any_machine || entry.only_there || entry.machines.include(self.machine);
        // The name of the section rules out nearly every entry.
        entry.section == finding.section
            && holds()
            && machine()
            && finding.path.starts_with(&entry.path)
    }
}

/// Tells whether an entry that may be limited to one name holds for this one.
fn is_or_any(limit: Option<&str>, name: &str) -> bool {
    limit.is_none_or(|limit| limit == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::known_issues::load::tests::{APIC, lists};

    #[test]
    fn a_rename_is_a_pair_with_a_direction_in_time() {
        let lists = lists(APIC).expect("good");
        let v = |text: &str| text.parse::<Version>().ok();
        let known = |old, new, a, b| {
            let scope = Scope::of(&lists, v(old), v(new), None);
            scope.field("apic", "apic", a, b).is_some()
        };
        let (then, now) = ("timer", "timer_expiry");
        for (old, new, a, b, is_known, why) in [
            ("7.2", "8.0", then, now, true, "across the change"),
            ("7.2", "8.0", now, then, false, "not back in time"),
            ("9.0", "7.2", now, then, true, "builds swapped"),
            ("8.0", "9.0", then, now, false, "both after it"),
            ("5.2", "7.2", then, now, false, "both before it"),
            ("7.2", "8.0", then, "other", false, "no bag of names"),
            ("", "", then, now, true, "a dump has no version"),
        ] {
            assert_eq!(known(old, new, a, b), is_known, "{why}");
        }
    }
}

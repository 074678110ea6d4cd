//! What the lists say of a finding between two builds.

use crate::model::Rule;
use crate::model::{Direction, Version};
use crate::report::{Finding, Level};
use crate::rules::lists::{Break, Holds, Lists, Rename, Renamed, Sent};

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

    /// As [`Scope::field`] where the QOM type is not known, as in a stream.
    pub fn field_on_wire(&self, description: &str, old: &str, new: &str) -> Option<String> {
        self.rename(Renamed::Field, |entry, a, b| {
            a == old
                && b == new
                && entry
                    .description
                    .as_deref()
                    .is_none_or(|d| d == description)
        })
    }

    /// Why the description `old` is called `new` in the other build, where the QOM type is not known.
    pub fn description_on_wire(&self, old: &str, new: &str) -> Option<String> {
        self.rename(Renamed::Description, |_, a, b| a == old && b == new)
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
    pub(crate) fn on(&self, machines: &[String]) -> bool {
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
        let rule = Some(finding.rule)?;
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
        // A finding that the machine cannot meet is moot, but an entry about it says more.
        self.chosen(finding).or_else(|| {
            (finding.level != Level::Note)
                .then(|| self.lacks(&finding.section))
                .flatten()
        })
    }

    /// Which entry says that upstream chose what a finding tells, so that guests that have it fail.
    pub(crate) fn chosen(&self, finding: &Finding) -> Option<String> {
        if finding.rule == Rule::VmsdRenamed
            && let (Some(old), Some(new)) = (&finding.old, &finding.new)
            && let (Some(old), Some(new)) = (&old.name, &new.name)
            && let Some(reason) = self.description(&finding.section, old, new)
        {
            return Some(reason);
        }
        let mut breaks = self.lists.breaks.iter();
        let entry = breaks.find(|entry| self.applies(entry, finding))?;
        entry.used.set(true);
        let only = if entry.only_there {
            format!(" (only on {})", entry.machines.join(", "))
        } else {
            String::new()
        };
        Some(match &entry.commit {
            Some(commit) => format!("{}: {}{only} (commit {commit})", entry.place, entry.reason),
            None => format!("{}: {}{only}", entry.place, entry.reason),
        })
    }

    /// Why the run-time test that a finding hangs on cannot matter between these builds.
    pub fn settles(&self, finding: &Finding) -> Option<String> {
        let rule = Some(finding.rule)?;
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
            finding.rule == rule
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
    use crate::rules::lists::load::tests::{APIC, lists};

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
}

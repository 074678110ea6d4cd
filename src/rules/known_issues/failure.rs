//! Failures that are known here, and excused until they are mended: of any kind, with an owner and an end.

use std::fmt;

use serde::Deserialize;

use crate::model::{BadVersion, Date, Direction, MachineNames, Pattern, Rule, Version};
use crate::report::{Case, Finding, Outcome, Sought, StateDiff};
use crate::rules::known_issues::error::{NO_MACHINES, in_order, refused, rule};
use crate::rules::known_issues::{Holds, ListError, Match, Place, Scope};

/// A failure that somebody has looked at, and that does not count until it expires.
#[derive(Debug, Clone)]
pub(crate) struct KnownFailure {
    pub kind: FailureScope,
    pub direction: Option<Direction>,
    pub machines: MachineNames,
    /// The first release that fails with one before it, or the other way round; between any two when absent.
    pub by: Option<Version>,
    pub reason: String,
    pub owner: String,
    pub link: Option<String>,
    pub expires: Expiry,
    pub place: Place,
}

/// The kind of failure that an entry excuses.
#[derive(Debug, Clone)]
pub(crate) enum FailureScope {
    /// Cases with one of these outcomes.
    Cases {
        outcomes: Vec<Outcome>,
        /// Device types, or the names of device sets; any when empty.
        devices: Vec<Pattern>,
        /// The section to blame, with or without the device's address before it.
        section: Option<String>,
        field: Option<String>,
    },
    /// Findings of a rule.
    Findings {
        rule: Rule,
        section: String,
        /// Names from the vmsd name down; a finding at or below it matches.
        path: Vec<String>,
    },
}

/// The time until which a known failure is excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiry {
    /// The last day.
    Date(Date),
    /// The first release in which it has to be mended.
    Release(Version),
}

/// A text that is neither a date nor a release.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a date like 2027-03-31 nor a release like 11.2")]
pub(crate) struct BadExpiry(String);

impl Expiry {
    fn read(text: &str) -> Result<Expiry, BadExpiry> {
        if let Ok(date) = text.parse() {
            return Ok(Expiry::Date(date));
        }
        let is_release = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let release: Result<Version, BadVersion> = text.parse();
        match release {
            Ok(release) if is_release => Ok(Expiry::Release(release)),
            _ => Err(BadExpiry(text.to_owned())),
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expiry::Date(date) => write!(f, "until {date}"),
            Expiry::Release(version) => write!(f, "until {}.{}", version.major, version.minor),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFailure {
    #[serde(default)]
    outcomes: Vec<Outcome>,
    rule: Option<String>,
    #[serde(default)]
    devices: Vec<Pattern>,
    section: Option<String>,
    field: Option<String>,
    #[serde(default)]
    path: Vec<String>,
    direction: Option<Direction>,
    machines: MachineNames,
    after: Option<Version>,
    by: Option<Version>,
    reason: String,
    owner: String,
    link: Option<String>,
    expires: String,
}

impl RawFailure {
    /// Checks an entry.
    ///
    /// # Errors
    /// It is too wide, or a key is missing or in the wrong kind of entry.
    pub(super) fn into_entry(self, place: Place) -> Result<KnownFailure, ListError> {
        let fail = |reason: &str| refused(place.clone(), reason);
        if self.machines.is_empty() {
            return Err(fail(NO_MACHINES));
        }
        for (key, text) in [("reason", &self.reason), ("owner", &self.owner)] {
            if text.trim().is_empty() {
                return Err(fail(&format!("`{key}` is empty")));
            }
        }
        match self.by {
            Some(by) => in_order(self.after, by, &place)?,
            None if self.after.is_some() => {
                return Err(fail("after needs by, the first release that fails"));
            }
            None => {}
        }
        let kind = match (self.rule, self.outcomes.as_slice()) {
            (None, []) => {
                return Err(fail(
                    "name outcomes (fail, crash, hang, lost, broken) or a rule",
                ));
            }
            (Some(_), [_, ..]) => {
                return Err(fail(
                    "outcomes are of cases and a rule is of findings: one entry has one of them",
                ));
            }
            (Some(id), []) => {
                let rule = rule(&id, &place)?;
                if !self.devices.is_empty() || self.field.is_some() {
                    return Err(fail(
                        "a finding has a section and a path, no devices and no field",
                    ));
                }
                let section = self.section.filter(|section| !section.is_empty());
                let section = section.ok_or_else(|| fail("name the section of the rule"))?;
                FailureScope::Findings {
                    rule,
                    section,
                    path: self.path,
                }
            }
            (None, outcomes) => {
                let is_fine = |one: &&Outcome| matches!(one, Outcome::Pass | Outcome::Skip);
                if let Some(other) = outcomes.iter().find(is_fine) {
                    return Err(fail(&format!("a case that is `{other}` needs no excuse")));
                }
                if !self.path.is_empty() {
                    return Err(fail("a case has a section and a field, no path"));
                }
                let any = self.devices.is_empty() || self.devices.iter().any(Pattern::fits_all);
                if any && self.section.as_deref().is_none_or(str::is_empty) {
                    return Err(fail(
                        "this excuses every device: name devices or the section",
                    ));
                }
                FailureScope::Cases {
                    outcomes: self.outcomes,
                    devices: self.devices,
                    section: self.section,
                    field: self.field,
                }
            }
        };
        let expires =
            Expiry::read(&self.expires).map_err(|error| fail(&format!("expires: {error}")))?;
        Ok(KnownFailure {
            kind,
            direction: self.direction,
            machines: self.machines,
            by: self.by,
            reason: self.reason,
            owner: self.owner,
            link: self.link,
            expires,
            place,
        })
    }
}

impl KnownFailure {
    /// Tells whether a run that misses what the entry is about may have left it out, as the baseline has it.
    pub(super) fn may_be_left_out(&self, sought: &Sought) -> bool {
        sought.new_doubts_alone && matches!(self.kind, FailureScope::Findings { .. })
    }

    /// Returns what is the same of two entries about one failure.
    pub(crate) fn key(&self) -> impl Ord + use<> {
        let of_cases = |outcomes: &[Outcome], devices: &[Pattern]| {
            let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
            (outcomes.to_vec(), devices)
        };
        let what = match &self.kind {
            FailureScope::Cases {
                outcomes,
                devices,
                section,
                field,
            } => (
                of_cases(outcomes, devices),
                section.clone(),
                field.clone(),
                None,
            ),
            FailureScope::Findings {
                rule,
                section,
                path,
            } => (
                of_cases(&[], &[]),
                Some(section.clone()),
                None,
                Some((*rule, path.clone())),
            ),
        };
        (what, self.direction, self.machines.clone(), self.by)
    }

    /// Returns why it is excused, for a report.
    fn sentence(&self) -> String {
        let link = self.link.iter().map(|link| format!(", {link}"));
        format!(
            "{}: {} ({}{}, {})",
            self.place,
            self.reason,
            self.owner,
            link.collect::<String>(),
            self.expires
        )
    }

    fn found(&self) -> Match<'_> {
        Match {
            entry: &self.place,
            reason: self.sentence(),
        }
    }

    /// Tells whether the entry is past its end, for a pair of builds.
    pub(super) fn has_expired(&self, today: Date, releases: [Option<Version>; 2]) -> bool {
        match self.expires {
            Expiry::Date(last) => today > last,
            Expiry::Release(mended) => releases
                .into_iter()
                .flatten()
                .any(|release| (release.major, release.minor) >= (mended.major, mended.minor)),
        }
    }

    /// Tells whether the entry is about a direction, between builds in this order.
    pub(super) fn is_about(&self, direction: Direction, releases: [Option<Version>; 2]) -> bool {
        let same = |moved: Direction| self.direction.is_none_or(|listed| listed == moved);
        self.holds(releases)
            .fits(|| same(direction), || same(direction.reversed()))
    }

    /// Returns how the builds relate to the change that the entry is about.
    fn holds(&self, releases: [Option<Version>; 2]) -> Holds {
        self.by
            .map_or(Holds::InOrder, |by| Holds::of(by, releases[0], releases[1]))
    }

    /// Tells whether a case is what the entry is about, whatever its outcome.
    pub(super) fn concerns_case(&self, case: &Case, releases: [Option<Version>; 2]) -> bool {
        let FailureScope::Cases { devices, .. } = &self.kind else {
            return false;
        };
        let leg = case.last_direction();
        self.machines.include(Some(&case.machine))
            && self.is_about(leg, releases)
            && (devices.is_empty() || has_device(devices, case))
    }

    pub(super) fn excuses_case(&self, case: &Case, releases: [Option<Version>; 2]) -> bool {
        let FailureScope::Cases {
            outcomes,
            section,
            field,
            ..
        } = &self.kind
        else {
            return false;
        };
        let is_meant = |diff: &StateDiff| {
            section
                .as_ref()
                .is_none_or(|name| diff.section.ends_in(name))
                && field.as_ref().is_none_or(|name| *name == diff.field)
        };
        let at_place = match &case.cause {
            Some(cause) => {
                let in_section = |name: &String| {
                    let blamed = cause.section_or_memory();
                    blamed.is_some_and(|blamed| blamed.ends_in(name))
                };
                section.as_ref().is_none_or(in_section)
                    && (field.is_none() || *field == cause.field)
            }
            None => section.is_none() && field.is_none(),
        };
        // What is lost beside it is another failure.
        let all_of_it = case.state_diff.iter().all(is_meant);
        outcomes.contains(&case.outcome)
            && self.concerns_case(case, releases)
            && at_place
            && all_of_it
    }

    pub(super) fn excuses_finding(
        &self,
        finding: &Finding,
        machine: Option<&str>,
        releases: [Option<Version>; 2],
    ) -> bool {
        let FailureScope::Findings {
            rule,
            section,
            path,
        } = &self.kind
        else {
            return false;
        };
        // Of builds in the other order, the change is the other way round.
        let holds = self.holds(releases);
        let same_rule = holds.fits(|| finding.rule == *rule, || finding.rule == rule.mirror());
        same_rule
            && (finding.section == *section || finding.also_in.contains(section))
            && finding.path.starts_with(path)
            && self.machines.include(machine)
            && self.is_about(finding.direction, releases)
    }
}

/// Tells whether the devices that failed in a case, or that are tried in it, are all named.
fn has_device(patterns: &[Pattern], case: &Case) -> bool {
    if Pattern::any(patterns, &case.device_set) {
        return true;
    }
    if let Some(split) = &case.split {
        let named = |group: &Vec<String>| group.iter().any(|name| Pattern::any(patterns, name));
        let separated = !split.without_any && split.undecided.is_empty();
        return separated && !split.culprits.is_empty() && split.culprits.iter().all(named);
    }
    // A case about one device names it last, behind what that needs.
    let alone = case.part_of.is_some() || case.devices.len() == 1;
    let device = case.devices.last().filter(|_| alone);
    device.is_some_and(|name| Pattern::any(patterns, name))
}

impl<'k> Scope<'k> {
    fn releases(&self) -> [Option<Version>; 2] {
        [self.old, self.new]
    }

    /// Returns the entries that are not past their end.
    fn open_failures(&self) -> impl Iterator<Item = &'k KnownFailure> {
        let (today, releases) = (self.lists.today, self.releases());
        let failures = self.lists.failures.iter();
        failures.filter(move |entry| !entry.has_expired(today, releases))
    }

    /// Returns the entry by which the failure of a case is known.
    pub(super) fn known_case(&self, case: &Case) -> Option<Match<'k>> {
        let releases = self.releases();
        self.open_failures()
            .find(|entry| entry.excuses_case(case, releases))
            .map(KnownFailure::found)
    }

    /// Returns the entry by which a finding is known.
    pub(super) fn known_finding(&self, finding: &Finding) -> Option<Match<'k>> {
        let releases = self.releases();
        self.open_failures()
            .find(|entry| entry.excuses_finding(finding, self.machine, releases))
            .map(KnownFailure::found)
    }
}

#[cfg(test)]
mod tests;

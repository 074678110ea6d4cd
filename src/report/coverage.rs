//! The part of the state that two builds know that was put to the test.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::Direction;

/// The point that a section reached in a run; the strongest evidence first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Sent in a case that passed.
    Passed,
    /// Sent, but only in cases that did not pass.
    Sent,
    /// No guest could have it, for a reason.
    NotCreated,
    /// The dumps were compared, and that was all.
    Compared,
}

/// A subsection of a section, wherever in it, and whether it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredSubsection {
    /// Its vmsd name.
    pub name: String,
    /// True if any case sent it.
    pub sent: bool,
}

/// A field that a vmsd sends under a condition, and whether it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredField {
    /// The vmsd that it is in.
    pub vmsd: String,
    /// Its name in that vmsd.
    pub field: String,
    /// True if any case sent it.
    pub sent: bool,
}

/// A section of the dumps, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredSection {
    /// The QOM type: the key of the dump.
    pub section: String,
    /// The vmsd name, as the stream has it.
    pub vmsd: String,
    /// True if a guest of the machine can send it: it is built in, or a user can add it, and a build
    /// does not mark it as unmigratable.
    pub possible: bool,
    /// The point that it reached.
    pub reached: Reached,
    /// The reason why it could not be created.
    pub reason: Option<String>,
    /// Its subsections, by name.
    pub subsections: Vec<CoveredSubsection>,
    /// Its fields that are sent under a condition, wherever in it.
    #[serde(default)]
    pub conditional_fields: Vec<CoveredField>,
    /// The directions in which any case sent it.
    #[serde(default)]
    pub sent_in: Vec<Direction>,
}

/// The share of the sections that was sent in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionCoverage {
    /// The direction.
    pub direction: Direction,
    /// Sections of those that the machine can have that were sent.
    pub sent: usize,
    /// These of all, in whole percent, rounded down.
    pub percent: u8,
}

/// Counts of a [`Coverage`]; all but the last are of sections that the machine can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageCounts {
    /// All of them.
    pub sections: usize,
    /// Sent in any case.
    pub sent: usize,
    /// Sent in a case that passed.
    pub passed: usize,
    /// Compared in the dumps, and no more.
    pub compared: usize,
    /// Not created, for a reason.
    pub not_created: usize,
    /// Subsections of all of them.
    pub subsections: usize,
    /// Subsections that were sent.
    pub subsections_sent: usize,
    /// Fields of all of them that are sent under a condition.
    #[serde(default)]
    pub conditional_fields: usize,
    /// Such fields that were sent.
    #[serde(default)]
    pub conditional_fields_sent: usize,
    /// Sent sections of all, in whole percent, rounded down.
    pub percent: u8,
    /// Sections of other machines, or that no guest can send; they count for nothing else.
    pub elsewhere: usize,
}

/// The least percentages of a machine's state that guests have to send, where any are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequiredCoverage {
    /// The percentage of sections, in every direction.
    pub sections: Option<u8>,
    /// The percentages of what depends on the guest's state.
    pub state: RequiredState,
}

/// The least percentages of what depends on the guest's state, in any direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct RequiredState {
    /// The percentage of subsections.
    pub subsections: Option<u8>,
    /// The percentage of fields that are sent under a condition.
    pub fields: Option<u8>,
}

impl RequiredCoverage {
    /// Tells whether anything is asked for.
    pub fn is_any(&self) -> bool {
        let state = self.state.subsections.or(self.state.fields);
        self.sections.or(state).is_some()
    }
}

impl FromStr for RequiredCoverage {
    type Err = BadCoverage;

    /// Reads a percentage of sections, or several between commas, each of `sections=`, `subsections=` or `fields=`.
    fn from_str(text: &str) -> Result<Self, BadCoverage> {
        let mut required = RequiredCoverage::default();
        for part in text.split(',') {
            let (kind, percent) = part.split_once('=').unwrap_or(("sections", part));
            let least = match kind {
                "sections" => &mut required.sections,
                "subsections" => &mut required.state.subsections,
                "fields" => &mut required.state.fields,
                _ => return Err(BadCoverage::Kind(kind.to_owned())),
            };
            let number: u8 = percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .ok_or_else(|| BadCoverage::Percent(percent.to_owned()))?;
            if least.replace(number).is_some() {
                return Err(BadCoverage::Twice(kind.to_owned()));
            }
        }
        Ok(required)
    }
}

/// A text is no required coverage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCoverage {
    /// No part of the state is called so.
    #[error("there are sections, subsections and fields, and not {0:?}")]
    Kind(String),
    /// It is no percentage.
    #[error("{0} is not in 0..=100")]
    Percent(String),
    /// One part has two percentages.
    #[error("{0} is there twice")]
    Twice(String),
}

/// A part of the state of which less was sent than is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// The part: nothing for sections.
    pub part: Option<&'static str>,
    /// The percentage that was sent.
    pub sent: u8,
    /// The percentage that is required.
    pub least: u8,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortfall { part, sent, least } = self;
        let of = part.map_or_else(String::new, |part| format!(" of {part}"));
        write!(
            f,
            "coverage of {sent}%{of} is below the {least}% that --min-coverage asks for"
        )
    }
}

/// The sections that two builds know, and how far each got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Counts of the sections.
    pub counts: CoverageCounts,
    /// The same for each direction that was asked for.
    #[serde(default)]
    pub directions: Vec<DirectionCoverage>,
    /// The percentage that was asked for; with less, nothing is compatible.
    pub required: Option<u8>,
    /// The percentages of what depends on the guest's state that were asked for.
    #[serde(default)]
    pub required_state: RequiredState,
    /// All of them, by QOM type.
    pub sections: Vec<CoveredSection>,
}

impl Coverage {
    /// The coverage of these sections, counted and sorted.
    pub fn of(mut sections: Vec<CoveredSection>) -> Self {
        sections.sort_by(|a, b| a.section.cmp(&b.section));
        let mut counts = CoverageCounts::default();
        for section in &sections {
            if !section.possible {
                counts.elsewhere += 1;
                continue;
            }
            counts.sections += 1;
            match section.reached {
                Reached::Passed => {
                    counts.sent += 1;
                    counts.passed += 1;
                }
                Reached::Sent => counts.sent += 1,
                Reached::NotCreated => counts.not_created += 1,
                Reached::Compared => counts.compared += 1,
            }
            counts.subsections += section.subsections.len();
            counts.subsections_sent += section.subsections.iter().filter(|s| s.sent).count();
            let fields = &section.conditional_fields;
            counts.conditional_fields += fields.len();
            counts.conditional_fields_sent += fields.iter().filter(|f| f.sent).count();
        }
        counts.percent = percent(counts.sent, counts.sections);
        Coverage {
            counts,
            directions: Vec::new(),
            required: None,
            required_state: RequiredState::default(),
            sections,
        }
    }

    /// Counts each of these directions, which were asked for.
    pub fn counted_in(mut self, directions: impl IntoIterator<Item = Direction>) -> Self {
        let possible = || self.sections.iter().filter(|section| section.possible);
        let count = |direction| {
            let sent = possible().filter(|section| section.sent_in.contains(&direction));
            let sent = sent.count();
            DirectionCoverage {
                direction,
                sent,
                percent: percent(sent, self.counts.sections),
            }
        };
        self.directions = directions.into_iter().map(count).collect();
        self
    }

    /// Returns the parts of which less was sent than this.
    pub fn shortfalls(&self, required: RequiredCoverage) -> impl Iterator<Item = Shortfall> {
        let counts = &self.counts;
        let state = required.state;
        let sent_subsections = percent(counts.subsections_sent, counts.subsections);
        let sent_fields = percent(counts.conditional_fields_sent, counts.conditional_fields);
        [
            (None, self.lowest(), required.sections),
            (Some("subsections"), sent_subsections, state.subsections),
            (Some("conditional fields"), sent_fields, state.fields),
        ]
        .into_iter()
        .filter_map(|(part, sent, least)| {
            let least = least.filter(|least| sent < *least)?;
            Some(Shortfall { part, sent, least })
        })
    }

    /// Returns the percentage of the direction in which the least was sent.
    pub fn lowest(&self) -> u8 {
        let directions = self.directions.iter().map(|of| of.percent);
        directions
            .min()
            .map_or(self.counts.percent, |of| of.min(self.counts.percent))
    }

    /// Returns what was asked for.
    pub fn required(&self) -> RequiredCoverage {
        RequiredCoverage {
            sections: self.required,
            state: self.required_state,
        }
    }
}

/// Returns whole percent, rounded down. Nothing to cover is covered.
fn percent(sent: usize, of: usize) -> u8 {
    let percent = (100 * sent).checked_div(of);
    percent.map_or(100, |p| u8::try_from(p).unwrap_or(100))
}

/// The kinds of section that both builds sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The old build.
    pub old: Kinds,
    /// The new build.
    pub new: Kinds,
}

/// Kinds of section that a build sent, by the names of their descriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// The kinds that its dump has.
    pub described: BTreeSet<String>,
    /// The kinds that its dump lacks: CPUs, and legacy SaveVMHandlers sections.
    pub undescribed: BTreeSet<String>,
}

impl Kinds {
    /// Returns how many kinds there are.
    pub fn count(&self) -> usize {
        self.described.len() + self.undescribed.len()
    }

    /// Takes another guest's, machine's or shard's.
    pub fn add(&mut self, other: Kinds) {
        self.described.extend(other.described);
        self.undescribed.extend(other.undescribed);
    }
}

impl Described {
    /// Takes another guest's, machine's or shard's.
    pub fn add(&mut self, other: Described) {
        self.old.add(other.old);
        self.new.add(other.new);
    }

    /// Joins those of several guests, machines or shards; `None` if there are none.
    pub fn join(all: impl IntoIterator<Item = Described>) -> Option<Described> {
        all.into_iter().reduce(|mut one, other| {
            one.add(other);
            one
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_a_number_or_names_its_parts() {
        let of = |sections, subsections, fields| RequiredCoverage {
            sections,
            state: RequiredState {
                subsections,
                fields,
            },
        };
        let bad_percent = |text: &str| Err(BadCoverage::Percent(text.to_owned()));
        for (text, read) in [
            ("80", Ok(of(Some(80), None, None))),
            ("subsections=40", Ok(of(None, Some(40), None))),
            (
                "fields=0,80,subsections=100",
                Ok(of(Some(80), Some(100), Some(0))),
            ),
            ("101", bad_percent("101")),
            ("subsections=-1", bad_percent("-1")),
            ("fields=", bad_percent("")),
            ("", bad_percent("")),
            (
                "80,sections=70",
                Err(BadCoverage::Twice("sections".to_owned())),
            ),
            ("devices=90", Err(BadCoverage::Kind("devices".to_owned()))),
        ] {
            assert_eq!(text.parse::<RequiredCoverage>(), read, "{text}");
        }
    }

    #[test]
    fn each_part_is_held_against_its_own_percentage() {
        let coverage = Coverage {
            counts: CoverageCounts {
                percent: 90,
                subsections: 3,
                subsections_sent: 1,
                ..CoverageCounts::default()
            },
            ..Coverage::of(Vec::new())
        };
        let short = |text: &str| -> Vec<Option<&str>> {
            let required = text.parse().unwrap();
            coverage.shortfalls(required).map(|of| of.part).collect()
        };
        assert_eq!(short("90,subsections=33,fields=100"), []);
        assert_eq!(short("91,subsections=34"), [None, Some("subsections")]);
    }
}

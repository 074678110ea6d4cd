//! Explanation of why a destination refused a stream: the first byte where what was sent and what
//! the destination reads part.
//!
//! The bytes that a build reads for a configuration are those that it sends for the same one, as
//! far as the state allows; so the stream that the destination's build saves of the same guest, not
//! run, stands for its loader. QEMU names a section when it refuses one, and that section is asked
//! first. Without such a name only what refuses a stream for certain is reported.

mod differences;
mod explanation;
mod memory;
mod pci_config;
mod reason;
mod sentence;
mod tested;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;

use crate::compare::layout::empty_in;
use crate::compare::renames::Renames;
use crate::compare::sections::lone_rule;
use crate::compare::streams;
use crate::compare::streams::{Leaf, Side, leaves};
use crate::model::{Direction, Rule, joined};
use crate::report::Finding;
use crate::stream::tree::{Kind, Section, SectionKind, Stream, Structure};

pub(crate) use explanation::Explanation;
use memory::memory;
use reason::Grade;
pub(crate) use reason::Reason;
use reason::{OwnSubsection, Parting, Takes};
use tested::first_tested;
use values::values;

/// The complaint of a build that refused a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blamed<'b> {
    /// The idstr, the end of that, or the name of a description in it.
    pub section: &'b str,
    pub instance: Option<u32>,
    /// A field, or the block of guest memory.
    pub field: Option<&'b str>,
    /// The lowest version that it accepts of a description, the section's or a subsection's, by its message.
    pub minimum: Option<(&'b str, i64)>,
    /// The way in which it refused that, where it says so.
    pub objection: Option<Objection>,
}

/// The way in which a build objects to a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// A byte of the PCI configuration space.
    ConfigByte { at: usize, sent: u8, own: u8 },
    /// Another value: the layouts agreed up to there.
    Value,
    /// The section does not end where the build has read to.
    Length,
    /// A subsection that it does not know, which it names as the field.
    Subsection,
    /// It died.
    Death,
}

/// Explains why the destination refused what was sent. `expected` is the stream that the destination's build
/// saves for the same configuration. Either has the build's dump where there is one. `None` where nothing is known.
pub(crate) fn explain<'s>(
    sent: impl Into<Side<'s>>,
    expected: impl Into<Side<'s>>,
    blamed: Option<Blamed<'_>>,
    renames: &dyn Renames,
    direction: Direction,
) -> Option<Explanation> {
    let sent = sent.into();
    let case = Case {
        sent,
        expected: expected.into(),
        blamed,
        renames,
        direction,
    };
    let Some(blamed) = blamed else {
        return case.unnamed();
    };
    let section = find(sent.stream, blamed.section, blamed.instance)?;
    match section.kind {
        SectionKind::Ram => memory(section, sent.stream, case.expected.stream, blamed.field),
        SectionKind::Iterative => None,
        SectionKind::Device => {
            let expected = case.twin(section);
            let refused = match blamed.objection {
                Some(Objection::ConfigByte { at, sent, own }) => {
                    values::refused_config(section, expected, (at, sent, own))
                }
                _ => None,
            };
            if refused.is_some() {
                return refused;
            }
            let found = case.best(section).map(|(_, explanation)| explanation);
            found.or_else(|| case.value_check(section))
        }
    }
}

/// Returns the sections of `sent` that the destination is likely to refuse, going by the layouts
/// alone. State may prove that wrong: good for what is tried first.
pub(crate) fn likely_refused<'s>(
    sent: &'s Stream,
    expected: impl Into<Side<'s>>,
    renames: &dyn Renames,
    direction: Direction,
) -> Vec<&'s Section> {
    let case = Case {
        sent: sent.into(),
        expected: expected.into(),
        blamed: None,
        renames,
        direction,
    };
    let speaks_against = |section: &&Section| {
        let best = case.best(section);
        // A length that depends on state speaks against hardly anything.
        best.is_some_and(|(grade, _)| grade < Grade::Elastic)
    };
    sent.devices().filter(speaks_against).collect()
}

/// Returns the section that a build's message means, also where the message has only the last part
/// of its name.
fn find<'s>(sent: &'s Stream, name: &str, instance: Option<u32>) -> Option<&'s Section> {
    if name.is_empty() {
        return None;
    }
    let called = |section: &&Section| section.name.ends_in(name);
    let holds = |section: &&Section| {
        let mut all = section
            .content
            .structure()
            .into_iter()
            .flat_map(Structure::all);
        all.any(|structure| *structure.vmsd_name == *name)
    };
    let of_instance =
        |section: &&Section| instance.is_none_or(|instance| section.instance_id == instance);
    let all = || sent.sections.iter();
    all()
        .find(|s| s.name == name && of_instance(s))
        .or_else(|| all().find(|s| called(s) && of_instance(s)))
        .or_else(|| all().find(|s| holds(s) && of_instance(s)))
}

/// The sections of one stream, with those that are expected.
struct Case<'c> {
    sent: Side<'c>,
    expected: Side<'c>,
    /// The message of the destination's build, where one is known.
    blamed: Option<Blamed<'c>>,
    renames: &'c dyn Renames,
    direction: Direction,
}

/// The field that a build named when it refused a section, and where it ends: what follows it was not
/// read.
#[derive(Debug, Clone, Copy)]
struct RefusedAt<'f> {
    field: &'f str,
    end: u64,
}

impl<'c> Case<'c> {
    /// Returns the field that was named, if the section has it.
    fn refused_at(&self, section: &Section) -> Option<RefusedAt<'c>> {
        let field = self.blamed?.field?;
        let leaves = leaves(section);
        let named = leaves
            .iter()
            .filter(|leaf| leaf.path.iter().any(|name| name == field));
        let ends = named.map(|leaf| leaf.offset + leaf.bytes.len() as u64);
        Some(RefusedAt {
            field,
            end: ends.max()?,
        })
    }

    fn objection(&self) -> Option<Objection> {
        self.blamed?.objection
    }

    /// Explains a refusal in which the build named no section, as one that dies does not: by what
    /// refuses the stream for certain, or else by the one section that has something to be refused
    /// for.
    fn unnamed(&self) -> Option<Explanation> {
        let found: Vec<(Grade, Explanation)> = self
            .sent
            .stream
            .devices()
            .filter_map(|s| self.best(s))
            .collect();
        let of = |wanted: &'static [Grade]| {
            let found = found.iter();
            found.filter(move |(grade, _)| wanted.contains(grade))
        };
        if let Some((_, explanation)) = of(&[Grade::Certain]).next() {
            return Some(explanation.clone());
        }
        let mut likely = of(&[Grade::Likely, Grade::Late]);
        let (Some((_, only)), None) = (likely.next(), likely.next()) else {
            return None;
        };
        Some(Explanation {
            only_one: true,
            ..only.clone()
        })
    }

    /// Returns the section as the destination's build sends it.
    fn twin(&self, section: &Section) -> Option<&Section> {
        let expected = self.expected.stream;
        expected.section(section.name.as_str(), section.instance_id)
    }

    /// Returns all differences that may explain that a section was refused, the best first.
    fn candidates(&self, section: &Section) -> Vec<(Grade, Explanation)> {
        let Some(expected) = self.twin(section) else {
            return vec![(Grade::Likely, self.unknown(section))];
        };
        let mut found: Vec<(Grade, Explanation)> = Vec::new();
        found.extend(self.version(section, expected));
        found.extend(self.old_subsection(section));
        if !matches!(found.first(), Some((Grade::Certain, _))) {
            found.extend(self.layouts(section, expected));
            found.extend(values(section, expected));
        }
        found.sort_by_key(|(grade, explanation)| (*grade, explanation.offset));
        found
    }

    fn unknown(&self, section: &Section) -> Explanation {
        let described = self.expected.dump.is_some_and(|dump| {
            let name = section.name.vmsd_name();
            dump.sections.iter().any(|s| s.description.name == name)
        });
        // A section of another name that only the destination has is a hint.
        let mut others = self.expected.stream.devices().filter(|other| {
            let ours = self
                .sent
                .stream
                .section(other.name.as_str(), other.instance_id);
            ours.is_none()
        });
        let instead = match (others.next(), others.next()) {
            (Some(other), None) => Some(other.label()),
            _ => None,
        };
        let reason = Reason::Section {
            version_id: section.version_id,
            instead,
            described,
        };
        Explanation {
            offset: Some(section.offset),
            rule: Some(lone_rule(self.direction)),
            ..Explanation::of(section, reason)
        }
    }

    fn version(&self, section: &Section, expected: &Section) -> Option<(Grade, Explanation)> {
        let (sent, own) = (section.version_id, expected.version_id);
        let dump = streams::known(expected, self.expected.dump);
        let told = self.blamed.and_then(|blamed| blamed.minimum);
        let told = told.filter(|(of, _)| section.name.vmsd_name() == *of);
        let told = told.map(|(_, minimum)| minimum);
        let minimum = dump.map(|d| d.minimum_version_id).or(told);
        let (grade, rule, takes) = if sent > own {
            (Grade::Certain, Rule::VersionTooNew, Takes::AtMost(own))
        } else if let Some(minimum) = minimum.filter(|&minimum| i64::from(sent) < minimum) {
            let takes = Takes::AtLeast(minimum);
            (Grade::Certain, Rule::VersionTooOld, takes)
        } else if sent < own && minimum.is_none() {
            (Grade::Likely, Rule::VersionTooOld, Takes::Own(own))
        } else {
            return None;
        };
        let explanation = Explanation {
            // The last number of the header.
            offset: section.payload_offset.checked_sub(4),
            rule: Some(rule),
            ..Explanation::of(section, Reason::Version { sent, takes })
        };
        Some((grade, explanation))
    }

    /// Finds the subsection of which the destination's build says that it does not take so old a version.
    fn old_subsection(&self, section: &Section) -> Option<(Grade, Explanation)> {
        let (of, minimum) = self.blamed?.minimum?;
        let all = section.content.structure()?.all();
        let mut subsections = all.flat_map(|structure| &structure.subsections);
        let subsection = subsections.find(|subsection| *subsection.name == *of)?;
        let sent = subsection.version_id;
        let explanation = Explanation {
            field: Some(of.to_owned()),
            offset: Some(subsection.offset),
            rule: Some(Rule::SubsectionVersion),
            ..Explanation::of(
                section,
                Reason::Subsection {
                    name: of.to_owned(),
                    own: Some(OwnSubsection::AtLeast { sent, minimum }),
                    difference: format!(
                        "the source sends the subsection {of} at version {sent}; the destination's build takes {}",
                        Takes::AtLeast(minimum)
                    ),
                },
            )
        };
        (i64::from(sent) < minimum).then_some((Grade::Certain, explanation))
    }

    /// A subsection that the destination's build says it does not know, though the stream does not describe it.
    fn unknown_subsection(&self, section: &Section, name: &str) -> Explanation {
        let name = name.to_owned();
        Explanation {
            field: Some(name.clone()),
            rule: Some(Rule::SubsectionUnknown),
            ..Explanation::of(
                section,
                Reason::Subsection {
                    difference: format!(
                        "the source sent the subsection {name}; the destination's build does not know it"
                    ),
                    name,
                    own: Some(OwnSubsection::None),
                },
            )
        }
    }

    /// Returns the best explanation. Where several differences may each be the one and nothing
    /// decides which, they are named together.
    fn best(&self, section: &Section) -> Option<(Grade, Explanation)> {
        let mut found = self.candidates(section);
        if let Some(RefusedAt { field, end }) = self.refused_at(section) {
            found.retain(|(_, one)| {
                one.offset.is_none_or(|offset| offset < end) || one.is_counted_in(field)
            });
        }
        if let Some(Blamed {
            field: Some(name),
            objection: Some(Objection::Subsection),
            ..
        }) = self.blamed
        {
            let described = found.iter().find(|(_, one)| one.is_of_subsection(name));
            let unknown = self.unknown_subsection(section, name);
            let explanation = match described {
                None => unknown,
                // The layouts only suggest what the build says.
                Some((_, one)) if one.rule == unknown.rule => Explanation {
                    reason: unknown.reason,
                    ..one.clone()
                },
                // They say why it does not look for it.
                Some((_, one)) => one.clone(),
            };
            return Some((Grade::Certain, explanation));
        }
        // No length that the state chooses is to blame then.
        let is_to_a_value = matches!(
            self.objection(),
            Some(Objection::ConfigByte { .. } | Objection::Value)
        );
        if is_to_a_value {
            found.retain(|(grade, _)| *grade != Grade::Elastic);
        }
        let grade = found.first()?.0;
        found.retain(|(other, _)| *other == grade);
        let (_, first) = found.first()?;
        if grade != Grade::Perhaps || found.len() == 1 {
            return Some((grade, first.clone()));
        }
        let places = found.iter().filter_map(|(_, one)| {
            Some(Parting {
                field: one.field.clone()?,
                rule: one.rule?,
                offset: one.offset?,
            })
        });
        let same = |rule: &Rule| found.iter().all(|(_, one)| one.rule == Some(*rule));
        let explanation = Explanation {
            rule: first.rule.filter(same),
            field: None,
            reason: Reason::Several {
                first: Box::new(first.reason.clone()),
                places: places.collect(),
            },
            ..first.clone()
        };
        Some((grade, explanation))
    }

    /// Explains a section that was refused although nothing in its layout speaks against it.
    fn value_check(&self, section: &Section) -> Option<Explanation> {
        let expected = self.twin(section)?;
        // Where a section could not be read, its layout is not known to agree.
        let is_whole = |section: &Section| {
            section.content.error().is_none() && !streams::is_undescribed(section)
        };
        if !is_whole(section) || !is_whole(expected) {
            return None;
        }
        // The layouts may part behind the field that was refused.
        let refused = self.refused_at(section).map(|refused| refused.field);
        let up_to = refused.filter(|_| !self.candidates(section).is_empty());
        let unseen = unseen(section, expected);
        let differing = match self.objection() {
            // It says itself which.
            Some(Objection::ConfigByte { .. } | Objection::Value | Objection::Subsection) => {
                Vec::new()
            }
            Some(Objection::Length | Objection::Death) | None => {
                differing(section, expected, &unseen)
            }
        };
        let tested = match self.objection() {
            Some(Objection::Length) => self.tested(section),
            _ => None,
        };
        let reason = Reason::SameLayout {
            is_unseen: refused.is_some_and(|field| unseen.iter().any(|name| name == field)),
            unseen,
            up_to: up_to.map(str::to_owned),
            objection: self.objection(),
            tested: tested.as_ref().map(|found| found.message.clone()),
            differing,
        };
        Some(Explanation {
            field: tested
                .as_ref()
                .map(|found| joined(found.path.iter().skip(1), "/")),
            rule: tested.map(|found| found.rule),
            ..Explanation::of(section, reason)
        })
    }

    /// Finds what a test decides on in a section, and what one build alone has there, going by the dumps.
    fn tested(&self, section: &Section) -> Option<Finding> {
        let (source, destination) = (self.sent.dump?, self.expected.dump?);
        let known = |dump| Some((dump, streams::known(section, Some(dump))?));
        let (sends, takes) = (known(source)?, known(destination)?);
        first_tested(sends, takes, self.renames, self.direction)
    }
}

/// Returns the fields that have another value in either section, but those of which nothing more is known.
fn differing(sent: &Section, expected: &Section, unseen: &[String]) -> Vec<String> {
    let (sent, own) = (leaves(sent), leaves(expected));
    let own: HashMap<&str, &Leaf> = own.iter().map(|leaf| (&*leaf.label, leaf)).collect();
    let differs = |leaf: &&Leaf| {
        let twin = own.get(&*leaf.label);
        let is_unseen = leaf.path.last().is_some_and(|name| unseen.contains(name));
        // Whatever is in padding means nothing.
        let is_known = leaf.kind != Kind::Padding && !is_unseen;
        is_known && twin.is_some_and(|twin| twin.bytes != leaf.bytes)
    };
    let differing = sent.iter().filter(differs);
    differing.map(|leaf| leaf.label.clone()).collect()
}

/// Returns the fields whose insides the two streams do not show: those in a format of their own, and lists
/// that are empty on either side.
fn unseen(sent: &Section, expected: &Section) -> Vec<String> {
    // Plain bytes, and those that a loader compares with the device's own one by one.
    const BYTES: [&str; 3] = ["buffer", "bitmap", "pci config"];
    let empty = empty_in(sent, expected);
    let mut names: Vec<String> = leaves(sent)
        .iter()
        .filter(|leaf| leaf.kind == Kind::Bytes && !BYTES.contains(&&*leaf.type_name))
        .filter_map(|leaf| leaf.path.last().cloned())
        .chain(empty.iter().map(|(_, field)| (*field).to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

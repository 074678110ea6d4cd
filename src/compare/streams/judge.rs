//! The weight of a difference between two layouts where streams are all the evidence, or nearly so.

use std::collections::BTreeSet;

use crate::compare::layout::layout_name;
use crate::compare::sections::Wording;
use crate::compare::streams::leaves::{Leaf, leaves};
use crate::model::{Direction, Rule};
use crate::report::{Changed, Finding, Level};
use crate::stream::tree;
use crate::stream::tree::{Kind, Node, Section, Structure, Value};
use crate::vmstate::dump::{Dump, Vmsd};

/// A section as it was sent, and as the destination sends it.
pub(crate) struct Pair<'s> {
    pub source: &'s Section,
    pub destination: &'s Section,
    /// The destination's description of it, from its dump.
    pub known: Option<&'s Vmsd>,
    pub wording: Wording,
}

/// The reason why a difference may come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The destination does not read it in the version that was sent.
    NotRead,
    /// A length may be the state's.
    State,
    /// A length is sent in front of what has it.
    Counted,
    /// The destination may read a section of another version in another way.
    OtherVersion,
    /// The destination's tests may look at a value before it, which differs.
    ValueBefore,
}

/// The way in which the destination reads a field from what the source sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Always,
    Never,
    /// It has a test for it, or nothing is known.
    Perhaps,
}

/// The judgement of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It needs no proof, or the streams are the proof.
    Given,
    /// The destination's dump proves it for one of its items.
    Proved {
        item: usize,
    },
    Doubted(Doubt),
}

impl Pair<'_> {
    /// Lowers a finding to what streams can prove of it.
    pub(super) fn judge(&self, finding: &mut Finding) -> Judgement {
        if finding.rule == Rule::SubsectionUnknown {
            self.judge_subsection(finding);
        }
        let judgement = match self.is_counted(finding) {
            // Also where it would be a warning, in a subsection.
            true => Judgement::Doubted(Doubt::Counted),
            false if finding.level != Level::Error || finding.rule.is_of_version() => {
                Judgement::Given
            }
            false => self.weigh(finding),
        };
        let Judgement::Doubted(doubt) = judgement else {
            return judgement;
        };
        finding.level = match doubt {
            Doubt::NotRead | Doubt::Counted => Level::Note,
            Doubt::State | Doubt::OtherVersion | Doubt::ValueBefore => Level::Warning,
        };
        finding.message = format!("{}; {}", finding.message, self.why(doubt));
        judgement
    }

    fn judge_subsection(&self, finding: &mut Finding) {
        let (source, destination) = (self.wording.source, self.wording.destination);
        let known = match self.reads(&finding.path, true) {
            Reads::Never => format!("{destination} does not know it"),
            // Its name is enough for the destination to find it.
            Reads::Always => {
                finding.level = Level::Note;
                format!("{destination} knows it and did not need it in its own state")
            }
            Reads::Perhaps => format!(
                "{destination} did not: it may not know it, or not need it in its own state"
            ),
        };
        let name = finding.path.last().map_or("", String::as_str);
        finding.message = format!("{source} sent the subsection {name}; {known}");
    }

    /// Weighs an error.
    fn weigh(&self, finding: &Finding) -> Judgement {
        if is_undescribed(self.source) || is_undescribed(self.destination) {
            // A legacy section: the bytes have no description, and their number depends on the
            // state.
            return Judgement::Doubted(Doubt::State);
        }
        // They have names, unless the two sides have cut the same bytes into other fields.
        let named = |item: &&Changed| item.old.is_some() || item.new.is_some();
        let items = finding.items.iter().enumerate();
        let items = items.filter(|(_, item)| named(item));
        let read: Vec<(usize, Reads)> = items
            .map(|(at, item)| (at, self.reads(&item.path, false)))
            .collect();
        let all = |wanted| !read.is_empty() && read.iter().all(|&(_, r)| r == wanted);
        let first = |wanted| read.iter().find(|&&(_, r)| r == wanted).map(|&(at, _)| at);
        let lone = |names: fn(&Changed) -> &Option<String>| {
            finding.items.iter().all(|item| names(item).is_none())
        };
        let (only_new, only_old) = (lone(|i| &i.old), lone(|i| &i.new));
        let (only_source, only_destination) =
            finding.direction.source_destination(only_old, only_new);
        let proof = match (only_source, only_destination) {
            (_, true) => first(Reads::Always),
            (true, false) => first(Reads::Never),
            (false, false) => None,
        };
        if let Some(item) = proof {
            Judgement::Proved { item }
        } else if only_destination && all(Reads::Never) {
            Judgement::Doubted(Doubt::NotRead)
        } else if self.is_elastic(finding) {
            Judgement::Doubted(Doubt::State)
        } else if self.source.version_id != self.destination.version_id {
            Judgement::Doubted(Doubt::OtherVersion)
        } else if (only_source || only_destination) && self.may_decide(finding) {
            Judgement::Doubted(Doubt::ValueBefore)
        } else {
            Judgement::Given
        }
    }

    fn why(&self, doubt: Doubt) -> String {
        let destination = self.wording.destination;
        let version = self.source.version_id;
        match doubt {
            Doubt::NotRead => format!("of version {version} it does not read that"),
            Doubt::Counted => "a field in front of it says how long it is".to_owned(),
            Doubt::State => "the state may make the difference".to_owned(),
            Doubt::OtherVersion => {
                format!("{destination} may read version {version} in another way")
            }
            Doubt::ValueBefore => {
                format!("a value before it differs, which may decide what {destination} reads")
            }
        }
    }

    /// Tells whether a number in front of a field, in the same structure, is its length in both streams: the
    /// destination reads as much as that says.
    fn is_counted(&self, finding: &Finding) -> bool {
        let one = finding.items.len() == 1;
        if finding.rule != Rule::FieldResized || !one {
            return false;
        }
        let path = finding.path.get(1..).unwrap_or_default();
        let counters = |section: &Section| -> Option<BTreeSet<String>> {
            let leaves = leaves(section);
            let at = leaves.iter().position(|leaf| leaf.path == path)?;
            let (field, before) = (&leaves[at], &leaves[..at]);
            let around = path.split_last()?.1;
            let lengths = [field.bytes.len(), field.count];
            let counts = before.iter().filter(|leaf| {
                let beside = leaf
                    .path
                    .split_last()
                    .is_some_and(|(_, other)| other == around);
                beside && number(leaf).is_some_and(|n| lengths.contains(&n))
            });
            Some(counts.map(|leaf| leaf.label.clone()).collect())
        };
        match (counters(self.source), counters(self.destination)) {
            (Some(ours), Some(theirs)) => !ours.is_disjoint(&theirs),
            _ => false,
        }
    }

    /// Tells whether all fields of a finding may have another length in another state.
    fn is_elastic(&self, finding: &Finding) -> bool {
        let elastic = |side: &Section, item: &Changed, name: &Option<String>| {
            let name = name.as_deref();
            name.is_none_or(|name| is_elastic(side, &item.description, name))
        };
        let (old, new) = match finding.direction {
            Direction::Forward => (self.source, self.destination),
            Direction::Backward => (self.destination, self.source),
        };
        let mut items = finding.items.iter();
        !finding.items.is_empty()
            && items.all(|i| elastic(old, i, &i.old) && elastic(new, i, &i.new))
    }

    /// Tells whether the destination reads what its dump has at this path: a field, or a
    /// subsection.
    fn reads(&self, path: &[String], subsection: bool) -> Reads {
        let Some(mut at) = self.known else {
            return Reads::Perhaps;
        };
        let mut certain = true;
        let mut names = path.iter().skip(1).peekable();
        while let Some(name) = names.next() {
            if let Some(inner) = at.subsections.iter().find(|s| s.name == *name) {
                if names.peek().is_none() {
                    return Reads::Always;
                }
                at = inner;
                continue;
            }
            let plain = name.split_once('[').map_or(name.as_str(), |(name, _)| name);
            let mut named = at.fields().iter().filter(|f| f.name == *name).peekable();
            let field = match named.peek() {
                Some(_) => named.next(),
                None => at.fields().iter().find(|f| f.name == plain),
            };
            let Some(field) = field else {
                // A subsection is found by its name. A field may have another one there, and where
                // none has a test, it would have to stand in what the destination sends.
                let tests = !subsection && at.fields().iter().any(|f| f.conditional);
                let last = names.peek().is_none();
                return match certain && last && !tests {
                    true => Reads::Never,
                    false => Reads::Perhaps,
                };
            };
            if named.next().is_some() || field.conditional {
                certain = false;
            } else if field.version_id > self.source.version_id.into() && path.len() == 2 {
                return Reads::Never;
            }
            match &field.description {
                Some(inner) => at = inner,
                None if names.peek().is_some() => return Reads::Perhaps,
                None => {}
            }
        }
        if certain {
            Reads::Always
        } else {
            Reads::Perhaps
        }
    }

    /// Tells whether a number before the first difference is another one in the two streams: fields
    /// that depend on a test, depend on what was read before them.
    fn may_decide(&self, finding: &Finding) -> bool {
        let (ours, theirs) = (leaves(self.source), leaves(self.destination));
        let first = finding.path.get(1..).unwrap_or_default();
        for (a, b) in ours.iter().zip(&theirs) {
            if a.path.starts_with(first) || b.path.starts_with(first) {
                return false;
            }
            if a.path != b.path || a.bytes.len() != b.bytes.len() {
                // The layouts part before; the same value may decide here.
                return true;
            }
            let number = matches!(a.kind, Kind::Bool | Kind::Signed | Kind::Unsigned);
            if number && a.bytes.len() <= 4 && a.bytes != b.bytes {
                return true;
            }
        }
        false
    }
}

/// Returns the number that a field is, where it is one that can be a length.
fn number(leaf: &Leaf) -> Option<usize> {
    match leaf.kind.leaf(&leaf.bytes) {
        tree::Leaf::Unsigned(number) => usize::try_from(number).ok(),
        tree::Leaf::Signed(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

/// Tells whether a field may have another length, or none, in another state.
fn is_elastic(section: &Section, description: &str, field: &str) -> bool {
    let all = section.content.structure().into_iter();
    let mut own = all
        .flat_map(Structure::all)
        .filter(|s| *s.vmsd_name == *description);
    own.any(|structure| {
        let mut fields = structure.fields.iter();
        fields.any(|node| layout_name(node) == field && elastic(node))
    })
}

fn elastic(node: &Node) -> bool {
    match &node.value {
        Value::Leaf(kind) => *kind == Kind::Bytes,
        Value::Leaves { .. } | Value::Structs(_) | Value::List(_) => true,
        Value::Struct(_) => false,
    }
}

/// Tells whether it is a legacy section, which has no description, or was not decoded.
pub(crate) fn is_undescribed(section: &Section) -> bool {
    let structure = section.content.structure();
    structure.is_none_or(|s| s.vmsd_name.is_empty())
}

/// Returns how a dump describes a section, if it does.
pub(crate) fn known<'d>(section: &Section, dump: Option<&'d Dump>) -> Option<&'d Vmsd> {
    described(section, dump?).next()
}

/// Returns the lowest version of a section that its build takes, as far as a dump says it: of several types with sections
/// of that name, the one that takes the lowest.
pub(super) fn lowest(section: &Section, dump: Option<&Dump>) -> Option<i64> {
    let all = described(section, dump?);
    all.map(|description| description.minimum_version_id).min()
}

fn described<'d>(section: &Section, dump: &'d Dump) -> impl Iterator<Item = &'d Vmsd> {
    let name = section.name.vmsd_name();
    let all = dump.sections.iter().map(|s| &s.description);
    all.filter(move |description| description.name == name)
}

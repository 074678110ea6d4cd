//! What a difference between two layouts is worth where streams are all that is known, or nearly so.

use crate::compare::layouts::leaves::leaves;
use crate::compare::layouts::words::layout_name;
use crate::model::Direction;
use crate::model::Rule;
use crate::report::{Changed, Evidence, Finding, Level, Shape};
use crate::stream::tree::{Kind, Node, Section, Structure, Value};
use crate::vmstate::dump;
use crate::vmstate::dump::Dump;

/// A section as it was sent, and as the destination sends it.
pub(crate) struct Pair<'s> {
    pub source: &'s Section,
    pub destination: &'s Section,
    /// How the dump of the destination describes it.
    pub known: Option<&'s dump::Description>,
}

/// Whether the destination would read a field from what the source sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Always,
    Never,
    /// It has a test for it, or nothing is known.
    Perhaps,
}

impl Pair<'_> {
    /// Makes a finding of a comparison of dumps one of streams.
    pub fn judge(&self, finding: &mut Finding) {
        finding.evidence = Evidence::Stream;
        // A stream does not tell the lowest version that is taken.
        for shape in [&mut finding.old, &mut finding.new].into_iter().flatten() {
            shape.minimum_version_id = None;
        }
        let (source, destination) = finding.direction.source_destination("old", "new");
        if finding.rule == Rule::SubsectionUnknown {
            let name = finding.path.last().map_or("", String::as_str);
            let known = match self.reads(&finding.path, true) {
                Reads::Never => format!("{destination} does not know it"),
                // It is found by its name, and that is all that it takes.
                Reads::Always => {
                    finding.level = Level::Note;
                    format!("{destination} knows it and did not need it in its own state")
                }
                Reads::Perhaps => format!(
                    "{destination} did not: it may not know it, or not need it in its own state"
                ),
            };
            finding.message = format!("{source} sent the subsection {name}; {known}");
            return;
        }
        if finding.rule == Rule::SubsectionVersion {
            let version = |shape: &Option<Shape>| shape.as_ref().and_then(|s| s.version_id);
            let versions = (version(&finding.old), version(&finding.new));
            let (sent, own) = finding.direction.source_destination(versions.0, versions.1);
            finding.message = format!(
                "{source} sends the subsection {} at version {}, {destination} is at version {}",
                finding.path.last().map_or("", String::as_str),
                sent.unwrap_or_default(),
                own.unwrap_or_default()
            );
        }
        if finding.level != Level::Error || finding.rule == Rule::VersionTooNew {
            return;
        }
        if is_undescribed(self.source) || is_undescribed(self.destination) {
            // The old way: the bytes are one heap, and their number depends on the state.
            soften(finding, STATE);
            return;
        }
        let read: Vec<Reads> = item_paths(finding)
            .map(|path| self.reads(&path, false))
            .collect();
        let all = |wanted| !read.is_empty() && read.iter().all(|&r| r == wanted);
        let any = |wanted| read.contains(&wanted);
        let lone = |names: fn(&Changed) -> &Option<String>| {
            finding.items.iter().all(|item| names(item).is_none())
        };
        let (only_new, only_old) = (lone(|i| &i.old), lone(|i| &i.new));
        let (only_source, only_destination) =
            finding.direction.source_destination(only_old, only_new);
        let elastic = |side: &Section, item: &Changed, name: &Option<String>| {
            let name = name.as_deref();
            name.is_none_or(|name| is_elastic(side, &item.description, name))
        };
        let (old, new) = match finding.direction {
            Direction::Forward => (self.source, self.destination),
            Direction::Backward => (self.destination, self.source),
        };
        let state = !finding.items.is_empty()
            && finding
                .items
                .iter()
                .all(|i| elastic(old, i, &i.old) && elastic(new, i, &i.new));
        if only_destination && any(Reads::Always) || only_source && any(Reads::Never) {
            return;
        }
        if only_destination && all(Reads::Never) {
            finding.level = Level::Note;
            finding.message = format!(
                "{}; of version {} it does not read that",
                finding.message, self.source.version_id
            );
        } else if state {
            soften(finding, STATE);
        } else if self.source.version_id != self.destination.version_id {
            let version = self.source.version_id;
            soften(
                finding,
                &format!("{destination} may read version {version} in another way"),
            );
        } else if (only_source || only_destination) && self.may_decide(finding) {
            soften(
                finding,
                &format!("a value before it differs, which may decide what {destination} reads"),
            );
        }
    }

    /// Whether the destination reads what its dump has at this path: a field, or a subsection.
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

    /// Whether a number before the first difference is another one in the two streams: fields that
    /// depend on a test, depend on what was read before them.
    fn may_decide(&self, finding: &Finding) -> bool {
        let (ours, theirs) = (leaves(self.source), leaves(self.destination));
        let first = finding.path.get(1..).unwrap_or_default();
        for (a, b) in ours.iter().zip(&theirs) {
            if a.path.starts_with(first) || b.path.starts_with(first) {
                return false;
            }
            if a.path != b.path || a.bytes.len() != b.bytes.len() {
                // Something parted before; what decides there may decide here.
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

/// What is said of a difference that the state explains.
const STATE: &str = "the state may make the difference";

/// Whether a difference is one that the state explains.
pub(crate) fn is_state(finding: &Finding) -> bool {
    finding.message.ends_with(STATE)
}

fn soften(finding: &mut Finding, why: &str) {
    finding.level = Level::Warning;
    finding.message = format!("{}; {why}", finding.message);
}

/// The paths of the fields that a finding is about: that of the first, and its neighbours'.
fn item_paths(finding: &Finding) -> impl Iterator<Item = Vec<String>> {
    let (_, around) = finding.path.split_last().unwrap_or((&EMPTY, &[]));
    finding.items.iter().flat_map(move |item| {
        let name = item.new.as_ref().or(item.old.as_ref());
        name.map(|name| [around, std::slice::from_ref(name)].concat())
    })
}

static EMPTY: String = String::new();

/// Whether a field may have another length, or none, in another state.
fn is_elastic(section: &Section, description: &str, field: &str) -> bool {
    fn walk(structure: &Structure, description: &str, field: &str) -> bool {
        let own = *structure.vmsd_name == *description;
        structure.fields.iter().any(|node| {
            let here = own && layout_name(node) == field;
            here && elastic(node) || node.nested().any(|inner| walk(inner, description, field))
        }) || structure
            .subsections
            .iter()
            .any(|s| walk(&s.structure, description, field))
    }
    let structure = section.content.structure();
    structure.is_some_and(|structure| walk(structure, description, field))
}

fn elastic(node: &Node) -> bool {
    match &node.value {
        Value::Leaf(kind) => *kind == Kind::Bytes,
        Value::Leaves { .. } | Value::Structs(_) | Value::List(_) => true,
        Value::Struct(_) => false,
    }
}

/// Whether a section is saved the old way, or was not decoded.
pub(crate) fn is_undescribed(section: &Section) -> bool {
    let structure = section.content.structure();
    structure.is_none_or(|s| s.vmsd_name.is_empty())
}

/// How a dump describes a section, if it does.
pub(crate) fn known<'d>(
    section: &Section,
    dump: Option<&'d Dump>,
) -> Option<&'d dump::Description> {
    let name = section.name.vmsd_name();
    let mut all = dump?.sections.iter().map(|s| &s.description);
    all.find(|description| description.name == name)
}

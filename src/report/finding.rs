//! Findings: single differences between two builds, judged.

use std::fmt;
use std::iter::once;
use std::mem::take;

use serde::{Deserialize, Serialize};

use crate::model::{Direction, Rule, Side, display_as_serialized};
use crate::report::{BaselineStatus, Memory};

/// The severity of a finding; `Error` sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Fails or corrupts whatever the run-time state is.
    Error,
    /// Depends on state, or this evidence cannot decide it.
    Warning,
    /// A harmless change, recognised.
    Note,
}

display_as_serialized!(Level, Evidence);

/// The source of a finding, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The vmstate dumps.
    Dump,
    /// The builds' setup of a machine that never ran.
    Properties,
    /// The streams of one configuration.
    Stream,
    /// A migration that was tried.
    Live,
}

/// One side of a change: what a build has at the spot of a finding. Only what is known is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// The field's, subsection's or description's own name, where it differs between the sides or
    /// the path does not end in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of one element as the dump prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Number of elements, where the dump states one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num: Option<u64>,
    /// True if a run-time test decides that the field is sent.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub conditional: bool,
    /// The version that is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<i64>,
    /// The oldest version that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_version_id: Option<i64>,
    /// The value of a property, as `-device` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The fields of a run, in wire order, each as `name size` or `name size×num`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub fields: Vec<String>,
}

/// One difference, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The name that stays from run to run, of its direction, rule and place: `forward/field-added/esp/drq`.
    #[serde(default)]
    pub id: String,
    /// Id of a rule in the catalogue.
    pub rule: Rule,
    /// Its severity.
    pub level: Level,
    /// The direction that it is about.
    pub direction: Direction,
    /// The QOM type: the key of the dump.
    pub section: String,
    /// Other sections in which the same cause shows, sorted: they embed the same description.
    pub also_in: Vec<String>,
    /// The machines that it is about, sorted, in a run over several.
    #[serde(default)]
    pub machines: Vec<String>,
    /// The path from the section's vmsd name down to the field or subsection.
    pub path: Vec<String>,
    /// A sentence for people.
    pub message: String,
    /// The shape in the old build, if there is any.
    pub old: Option<Shape>,
    /// The shape in the new build, if there is any.
    pub new: Option<Shape>,
    /// The list entry or command-line option that excuses it, and why.
    pub allowed_by: Option<String>,
    /// The evidence that it was concluded from.
    pub evidence: Evidence,
    /// Id of the case that proved it.
    pub confirmed_by: Option<Confirmation>,
    /// Id of a case in which the device came through after reset. Another state may still fail.
    pub refuted_by: Option<String>,
    /// The knowledge of the builds about a type that one dump alone describes; `None` where the other build lacks it, or
    /// dumps are all that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lone_type: Option<LoneType>,
    /// The relation to the baseline, where there is one.
    pub baseline: Option<BaselineStatus>,
    /// The evidence of earlier runs, where there is a history.
    pub memory: Option<Memory>,
    /// The headlines in the file of owners that it belongs to.
    #[serde(default)]
    pub owners: Vec<String>,
    /// The description that it is about, in the tree of QEMU's sources, where there is one.
    pub source: Option<Source>,
    /// The remedy as code of QEMU, to paste and to complete: the first that fits is the best.
    #[serde(default)]
    pub code: Vec<Code>,
    /// A few lines of the layout around the spot, for people.
    pub context: Vec<ContextLine>,
    /// The change in QEMU that it shows.
    #[serde(skip)]
    pub change: ChangeKey,
    /// The fields, subsections or descriptions that changed, as the lists name them.
    #[serde(skip)]
    pub items: Vec<Changed>,
    /// The path in each section of `also_in`, in its order.
    #[serde(skip)]
    pub also_paths: Vec<Vec<String>>,
}

/// Tells whether a finding is about a whole type that one build lacks, or a section that it does not send: there is nothing to
/// show but the name.
pub(crate) fn is_lone(finding: &Finding) -> bool {
    matches!(finding.rule, Rule::SectionRemoved | Rule::SectionAdded)
}

/// The knowledge that the builds themselves add about a type which one dump alone describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoneType {
    /// The other build has the type, and its dump no description of it.
    Undescribed,
    /// The type is abstract: no device is of it.
    Abstract,
}

impl Finding {
    /// Returns a finding about a section, as severe as its rule says, that has still to be told: its place, its message
    /// and the shapes in both builds.
    pub(crate) fn about(
        section: String,
        rule: Rule,
        direction: Direction,
        evidence: Evidence,
        change: ChangeKey,
    ) -> Finding {
        Finding {
            id: String::new(),
            rule,
            level: rule.level(),
            direction,
            section,
            also_in: Vec::new(),
            machines: Vec::new(),
            path: Vec::new(),
            message: String::new(),
            old: None,
            new: None,
            allowed_by: None,
            evidence,
            confirmed_by: None,
            refuted_by: None,
            lone_type: None,
            baseline: None,
            memory: None,
            owners: Vec::new(),
            source: None,
            code: Vec::new(),
            context: Vec::new(),
            change,
            items: Vec::new(),
            also_paths: Vec::new(),
        }
    }
}

/// A VMStateDescription in a tree of sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file, from the top of the tree.
    pub file: String,
    /// The line in which it begins.
    pub line: usize,
    /// Its name in C.
    pub variable: String,
    /// The structure that it describes.
    #[serde(skip)]
    pub state: Option<String>,
    /// Its test, where it has one.
    #[serde(skip)]
    pub needed: Option<String>,
    /// Its fields.
    #[serde(skip)]
    pub fields: Vec<SourceField>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.file, self.line, self.variable)
    }
}

/// A field of a description in the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceField {
    /// Its name.
    pub name: String,
    /// True of a number or a bool.
    pub is_number: bool,
    /// The macro that describes it: `VMSTATE_UINT8(x, State)`.
    pub text: String,
}

/// A remedy as code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The idea.
    pub title: String,
    /// Lines of C.
    pub code: String,
}

/// The evidence that confirms a finding. It is serialised as the id of a case, or as a phrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Confirmation {
    /// The streams that both builds send.
    Streams,
    /// A case, by its id.
    Case(String),
}

/// The phrase as which [`Confirmation::Streams`] is serialised.
const STREAMS: &str = "what both builds send";

impl Confirmation {
    /// Tells whether it is the case of this id.
    pub fn is_case(&self, id: &str) -> bool {
        matches!(self, Confirmation::Case(case) if case == id)
    }

    /// Returns the text that reports show.
    pub fn as_str(&self) -> &str {
        match self {
            Confirmation::Streams => STREAMS,
            Confirmation::Case(id) => id,
        }
    }
}

impl From<String> for Confirmation {
    fn from(text: String) -> Self {
        match text == STREAMS {
            true => Confirmation::Streams,
            false => Confirmation::Case(text),
        }
    }
}

impl From<Confirmation> for String {
    fn from(confirmation: Confirmation) -> Self {
        confirmation.as_str().to_owned()
    }
}

/// A change in QEMU, equal for all findings of one rule that show it, in whichever section.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKey {
    /// A report does not have it.
    #[default]
    Unknown,
    /// One build has no such type or section.
    Lone(String),
    /// A section as a whole.
    Section {
        /// Its vmsd name.
        vmsd: String,
        /// The shapes in the old and in the new build.
        sides: Box<[Option<Shape>; 2]>,
    },
    /// A subsection as a whole.
    Subsection(String),
    /// Fields in one place.
    Fields {
        /// The fields of the old build, in wire order.
        old: Vec<FieldKey>,
        /// The fields of the new build.
        new: Vec<FieldKey>,
    },
    /// A field that is as much longer, or shorter, in several kinds of section.
    CommonWidth {
        /// Its name.
        field: String,
        /// Bytes that the new build sends more than the old one.
        bytes: i64,
    },
    /// The setup of a type, in the values of both builds.
    Property {
        /// The property.
        name: String,
        /// Its value in the old build.
        old: Option<String>,
        /// Its value in the new build.
        new: Option<String>,
        /// Set if an old machine type can have the old value: it is a device's, and such types have versions.
        is_pinnable: bool,
    },
}

/// A field by the properties that are the same wherever the description around it is embedded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldKey {
    /// The innermost description around it.
    pub description: String,
    /// Its name.
    pub name: String,
    /// Bytes of one element.
    pub size: u64,
    /// Number of elements, where the dump states one.
    pub num: Option<u64>,
}

/// A field, subsection or description that a finding is about, by the names that lists use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The innermost description around it.
    pub description: String,
    /// The path to it, from the vmsd name on.
    pub path: Vec<String>,
    /// Its name in the old build.
    pub old: Option<String>,
    /// Its name in the new build.
    pub new: Option<String>,
    /// A known issue says that both names are one, and the finding's message gives its reason.
    pub known: bool,
    /// It stands at another place in the new build.
    pub moved: bool,
}

/// The key that sorts findings in a report.
type Rank = (Level, bool, (String, Vec<String>), Direction, &'static str);

impl Finding {
    /// Returns the key that sorts findings in a report: errors first, of these what explains several sections at
    /// once, then by place.
    pub fn rank(&self) -> Rank {
        let place = (self.section.clone(), self.path.clone());
        let of_one = !self.is_common_width();
        (self.level, of_one, place, self.direction, self.rule.id())
    }

    /// Returns the section, with the path in it.
    pub(crate) fn place(&self, between: &str) -> String {
        let path = self.path.iter().map(String::as_str);
        let place: Vec<&str> = std::iter::once(&*self.section).chain(path).collect();
        place.join(between)
    }

    /// Tells whether a case is what confirms it.
    pub(crate) fn is_confirmed_by(&self, case: &str) -> bool {
        let by = self.confirmed_by.as_ref();
        by.is_some_and(|by| by.is_case(case))
    }

    /// Returns the sections that it is about, the one that it is filed under first.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &String> + Clone {
        once(&self.section).chain(&self.also_in)
    }

    /// Leaves out the sections that do not fit, with their paths, and tells whether there are others. Where none fits, all stay.
    pub(crate) fn keep_sections(&mut self, fits: impl Fn(&str) -> bool) -> bool {
        if !self.sections().any(|name| fits(name)) {
            return false;
        }
        let first = (take(&mut self.section), take(&mut self.path));
        let others = take(&mut self.also_in).into_iter();
        let places = once(first).chain(others.zip(take(&mut self.also_paths)));
        (self.also_in, self.also_paths) = places.filter(|(name, _)| fits(name)).unzip();
        (self.section, self.path) = (self.also_in.remove(0), self.also_paths.remove(0));
        true
    }

    /// Tells whether it is about a length that several kinds of section have in common, of what builds sent.
    pub fn is_common_width(&self) -> bool {
        self.rule == Rule::FieldResized
            && self.evidence == Evidence::Stream
            && !self.also_in.is_empty()
    }

    /// Returns true if it is about a description of that name, in either build where it was renamed.
    pub(crate) fn is_about(&self, vmsd: &str) -> bool {
        let sides = [&self.old, &self.new].into_iter().flatten();
        let mut names = sides.filter_map(|shape| shape.name.as_deref());
        self.path.first().is_some_and(|first| first == vmsd)
            || self.rule == Rule::VmsdRenamed && names.any(|name| name == vmsd)
    }

    /// Returns true if another one is about the same difference in the same direction, in whatever section.
    pub fn is_same_difference(&self, other: &Finding) -> bool {
        self.rule == other.rule
            && self.direction == other.direction
            && self.path == other.path
            && self.old == other.old
            && self.new == other.new
    }

    /// Returns true if this finding alone makes the pair of builds incompatible.
    pub fn gates(&self, strict: bool) -> bool {
        self.allowed_by.is_none()
            && (self.level == Level::Error || (strict && self.level == Level::Warning))
    }
}

/// A line of the structured diff that a finding shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextLine {
    /// The build that has it.
    pub side: Side,
    /// The line, without a mark of the side.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use crate::report::testing;

    #[test]
    fn a_finding_is_filed_under_a_section_that_is_kept() {
        let path = |name: &str| vec![format!("{name} as sent")];
        for (kept, sections) in [
            (&["am53c974"][..], &["am53c974"][..]),
            (&["dc390"], &["dc390"]),
            (&["esp", "dc390"], &["dc390", "esp"]),
            (&[], &["am53c974", "dc390", "esp"]),
        ] {
            let mut finding = testing::finding(serde_json::json!({
                "section": "am53c974", "also_in": ["dc390", "esp"], "path": path("am53c974")
            }));
            finding.also_paths = vec![path("dc390"), path("esp")];
            let is_kept = finding.keep_sections(|name| kept.contains(&name));
            assert_eq!(is_kept, !kept.is_empty());
            assert!(finding.sections().eq(sections), "{finding:?}");
            let paths = once(&finding.path).chain(&finding.also_paths).cloned();
            assert!(
                paths.eq(sections.iter().map(|name| path(name))),
                "{finding:?}"
            );
        }
    }
}

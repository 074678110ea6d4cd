//! The ids of the rules. What each means stands in `rules/ID.toml`.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Calls a macro with every rule and its id, in the order in which `rules list` shows them:
/// sections, fields, conditions, subsections, what one build does wrong by itself, set-up.
macro_rules! for_each_rule {
    ($callback:ident) => {
        $callback! {
            VersionTooNew = "version-too-new",
            VersionTooOld = "version-too-old",
            MinimumVersionChanged = "minimum-version-changed",
            VmsdRenamed = "vmsd-renamed",
            SectionRemoved = "section-removed",
            SectionAdded = "section-added",
            SectionRenamed = "section-renamed",
            Unmigratable = "unmigratable",
            FieldAdded = "field-added",
            FieldRemoved = "field-removed",
            FieldResized = "field-resized",
            ArrayResized = "array-resized",
            FieldsSwapped = "fields-swapped",
            FieldsRecut = "fields-recut",
            GateExcludesField = "gate-excludes-field",
            FieldRenamed = "field-renamed",
            FieldRegrouped = "field-regrouped",
            FieldPadded = "field-padded",
            VersionGateChanged = "version-gate-changed",
            TypeSizeOnly = "type-size-only",
            SizeUndecided = "size-undecided",
            ArrayLengthUnstated = "array-length-unstated",
            OpaqueFieldChanged = "opaque-field-changed",
            DescriptionRenamed = "description-renamed",
            ConditionAdded = "condition-added",
            ConditionRemoved = "condition-removed",
            ConditionalFieldAdded = "conditional-field-added",
            ConditionalFieldRemoved = "conditional-field-removed",
            ConditionalFieldChanged = "conditional-field-changed",
            SubsectionUnknown = "subsection-unknown",
            SubsectionVersion = "subsection-version",
            SubsectionMoved = "subsection-moved",
            SubsectionUnreachable = "subsection-unreachable",
            SubsectionAmbiguous = "subsection-ambiguous",
            GateAboveVersion = "gate-above-version",
            PropertyDefaultChanged = "property-default-changed",
            FeatureDropped = "feature-dropped",
            CpuFeatureDropped = "cpu-feature-dropped",
        }
    };
}
pub(crate) use for_each_rule;

macro_rules! rules {
    ($($variant:ident = $id:literal),+ $(,)?) => {
        /// A kind of difference between two builds. Named after the change from old to new,
        /// whatever the direction that it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Rule { $(#[doc = concat!("`", $id, "`")] #[serde(rename = $id)] $variant),+ }

        impl Rule {
            /// All rules, in the order in which they are listed.
            pub const ALL: &[Rule] = &[$(Rule::$variant),+];

            /// The id that reports, lists and the command line use.
            pub const fn id(self) -> &'static str {
                match self { $(Rule::$variant => $id),+ }
            }
        }
    };
}

for_each_rule!(rules);

impl Rule {
    /// Returns the rule with this id.
    pub fn from_id(id: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.id() == id)
    }

    /// Tells whether it is about a version that a build does not take.
    pub(crate) fn is_of_version(self) -> bool {
        matches!(self, Rule::VersionTooNew | Rule::VersionTooOld)
    }
}

/// Rules sort by their ids, as a reader looks them up.
impl Ord for Rule {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id().cmp(other.id())
    }
}

impl PartialOrd for Rule {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

//! The rules by name. What each means stands in `rules/ID.toml`.

use std::fmt;

macro_rules! rules {
    ($($variant:ident = $id:literal),+ $(,)?) => {
        /// A kind of difference between two builds. Named after the change from old to new,
        /// whatever the direction it hurts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($variant),+ }

        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$variant),+];

            pub const fn id(self) -> &'static str {
                match self { $(Rule::$variant => $id),+ }
            }

            /// The rule's data file.
            pub(super) const fn source(self) -> &'static str {
                match self {
                    $(Rule::$variant => include_str!(concat!("../../rules/", $id, ".toml"))),+
                }
            }
        }
    };
}

// In the order in which `rules list` shows them: sections, fields, conditions, subsections, set-up.
rules! {
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
    PropertyDefaultChanged = "property-default-changed",
}

impl Rule {
    pub fn from_id(id: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.id() == id)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

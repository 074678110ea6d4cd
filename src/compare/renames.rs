//! The questions of the comparison to the lists.

use crate::rules::known_issues;

/// The names that are known to have changed; the comparison works without. Several sections ask at once.
pub trait Renames: Sync {
    /// Tells whether any entry about fields names this one; quick, to spare the questions below.
    fn mentions(&self, field: &str) -> bool;
    /// Returns why the field `old` of a description and `new` in the same place are one, if a list
    /// has it.
    fn field(&self, section: &str, description: &str, old: &str, new: &str) -> Option<String>;
    /// Returns why the QOM type `old` is now called `new`, if a list has it.
    fn section(&self, description: &str, old: &str, new: &str) -> Option<String>;
}

/// Knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRenames;

impl Renames for NoRenames {
    fn mentions(&self, _: &str) -> bool {
        false
    }
    fn field(&self, _: &str, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
    fn section(&self, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
}

impl Renames for known_issues::Scope<'_> {
    fn mentions(&self, field: &str) -> bool {
        self.lists.mentions_field(field)
    }
    fn field(&self, section: &str, description: &str, old: &str, new: &str) -> Option<String> {
        known_issues::Scope::field(self, section, description, old, new).map(|found| found.reason)
    }
    fn section(&self, description: &str, old: &str, new: &str) -> Option<String> {
        known_issues::Scope::section(self, description, old, new).map(|found| found.reason)
    }
}

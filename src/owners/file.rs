//! The file of owners: headlines, and lines with a letter and a colon below them.

use crate::model::Pattern;
use crate::owners::files::{FilePattern, literal};
use crate::report::Owner;

/// A headline and what stands below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub title: String,
    /// `M:`, the maintainers.
    people: Vec<String>,
    /// `R:`, the reviewers.
    reviewers: Vec<String>,
    /// `L:`, the mailing lists.
    lists: Vec<String>,
    /// `S:`, how well it is looked after.
    status: Option<String>,
    /// `F:`, and `X:` for those that are none of its files.
    files: Vec<FilePattern>,
    excluded: Vec<FilePattern>,
    /// `D:`, patterns of device types and descriptions; a key that QEMU's own file does not have.
    devices: Vec<String>,
}

impl Entry {
    /// Returns the number of characters that a pattern of this entry has in common with a name, if one fits it.
    pub(super) fn names_device(&self, name: &str) -> Option<usize> {
        let fitting = self
            .devices
            .iter()
            .filter(|text| Pattern::from(&***text).fits(name));
        fitting.map(|text| literal(text)).max()
    }

    /// Returns the number of characters that a pattern of this entry has in common with a file, if it has the file.
    pub(super) fn has_file(&self, file: &str) -> Option<usize> {
        if self.excluded.iter().any(|pattern| pattern.fits(file)) {
            return None;
        }
        let fitting = self.files.iter().filter(|pattern| pattern.fits(file));
        fitting.map(FilePattern::literal).max()
    }

    /// Returns the entry for a report, without any break yet.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            name: Some(self.title.clone()),
            people: self.people.clone(),
            reviewers: self.reviewers.clone(),
            lists: self.lists.clone(),
            status: self.status.clone(),
            findings: Vec::new(),
            cases: Vec::new(),
        }
    }
}

/// Reads the entries. Prose, indented lines and letters that are of no use here are passed over.
///
/// # Errors
/// A line has no value, or stands below no headline: its number, and why.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, (usize, &'static str)> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut title: Option<&str> = None;
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let Some((key, value)) = tagged(line) else {
            let is_rule = line.chars().all(|c| matches!(c, '-' | '=')) && !line.is_empty();
            // A rule is drawn below a headline.
            open &= is_rule;
            if !line.trim().is_empty() && !is_rule && !line.starts_with([' ', '\t']) {
                title = Some(line.trim());
            }
            continue;
        };
        if value.is_empty() {
            return Err((number, "there is nothing behind the colon"));
        }
        if !open {
            let title = title.ok_or((number, "there is no headline above it"))?;
            entries.push(Entry {
                title: title.to_owned(),
                ..Entry::default()
            });
            open = true;
        }
        let Some(entry) = entries.last_mut() else {
            continue;
        };
        match key {
            'M' => entry.people.push(value.to_owned()),
            'R' => entry.reviewers.push(value.to_owned()),
            'L' => entry.lists.push(value.to_owned()),
            'S' => entry.status = Some(value.to_owned()),
            'F' => entry.files.push(FilePattern::new(value)),
            'X' => entry.excluded.push(FilePattern::new(value)),
            'D' => entry.devices.push(value.to_owned()),
            _ => {}
        }
    }
    Ok(entries)
}

/// Returns the letter of a line and what is behind its colon.
fn tagged(line: &str) -> Option<(char, &str)> {
    let (key, value) = line.split_once(':')?;
    let mut letters = key.chars();
    match (letters.next(), letters.next()) {
        (Some(key @ 'A'..='Z'), None) => Some((key, value.trim())),
        _ => None,
    }
}

//! Patterns of files, as MAINTAINERS has them.

use crate::model::Pattern;

/// A file or a folder with wildcards: `hw/scsi/` is everything in and below it, `hw/scsi/*` everything in it and
/// nothing below, `*.[ch]` both of `*.c` and `*.h`. Without a wildcard it may be a folder, too.
#[derive(Debug, Clone)]
pub(super) struct FilePattern {
    text: String,
    /// The same for each character that a class stands for.
    spelt: Vec<Pattern>,
}

impl FilePattern {
    pub(super) fn new(text: &str) -> FilePattern {
        let spelt = spell(text);
        FilePattern {
            text: text.to_owned(),
            spelt: spelt
                .iter()
                .map(|text| Pattern::from(text.as_str()))
                .collect(),
        }
    }

    /// Tells whether a file is one of these.
    pub(super) fn fits(&self, file: &str) -> bool {
        let depth = self.text.matches('/').count();
        let whole = match self.text.ends_with('/') {
            true => file.split_inclusive('/').take(depth).collect::<String>(),
            false => file.to_owned(),
        };
        // A wildcard stands for no slash.
        let fits = whole.matches('/').count() == depth && Pattern::any(&self.spelt, &whole);
        fits || file
            .strip_prefix(&self.text)
            .is_some_and(|below| below.starts_with('/'))
    }

    /// Returns the number of characters that stand for themselves.
    pub(super) fn literal(&self) -> usize {
        literal(&self.text)
    }
}

/// Spells out the classes of a pattern, of which it has few.
fn spell(text: &str) -> Vec<String> {
    let class = text.split_once('[').and_then(|(before, rest)| {
        let (class, behind) = rest.split_once(']')?;
        Some((before, class, behind))
    });
    let Some((before, class, behind)) = class else {
        return vec![text.to_owned()];
    };
    let behind = spell(behind);
    let one = |c: char| behind.iter().map(move |rest| format!("{before}{c}{rest}"));
    class.chars().flat_map(one).collect()
}

/// Returns the number of characters of a pattern that stand for themselves.
pub(super) fn literal(pattern: &str) -> usize {
    pattern.chars().filter(|c| !matches!(c, '*' | '?')).count()
}

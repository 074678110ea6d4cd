//! Reads lists from TOML: the shipped files and the user's folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use xxhash_rust::xxh3::xxh3_64;

use crate::input::read_listed_text;
use crate::model::{Date, Direction, MachineNames, Pattern, Rule, Version, hidden_line};
use crate::qemu::machine;
use crate::rules::known_issues::error::{ListError, NO_MACHINES, in_order, refused, rule};
use crate::rules::known_issues::failure::RawFailure;
use crate::rules::known_issues::{
    Absent, Break, Condition, KnownIssues, Place, Refused, Rename, Renamed, Unrelated, Volatile,
};

/// The shipped lists, as `build.rs` makes them.
const SHIPPED: &str = include_str!(concat!(env!("OUT_DIR"), "/known-issues.json"));

/// Its form.
#[derive(Deserialize)]
struct Shipped {
    /// A hash of all files, in their order.
    digest: u64,
    /// Each with its file.
    lists: Vec<(String, Tables)>,
}

/// The text in a suggested entry for what a person has to write; the loader refuses it, so it is not
/// forgotten.
pub(crate) const FILL_IN: &str = "FILL IN";

/// Finds an entry of a list in which something has still to be filled in.
///
/// # Errors
/// There is one.
fn filled_in(name: &str, text: &str) -> Result<(), ListError> {
    type Tables = BTreeMap<String, Vec<Spanned<toml::Table>>>;
    // A list of another form is refused with a better message.
    let Ok(tables) = toml::from_str::<Tables>(text) else {
        return Ok(());
    };
    for entry in tables.values().flatten() {
        let keys = entry.get_ref().iter();
        if let Some((key, _)) = keys.into_iter().find(|(_, value)| has_placeholder(value)) {
            let place = Place {
                file: name.to_owned(),
                line: Lines::of(text).line(entry.span().start),
            };
            return Err(refused(place, format!("`{key}` is still to be filled in")));
        }
    }
    Ok(())
}

fn has_placeholder(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.contains(FILL_IN),
        toml::Value::Array(values) => values.iter().any(has_placeholder),
        toml::Value::Table(table) => table.values().any(has_placeholder),
        _ => false,
    }
}

/// The offsets of the line ends of a list, in order.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// Returns the line of what begins at this byte.
    fn line(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|&end| end < offset)
    }

    fn of_entries<T>(&self, entries: Vec<Spanned<T>>) -> Vec<Lined<T>> {
        let entries = entries.into_iter();
        entries
            .map(|entry| (self.line(entry.span().start), entry.into_inner()))
            .collect()
    }
}

/// Gives a struct for the tables of a list, whose entries say where they are.
macro_rules! tables {
    ($name:ident, $placed:ident) => {
        #[derive(Deserialize, Default)]
        #[serde(deny_unknown_fields, default)]
        struct $name {
            section: Vec<$placed<Rename>>,
            description: Vec<$placed<Rename>>,
            field: Vec<$placed<Rename>>,
            condition: Vec<$placed<Condition>>,
            absent: Vec<$placed<Absent>>,
            property: Vec<$placed<Unrelated>>,
            r#break: Vec<$placed<RawBreak>>,
            volatile: Vec<$placed<Volatile>>,
            migration: Vec<$placed<Refused>>,
            failure: Vec<$placed<RawFailure>>,
        }
    };
}

/// An entry, and its line.
type Lined<T> = (usize, T);
tables!(File, Spanned);
tables!(Tables, Lined);

impl File {
    fn into_tables(self, text: &str) -> Tables {
        let lines = &Lines::of(text);
        Tables {
            section: lines.of_entries(self.section),
            description: lines.of_entries(self.description),
            field: lines.of_entries(self.field),
            condition: lines.of_entries(self.condition),
            absent: lines.of_entries(self.absent),
            property: lines.of_entries(self.property),
            r#break: lines.of_entries(self.r#break),
            volatile: lines.of_entries(self.volatile),
            migration: lines.of_entries(self.migration),
            failure: lines.of_entries(self.failure),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBreak {
    section: String,
    rule: String,
    #[serde(default)]
    path: Vec<String>,
    direction: Option<Direction>,
    machines: MachineNames,
    #[serde(default)]
    only_there: bool,
    after: Option<Version>,
    by: Version,
    reason: String,
    commit: Option<String>,
    #[serde(default)]
    whole_section: bool,
}

impl KnownIssues {
    /// Reads the shipped lists and those of the folders.
    ///
    /// # Errors
    /// A folder or file cannot be read, or an entry is malformed or too wide; the error
    /// names the file and, of an entry, the line.
    pub fn load(folders: &[PathBuf]) -> Result<KnownIssues, ListError> {
        let mut lists = KnownIssues {
            today: Date::today(),
            ..KnownIssues::default()
        };
        let shipped: Shipped = match serde_json::from_str(SHIPPED) {
            Ok(shipped) => shipped,
            // It is part of the program; every test of it reads it.
            Err(error) => panic!("the shipped lists are malformed: {error}"),
        };
        for (name, tables) in shipped.lists {
            lists.add_tables(&name, tables)?;
        }
        lists.all = shipped.digest;
        lists.shipped_breaks = lists.breaks.len();
        lists.shipped_migrations = lists.migrations.len();
        for folder in folders {
            lists.add_folder(folder)?;
            tracing::debug!(folder = %folder.display(), "read lists");
        }
        Ok(lists)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), ListError> {
        let failed = |source| ListError::Io {
            folder: folder.to_owned(),
            source,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                files.push(path);
            }
        }
        files.sort();
        if files.is_empty() {
            self.empty_folders.push(folder.to_owned());
        }
        for file in files {
            let unread = |source| ListError::Unread {
                file: file.clone(),
                source,
            };
            let text = read_listed_text(&file).map_err(unread)?;
            let name = file.display().to_string();
            if let Some(line) = hidden_line(&text) {
                let place = Place { file: name, line };
                let reason = "a character that nobody sees, such as a control character";
                return Err(refused(place, reason));
            }
            filled_in(&name, &text)?;
            self.add(&name, &text)?;
            let before = self.own.unwrap_or_default().to_le_bytes();
            self.own = Some(xxh3_64(&[&before, text.as_bytes()].concat()));
        }
        Ok(())
    }

    /// Adds the entries of one list; `name` is its file, for messages.
    ///
    /// # Errors
    /// It is not TOML of a list's form, or an entry is too wide.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), ListError> {
        self.all = xxh3_64(&[&self.all.to_le_bytes(), text.as_bytes()].concat());
        let file: File = toml::from_str(text).map_err(|e| ListError::Malformed {
            file: name.to_owned(),
            reason: e.to_string().trim_end().to_owned(),
        })?;
        self.add_tables(name, file.into_tables(text))
    }

    /// Adds the entries of one list.
    ///
    /// # Errors
    /// One is too wide.
    fn add_tables(&mut self, name: &str, file: Tables) -> Result<(), ListError> {
        let place = |line: usize| Place {
            file: name.to_owned(),
            line,
        };
        for (what, entries) in [
            (Renamed::Section, file.section),
            (Renamed::Description, file.description),
            (Renamed::Field, file.field),
        ] {
            for (line, entry) in entries {
                let place = place(line);
                let entry = Rename {
                    what,
                    place,
                    ..entry
                };
                check_rename(&entry)?;
                if what == Renamed::Field {
                    self.fields.extend([entry.old.clone(), entry.new.clone()]);
                }
                self.renames.push(entry);
            }
        }
        for (line, entry) in file.condition {
            let place = place(line);
            if entry.items.is_empty() {
                return Err(refused(
                    place,
                    "items is empty; name the fields or subsections",
                ));
            }
            in_order(entry.after, entry.by, &place)?;
            self.conditions.push(Condition { place, ..entry });
        }
        for (line, entry) in file.absent {
            let place = place(line);
            if entry.machines.is_empty() || entry.types.is_empty() {
                let reason = "machines and types may not be empty; [\"*\"] is every one";
                return Err(refused(place, reason));
            }
            self.absent.push(Absent { place, ..entry });
        }
        for (line, entry) in file.volatile {
            let place = place(line);
            if entry.fields.is_empty() || entry.fields.iter().any(Pattern::fits_all) {
                return Err(refused(
                    place,
                    "name the fields: an entry for all of a description hides what is lost",
                ));
            }
            if entry.fits_nothing() {
                let reason = "no difference is meant: a range of bytes ends before it begins, a run has no bytes or \
                    equal ones, or the length stays";
                return Err(refused(place, reason));
            }
            if let Some(reason) = machine::no_target(&entry.arch) {
                return Err(refused(place, reason));
            }
            self.volatile.push(Volatile { place, ..entry });
        }
        for (line, entry) in file.property {
            let place = place(line);
            let every = |patterns: &[Pattern]| patterns.iter().any(Pattern::fits_all);
            if entry.types.is_empty() || entry.names.is_empty() {
                let reason = "types and names may not be empty; write [\"*\"] for every one";
                return Err(refused(place, reason));
            }
            if every(&entry.types) && every(&entry.names) {
                let reason = "every property of every type: name one or the other";
                return Err(refused(place, reason));
            }
            self.unrelated.push(entry);
        }
        for (line, entry) in file.r#break {
            let place = place(line);
            self.breaks.push(deliberate(entry, place)?);
        }
        for (line, entry) in file.failure {
            let place = place(line);
            self.failures.push(entry.into_entry(place)?);
        }
        for (line, entry) in file.migration {
            let place = place(line);
            if entry.section.is_empty() || entry.machines.is_empty() {
                return Err(refused(
                    place,
                    "section and machines must not be empty; [\"*\"] is every machine",
                ));
            }
            in_order(entry.after, entry.by, &place)?;
            self.migrations.push(Refused { place, ..entry });
        }
        Ok(())
    }
}

fn check_rename(entry: &Rename) -> Result<(), ListError> {
    let fail = |reason: &str| Err(refused(entry.place.clone(), reason));
    if entry.section.is_none() && entry.description.is_none() {
        return fail("an entry without section and description would match everywhere");
    }
    if entry.old == entry.new && entry.size_change.is_none() {
        return fail("old and new are the same name, and no size_change is given");
    }
    in_order(entry.after, entry.by, &entry.place)
}

fn deliberate(raw: RawBreak, place: Place) -> Result<Break, ListError> {
    let rule = rule(&raw.rule, &place)?;
    if raw.machines.is_empty() {
        return Err(refused(place, NO_MACHINES));
    }
    in_order(raw.after, raw.by, &place)?;
    if raw.path.is_empty() && !raw.whole_section && !names_section(rule) {
        let reason = format!(
            "without a path this allows every {rule} in `{}`; narrow it, or say whole_section = true",
            raw.section
        );
        return Err(refused(place, reason));
    }
    Ok(Break {
        section: raw.section,
        rule,
        path: raw.path,
        direction: raw.direction,
        machines: raw.machines,
        only_there: raw.only_there,
        by: raw.by,
        reason: raw.reason,
        commit: raw.commit,
        whole_section: raw.whole_section,
        place,
    })
}

/// Tells whether a section has at most one finding of the rule a direction, so that a path says no
/// more.
fn names_section(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::VersionTooNew
            | Rule::VersionTooOld
            | Rule::VmsdRenamed
            | Rule::SectionRemoved
            | Rule::Unmigratable
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(in crate::rules::known_issues) fn lists(text: &str) -> Result<KnownIssues, ListError> {
        lists_of("own.toml", text)
    }

    fn lists_of(name: &str, text: &str) -> Result<KnownIssues, ListError> {
        let mut lists = KnownIssues::default();
        lists.add(name, text)?;
        Ok(lists)
    }

    #[test]
    fn lists_of_a_user_are_identified_by_their_content() {
        let of = |texts: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            for (index, text) in texts.iter().enumerate() {
                std::fs::write(folder.path().join(format!("{index}.toml")), text).unwrap();
            }
            let lists = KnownIssues::load(&[folder.path().to_owned()]).unwrap();
            lists.fingerprint()
        };
        assert_eq!(KnownIssues::load(&[]).unwrap().fingerprint(), None);
        assert_eq!(of(&[]), None);
        assert!(of(&[APIC]).is_some());
        assert_eq!(of(&[APIC]), of(&[APIC]), "wherever they are");
        assert_ne!(of(&[APIC]), of(&[APIC, "# more"]));
    }

    pub(in crate::rules::known_issues) const APIC: &str = r#"
[[field]]
description = "apic"
old = "timer"
new = "timer_expiry"
by = "8.0"
source = "QEMU 8.0"
reason = "the same 8 bytes"
"#;

    #[test]
    fn the_shipped_lists_are_the_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rename-lists");
        let mut read = BTreeMap::new();
        for file in std::fs::read_dir(folder).expect("the folder") {
            let name = file.expect("readable").file_name();
            let name = format!("rename-lists/{}", name.display());
            let text = std::fs::read_to_string(&name).expect("readable");
            if name.ends_with(".toml") {
                // Of an entry that is wrong it says where.
                lists_of(&name, &text).unwrap_or_else(|error| panic!("{error}"));
                read.insert(name, text);
            }
        }
        let shipped: Shipped = serde_json::from_str(SHIPPED).expect("well-formed");
        assert_eq!(shipped.lists.len(), read.len(), "build.rs names each");
        let mut lists = KnownIssues {
            today: Date::today(),
            ..KnownIssues::default()
        };
        for (name, _) in shipped.lists {
            lists.add(&name, &read[&name]).expect("read before");
        }
        lists.shipped_breaks = lists.breaks.len();
        let ready = KnownIssues::load(&[]).expect("they are part of the program");
        assert_eq!(format!("{ready:?}"), format!("{lists:?}"));
        assert!(ready.renames.len() > 50, "{}", ready.renames.len());
        assert!(!ready.breaks.is_empty());
    }

    #[test]
    fn an_entry_that_is_wrong_says_where() {
        let refused = |text: &str| lists(text).expect_err(text).to_string();
        let volatile = |difference: &str| {
            let what = "description='esp'\nfields=['a']\nsource='x'\nreason='x'";
            format!("[[volatile]]\n{what}\n{difference}")
        };
        let cases = [
            (APIC.replace("description", "descripton"), "own.toml: TOML parse error at line 3"),
            (APIC.replace("description = \"apic\"", ""), "own.toml:2: an entry without section"),
            (APIC.replace("timer_expiry", "timer"), "own.toml:2: old and new are the same"),
            (APIC.replace("by =", "after = \"9.0\"\nby ="), "own.toml:2: after must be"),
            (APIC.replace("8.0\"\nsource", "eight\"\nsource"), "is not a QEMU version"),
            (
                "[[break]]\nsection='esp'\nrule='nope'\nmachines=['q800']\nby='9.0'\nreason='x'".to_owned(),
                "own.toml:1: there is no rule `nope`",
            ),
            (
                "[[break]]\nsection='esp'\nrule='field-added'\nmachines=['q800']\nby='9.0'\nreason='x'".to_owned(),
                "own.toml:1: without a path this allows every field-added in `esp`",
            ),
            (
                "[[failure]]\noutcomes=['fail']\nmachines=['pc-q35-*']\nreason='x'\nowner='x'\nexpires='9.0'".to_owned(),
                "\"pc-q35-*\" is no machine type or family",
            ),
            (
                "[[property]]\ntypes=['*']\nnames=['*']\nreason='x'".to_owned(),
                "own.toml:1: every property of every type",
            ),
            (
                "[[property]]\ntypes=['*']\nnames=[]\nreason='x'".to_owned(),
                "own.toml:1: types and names may not be empty",
            ),
            (
                "[[absent]]\nmachines=['*']\ntypes=[]\nsource='x'\nreason='x'".to_owned(),
                "own.toml:1: machines and types may not be empty",
            ),
            (volatile("bytes=[[0, 1], [9, 2]]"), "own.toml:1: no difference is meant"),
            (volatile("run={count=2, sent=7, held=7}"), "own.toml:1: no difference is meant"),
            (volatile("resized=0"), "own.toml:1: no difference is meant"),
        ];
        for (text, wanted) in cases {
            let message = refused(&text);
            assert!(message.contains(wanted), "wanted {wanted:?} in {message:?}");
        }
    }
}

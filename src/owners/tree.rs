//! A tree of QEMU's sources: the files in which a device type or a description is defined, and the descriptions
//! themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::data::regex;
use crate::model::joined;
use crate::report::{Source, SourceField};

/// A longer file is no source.
const MOST_BYTES: u64 = 4 << 20;

/// The name of a type or a description, as a text or as a macro.
static NAME: LazyLock<Regex> = LazyLock::new(|| regex(r#"\.\w*name\s*=\s*(?:"([^"]+)"|(\w+))"#));
/// A macro that is a text.
static MACRO: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^\s*#\s*define\s+(\w+)\s+"([^"]+)"\s*$"#));
/// The beginning of a description, with its name in C.
static DESCRIPTION: LazyLock<Regex> = LazyLock::new(|| regex(r"\bVMStateDescription\s+(\w+)\s*="));
/// A field of one: its macro, its name, the structure, and further arguments without parentheses.
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"\b(VMSTATE_\w+)\(\s*([A-Za-z_][\w.\[\]]*)\s*,\s*([A-Za-z_]\w*)\s*((?:,[^(),]*)*)\)")
});
/// The test of a description.
static NEEDED: LazyLock<Regex> = LazyLock::new(|| regex(r"\.needed\s*=\s*(\w+)"));

/// The places of types and descriptions.
#[derive(Default)]
pub(super) struct Places {
    /// The files that define each of them.
    pub files: BTreeMap<String, BTreeSet<String>>,
    /// The definitions of descriptions. A name may have several.
    pub sources: BTreeMap<String, Vec<Source>>,
}

/// The definitions in a tree.
#[derive(Default)]
struct Definitions {
    /// Descriptions by their names.
    sources: BTreeMap<String, Vec<Source>>,
    /// Files by the name that they define.
    named: BTreeMap<String, BTreeSet<String>>,
    /// Files by the macro that is the name.
    by_macro: BTreeMap<String, BTreeSet<String>>,
    /// The texts of macros, and where they are given.
    macros: Vec<(String, String, String)>,
}

/// Looks for these types and descriptions.
///
/// # Errors
/// A folder or a source cannot be read.
pub(super) fn places(tree: &Path, names: &BTreeSet<String>) -> io::Result<Places> {
    let mut found = Definitions::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(tree.join(&folder))? {
            let item = item?;
            let name = item.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let (path, kind) = (folder.join(name), item.file_type()?);
            let is_source = name.ends_with(".c") || name.ends_with(".h");
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && is_source && item.metadata()?.len() <= MOST_BYTES {
                let text = std::fs::read(item.path())?;
                found.read(
                    &path.to_string_lossy(),
                    &String::from_utf8_lossy(&text),
                    names,
                );
            }
        }
    }
    for (name, text, file) in std::mem::take(&mut found.macros) {
        let users = found.by_macro.get(&name).cloned().unwrap_or_default();
        let files = found.named.entry(text).or_default();
        files.insert(file);
        files.extend(users);
    }
    Ok(Places {
        files: found.named,
        sources: found.sources,
    })
}

/// Returns the description that begins in a line, and ends with the first line that closes it.
fn source(file: &str, text: &str, at: usize) -> Option<Source> {
    let lines = text.lines().skip(at);
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("};")).collect();
    let variable = DESCRIPTION.captures(lines.first()?)?;
    let body = lines.join(" ");
    let fields = FIELD.captures_iter(&body);
    let mut source = Source {
        file: file.to_owned(),
        line: at + 1,
        variable: variable[1].to_owned(),
        ..Source::default()
    };
    for found in fields {
        let (mut kind, state) = (found[1].to_owned(), &found[3]);
        let mut more: Vec<&str> = found[4].split(',').map(str::trim).skip(1).collect();
        // In a description of its own a field has neither a version nor a test.
        if let Some(plain) = kind.strip_suffix("_V").or(kind.strip_suffix("_TEST")) {
            kind = plain.to_owned();
            more.pop();
        }
        let arguments = [&found[2], state].into_iter().chain(more);
        let arguments = joined(arguments, ", ");
        let text = format!("{kind}({arguments})");
        source.state.get_or_insert_with(|| state.to_owned());
        source.fields.push(SourceField {
            name: found[2].to_owned(),
            is_number: NUMBERS.iter().any(|start| is_numbered(&kind, start)),
            text,
        });
    }
    source.needed = NEEDED.captures(&body).map(|found| found[1].to_owned());
    Some(source)
}

/// The beginnings of macros of numbers; bits follow.
const NUMBERS: [&str; 3] = ["VMSTATE_UINT", "VMSTATE_INT", "VMSTATE_BOOL"];

fn is_numbered(kind: &str, start: &str) -> bool {
    let bits = kind.strip_prefix(start);
    bits.is_some_and(|bits| bits.chars().all(|c| c.is_ascii_digit()))
}

impl Definitions {
    fn read(&mut self, file: &str, text: &str, names: &BTreeSet<String>) {
        // A name belongs to the nearest definition that is open.
        let mut is_open = false;
        let mut begun = None;
        for (at, line) in text.lines().enumerate() {
            if line.starts_with("};") {
                is_open = false;
                begun = None;
            }
            if line.contains("VMStateDescription") && line.contains('=') {
                begun = Some(at);
            }
            if line.contains('=')
                && (line.contains("TypeInfo") || line.contains("VMStateDescription"))
            {
                is_open = true;
            }
            if line.contains("define")
                && let Some(found) = MACRO.captures(line)
                && names.contains(&found[2])
            {
                let (name, text) = (found[1].to_owned(), found[2].to_owned());
                self.macros.push((name, text, file.to_owned()));
            }
            if !is_open || !line.contains("name") {
                continue;
            }
            let Some(found) = NAME.captures(line) else {
                continue;
            };
            let (place, name) = match (found.get(1), found.get(2)) {
                (Some(named), _) if names.contains(named.as_str()) => {
                    // What follows in it may have names of their own.
                    if let Some(found) = begun.take().and_then(|at| source(file, text, at)) {
                        let sources = self.sources.entry(named.as_str().to_owned());
                        sources.or_default().push(found);
                    }
                    (&mut self.named, named)
                }
                (_, Some(of_macro)) => (&mut self.by_macro, of_macro),
                _ => continue,
            };
            let files = place.entry(name.as_str().to_owned()).or_default();
            files.insert(file.to_owned());
        }
    }
}

//! A tree of QEMU's sources: the files in which a device type or a description is defined.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A longer file is no source.
const MOST_BYTES: u64 = 4 << 20;

/// The name of a type or a description, as a text or as a macro.
static NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\.\w*name\s*=\s*(?:"([^"]+)"|(\w+))"#).ok());
/// A macro that is a text.
static MACRO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"^\s*#\s*define\s+(\w+)\s+"([^"]+)"\s*$"#).ok());

/// The definitions in a tree.
#[derive(Default)]
struct Definitions {
    /// Files by the name that they define.
    named: BTreeMap<String, BTreeSet<String>>,
    /// Files by the macro that is the name.
    by_macro: BTreeMap<String, BTreeSet<String>>,
    /// The texts of macros, and where they are given.
    macros: Vec<(String, String, String)>,
}

/// Returns the files that define each of these types and descriptions, from the top of the tree.
///
/// # Errors
/// A folder or a source cannot be read.
pub(super) fn places(
    tree: &Path,
    names: &BTreeSet<&str>,
) -> io::Result<BTreeMap<String, BTreeSet<String>>> {
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
    Ok(found.named)
}

impl Definitions {
    fn read(&mut self, file: &str, text: &str, names: &BTreeSet<&str>) {
        let (Some(name), Some(of_macro)) = (NAME.as_ref(), MACRO.as_ref()) else {
            return;
        };
        // A name belongs to the nearest definition that is open.
        let mut is_open = false;
        for line in text.lines() {
            if line.starts_with("};") {
                is_open = false;
            }
            if line.contains('=')
                && (line.contains("TypeInfo") || line.contains("VMStateDescription"))
            {
                is_open = true;
            }
            if line.contains("define")
                && let Some(found) = of_macro.captures(line)
                && names.contains(&found[2])
            {
                let (name, text) = (found[1].to_owned(), found[2].to_owned());
                self.macros.push((name, text, file.to_owned()));
            }
            if !is_open || !line.contains("name") {
                continue;
            }
            let Some(found) = name.captures(line) else {
                continue;
            };
            let (place, name) = match (found.get(1), found.get(2)) {
                (Some(text), _) if names.contains(text.as_str()) => (&mut self.named, text),
                (_, Some(of_macro)) => (&mut self.by_macro, of_macro),
                _ => continue,
            };
            let files = place.entry(name.as_str().to_owned()).or_default();
            files.insert(file.to_owned());
        }
    }
}

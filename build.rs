//! Makes the data files that nearly every run reads into JSON: it is read in a fraction of the time that TOML takes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use toml::Spanned;
use xxhash_rust::xxh3::xxh3_64;

/// The lists of known issues, in the order in which they are read.
const LISTS: [&str; 8] = [
    "sections",
    "descriptions",
    "fields",
    "known-conditions",
    "absent-devices",
    "volatile-fields",
    "unrelated-properties",
    "deliberate-breaks",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let lists = serde_json::to_string(&known_issues()?)?;
    fs::write(out.join("known-issues.json"), lists)?;
    convert(Path::new("device-sets/machines.toml"), &out)?;
    for file in files("rules")? {
        convert(&file, &out)?;
    }
    let mut code = BTreeMap::new();
    for file in files("rules/code")? {
        let name = file.file_stem().unwrap_or_default().display().to_string();
        code.insert(name, table(&file)?);
    }
    fs::write(out.join("code.json"), serde_json::to_string(&code)?)?;
    Ok(())
}

/// Returns the files with data in a folder.
fn files(folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={folder}");
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        if file.extension().is_some_and(|suffix| suffix == "toml") {
            files.push(file);
        }
    }
    Ok(files)
}

fn table(file: &Path) -> Result<toml::Table, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", file.display());
    read(file, &fs::read_to_string(file)?)
}

/// Makes a file into one of the same name with JSON.
fn convert(file: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let table = table(file)?;
    let json = out.join(file.with_extension("json"));
    fs::create_dir_all(json.parent().unwrap_or(out))?;
    fs::write(json, serde_json::to_string(&table)?)?;
    Ok(())
}

/// Returns the shipped lists with a hash of all, each with its path and, for each table, the entries and their lines.
fn known_issues() -> Result<Value, Box<dyn Error>> {
    type Tables = BTreeMap<String, Vec<Spanned<toml::Table>>>;
    let mut digest = 0_u64;
    let mut lists = Vec::new();
    for name in LISTS {
        let path = format!("rename-lists/{name}.toml");
        println!("cargo::rerun-if-changed={path}");
        let text = fs::read_to_string(&path)?;
        digest = xxh3_64(&[&digest.to_le_bytes(), text.as_bytes()].concat());
        let line = |start: usize| 1 + text[..start].matches('\n').count();
        let entries = |of: Vec<Spanned<toml::Table>>| -> Vec<_> {
            let of = of.into_iter();
            of.map(|entry| (line(entry.span().start), entry.into_inner()))
                .collect()
        };
        let tables: Tables = read(Path::new(&path), &text)?;
        let tables = tables.into_iter().map(|(name, of)| (name, entries(of)));
        let tables: BTreeMap<_, _> = tables.collect();
        lists.push((path, tables));
    }
    Ok(json!({ "digest": digest, "lists": lists }))
}

fn read<T: serde::de::DeserializeOwned>(file: &Path, text: &str) -> Result<T, Box<dyn Error>> {
    toml::from_str(text).map_err(|error| format!("{}: {error}", file.display()).into())
}

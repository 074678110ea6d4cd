//! README and the manual in `docs/`: commands that the program takes, and links that lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use macro_rules_attribute::apply;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

use crate::common::{migcompat, root, script, stdout};

/// README and each chapter.
pub fn pages() -> Vec<PathBuf> {
    let chapters = fs::read_dir(root().join("docs/src")).expect("the manual");
    let files = chapters.flatten().map(|item| item.path());
    let mut pages: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

fn text(page: &Path) -> String {
    fs::read_to_string(page).expect("a page")
}

/// The blocks of commands on a page.
pub fn commands(page: &Path) -> Vec<String> {
    let text = text(page);
    let mut blocks = Vec::new();
    let mut inside = false;
    for event in Parser::new(&text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => {
                inside = &*kind == "sh";
                if inside {
                    blocks.push(String::new());
                }
            }
            Event::End(_) => inside = false,
            Event::Text(line) if inside => blocks.last_mut().expect("begun").push_str(&line),
            _ => {}
        }
    }
    blocks
}

/// The links and pictures of a page.
pub fn links(page: &Path) -> Vec<String> {
    let text = text(page);
    let links = Parser::new(&text).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.to_string())
        }
        _ => None,
    });
    links.collect()
}

/// A shell takes them apart, and the program refuses them for nothing else than a last word of ours, so that it does
/// nothing more.
#[apply(test)]
fn every_command_is_one_that_the_program_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = folder.path().join("said");
    let program = env!("CARGO_BIN_EXE_migcompat");
    let ours = format!(
        "echo \"$@\" >> {said}.typed\nexec {program} \"$@\" --no-such-option 2>> {said}",
        said = said.display()
    );
    script(folder.path(), "migcompat", &ours);
    let mut typed = 0;
    for page in pages() {
        for block in commands(&page) {
            // Of the other programs none is in the path.
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &block]).env("PATH", folder.path());
            let output = shell.current_dir(folder.path()).output();
            output.expect("a shell");
        }
        let errors = fs::read_to_string(&said).unwrap_or_default();
        let lines = fs::read_to_string(said.with_extension("typed")).unwrap_or_default();
        let refused = errors.matches("unexpected argument '--no-such-option'");
        assert_eq!(
            refused.count(),
            lines.lines().count(),
            "{}: {lines}{errors}",
            page.display()
        );
        typed = lines.lines().count();
    }
    assert!(typed > 25, "{typed}");
}

/// The names of the formats of a report, as the help has them.
pub fn formats() -> Vec<String> {
    let help = stdout(&migcompat(&["render", "--help"]));
    let values = help.lines().skip_while(|line| !line.contains("--format"));
    let values = values.take_while(|line| !line.contains("--log"));
    let names = values.filter_map(|line| line.trim().strip_prefix("- ")?.split(':').next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.contains(&"markdown".to_owned()), "{help}");
    names
}

#[apply(test)]
fn every_format_has_a_row() {
    let rows = text(&root().join("docs/src/formats.md"));
    for name in formats() {
        assert!(rows.contains(&format!("\n| `{name}` |")), "{name}");
    }
}

/// What a text names in the form of a program: `src/model/rule.rs`, `values()`.
fn code(text: &str) -> Vec<String> {
    let parts = Parser::new(text).filter_map(|event| match event {
        Event::Code(code) => Some(code.to_string()),
        _ => None,
    });
    parts.collect()
}

#[apply(test)]
fn every_file_that_a_page_names_is_there() {
    let folders = fs::read_dir(root()).expect("the project").flatten();
    let folders = folders.filter(|item| item.path().is_dir());
    let folders: Vec<String> = folders
        .map(|item| item.file_name().to_string_lossy().into_owned())
        // What is built.
        .filter(|name| name != "target" && name != ".git")
        .collect();
    // Those that the page of the fixtures names are of other projects, too.
    let data = ["rename-lists", "device-sets", "guests"];
    let own = data.map(|folder| root().join(folder).join("README.md"));
    let guide = root().join("CONTRIBUTING.md");
    let mut named = 0;
    for page in pages().into_iter().chain(own).chain([guide]) {
        for word in code(&text(&page)) {
            // A word in capitals stands for others.
            let is_path =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c);
            let is_ours = word
                .split_once('/')
                .is_some_and(|(folder, _)| folders.iter().any(|own| own == folder));
            if is_ours && word.chars().all(is_path) {
                assert!(root().join(&word).exists(), "{}: {word}", page.display());
                named += 1;
            }
        }
    }
    assert!(named > 50, "{named}");
}

/// Returns all files of a folder in one text.
fn sources(folder: &Path) -> String {
    let items = fs::read_dir(folder).expect("sources").flatten();
    let texts = items.map(|item| match item.path() {
        path if path.is_dir() => sources(&path),
        path => fs::read_to_string(path).unwrap_or_default(),
    });
    texts.collect()
}

#[apply(test)]
fn every_function_that_a_contributor_is_sent_to_is_there() {
    let guide = text(&root().join("CONTRIBUTING.md"));
    // Behind that, words are QEMU's.
    let (steps, _) = guide.split_once("## Words").expect("a chapter");
    let sources = ["src", "tests"].map(|folder| sources(&root().join(folder)));
    let sources = sources.concat();
    let words = code(steps);
    let functions: Vec<&str> = words
        .iter()
        .filter_map(|word| word.strip_suffix("()"))
        .collect();
    for name in &functions {
        assert!(sources.contains(&format!("fn {name}(")), "{name}()");
    }
    assert!(functions.len() > 3, "{functions:?}");
}

#[apply(test)]
fn every_link_leads_to_a_file_and_every_chapter_is_in_the_summary() {
    let summary = root().join("docs/src/SUMMARY.md");
    let listed = links(&summary);
    for page in pages() {
        let folder = page.parent().expect("a folder");
        for link in links(&page) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() {
                let found = fs::metadata(folder.join(file));
                let found =
                    found.unwrap_or_else(|error| panic!("{}: {link}: {error}", page.display()));
                // Each clone has all pictures that there ever were.
                let bytes = if file.ends_with(".png") {
                    found.len()
                } else {
                    0
                };
                assert!(bytes < 100_000, "{}: {link}", page.display());
            }
        }
        let name = page.file_name().expect("a name").to_string_lossy();
        let is_chapter = folder.ends_with("src") && page != summary;
        assert!(!is_chapter || listed.iter().any(|l| *l == name), "{name}");
    }
}

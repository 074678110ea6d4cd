//! The layout of the sources: no file needs one that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use macro_rules_attribute::apply;
use regex::Regex;

use crate::common::root;

/// The files of a crate by the paths of their modules, and what each names in `use`.
#[derive(Default)]
struct Sources {
    /// What a module takes in for itself, as paths from the root of the crate.
    uses: BTreeMap<String, Vec<String>>,
    /// The names that a module hands on, and where it has each from.
    handed_on: BTreeMap<(String, String), String>,
}

impl Sources {
    fn read(folder: &Path) -> Sources {
        let mut sources = Sources::default();
        let mut texts = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(at) = folders.pop() {
            for item in fs::read_dir(at).unwrap() {
                let path = item.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let place = path.strip_prefix(folder).unwrap().with_extension("");
                    let module = place.display().to_string().replace('/', "::");
                    let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
                    texts.insert(module, fs::read_to_string(path).unwrap());
                }
            }
        }
        for (module, text) in &texts {
            sources.take(module, text, &|name| texts.contains_key(name));
        }
        sources
    }

    /// Takes what a file names, without its tests.
    fn take(&mut self, module: &str, text: &str, is_module: &dyn Fn(&str) -> bool) {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let item = Regex::new(r"(?m)^(pub(?:\([^)]*\))? +)?use ([^;]+);").unwrap();
        let own = self.uses.entry(module.to_owned()).or_default();
        for found in item.captures_iter(text) {
            for path in expanded(&found[2]) {
                let child = format!("{module}::{path}");
                let is_child = is_module(child.rsplit_once("::").unwrap().0);
                let path = match path.strip_prefix("crate::") {
                    Some(path) => path.to_owned(),
                    None if is_child => child,
                    None => continue,
                };
                match found.get(1) {
                    Some(_) => {
                        let name = path.rsplit("::").next().unwrap().to_owned();
                        self.handed_on.insert((module.to_owned(), name), path);
                    }
                    None => own.push(path),
                }
            }
        }
    }

    /// The module that has what a path names.
    fn home(&self, path: &str) -> Option<&str> {
        let mut path = path;
        // A module may hand on one of its own name.
        let mut seen = BTreeSet::new();
        loop {
            let ends = path.match_indices("::").map(|(end, _)| end);
            let mut ends: Vec<usize> = ends.chain([path.len()]).collect();
            ends.reverse();
            let mut known = ends
                .iter()
                .filter_map(|end| self.uses.get_key_value(&path[..*end]));
            let (module, _) = known.next()?;
            let rest = path[module.len()..].trim_start_matches("::");
            let name = rest.split("::").next().unwrap().to_owned();
            match self.handed_on.get(&(module.clone(), name)) {
                Some(from) if seen.insert(from) => path = from,
                _ => return Some(module),
            }
        }
    }

    /// What each module needs. A part knows the whole that it is a part of.
    fn needs(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let homes = |(module, uses): (&'_ String, &'_ Vec<String>)| {
            let homes = uses.iter().filter_map(|path| self.home(path));
            homes.filter(|home| !is_within(module, home)).collect()
        };
        self.uses
            .iter()
            .map(|(module, uses)| (module.as_str(), homes((module, uses))))
            .collect()
    }
}

/// Tells whether a module is another one, or a part of it.
fn is_within(module: &str, whole: &str) -> bool {
    let rest = module.strip_prefix(whole);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths of a tree of `use`.
fn expanded(tree: &str) -> Vec<String> {
    let (prefix, group) = match tree.split_once('{') {
        None => {
            let path = tree.split(" as ").next().unwrap().trim();
            return vec![path.trim_end_matches("::self").to_owned()];
        }
        Some((prefix, rest)) => (prefix.trim(), rest.rsplit_once('}').unwrap().0),
    };
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    let paths = parts.flat_map(|part| expanded(part.trim()));
    paths
        .map(|path| match path.as_str() {
            "self" => prefix.trim_end_matches("::").to_owned(),
            _ => format!("{prefix}{path}"),
        })
        .collect()
}

/// The modules from which the first one can be reached again.
fn circles<'s>(needs: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> Vec<&'s str> {
    let is_in_circle = |module: &&'s str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = needs[module].iter().copied().collect();
        while let Some(at) = next.pop() {
            if seen.insert(at) {
                next.extend(&needs[at]);
            }
        }
        seen.contains(module)
    };
    needs.keys().copied().filter(is_in_circle).collect()
}

#[apply(test)]
fn no_file_needs_one_that_needs_it() {
    let sources = Sources::read(&root().join("src"));
    let needs = sources.needs();
    // That it sees what there is, through a name that is handed on too.
    assert!(needs["api::check"].contains("report::sought"), "{needs:#?}");
    assert!(needs.len() > 300, "{}", needs.len());
    let circles = circles(&needs);
    let among = |module: &&str| circles.contains(module);
    let told: Vec<String> = circles
        .iter()
        .map(|module| {
            let others: Vec<&str> = needs[module].iter().copied().filter(among).collect();
            format!("{module} needs {}", others.join(", "))
        })
        .collect();
    assert!(
        circles.is_empty(),
        "these files need each other; what two of them need goes into a file that needs neither: {told:#?}"
    );
}

#[apply(test)]
fn a_circle_is_seen_through_names_that_are_handed_on() {
    let mut sources = Sources::default();
    let files = [
        ("a", "pub use one::One;\nmod one;"),
        ("a::one", "use crate::b::{Two, three::Three as Other};"),
        ("b", "pub(crate) use two::Two;\n"),
        ("b::two", "use crate::a::One;\n#[cfg(test)]\nmod tests {}"),
        ("b::three", "#[cfg(test)]\nmod tests { use crate::a::One; }"),
    ];
    for (module, text) in files {
        let is_module = |name: &str| files.iter().any(|(known, _)| *known == name);
        sources.take(module, text, &is_module);
    }
    let needs = sources.needs();
    assert_eq!(needs["a::one"], BTreeSet::from(["b::two", "b::three"]));
    assert_eq!(circles(&needs), ["a::one", "b::two"]);
}

//! What a dependency has to be: `deny.toml`, and no newer Rust than the package says.

use std::collections::BTreeSet;
use std::process::Command;

use macro_rules_attribute::apply;
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::common::root;

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

/// By default the registry that cargo knows is the only one; nothing else is allowed.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Sources {
    unknown_registry: Level,
    unknown_git: Level,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Deny,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// None of what stands in this folder.
    source: Option<String>,
    rust_version: Option<String>,
}

fn policy() -> Policy {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// Of this package and all that it is built from, on the platform that it is for.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(metadata.packages.len() > 50);
    metadata.packages
}

/// Returns the registry that cargo takes packages from where no other one is named, as the package of
/// this test's own serialiser has it.
fn registry() -> String {
    let lock: toml::Table = include_str!("../../Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let serde = packages
        .iter()
        .find(|one| one["name"].as_str() == Some("serde"));
    serde.unwrap()["source"].as_str().unwrap().to_owned()
}

/// Returns what the policy has against a package.
fn objection(package: &Package, policy: &Policy) -> Option<String> {
    if policy
        .bans
        .deny
        .iter()
        .any(|banned| banned.name == package.name)
    {
        return Some("it is banned".to_owned());
    }
    if let Some(source) = &package.source {
        let strict = policy.sources.unknown_registry == Level::Deny
            && policy.sources.unknown_git == Level::Deny;
        if strict && *source != registry() {
            return Some(format!("it comes from {source}"));
        }
    }
    let Some(license) = &package.license else {
        return Some("it names no licence".to_owned());
    };
    match Expression::parse_mode(license, ParseMode::LAX) {
        Ok(wanted) => {
            let allowed = wanted.evaluate(|one| policy.licenses.allow.contains(&one.to_string()));
            (!allowed).then(|| format!("its licence is {license}"))
        }
        Err(error) => Some(format!("its licence cannot be read: {error}")),
    }
}

#[apply(test)]
fn every_dependency_is_as_the_policy_wants_it() {
    let policy = policy();
    let objections: Vec<String> = packages()
        .iter()
        .filter_map(|package| {
            let objection = objection(package, &policy)?;
            Some(format!("{} {}: {objection}", package.name, package.version))
        })
        .collect();
    assert!(objections.is_empty(), "{objections:#?}");
}

#[apply(test)]
fn what_the_policy_does_not_want_is_refused() {
    let policy = policy();
    let registry = registry();
    assert!(registry.starts_with("registry+"), "{registry}");
    for (name, license, source, wanted) in [
        ("a", Some("MIT"), Some(registry.as_str()), true),
        ("a", Some("GPL-3.0-only OR MIT"), Some(&registry), true),
        ("a", Some("MIT/Apache-2.0"), Some(&registry), true),
        ("a", Some("MIT"), None, true),
        (
            "a",
            Some("(MIT OR Apache-2.0) AND GPL-3.0-only"),
            Some(&registry),
            false,
        ),
        ("a", Some("GPL-2.0-or-later"), Some(&registry), false),
        ("a", None, Some(&registry), false),
        ("a", Some("MIT"), Some("git+https://example.org/a"), false),
        ("openssl-sys", Some("MIT"), Some(&registry), false),
    ] {
        let package = Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
            rust_version: None,
        };
        let objection = objection(&package, &policy);
        assert_eq!(
            objection.is_none(),
            wanted,
            "{name} {license:?} {source:?}: {objection:?}"
        );
    }
}

/// Beside its line in the manifest, or right above.
#[apply(test)]
fn every_dependency_has_its_reason() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (mut before, mut is_of_list, mut found) = ("", false, 0);
    for line in text.lines() {
        if line.starts_with('[') {
            is_of_list = line.ends_with("dependencies]");
        } else if is_of_list && !line.is_empty() && !line.starts_with('#') {
            let reason = line.split_once(" # ").map(|(_, reason)| reason);
            let reason = reason.or_else(|| before.strip_prefix("# "));
            let words = reason.unwrap_or_default().split_whitespace().count();
            assert!(words >= 2, "{line}");
            found += 1;
        }
        before = line;
    }
    assert!(found > 30, "{found}");
}

/// The lint `incompatible_msrv` holds the code itself against the package's Rust version.
#[apply(test)]
fn no_dependency_needs_a_newer_rust_than_the_package_says() {
    let number = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect()
    };
    let ours = number(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = packages()
        .iter()
        .filter_map(|package| {
            let theirs = package.rust_version.as_deref()?;
            let (name, version) = (&package.name, &package.version);
            (number(theirs) > ours).then(|| format!("{name} {version} needs Rust {theirs}"))
        })
        .collect();
    assert!(newer.is_empty(), "{newer:#?}");
}

//! What a release is handed out as: the Debian package and the image. The package of cargo is built by `.ci/package`.

use std::fs;
use std::path::Path;
use std::process::Command;

use macro_rules_attribute::apply;

use crate::common::{root, script, stderr, stdout};
use crate::manual::{links, pages};

/// Returns the versions that a text has behind the program's name.
fn versions(text: &str) -> Vec<&str> {
    let named = text.split("migcompat@").skip(1);
    let version = named.map(|rest| {
        let rest = rest.strip_prefix('v').unwrap_or(rest);
        let is_of_it = |c: char| c.is_ascii_digit() || c == '.';
        rest.split(|c| !is_of_it(c)).next().unwrap_or_default()
    });
    version.collect()
}

#[apply(test)]
#[needs(Program("bash"))]
fn a_new_version_is_everywhere_that_one_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    sh(&format!(
        "cp -a --parents Cargo.toml Cargo.lock fuzz/Cargo.toml fuzz/Cargo.lock CHANGELOG.md README.md ci docs scripts {}",
        folder.path().display()
    ));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
    fs::write(
        folder.path().join("CHANGELOG.md"),
        "# Changelog\n\n## Unreleased\n- a line\n",
    )
    .expect("written");
    let new_version = |version: &str| {
        let mut bash = Command::new("bash");
        let script = folder.path().join("scripts/new-version");
        bash.arg(script).arg(version).output().expect("bash")
    };
    for wrong in ["", "v1.2.3", "1.2", "1.2.3-rc1"] {
        let output = new_version(wrong);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong}: {}",
            stderr(&output)
        );
    }
    assert!(new_version("98.7.6").status.success());
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    assert_eq!(manifest["package"]["version"].as_str(), Some("98.7.6"));
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock: toml::Table = read(lock).parse().expect("TOML");
        let packages = lock["package"].as_array().expect("packages");
        let is_new = |package: &&toml::Value| package["version"].as_str() == Some("98.7.6");
        let new: Vec<&str> = packages
            .iter()
            .filter(is_new)
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(new, ["migcompat"]);
    }
    let mut seen = 0;
    for name in [
        "ci/github/migcompat.yml",
        "ci/gitlab/migcompat.yml",
        "docs/src/ci.md",
    ] {
        let old = fs::read_to_string(root().join(name)).expect("a file");
        // Those of the project itself are this one's.
        let all = versions(&old);
        assert!(
            all.iter()
                .all(|version| *version == env!("CARGO_PKG_VERSION")),
            "{name}: {all:?}"
        );
        let text = read(name);
        let new = versions(&text);
        assert!(
            new.iter().all(|version| *version == "98.7.6"),
            "{name}: {new:?}"
        );
        assert_eq!(new.len(), all.len(), "{name}");
        seen += new.len();
    }
    assert!(seen >= 5, "{seen}");
    let changes = read("CHANGELOG.md");
    assert!(
        changes.contains("\n## 98.7.6 (20") && !changes.contains("Unreleased"),
        "{changes}"
    );
    assert_eq!(
        new_version("98.7.7").status.code(),
        Some(2),
        "there is nothing to release"
    );
}

/// Runs a line in the project's folder.
fn sh(line: &str) {
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(root())
        .output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{line}: {}", stderr(&output));
}

/// What `scripts/make-extras` makes, in a folder.
fn extras() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_migcompat");
    sh(&format!(
        "scripts/make-extras {program} {}",
        folder.path().join("extras").display()
    ));
    folder
}

/// Checks that there are files of this name, as it is after a build.
fn is_made(source: &str, made: &Path) {
    // It is this program, of another profile.
    if source != "target/release/migcompat" {
        let source = source.replace("target/extras", &made.join("extras").display().to_string());
        sh(&format!("test -s \"$(ls -d {source} | head -n 1)\""));
    }
}

#[apply(test)]
fn all_that_the_debian_package_installs_is_made() {
    let made = extras();
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("TOML");
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets = deb["assets"].as_array().expect("a list");
    for asset in assets {
        is_made(asset[0].as_str().expect("a path"), made.path());
    }
    let pages = fs::read_dir(made.path().join("extras/man"))
        .expect("man pages")
        .count();
    assert!(pages > 15 && assets.len() > 6, "{pages}");
    let license = deb["license-file"][0].as_str().expect("a path");
    assert!(root().join(license).is_file());
}

/// Whoever has the package has what its pages send to, but for what is there for developers alone.
#[apply(test)]
fn what_the_manual_leads_to_is_in_the_debian_package() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array();
    // Where a file of the sources is installed, under the folder of the documents.
    let is_there = |file: &Path| {
        assets.expect("a list").iter().any(|asset| {
            let pattern = wildmatch::WildMatch::new(asset[0].as_str().expect("a path"));
            let target = asset[1].as_str().expect("a path");
            let folder = target.strip_prefix("usr/share/doc/migcompat/");
            let own = file.parent().expect("a folder").display().to_string();
            pattern.matches(&file.display().to_string())
                && folder.is_some_and(|folder| folder.trim_end_matches('/') == own)
        })
    };
    let mut seen = 0;
    for page in pages() {
        let page = page
            .strip_prefix(root())
            .expect("of the project")
            .to_owned();
        assert!(is_there(&page), "{}", page.display());
        for link in links(&root().join(&page)) {
            let link = link.split('#').next().unwrap_or_default();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let target = root().join(page.parent().expect("a folder")).join(link);
            let target = target.canonicalize().expect("it is there");
            let target = target.strip_prefix(root()).expect("of the project");
            let of_developers = ["src", "fixtures", "CONTRIBUTING.md"];
            if !target.is_dir() && !of_developers.iter().any(|own| target.starts_with(own)) {
                assert!(is_there(target), "{}: {}", page.display(), target.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[apply(test)]
fn the_program_that_runs_anywhere_has_musl_where_the_toolchain_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let std = folder.path().join("libstd-0.rlib");
    script(folder.path(), "musl-gcc", "exit 0");
    let rustc = format!("echo {}", folder.path().display());
    script(folder.path(), "rustc", &rustc);
    let target = || {
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = Command::new(root().join("scripts/static-target"));
        let output = command.env("PATH", path).output().expect("it starts");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    };
    let arch = std::env::consts::ARCH;
    assert_eq!(target(), format!("{arch}-unknown-linux-gnu"));
    fs::write(&std, "").expect("a standard library");
    assert_eq!(target(), format!("{arch}-unknown-linux-musl"));
}

/// The lines of the Containerfile, each with those that continue it.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(root().join("Containerfile")).expect("a file");
    let text = text.replace("\\\n", " ");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[apply(test)]
fn the_image_is_made_of_what_there_is() {
    let made = extras();
    let mut stages = 0;
    for line in instructions() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // The name alone, so that whoever builds it decides where it comes from.
            ["FROM", image, ..] => {
                assert!(!image.contains('/'), "{image}");
                stages += 1;
            }
            ["COPY", "--from=build", source, folder] => {
                let source = source
                    .strip_prefix("/migcompat/")
                    .expect("the folder of the sources");
                is_made(source, made.path());
                assert!(folder.starts_with("/usr/"), "{folder}");
            }
            ["COPY", ".", "."] | ["WORKDIR" | "VOLUME" | "ENTRYPOINT", _] => {}
            ["ENV", set] => assert!(set.starts_with("MIGCOMPAT_CACHE=/"), "{set}"),
            ["RUN", "apt-get", "update", ..] => println!("Containerfile: NOT RUN: {line}"),
            ["RUN", script, ..] if stages == 1 => {
                assert!(root().join(script).is_file(), "{script}");
                println!("Containerfile: NOT RUN: {line}");
            }
            _ => panic!("{line} is not known here"),
        }
    }
    assert_eq!(stages, 2);
}

#[apply(test)]
#[needs(PackageLists)]
fn what_the_image_installs_is_in_debian() {
    let lines = instructions().join(" && ");
    let steps = lines.split("&&").map(str::trim);
    let install = steps.filter_map(|step| step.split_once("apt-get install "));
    let installed: Vec<&str> = install.map(|(_, packages)| packages).collect();
    assert_eq!(installed.len(), 2, "{lines}");
    for packages in installed {
        sh(&format!("apt-get install --simulate {packages}"));
    }
}

//! The people to tell of a break, by a file of owners and a tree of sources, in every format.

use std::fs;
use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{dump, migcompat, report, stderr, stdout};

/// A tree with a file of owners, and the sources of one device.
fn tree(folder: &Path) -> String {
    for (file, text) in [
        (
            "MAINTAINERS",
            "Storage\n-------\nM: Sam <sam@example.org>\nL: storage@example.org\nS: Odd Fixes\nF: hw/scsi/\n",
        ),
        (
            "include/hw/scsi/esp.h",
            "#define TYPE_AM53C974_DEVICE \"am53c974\"\n",
        ),
        (
            "hw/scsi/esp-pci.c",
            "static const TypeInfo esp_pci_info = {\n    .name = TYPE_AM53C974_DEVICE,\n};\n",
        ),
    ] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    folder.display().to_string()
}

#[apply(test)]
fn a_report_names_the_people_to_tell() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = tree(&folder.path().join("tree"));
    let own = folder.path().join("owners").display().to_string();
    fs::write(
        &own,
        "Our cards\nM: Olga <olga@example.org>\nD: am53*\nD: dc390\n",
    )
    .expect("written");
    let (old, new) = (dump("7.2.22", "x86_64-q35"), dump("10.0.13", "x86_64-q35"));
    let run = |more: &[&str]| migcompat(&[&["static", &old, &new][..], more].concat());
    let of = |more: &[&str]| report(&run(&[more, &["--format", "json"]].concat()));
    for (more, name, person) in [
        (
            vec!["--owners", &own],
            "Our cards",
            "Olga <olga@example.org>",
        ),
        (vec!["--tree", &tree], "Storage", "Sam <sam@example.org>"),
        // The name comes before the files.
        (
            vec!["--owners", &own, "--tree", &tree],
            "Our cards",
            "Olga <olga@example.org>",
        ),
    ] {
        let told = of(&more);
        let owners = told["owners"].as_array().expect("a list");
        let owner = &owners[0];
        assert_eq!(
            (&owner["name"], &owner["people"][0]),
            (&name.into(), &person.into())
        );
        let ids = owner["findings"].as_array().expect("a list");
        assert!(!ids.is_empty());
        let is_theirs = |id: &Value| id.as_str().is_some_and(|id| id.contains("/am53c974/"));
        assert!(ids.iter().all(is_theirs), "{ids:?}");
        assert_eq!(
            owners.last().expect("one")["name"],
            Value::Null,
            "the rest is nobody's"
        );
        let findings = told["findings"].as_array().expect("a list").iter();
        let mut theirs = findings.filter(|finding| finding["section"] == "am53c974");
        assert!(theirs.all(|finding| finding["owners"] == serde_json::json!([name])));
        for (format, wanted) in [
            ("text", format!("owner {name}")),
            ("text", person.to_owned()),
            ("junit", format!("owner: {name}")),
            ("html", format!("<b>{name}</b>")),
        ] {
            let shown = stdout(&run(&[&more[..], &["--format", format]].concat()));
            assert!(shown.contains(&wanted), "{format}: {wanted} in {shown}");
        }
    }
    let quiet = stdout(&run(&["--owners", &own, "-q"]));
    assert!(!quiet.contains("owner Our cards"), "{quiet}");
    assert_eq!(of(&[])["owners"], serde_json::json!([]));
}

#[apply(test)]
fn owners_that_cannot_be_read_are_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("owners").display().to_string();
    fs::write(&file, "Nobody is named here\n").expect("written");
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let (old, new) = (rule("old"), rule("new"));
    for (more, wanted) in [
        (
            vec!["--owners", "nowhere"],
            "cannot read the owners nowhere",
        ),
        (vec!["--owners", &file], "names no owners"),
        (
            vec!["--owners", &file, "--tree", &file],
            "cannot search the tree",
        ),
        (vec!["--tree", "nowhere"], "nowhere"),
    ] {
        let output = migcompat(&[&["static", &old, &new][..], &more].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
}

use std::fs;

use super::*;
use crate::model::Direction;
use crate::report::{Cause, Outcome, testing};

const FILE: &str = "\
Owners of a project
===================

How to read this: N: a name in prose is no entry.

\tM: nor is an indented line

Everything
M: Everybody <all@example.org>
F: *
F: */

Storage
-------
Storage controllers
M: Sam <sam@example.org>
R: Rae <rae@example.org>
L: storage@example.org
S: Odd Fixes
W: https://example.org
F: hw/scsi/
X: hw/scsi/lsi*

Old controllers
M: Olga <olga@example.org>
S: Orphan
F: hw/scsi/esp*.[ch]
F: include/hw/scsi/esp.h

Graphics
M: Gus <gus@example.org>
D: virtio-gpu*
D: vga
";

fn owners(text: &str, tree: Option<&Path>) -> Result<Owners, OwnersError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("owners");
    fs::write(&file, text).expect("written");
    Owners::read(Some(&file), tree).map(|owners| owners.expect("there is a file"))
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a folder");
    for (file, text) in [
        (
            "include/hw/scsi/esp.h",
            "#define TYPE_ESP_PCI \"am53c974\"\n#define OTHER 5\n",
        ),
        (
            "hw/scsi/esp-pci.c",
            "static const TypeInfo info = {\n    .name = TYPE_ESP_PCI,\n};\n\
             static const VMStateDescription vmstate = {\n    .name = \"pciespscsi\",\n};\n",
        ),
        (
            "hw/scsi/lsi53c895a.c",
            "const TypeInfo t[] = {\n {\n  .name = \"lsi53c895a\",\n },\n};\n",
        ),
        (
            "hw/net/e1000.c",
            "static const TypeInfo t = {\n .name = \"e1000\" };\n",
        ),
        // No definition of a type.
        (
            "hw/scsi/other.c",
            "struct Option o = {\n .name = \"e1000\",\n};\n",
        ),
    ] {
        let path = tree.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    tree
}

fn report(cases: Vec<Case>) -> Report {
    let build = testing::build("build");
    Report {
        cases,
        ..Report::new(build.clone(), build, None)
    }
}

fn case(driver: &str, outcome: Outcome, section: Option<&str>) -> Case {
    let id = format!("q35/{driver}/unix/forward");
    Case {
        outcome,
        cause: section.map(|name| Cause {
            section: Some(name.into()),
            ..Cause::default()
        }),
        ..Case::untried(id, "pc-q35-7.2", driver, "unix", Direction::Forward)
    }
}

#[test]
fn a_device_is_owned_by_its_name_or_by_the_files_that_define_it() {
    let tree = tree();
    let owners = owners(FILE, Some(tree.path())).expect("read");
    let mut report = report(vec![
        case("am53c974", Outcome::Fail, Some("0000:00:01.0/pciespscsi")),
        case(
            "am53c974-twin",
            Outcome::Lost,
            Some("0000:00:01.0/pciespscsi"),
        ),
        case("lsi53c895a", Outcome::Crash, None),
        case("virtio-gpu-pci", Outcome::Fail, None),
        case("e1000", Outcome::Pass, None),
        case("nowhere", Outcome::Hang, None),
    ]);
    owners.assign(&mut report, false).expect("searched");
    let titles: Vec<Vec<String>> = report
        .cases
        .iter()
        .map(|case| case.owners.clone())
        .collect();
    let wanted: [&[&str]; 6] = [
        &["Old controllers"],
        &["Old controllers"],
        &["Everything"],
        &["Graphics"],
        &["Everything"],
        &[],
    ];
    assert_eq!(titles, wanted);
    let groups: Vec<(Option<&str>, usize)> = report
        .owners
        .iter()
        .map(|owner| (owner.name.as_deref(), owner.cases.len()))
        .collect();
    let wanted = [
        (Some("Everything"), 1),
        (Some("Old controllers"), 2),
        (Some("Graphics"), 1),
        (None, 1),
    ];
    assert_eq!(groups, wanted, "a case that passed is in none");
    let old = &report.owners[1];
    assert_eq!(old.people, ["Olga <olga@example.org>"]);
    assert_eq!(old.status.as_deref(), Some("Orphan"));
    // Without the tree only names are known.
    let owners = self::owners(FILE, None).expect("read");
    owners
        .assign(&mut report, false)
        .expect("nothing to search");
    let known: Vec<usize> = report.cases.iter().map(|case| case.owners.len()).collect();
    assert_eq!(known, [0, 0, 0, 1, 0, 0]);
}

#[test]
fn patterns_are_those_of_the_kernel_and_qemu() {
    use crate::owners::files::FilePattern;
    for (pattern, file, fits) in [
        ("hw/scsi/", "hw/scsi/esp.c", true),
        ("hw/scsi/", "hw/scsi/deep/esp.c", true),
        ("hw/scsi/", "hw/scsi2/esp.c", false),
        ("hw/scsi/*", "hw/scsi/esp.c", true),
        ("hw/scsi/*", "hw/scsi/deep/esp.c", false),
        ("hw/*/esp*.[ch]", "hw/scsi/esp-pci.h", true),
        ("hw/*/esp*.[ch]", "hw/scsi/esp-pci.cc", false),
        ("target/s390x/tcg", "target/s390x/tcg/misc.c", true),
        ("target/s390x/tcg", "target/s390x/tcg2.c", false),
        ("*", "vl.c", true),
        ("*", "hw/vl.c", false),
        ("*/", "hw/scsi/esp.c", true),
        ("*/", "vl.c", false),
        ("*/net/*", "hw/net/e1000.c", true),
        ("*/net/*", "net/e1000.c", false),
    ] {
        assert_eq!(
            FilePattern::new(pattern).fits(file),
            fits,
            "{pattern} {file}"
        );
    }
}

#[test]
fn a_file_without_owners_says_so() {
    for (text, wanted) in [
        ("", "names no owners"),
        ("Only prose\nand more of it\n", "names no owners"),
        (
            "M: Nobody <n@example.org>\n",
            "line 1: there is no headline",
        ),
        (
            "A headline\nM:\n",
            "line 2: there is nothing behind the colon",
        ),
    ] {
        let error = owners(text, None).expect_err(text).to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let error = Owners::read(None, Some(Path::new("nowhere"))).expect_err("there is none");
    assert!(error.to_string().contains("nowhere"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let top = folder.path().join("qemu");
    let said = |tree: &Path| {
        let error = Owners::read(None, Some(tree)).expect_err("there is none");
        error.to_string()
    };
    std::fs::create_dir_all(top.join("include/qemu")).expect("made");
    let told = said(&top);
    assert!(
        told.contains("no tree of QEMU's sources") && told.contains("--owners"),
        "{told}"
    );
    for (file, text) in [
        ("VERSION", "10.1.50"),
        ("include/qemu/osdep.h", ""),
        ("MAINTAINERS", "A headline\nM: N <n@example.org>\n"),
    ] {
        std::fs::write(top.join(file), text).expect("written");
    }
    let told = said(&top.join("include"));
    let wanted = format!("it is in that of {}, which --tree may name", top.display());
    assert!(told.contains(&wanted), "{told}");
    let one = folder.path().join("other");
    std::fs::create_dir(&one).expect("made");
    let own = top.join("MAINTAINERS");
    let known = Owners::read(Some(&own), Some(&one)).expect("a file of owners needs no other");
    assert!(known.is_some());
    assert!(Owners::read(None, None).expect("nothing asked").is_none());
}

//! Real pairs of streams, and devices by hand.

use std::collections::BTreeSet;

use crate::compare::renames::NoRenames;
use crate::compare::streams::*;
use crate::model::Rule;
use crate::stream::parse;
use crate::stream::testing::{fields, fixture, hand_made, section};
use crate::vmstate::testing::dump;

const NAMES: &[&str] = &[
    "x86_64-q35",
    "x86_64-i440fx",
    "s390x-ccw",
    "ppc64-pseries",
    "aarch64-virt",
    "m68k-virt",
];
const VERSIONS: &[&str] = &["5.2.0", "7.2.22", "10.0.13", "11.1.3"];

fn real(version: &str, name: &str) -> Option<Stream> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams");
    let there = std::fs::exists(format!("{folder}/{version}/{name}.stream.zst"));
    there
        .expect("readable")
        .then(|| parse(&fixture(&format!("{version}/{name}"))).stream)
}

/// Machine, builds, section and rule. All that real pairs of streams say is an error, and each of
/// them is one: the version that the destination refuses.
const ERRORS: &str = "\
ppc64-pseries 10.0.13 > 5.2.0 spapr_iommu version-too-new
ppc64-pseries 11.1.3 > 5.2.0 spapr_iommu version-too-new
ppc64-pseries 7.2.22 > 5.2.0 spapr_iommu version-too-new
x86_64-q35 10.0.13 > 5.2.0 pciespscsi version-too-new
x86_64-q35 11.1.3 > 5.2.0 pciespscsi version-too-new
x86_64-q35 7.2.22 > 5.2.0 pciespscsi version-too-new";

#[test]
fn builds_that_are_compatible_have_no_errors() {
    let mut found = Vec::new();
    let mut pairs = 0;
    for name in NAMES {
        for (at, old) in VERSIONS.iter().enumerate() {
            for new in &VERSIONS[at + 1..] {
                let (Some(a), Some(b)) = (real(old, name), real(new, name)) else {
                    continue;
                };
                pairs += 1;
                for f in compare(&a, &b, &Direction::BOTH, &NoRenames) {
                    assert_eq!(f.evidence, Evidence::Stream);
                    if f.level == Level::Error {
                        let (from, to) = f.direction.source_destination(old, new);
                        found.push(format!("{name} {from} > {to} {} {}", f.path[0], f.rule));
                    }
                }
            }
        }
    }
    assert!(pairs >= 25, "{pairs} pairs: fixtures are missing");
    found.dedup();
    found.sort_unstable();
    assert_eq!(found.join("\n"), ERRORS);
}

#[test]
fn padding_in_the_place_of_a_field_is_a_note() {
    let (old, new) = (
        real("7.2.22", "x86_64-q35").expect("there"),
        real("10.0.13", "x86_64-q35").expect("there"),
    );
    let findings = compare(&old, &new, &[Direction::Forward], &NoRenames);
    let e1000e: Vec<_> = findings
        .iter()
        .filter(|f| f.path[0] == "e1000e")
        .map(|f| (f.level, f.rule.id(), f.path.last().map(String::as_str)))
        .collect();
    assert_eq!(
        e1000e,
        [
            (Level::Note, "field-padded", Some("core.itr_intr_pending")),
            (Level::Note, "field-padded", Some("core.eitr_intr_pending")),
        ]
    );
}

/// Rules and levels of the differences in `section`, in one direction.
fn between(
    streams: (&Stream, &Stream),
    new_dump: Option<&Dump>,
    section: &str,
    direction: Direction,
) -> Vec<(Level, String, String)> {
    compare(streams.0, (streams.1, new_dump), &[direction], &NoRenames)
        .into_iter()
        .filter(|f| f.path[0] == section && f.level != Level::Note)
        .map(|f| (f.level, f.rule.to_string(), f.path[1..].join("/")))
        .collect()
}

#[test]
fn a_dump_of_the_destination_distinguishes_fields_with_a_test() {
    let (old, new) = (
        real("7.2.22", "x86_64-q35").expect("there"),
        real("10.0.13", "x86_64-q35").expect("there"),
    );
    let own = dump("10.0.13/x86_64-q35");
    let esp = |dump| {
        let forward = Direction::Forward;
        between((&old, &new), dump, "pciespscsi", forward)
    };
    let row = |level, rule: &str, path: &str| (level, rule.to_owned(), path.to_owned());
    // A version inside the device differs, and either field might hang on it.
    assert_eq!(
        esp(None),
        [
            row(Level::Warning, "field-removed", "esp/ti_cmd"),
            row(Level::Warning, "field-added", "esp/drq_state"),
        ]
    );
    assert_eq!(
        esp(Some(&own)),
        [
            row(Level::Warning, "field-removed", "esp/ti_cmd"),
            row(Level::Error, "field-added", "esp/drq_state"),
        ]
    );
}

#[test]
fn a_dump_describes_devices_but_no_cpu() {
    let stream = real("10.0.13", "x86_64-q35").expect("there");
    let found = kinds(&stream, &dump("10.0.13/x86_64-q35"));
    assert!(found.described.contains("mch"), "{found:?}");
    assert!(found.undescribed.contains("cpu"), "{found:?}");
    let all: BTreeSet<&str> = stream.devices().map(|s| s.name.vmsd_name()).collect();
    assert_eq!(found.count(), all.len());
    let none = Dump::default();
    assert_eq!(kinds(&stream, &none).undescribed.len(), all.len());
}

const REGS: &str = "n:4 regs:4*2";

fn dev(version: u32, description: &str) -> Stream {
    hand_made(&[section("0000:00:02.0/dev", version, description)])
}

#[test]
fn only_what_no_state_explains_is_an_error() {
    // What the new build sends instead of REGS; level and rule in either direction.
    type Row = (&'static str, &'static str, Option<(Level, &'static str)>);
    let table: &[Row] = &[
        ("the same", REGS, None),
        (
            "a field more",
            "n:4 irq:1 regs:4*2",
            Some((Level::Error, "field-added")),
        ),
        (
            "a wider field",
            "n:8 regs:4*2",
            Some((Level::Error, "field-resized")),
        ),
        (
            "more elements",
            "n:4 regs:4*3",
            Some((Level::Warning, "array-resized")),
        ),
        ("an entry for each element", "n:4 regs:4@0 regs:4", None),
    ];
    let old = dev(1, &fields(1, REGS));
    for (what, layout, expected) in table {
        let new = dev(1, &fields(1, layout));
        for direction in Direction::BOTH {
            let found = between((&old, &new), None, "dev", direction);
            let found: Vec<_> = found.iter().map(|(l, r, _)| (*l, r.as_str())).collect();
            let expected: Vec<_> = expected.iter().copied().collect();
            assert_eq!(found, expected, "{what}, {direction}");
        }
    }
}

/// Of a section that is refused for its version no byte is read: what else differs in it breaks nothing.
#[test]
fn a_dump_of_the_destination_says_which_versions_it_takes() {
    let takes = |types: &[(&str, i64)]| {
        let types = types.iter().map(|(name, minimum)| {
            let description = format!(
                r#"{{"name": "dev", "version_id": 2, "minimum_version_id": {minimum}, "Fields": []}}"#
            );
            format!(r#""{name}": {{"Name": "{name}", "Description": {description}}}"#)
        });
        let json = format!("{{{}}}", types.collect::<Vec<_>>().join(", "));
        crate::vmstate::read::parse_dump(json.as_bytes(), "new").expect("a dump")
    };
    let (old, new) = (dev(1, &fields(1, REGS)), dev(2, &fields(2, "n:8")));
    let rules = |dump: &Dump, direction| {
        let found = between((&old, &new), Some(dump), "dev", direction);
        found
            .into_iter()
            .map(|(_, rule, _)| rule)
            .collect::<Vec<_>>()
    };
    let (forward, backward) = (Direction::Forward, Direction::Backward);
    assert_eq!(rules(&takes(&[("dev", 2)]), forward), ["version-too-old"]);
    // It is a fact about the destination.
    assert_eq!(rules(&takes(&[("dev", 2)]), backward), ["version-too-new"]);
    for types in [&[("dev", 1)][..], &[("dev", 2), ("other-dev", 1)]] {
        let found = rules(&takes(types), forward);
        assert!(!found.contains(&"version-too-old".to_owned()), "{types:?}");
        assert!(!found.is_empty(), "{types:?}");
    }
}

#[test]
fn a_length_that_is_sent_in_front_of_a_field_is_no_break() {
    let of = |length: u8, value| {
        let description = fields(1, &format!("size:4 blob=buffer:{length}"));
        hand_made(&[section("0000:00:02.0/dev", 1, &description).with(&[(3, value)])])
    };
    let old = of(8, 8);
    for (new, level) in [
        (of(12, 12), Level::Note),
        // It says so in one of them alone: a coincidence.
        (of(12, 11), Level::Warning),
    ] {
        for direction in Direction::BOTH {
            let found = compare(&old, (&new, None), &[direction], &NoRenames);
            let [finding] = found.as_slice() else {
                panic!("one difference: {found:?}");
            };
            assert_eq!((finding.level, finding.rule), (level, Rule::FieldResized));
            let says = finding.message.contains("says how long");
            assert_eq!(says, level == Level::Note, "{}", finding.message);
        }
    }
}

#[test]
fn a_subsection_and_a_section_of_one_side_are_warnings_for_its_guests() {
    let bare = dev(1, &fields(1, REGS));
    let late = r#""subsections": [{"vmsd_name": "dev/late", "version": 1, "fields": []}]"#;
    let more = hand_made(&[
        section(
            "0000:00:02.0/dev",
            1,
            &format!("{}, {late}", fields(1, REGS)),
        ),
        section(
            "other",
            1,
            r#""vmsd_name": "other", "version": 1, "fields": []"#,
        ),
    ]);
    let findings = compare(&bare, &more, &Direction::BOTH, &NoRenames);
    let found: Vec<_> = findings
        .iter()
        .map(|f| (f.direction, f.level, f.rule.id(), f.section.as_str()))
        .collect();
    let backward = |rule, section| (Direction::Backward, Level::Warning, rule, section);
    assert_eq!(
        found,
        [
            backward("subsection-unknown", "0000:00:02.0/dev"),
            backward("section-added", "other"),
        ]
    );
}

//! Loads that really fail, and devices by hand.

use super::*;
use crate::stream::parse;
use crate::stream::testing::{HandMade, fixture, hand_made};
use crate::vmstate::dump::Dump;
use crate::vmstate::renames::NoRenames;

fn real(name: &str) -> Stream {
    parse(&fixture(name)).stream
}

fn dump(name: &str) -> Dump {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dumps");
    crate::vmstate::read::read_dump(format!("{folder}/{name}.json.zst").as_ref()).expect("there")
}

/// One line of all that an explanation says.
fn line(explanation: Option<Explanation>) -> String {
    let Some(e) = explanation else {
        return "nothing".to_owned();
    };
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!(
        "{:?} {} {} | {} @ {} | sent {} | expected {} | {}",
        e.kind,
        e.section,
        e.instance_id,
        or(e.field),
        or(e.offset.map(|n| n.to_string())),
        or(e.sent),
        or(e.expected),
        or(e.rule)
    )
}

/// What QEMU blames in loads that really fail between these builds, and where the cause lies.
#[test]
fn real_failures_are_explained_to_the_field() {
    type Row = (
        Direction,
        &'static str,
        &'static str,
        Option<&'static str>,
        (&'static str, u32),
        &'static str,
    );
    let table: &[Row] = &[
        (
            Direction::Forward,
            "7.2.22/x86_64-q35",
            "10.0.13/x86_64-q35",
            Some("10.0.13/x86_64-q35"),
            ("0000:00:04.0/pciespscsi", 0),
            "Layout 0000:00:04.0/pciespscsi 0 | esp/drq_state @ 815134 | sent the end of the section | \
             expected esp/drq_state (bool, 1 byte) | field-added",
        ),
        (
            Direction::Forward,
            "7.2.22/x86_64-q35",
            "10.0.13/x86_64-q35",
            None,
            ("0000:00:04.0/pciespscsi", 0),
            "Layout 0000:00:04.0/pciespscsi 0 | - @ 815132 | sent esp/ti_cmd (uint8, 1 byte) = 0x0 | \
             expected esp/lun (uint8, 1 byte) | -",
        ),
        (
            Direction::Backward,
            "11.1.3/x86_64-q35",
            "10.0.13/x86_64-q35",
            Some("10.0.13/x86_64-q35"),
            ("0000:00:04.0/pciespscsi", 0),
            "Layout 0000:00:04.0/pciespscsi 0 | esp/asc_mode @ 806988 | sent esp/asc_mode (uint8, 1 byte) = \
             0x0 | expected the end of the section | field-added",
        ),
        (
            Direction::Backward,
            "7.2.22/x86_64-q35",
            "5.2.0/x86_64-q35",
            None,
            ("0000:00:04.0/pciespscsi", 0),
            "Version 0000:00:04.0/pciespscsi 0 | - @ 814705 | sent version 2 | expected at most 1 | \
             version-too-new",
        ),
        (
            Direction::Forward,
            "10.0.13/x86_64-q35",
            "11.1.3/x86_64-q35",
            None,
            ("0000:00:03.0/virtio-net", 0),
            "ValueCheck 0000:00:03.0/virtio-net 0 | - @ - | sent - | expected - | -",
        ),
        (
            Direction::Backward,
            "10.0.13/ppc64-pseries",
            "7.2.22/ppc64-pseries",
            None,
            ("cpu", 0),
            "Subsection cpu 0 | cpu/slb @ 1689389 | sent subsection cpu/slb | expected - | subsection-version",
        ),
        (
            Direction::Backward,
            "7.2.22/aarch64-virt",
            "5.2.0/aarch64-virt",
            None,
            ("cpu", 0),
            "ValueCheck cpu 0 | cpreg_vmstate_indexes @ 357793 | sent cpreg_vmstate_indexes (uint64, 2064 \
             bytes) = 40 20 00 00 00 0f 68 00 ... | expected cpreg_vmstate_indexes (uint64, 1824 \
             bytes) | array-resized",
        ),
        (
            Direction::Backward,
            "11.1.3/aarch64-virt",
            "10.0.13/aarch64-virt",
            None,
            ("cpu", 0),
            "Subsection cpu 0 | cpu/wfxt-timer @ 362859 | sent subsection cpu/wfxt-timer | expected - | \
             subsection-unknown",
        ),
    ];
    for (direction, sent, own, known, (section, instance), expected) in table {
        let (sent_stream, own_stream) = (real(sent), real(own));
        let known = known.map(dump);
        let explanation = explain(
            &sent_stream,
            (&own_stream, known.as_ref()),
            Some((section, Some(*instance))),
            &NoRenames,
            *direction,
        );
        assert_eq!(line(explanation), *expected, "{sent} to {own}");
    }
}

#[test]
fn without_a_section_to_blame_only_what_is_certain_is_told() {
    let forward = Direction::Forward;
    for name in ["s390x-ccw", "m68k-virt", "aarch64-virt"] {
        let (sent, own) = (
            real(&format!("7.2.22/{name}")),
            real(&format!("10.0.13/{name}")),
        );
        let told = explain(&sent, &own, None, &NoRenames, forward);
        assert_eq!(told, None, "{name}");
    }
    let (sent, own) = (real("7.2.22/x86_64-q35"), real("10.0.13/x86_64-q35"));
    assert_eq!(explain(&sent, &own, None, &NoRenames, forward), None);
    let known = dump("10.0.13/x86_64-q35");
    let told = explain(&sent, (&own, Some(&known)), None, &NoRenames, forward);
    assert_eq!(told.and_then(|e| e.field).as_deref(), Some("esp/drq_state"));
    let (sent, own) = (real("7.2.22/ppc64-pseries"), real("5.2.0/ppc64-pseries"));
    let told = explain(&sent, &own, None, &NoRenames, Direction::Backward);
    let told = told.expect("a version that is refused");
    assert_eq!(told.section, "spapr_iommu");
    assert_eq!(told.rule.as_deref(), Some("version-too-new"));
}

#[test]
fn nothing_is_known_of_a_section_that_is_not_in_the_stream_or_is_memory() {
    let (sent, own) = (real("7.2.22/s390x-ccw"), real("10.0.13/s390x-ccw"));
    for name in ["ram", "no-such-device", ""] {
        let told = explain(
            &sent,
            &own,
            Some((name, None)),
            &NoRenames,
            Direction::Forward,
        );
        assert_eq!(told, None, "{name}");
    }
}

#[test]
fn what_a_stream_does_not_describe_is_not_called_the_same() {
    let (sent, own) = (real("7.2.22/s390x-ccw"), real("10.0.13/s390x-ccw"));
    let told = |name| {
        let blamed = Some((name, None));
        let told = explain(&sent, &own, blamed, &NoRenames, Direction::Forward);
        told.map(|e| e.message)
    };
    // Saved the old way: a heap of bytes.
    assert_eq!(told("s390-skeys"), None);
    let (sent, own) = (real("10.0.13/x86_64-q35"), real("11.1.3/x86_64-q35"));
    let blamed = Some(("virtio-net", None));
    let told = explain(&sent, &own, blamed, &NoRenames, Direction::Forward);
    assert_eq!(
        told.map(|e| e.message).as_deref(),
        Some(
            "the layout of 0000:00:03.0/virtio-net is the same in both builds (a stream does \
             not describe what is in virtio): a check of the values refused it"
        )
    );
}

/// A device as either side sends it, and what is said of it when it is refused. Its header ends
/// at offset 1000.
#[test]
fn hand_made_devices_are_explained() {
    const PLAIN: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
        {"name": "irq", "type": "uint8", "size": 1},
        {"name": "ports", "type": "uint32 equal", "size": 4},
        {"name": "config", "type": "pci config", "size": 64}]"#;
    const LONGER: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
        {"name": "irq", "type": "uint16", "size": 2},
        {"name": "ports", "type": "uint32 equal", "size": 4},
        {"name": "config", "type": "pci config", "size": 64},
        {"name": "more", "type": "bool", "size": 1}]"#;
    const LISTED: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
        {"name": "list", "type": "qtailq", "size": 10,
         "vmsd_name": "entry", "version": 1, "fields": [
            {"name": "key", "type": "uint64", "size": 8}]}]"#;
    const LISTED_MORE: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
        {"name": "list", "type": "qtailq", "size": 17,
         "vmsd_name": "entry", "version": 1, "fields": [
            {"name": "key", "type": "uint64", "size": 8}],
         "subsections": [{"vmsd_name": "s", "version": 1, "fields": []}]}]"#;
    const LISTED_NONE: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
        {"name": "list", "type": "qtailq", "size": 1}]"#;
    let of = |name, version_id, description, values| {
        hand_made(&[HandMade {
            name,
            version_id,
            description,
            values,
        }])
    };
    let dev = "0000:00:02.0/dev";
    let said = |sent: &Stream, own: &Stream| {
        let blamed = Some(("dev", None));
        line(explain(sent, own, blamed, &NoRenames, Direction::Forward))
    };
    let plain = of(dev, 2, PLAIN, &[]);
    let more = of(
        dev,
        2,
        LISTED_MORE,
        &[(0, 1), (9, 5), (10, 1), (11, b's'), (15, 1)],
    );
    let head = "0000:00:02.0/dev 0 |";
    for (what, sent, own, expected) in [
        (
            "nothing differs",
            &plain,
            &plain,
            format!("ValueCheck {head} - @ - | sent - | expected - | -"),
        ),
        (
            "a version",
            &of(dev, 3, PLAIN, &[]),
            &plain,
            format!(
                "Version {head} - @ 996 | sent version 3 | expected at most 2 | version-too-new"
            ),
        ),
        (
            "an old version",
            &of(dev, 1, PLAIN, &[]),
            &plain,
            format!(
                "Version {head} - @ 996 | sent version 1 | expected version 2, and which older \
                 ones it does not say | version-too-old"
            ),
        ),
        (
            "a width",
            &plain,
            &of(dev, 2, LONGER, &[]),
            format!(
                "Layout {head} irq @ 1000 | sent irq (uint8, 1 byte) = 0x0 | expected irq \
                 (uint16, 2 bytes) | field-resized"
            ),
        ),
        (
            "another name",
            &of("0000:00:03.0/dev", 2, PLAIN, &[]),
            &plain,
            "Section 0000:00:03.0/dev 0 | - @ 980 | sent section of version 2 | expected section \
             0000:00:02.0/dev | section-removed"
                .to_owned(),
        ),
        (
            "a value",
            &of(dev, 2, PLAIN, &[(4, 6)]),
            &plain,
            format!(
                "ValueCheck {head} ports @ 1001 | sent ports (uint32 equal, 4 bytes) = 0x6 | \
                 expected ports (uint32 equal, 4 bytes) = 0x0 | -"
            ),
        ),
        (
            "the device's identity",
            &of(dev, 2, PLAIN, &[(5 + 8, 7)]),
            &plain,
            format!(
                "ValueCheck {head} config @ 1013 | sent config byte 0x8 = 0x07 | expected 0x00 | -"
            ),
        ),
        (
            "what a guest writes",
            &of(dev, 2, PLAIN, &[(5 + 4, 7)]),
            &plain,
            format!("ValueCheck {head} - @ - | sent - | expected - | -"),
        ),
        (
            "a subsection in a list",
            &more,
            &of(dev, 2, LISTED, &[(0, 1)]),
            format!(
                "Subsection {head} list/s @ 1009 | sent subsection s | expected - | \
                 subsection-unknown"
            ),
        ),
        (
            "a list without elements",
            &more,
            &of(dev, 2, LISTED_NONE, &[]),
            format!("ValueCheck {head} - @ - | sent - | expected - | -"),
        ),
    ] {
        assert_eq!(said(sent, own), expected, "{what}");
    }
}

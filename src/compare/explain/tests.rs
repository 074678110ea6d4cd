//! Loads that really fail, and devices by hand.

use crate::compare::explain::reason::{Reason, Weight};
use crate::compare::explain::*;
use crate::compare::renames::NoRenames;
use crate::model::Version;
use crate::stream::parse;
use crate::stream::testing::{fields, fixture, hand_made, section};
use crate::vmstate::read::read_dump;
use crate::vmstate::testing::dump;

fn real(name: &str) -> Stream {
    parse(&fixture(name)).stream
}

fn blamed(section: &str, instance: Option<u32>) -> Blamed<'_> {
    Blamed {
        section,
        instance,
        field: None,
        minimum: None,
        objection: None,
    }
}

/// Explains a refusal forward, of which `blamed` is the message.
fn forward(sent: &Stream, own: &Stream, blamed: Option<Blamed<'_>>) -> Option<Explanation> {
    explain(sent, own, blamed, &NoRenames, Direction::Forward)
}

/// The kind of what stands against a load.
fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Section { .. } => "Section",
        Reason::Version { .. } => "Version",
        Reason::Memory { .. } => "Memory",
        Reason::Subsection { .. } => "Subsection",
        Reason::Layout {
            weight: Weight::Given | Weight::Test,
            ..
        } => "Layout",
        Reason::Several { first, .. } => kind(first),
        // The load ends at the length's value.
        Reason::Layout { .. }
        | Reason::Unequal { .. }
        | Reason::TooMany { .. }
        | Reason::LacksRegisters { .. }
        | Reason::OtherRegisters { .. }
        | Reason::PciConfig { .. }
        | Reason::SameLayout { .. } => "ValueCheck",
    }
}

/// One line of all that an explanation says.
fn line(explanation: Option<Explanation>) -> String {
    let Some(e) = explanation else {
        return "nothing".to_owned();
    };
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!(
        "{} {} {} | {} @ {} | sent {} | expected {} | {}",
        kind(&e.reason),
        e.section,
        e.instance_id,
        or(e.field.clone()),
        or(e.offset.map(|n| n.to_string())),
        or(e.reason.sent()),
        or(e.reason.expected()),
        or(e.rule.map(|rule| rule.to_string()))
    )
}

/// The loads that really fail between two builds of a machine, each with what explains it, its section first; with the
/// dump of the destination where it says so.
const REAL_FAILURES: &str = "\
x86_64-q35 7.2.22 10.0.13 dump
Layout 0000:00:04.0/pciespscsi 0 | esp/drq_state @ 815134 | sent the end of the section | expected esp/drq_state (bool, 1 byte) | field-added
x86_64-q35 5.2.0 10.0.13 dump
Layout 0000:00:04.0/pciespscsi 0 | esp/drq_state @ 806940 | sent esp/dma_left (uint32, 4 bytes) = 0x0 | expected esp/drq_state (bool, 1 byte) | field-added
x86_64-q35 7.2.22 10.0.13
Layout 0000:00:04.0/pciespscsi 0 | - @ 815132 | sent esp/ti_cmd (uint8, 1 byte) = 0x0 | expected esp/lun (uint8, 1 byte) | -
x86_64-q35 11.1.3 10.0.13 dump
Layout 0000:00:04.0/pciespscsi 0 | esp/asc_mode @ 806988 | sent esp/asc_mode (uint8, 1 byte) = 0x0 | expected the end of the section | field-added
x86_64-q35 7.2.22 5.2.0
Version 0000:00:04.0/pciespscsi 0 | - @ 814705 | sent version 2 | expected at most 1 | version-too-new
x86_64-q35 10.0.13 11.1.3
ValueCheck 0000:00:03.0/virtio-net 0 | - @ - | sent - | expected - | -
ppc64-pseries 10.0.13 7.2.22
Subsection cpu 0 | cpu/slb @ 1689389 | sent subsection cpu/slb of version 2 | expected version 1 | subsection-version
aarch64-virt 7.2.22 5.2.0
ValueCheck cpu 0 | cpreg_vmstate_indexes @ 358017 | sent cpreg_vmstate_indexes[28] = 0x40200000200e0984 | expected a system register that the CPU has | -
aarch64-virt 5.2.0 7.2.22
ValueCheck cpu 0 | cpreg_vmstate_values @ 359643 | sent cpreg_vmstate_values[37] = 0x3010066 | expected 0x3010006 | -
aarch64-virt 7.2.22 10.0.13
ValueCheck cpu 0 | cpreg_vmstate_indexes @ 358481 | sent cpreg_vmstate_indexes[86] = 0x40200000200f3a00 | expected a system register that the CPU has | -
aarch64-virt 10.0.13 11.1.3
ValueCheck cpu 0 | cpreg_vmstate_indexes @ 359329 | sent cpreg_vmstate_indexes[192] = 0x603000000013c030 | expected a system register that the CPU has | -
aarch64-virt 11.1.3 10.0.13
Subsection cpu 0 | cpu/wfxt-timer @ 362859 | sent subsection cpu/wfxt-timer | expected no subsection of this name | subsection-unknown";

#[test]
fn real_failures_are_explained_to_the_field() {
    let lines: Vec<&str> = REAL_FAILURES.lines().collect();
    for pair in lines.chunks(2) {
        let [builds, expected] = [pair[0], pair[1]];
        let [machine, sent, own, rest @ ..] = &*builds.split(' ').collect::<Vec<_>>() else {
            panic!("{builds}");
        };
        let [of_sent, of_own] = [sent, own].map(|of| of.parse::<Version>().expect(builds));
        let direction = match of_sent < of_own {
            true => Direction::Forward,
            false => Direction::Backward,
        };
        let known = (rest == ["dump"]).then(|| dump(&format!("{own}/{machine}")));
        let [sent, own] = [sent, own].map(|version| real(&format!("{version}/{machine}")));
        let [_, section, instance, ..] = &*expected.split(' ').collect::<Vec<_>>() else {
            panic!("{expected}");
        };
        let blamed = blamed(section, instance.parse().ok());
        let known = (&own, known.as_ref());
        let explanation = explain(&sent, known, Some(blamed), &NoRenames, direction);
        assert_eq!(line(explanation), expected, "{builds}");
    }
}

#[test]
fn without_a_section_to_blame_only_what_is_certain_is_reported() {
    let of = |name: &str| ["7.2.22", "10.0.13"].map(|version| real(&format!("{version}/{name}")));
    for name in ["s390x-ccw", "m68k-virt", "x86_64-q35"] {
        let [sent, own] = of(name);
        assert_eq!(forward(&sent, &own, None), None, "{name}");
    }
    let [sent, own] = of("x86_64-q35");
    let known = dump("10.0.13/x86_64-q35");
    let known = (&own, Some(&known));
    let explained = explain(&sent, known, None, &NoRenames, Direction::Forward);
    let field = explained.and_then(|e| e.field);
    assert_eq!(field.as_deref(), Some("esp/drq_state"));
    let (sent, own) = (real("7.2.22/ppc64-pseries"), real("5.2.0/ppc64-pseries"));
    let explained = explain(&sent, &own, None, &NoRenames, Direction::Backward);
    let explained = explained.expect("a version that is refused");
    assert_eq!(explained.section, "spapr_iommu");
    assert_eq!(explained.rule, Some(Rule::VersionTooNew));
}

#[test]
fn nothing_is_known_of_a_section_that_is_not_in_the_stream_or_is_memory() {
    let (sent, own) = (real("7.2.22/s390x-ccw"), real("10.0.13/s390x-ccw"));
    for name in ["ram", "no-such-device", ""] {
        let explained = forward(&sent, &own, Some(blamed(name, None)));
        assert_eq!(explained, None, "{name}");
    }
}

#[test]
fn what_a_stream_does_not_describe_is_not_called_the_same() {
    let (sent, own) = (real("7.2.22/s390x-ccw"), real("10.0.13/s390x-ccw"));
    let explained = |name| forward(&sent, &own, Some(blamed(name, None))).map(|e| e.to_string());
    // A legacy section: bytes without a description.
    assert_eq!(explained("s390-skeys"), None);
    let (sent, own) = (real("10.0.13/x86_64-q35"), real("11.1.3/x86_64-q35"));
    let explained = forward(&sent, &own, Some(blamed("virtio-net", None)));
    assert_eq!(
        explained.map(|e| e.to_string()).as_deref(),
        Some(
            "the layout of 0000:00:03.0/virtio-net is the same in both builds (a stream does \
             not describe what is in virtio): a check of the values refused it"
        )
    );
}

/// A field in a format of its own may hold anything: its value is not all that can be refused there.
#[test]
fn what_is_refused_in_a_field_that_a_stream_does_not_describe_may_be_read_otherwise() {
    let (sent, own) = (real("10.0.13/x86_64-q35"), real("11.1.3/x86_64-q35"));
    let check = "a check of the values refused it";
    let either = "a check of the values refused it, or it reads that in another layout";
    for (field, objection, why) in [
        (Some("virtio"), None, either),
        (Some("virtio"), Some(Objection::Value), check),
        (Some("no-such-field"), None, check),
        (None, Some(Objection::Value), check),
    ] {
        let blamed = Blamed {
            field,
            objection,
            ..blamed("virtio-net", None)
        };
        let explained = forward(&sent, &own, Some(blamed)).expect("an explanation");
        assert!(
            explained.to_string().ends_with(why),
            "{field:?}: {explained}"
        );
    }
}

#[test]
fn a_subsection_that_a_build_says_it_does_not_know_is_named_where_the_stream_describes_none() {
    let (sent, own) = (real("10.0.13/x86_64-q35"), real("11.1.3/x86_64-q35"));
    let of = |section, name| {
        let blamed = Blamed {
            field: Some(name),
            objection: Some(Objection::Subsection),
            ..blamed(section, None)
        };
        forward(&sent, &own, Some(blamed)).expect("an explanation")
    };
    let explained = of("virtio-net", "virtio-net-device/rss");
    assert_eq!(explained.rule, Some(Rule::SubsectionUnknown));
    assert_eq!(
        explained.to_string(),
        "0000:00:03.0/virtio-net, virtio-net-device/rss: the source sent the subsection \
         virtio-net-device/rss; the destination's build does not know it"
    );
    // One that it describes has a place.
    let (sent, own) = (real("11.1.3/aarch64-virt"), real("10.0.13/aarch64-virt"));
    let blamed = Blamed {
        field: Some("cpu/wfxt-timer"),
        objection: Some(Objection::Subsection),
        ..blamed("cpu", None)
    };
    let explained = explain(&sent, &own, Some(blamed), &NoRenames, Direction::Backward);
    let explained = explained.expect("an explanation");
    assert_eq!(explained.field.as_deref(), Some("cpu/wfxt-timer"));
    assert!(explained.offset.is_some(), "{explained}");
    assert!(
        explained.to_string().ends_with("build does not know it"),
        "{explained}"
    );
}

/// Where the layouts agree, what the build did says what is left, and the values that differ are named.
#[test]
fn a_section_of_the_same_layout_is_explained_by_how_the_build_failed() {
    let layout = fields(1, "latch:4 mode:1 own=odd:2");
    let of = |values| hand_made(&[section("dev", 1, &layout).with(values)]);
    let (plain, other) = (of(&[]), of(&[(1, 7), (4, 1), (6, 1)]));
    let head = "the layout of dev is the same in both builds (a stream does not describe what is in own): ";
    let values =
        "; other values than in a machine of the destination's build that never ran: latch, mode";
    let length = "the destination reads another number of bytes than its own build sends";
    let check = "a check of the values refused it";
    for (sent, objection, why, named) in [
        (&plain, Some(Objection::Length), length, ""),
        (&other, Some(Objection::Length), length, values),
        (
            &plain,
            Some(Objection::Death),
            "nothing in the stream shows what the destination died of",
            "",
        ),
        (
            &other,
            Some(Objection::Death),
            "it died of a value, or of what it does with one",
            values,
        ),
        (&other, Some(Objection::Value), check, ""),
        (&other, None, check, values),
    ] {
        let blamed = Blamed {
            objection,
            ..blamed("dev", None)
        };
        let found = forward(sent, &plain, Some(blamed)).expect("an explanation");
        assert_eq!(found.to_string(), format!("{head}{why}{named}"));
        // A guest that ran has values of its own.
        let of_guest = found.after_a_run().to_string();
        assert!(!of_guest.contains("never ran"), "{of_guest}");
    }
}

/// What a test kept out of both streams is in the dumps alone.
#[test]
fn a_length_is_explained_by_a_field_that_a_test_decides_on() {
    let layout = fields(1, "regs:4*4 irq:1");
    let sent = hand_made(&[section("dev", 1, &layout)]);
    let reads = |rule: &str, build: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/rules");
        read_dump(format!("{folder}/{rule}/{build}.json").as_ref()).expect("a fixture")
    };
    let explained = |rule: &str, builds: [&str; 2], objection| {
        let [source, destination] = builds.map(|build| reads(rule, build));
        let blamed = Blamed {
            objection: Some(objection),
            ..blamed("dev", None)
        };
        let sides = ((&sent, Some(&source)), (&sent, Some(&destination)));
        let found = explain(
            sides.0,
            sides.1,
            Some(blamed),
            &NoRenames,
            Direction::Forward,
        );
        let found = found.expect("an explanation");
        (found.rule, found.field.clone(), found.to_string())
    };
    let forward = ["old", "new"];
    for (rule, field) in [
        (Rule::ConditionalFieldAdded, "timadj"),
        (Rule::ConditionalFieldRemoved, "timadj"),
        (Rule::ConditionalFieldChanged, "ti_cmd"),
        (Rule::ConditionAdded, "level"),
        (Rule::ConditionRemoved, "level"),
    ] {
        let (found, place, sentence) = explained(rule.id(), forward, Objection::Length);
        assert_eq!((found, place.as_deref()), (Some(rule), Some(field)));
        let head = "dev is laid out alike in what both builds sent, but ";
        assert!(sentence.starts_with(head), "{sentence}");
        // Two builds that are the same explain nothing, and nor does a length where a value was refused.
        for (builds, objection) in [
            (["old", "old"], Objection::Length),
            (forward, Objection::Value),
        ] {
            let (found, place, sentence) = explained(rule.id(), builds, objection);
            assert_eq!((found, place), (None, None), "{sentence}");
        }
    }
}

/// An unknown subsection is refused, so one that a build dies in is known there.
#[test]
fn a_subsection_that_a_build_dies_in_is_not_unknown_there() {
    let (sent, own) = (real("11.1.3/aarch64-virt"), real("10.0.13/aarch64-virt"));
    for (objection, rule, knows) in [
        (None, Some(Rule::SubsectionUnknown), "it may not know it"),
        (Some(Objection::Death), None, "is refused, and here it died"),
    ] {
        let blamed = Blamed {
            objection,
            ..blamed("cpu", None)
        };
        let explained = explain(&sent, &own, Some(blamed), &NoRenames, Direction::Backward);
        let explained = explained.expect("an explanation");
        assert_eq!(explained.field.as_deref(), Some("cpu/wfxt-timer"));
        assert_eq!(explained.rule, rule, "{explained}");
        assert!(explained.to_string().contains(knows), "{explained}");
    }
}

/// A build that dies while it loads names no section.
#[test]
fn without_a_section_to_blame_the_only_one_with_a_reason_is_reported() {
    let (sent, own) = (real("11.1.3/aarch64-virt"), real("10.0.13/aarch64-virt"));
    let explained = explain(&sent, &own, None, &NoRenames, Direction::Backward).expect("one");
    assert_eq!(explained.field.as_deref(), Some("cpu/wfxt-timer"));
    assert!(
        explained
            .to_string()
            .ends_with("; no other section gives a reason to refuse it"),
        "{explained}"
    );
    // Two of them, and either may be it.
    let dev = |name, description| section(name, 1, description);
    const MORE: &str = r#""vmsd_name": "dev", "version": 1, "fields": [],
        "subsections": [{"vmsd_name": "dev/s", "version": 1, "fields": []}]"#;
    const BARE: &str = r#""vmsd_name": "dev", "version": 1, "fields": []"#;
    let one = hand_made(&[dev("a/dev", MORE), dev("b/dev", BARE)]);
    let two = hand_made(&[dev("a/dev", MORE), dev("b/dev", MORE)]);
    let none = hand_made(&[dev("a/dev", BARE), dev("b/dev", BARE)]);
    let explained = |sent| explain(sent, &none, None, &NoRenames, Direction::Backward);
    assert_eq!(explained(&one).expect("one").section, "a/dev");
    assert_eq!(explained(&two), None);
    assert_eq!(explained(&none), None);
}

#[test]
fn a_block_of_memory_that_is_not_there_or_of_another_length_is_named() {
    use crate::stream::tree::RamBlock;
    let stream = |blocks: &[(&str, u64)]| {
        let mut stream = real("10.0.13/s390x-ccw");
        stream.ram.blocks = blocks
            .iter()
            .map(|&(name, length)| RamBlock {
                name: name.into(),
                length,
            })
            .collect();
        stream
    };
    let own = stream(&[("pc.ram", 1 << 25), ("vga.rom", 4096)]);
    let tables = ("/rom@etc/acpi/tables", 131_072);
    type Row<'r> = (&'r [(&'r str, u64)], Option<&'r str>, Option<&'r str>);
    let table: [Row; 7] = [
        (
            &[("pc.ram", 1 << 25), ("0000:00:02.0/vga.rom", 4096)],
            Some("0000:00:02.0/vga.rom"),
            Some("0000:00:02.0/vga.rom of 4096 bytes | vga.rom, of as many bytes"),
        ),
        // That one is sent, too.
        (
            &[("vga.rom", 4096), ("0000:00:02.0/vga.rom", 4096)],
            Some("0000:00:02.0/vga.rom"),
            Some("0000:00:02.0/vga.rom of 4096 bytes | no such block"),
        ),
        (
            &[("pc.ram", 1 << 25), tables],
            Some("/rom@etc/acpi/tables"),
            Some("/rom@etc/acpi/tables of 131072 bytes | no such block"),
        ),
        (
            &[tables],
            None,
            Some("/rom@etc/acpi/tables of 131072 bytes | no such block"),
        ),
        (
            &[("vga.rom", 8192)],
            Some("vga.rom"),
            Some("vga.rom of 8192 bytes | 4096 bytes"),
        ),
        // It may grow, and was not complained of.
        (&[("vga.rom", 8192)], None, None),
        (&[("pc.ram", 1 << 25)], Some("pc.ram"), None),
    ];
    for (blocks, field, expected) in table {
        let ram = Blamed {
            field,
            ..blamed("ram", None)
        };
        let explained = explain(
            &stream(blocks),
            &own,
            Some(ram),
            &NoRenames,
            Direction::Backward,
        );
        let explained = explained.map(|e| {
            format!(
                "{} | {}",
                e.reason.sent().unwrap(),
                e.reason.expected().unwrap()
            )
        });
        assert_eq!(explained.as_deref(), expected, "{blocks:?} {field:?}");
    }
}

#[test]
fn the_lowest_version_is_what_the_dump_or_else_the_build_says() {
    let of = |version_id| hand_made(&[section("dev", version_id, &fields(2, ""))]);
    let explained = |minimum| {
        let dev = Blamed {
            minimum,
            ..blamed("dev", None)
        };
        forward(&of(1), &of(3), Some(dev)).and_then(|e| e.reason.expected())
    };
    assert_eq!(explained(Some(("dev", 2))).as_deref(), Some("at least 2"));
    let unknown = "version 3, and which older ones it does not say";
    assert_eq!(explained(None).as_deref(), Some(unknown));
    // That of another description says nothing of it.
    assert_eq!(explained(Some(("part", 2))).as_deref(), Some(unknown));
}

#[test]
fn an_old_version_of_a_subsection_is_what_a_build_says_it_refuses() {
    const WITH_PART: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
        {"name": "in", "type": "struct", "size": 9, "struct": {
            "vmsd_name": "inner", "version": 1, "fields": [],
            "subsections": [{"vmsd_name": "part", "version": 3, "fields": []}]}}]"#;
    let part = [5, 4, b'p', b'a', b'r', b't', 0, 0, 0, 3];
    let description = WITH_PART.replace("\"size\": 9", "\"size\": 10");
    let stream = hand_made(&[section("dev", 2, &description).of(&part)]);
    // What the destination's build takes at least, and the explanation.
    for (minimum, expected) in [
        (
            Some(("part", 4)),
            "Subsection dev 0 | part @ 1000 | sent subsection part of version 3 | expected at least 4 | \
             subsection-version",
        ),
        (
            Some(("part", 3)),
            "ValueCheck dev 0 | - @ - | sent - | expected - | -",
        ),
        (
            Some(("other", 4)),
            "ValueCheck dev 0 | - @ - | sent - | expected - | -",
        ),
    ] {
        let blamed = Blamed {
            minimum,
            field: Some("part"),
            ..blamed("dev", None)
        };
        assert_eq!(line(forward(&stream, &stream, Some(blamed))), expected);
    }
}

/// A CPU as it is sent with these registers.
fn with_registers(numbers: &[u8]) -> Stream {
    let layout = format!(
        "cpreg_vmstate_array_len=int32~le:4 cpreg_vmstate_indexes=uint64:{0} cpreg_vmstate_values=uint64:{0}",
        8 * numbers.len()
    );
    let last = |(index, &number): (usize, &u8)| (4 + 8 * index + 7, number);
    let mut bytes: Vec<(usize, u8)> = numbers.iter().enumerate().map(last).collect();
    bytes.push((3, u8::try_from(numbers.len()).expect("a few")));
    hand_made(&[section("cpu", 2, &fields(2, &layout)).with(&bytes)])
}

#[test]
fn a_list_of_registers_that_is_too_long_has_one_that_the_cpu_lacks() {
    let own = with_registers(&[1, 3]);
    // The numbers that are sent, the field that the build names, and what is sent of it.
    for (numbers, named, expected) in [
        (&[1, 2, 3][..], Some("cpreg_vmstate_array_len"), "[1] = 0x2"),
        (&[1, 3, 4], Some("cpreg_vmstate_array_len"), "[2] = 0x4"),
        (&[2, 3], None, "[0] = 0x2"),
    ] {
        let cpu = Blamed {
            field: named,
            ..blamed("cpu", None)
        };
        let found = forward(&with_registers(numbers), &own, Some(cpu)).expect("a reason");
        let sent = format!("cpreg_vmstate_indexes{expected}");
        assert_eq!(found.reason.sent(), Some(sent));
        assert_eq!(found.field.as_deref(), Some("cpreg_vmstate_indexes"));
    }
}

/// A device as either side sends it, and the explanation of its refusal. Its header ends
/// at offset 1000.
#[test]
fn hand_made_devices_are_explained() {
    let plain = &fields(2, "irq:1 ports=uint32~equal:4 config=pci~config:64");
    let longer = &fields(
        2,
        "irq:2 ports=uint32~equal:4 config=pci~config:64 more=bool:1",
    );
    let counted = &fields(2, "n=int32~le:4 list:1");
    let unchecked = &fields(2, "n=int32:4 list:1");
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
    let of = |name, version_id, description: &str, values: &[_]| {
        hand_made(&[section(name, version_id, description).with(values)])
    };
    let dev = "0000:00:02.0/dev";
    let sentences =
        |sent: &Stream, own: &Stream| line(forward(sent, own, Some(blamed("dev", None))));
    let usual = of(dev, 2, plain, &[]);
    let more = of(
        dev,
        2,
        LISTED_MORE,
        &[(0, 1), (9, 5), (10, 1), (11, b's'), (15, 1)],
    );
    let own_counted = of(dev, 2, counted, &[(3, 4)]);
    let with = |values: &[_]| of(dev, 2, plain, values);
    let explained = [
        ("nothing differs", &usual, &usual),
        ("a version", &of(dev, 3, plain, &[]), &usual),
        ("an old version", &of(dev, 1, plain, &[]), &usual),
        ("a width", &usual, &of(dev, 2, longer, &[])),
        ("a name", &of("0000:00:03.0/dev", 2, plain, &[]), &usual),
        ("a value", &with(&[(4, 6)]), &usual),
        ("more", &of(dev, 2, counted, &[(3, 5)]), &own_counted),
        ("fewer", &of(dev, 2, counted, &[(3, 3)]), &own_counted),
        (
            "more, unchecked",
            &of(dev, 2, counted, &[(3, 5)]),
            &of(dev, 2, unchecked, &[(3, 4)]),
        ),
        ("the identity", &with(&[(5 + 8, 7)]), &usual),
        ("what a guest writes", &with(&[(5 + 4, 7)]), &usual),
        ("in a list", &more, &of(dev, 2, LISTED, &[(0, 1)])),
        ("an empty list", &more, &of(dev, 2, LISTED_NONE, &[])),
    ]
    .map(|(what, sent, own)| format!("{what}: {}", sentences(sent, own)));
    assert_eq!(
        explained.join("\n").replace(" 0000:00:02.0/dev 0 |", " |"),
        EXPLAINED
    );
}

/// What explains each difference between two devices made by hand.
const EXPLAINED: &str = "\
nothing differs: ValueCheck | - @ - | sent - | expected - | -
a version: Version | - @ 996 | sent version 3 | expected at most 2 | version-too-new
an old version: Version | - @ 996 | sent version 1 | expected version 2, and which older ones it does not say | version-too-old
a width: Layout | irq @ 1000 | sent irq (uint8, 1 byte) = 0x0 | expected irq (uint16, 2 bytes) | field-resized
a name: Section 0000:00:03.0/dev 0 | - @ 980 | sent section of version 2 | expected section 0000:00:02.0/dev | section-removed
a value: ValueCheck | ports @ 1001 | sent ports (uint32 equal, 4 bytes) = 0x6 | expected ports (uint32 equal, 4 bytes) = 0x0 | -
more: ValueCheck | n @ 1000 | sent n (int32 le, 4 bytes) = 5 | expected n (int32 le, 4 bytes), at most 4 | -
fewer: ValueCheck | - @ - | sent - | expected - | -
more, unchecked: ValueCheck | - @ - | sent - | expected - | -
the identity: ValueCheck | config @ 1013 | sent config byte 0x8 = 0x07 | expected 0x00 | -
what a guest writes: ValueCheck | - @ - | sent - | expected - | -
in a list: Subsection | list/s @ 1009 | sent subsection s | expected no subsection of this name | subsection-unknown
an empty list: ValueCheck | - @ - | sent - | expected - | -";

/// A `config` that a build refuses is not explained by what comes behind it.
#[test]
fn what_follows_the_field_that_was_refused_is_no_reason() {
    let of = |layout| hand_made(&[section("0000:00:02.0/dev", 2, &fields(2, layout))]);
    let sent = of("config=pci~config:64 irq:1");
    let own = of("config=pci~config:64 irq:1 timer=int64:8");
    let sentences = |field| {
        let blamed = Blamed {
            field,
            ..blamed("dev", None)
        };
        forward(&sent, &own, Some(blamed)).expect("an explanation")
    };
    let found = sentences(None);
    assert_eq!(found.field.as_deref(), Some("timer"), "{found:?}");
    let found = sentences(Some("config"));
    assert!(
        matches!(found.reason, Reason::SameLayout { .. }),
        "{found:?}"
    );
    assert!(found.to_string().contains("up to config"), "{found}");
}

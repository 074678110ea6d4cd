//! Comparisons of values: in small sections by hand, and in real streams.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::compare::fidelity::*;
use crate::model::Direction;
use crate::rules::known_issues::{KnownIssues, Scope};
use crate::stream::testing::{self, fixture, fixtures, hand_made, section};
use crate::stream::{Content, decode, parse};

/// The offset of the payload of a section made by hand.
const PAYLOAD: u64 = 1000;

/// A stream of one section: its description as a stream has it, and its bytes.
fn stream(version_id: u32, description: &str, bytes: &[u8]) -> Stream {
    hand_made(&[section("dev", version_id, description).of(bytes)])
}

/// Describes a device of version 1.
fn fields(layout: &str) -> String {
    testing::fields(1, layout)
}

/// Reads bytes between spaces.
fn bytes(text: &str) -> Vec<u8> {
    let bytes = text.split(' ').map(|byte| byte.parse().expect(text));
    bytes.collect()
}

/// Parses a list for a forward leg between builds of which no version is known.
fn names(list: &str) -> StateNames {
    let mut lists = KnownIssues::default();
    lists.add("own.toml", list).expect("a list");
    let scope = Scope::of(&lists, None, None, None);
    scope.state_names(Direction::Forward, None)
}

/// Path, change, and where it went, of every loss.
fn listed(losses: &[Loss]) -> Vec<(&str, Change, Option<&str>)> {
    losses
        .iter()
        .map(|loss| (loss.path.as_str(), loss.change, loss.landed_in.as_deref()))
        .collect()
}

fn paths(losses: &[Loss]) -> Vec<&str> {
    losses.iter().map(|loss| loss.path.as_str()).collect()
}

/// Compares two sections that were made with their bytes.
fn lost_in(sent: &(String, Vec<u8>), actual: &(String, Vec<u8>), names: &StateNames) -> Vec<Loss> {
    lost((&sent.0, &sent.1), (&actual.0, &actual.1), names)
}

/// Compares two sections, each by its description and its bytes.
fn lost(sent: (&str, &[u8]), actual: (&str, &[u8]), names: &StateNames) -> Vec<Loss> {
    let [sent, actual] = [sent, actual].map(|(description, bytes)| stream(1, description, bytes));
    compare(&sent, &actual, names, &Lengths::default())
}

#[test]
fn what_is_lost_and_what_only_looks_different() {
    // What is sent of `a:1 b:2 c:1`, what the destination describes and holds, and what is lost.
    let table = [
        "the same | 1 2 3 4 | a:1 b:2 c:1 | 1 2 3 4 | ",
        "another value | 1 2 3 4 | a:1 b:2 c:1 | 1 2 9 4 | b Changed",
        "the same name at another place, though all is zero | 0 0 0 0 | c:1 b:2 x:1 | 0 0 0 0 | c Displaced x",
        "a new field before two others, and none at the end | 1 2 3 4 | new:1 a:1 b:2 | 1 2 3 4 | \
         a Displaced new, b Displaced a",
        "another name | 1 2 3 4 | a:1 beta:2 c:1 | 1 2 3 4 | ",
        "another name with another value | 1 2 3 4 | a:1 beta:2 c:1 | 1 2 9 4 | b Changed beta",
        "two fields that were one | 1 2 3 4 | a:1 low:1 high:1 c:1 | 1 2 3 4 | ",
        "room that no field uses any more | 1 2 3 4 | a:1 unused=unused_buffer:2 c:1 | 1 0 0 4 | ",
        "a field of another width | 1 2 3 4 | a:1 b:4 c:1 | 1 0 0 2 3 4 | b Changed, c Displaced b",
        "a field less | 1 2 3 4 | a:1 b:2 | 1 2 3 | c Vanished",
    ];
    let abc = fields("a:1 b:2 c:1");
    for row in table {
        let [what, sent, layout, actual, expected] = *row.split(" | ").collect::<Vec<_>>() else {
            panic!("{row}");
        };
        let [sent, actual] = [sent, actual].map(bytes);
        let found = lost(
            (&abc, &sent),
            (&fields(layout), &actual),
            &StateNames::default(),
        );
        let found = listed(&found).into_iter().map(|(path, change, into)| {
            let into = into.map_or_else(String::new, |into| format!(" {into}"));
            format!("{path} {change:?}{into}")
        });
        assert_eq!(found.collect::<Vec<_>>().join(", "), expected, "{what}");
    }
    // A struct around it.
    let around = r#""vmsd_name": "dev", "version": 1, "fields": [
        {"name": "a", "type": "uint8", "size": 1},
        {"name": "in", "type": "struct", "size": 3, "struct": {
            "vmsd_name": "inner", "version": 1, "fields": [
                {"name": "b", "type": "uint16", "size": 2},
                {"name": "c", "type": "uint8", "size": 1}]}}]"#;
    let same: &[u8] = &[1, 2, 3, 4];
    assert_eq!(
        lost((&abc, same), (around, same), &StateNames::default()),
        []
    );
}

/// Registers of a CPU by their numbers and their values, one byte each.
fn cpu(registers: &[(u8, u8)]) -> (String, Vec<u8>) {
    let width = 8 * registers.len();
    let layout = format!(
        "before:1 cpreg_vmstate_array_len:4 cpreg_vmstate_indexes=uint64:{width} \
         cpreg_vmstate_values=uint64:{width} after:4"
    );
    let wide = |byte: u8| [0, 0, 0, 0, 0, 0, 0, byte];
    let mut bytes = vec![7, 0, 0, 0, u8::try_from(registers.len()).expect("a few")];
    bytes.extend(registers.iter().flat_map(|&(number, _)| wide(number)));
    bytes.extend(registers.iter().flat_map(|&(_, value)| wide(value)));
    bytes.extend([1, 2, 3, 4]);
    (fields(&layout), bytes)
}

#[test]
fn a_register_that_the_destination_alone_has_loses_nothing() {
    let sent = cpu(&[(1, 10), (3, 30)]);
    for (held, lost) in [
        (&[(1, 10), (3, 30)][..], &[][..]),
        (&[(1, 10), (2, 0), (3, 30)], &[]),
        (&[(0, 5), (1, 10), (3, 30), (9, 0)], &[]),
        // A value of one that was sent is compared all the same.
        (&[(1, 10), (2, 0), (3, 31)], &["cpreg_vmstate_values"]),
        // One that was sent is gone.
        (&[(1, 10), (2, 30)], &["cpreg_vmstate_indexes"]),
    ] {
        let found = lost_in(&sent, &cpu(held), &StateNames::default());
        assert_eq!(paths(&found), lost, "{held:?}");
    }
}

#[test]
fn a_device_on_a_bus_takes_a_section_that_has_its_bare_name() {
    let of = |name, value| section(name, 1, &fields("a:1")).of(&[value]);
    let on_a_bus = hand_made(&[of("0.0/dev", 1), of("0.1/dev", 2), of("0.2/other", 3)]);
    // What is sent, and what is lost.
    for (name, value, lost) in [
        ("dev", 1, None),
        ("dev", 2, Some(Change::Changed)),
        ("other", 3, None),
        // A path says which device is meant, and what is not sent again is not needed.
        ("0.1/dev", 1, Some(Change::Changed)),
        ("0.3/dev", 9, None),
    ] {
        let sent = hand_made(&[of(name, value)]);
        let names = StateNames::default();
        let found = compare(&sent, &on_a_bus, &names, &Lengths::default());
        let found = found.first().map(|loss| loss.change);
        assert_eq!(found, lost, "{name} {value}");
    }
    let mut second = hand_made(&[of("dev", 2)]);
    second.sections[0].instance_id = 1;
    let names = StateNames::default();
    assert_eq!(compare(&second, &on_a_bus, &names, &Lengths::default()), []);
}

#[test]
fn a_loss_has_both_values_and_the_place_in_what_was_sent() {
    let description = fields("a:1 b:2");
    let (sent, actual) = (
        (&*description, &[1, 2, 3][..]),
        (&*description, &[1, 2, 4][..]),
    );
    let losses = lost(sent, actual, &StateNames::default());
    let [loss] = losses.as_slice() else {
        panic!("{losses:?}");
    };
    assert_eq!((loss.section.as_str(), loss.instance_id), ("dev", 0));
    assert_eq!(loss.description, "dev");
    assert_eq!(loss.offset, PAYLOAD + 1);
    assert_eq!(loss.sent, [2, 3][..]);
    assert_eq!(loss.held.as_deref(), Some(&[2, 4][..]));
}

/// Its needed() says so, as that of a subsection does: see `compare`.
#[test]
fn a_section_is_lost_as_a_whole_only_where_no_description_can_leave_it_out() {
    for description in ["globalstate", "spapr_drc", ""] {
        let layout = fields("a:1 unused=unused_buffer:4 c:1").replace("dev", description);
        let sent = stream(1, &layout, &[0; 6]);
        let losses = compare(
            &sent,
            &Stream::default(),
            &StateNames::default(),
            &Lengths::default(),
        );
        let wanted: &[_] = match description {
            "" => &[("a", Change::Vanished, None), ("c", Change::Vanished, None)],
            _ => &[],
        };
        assert_eq!(listed(&losses), wanted, "{description:?}");
    }
}

/// A device with a field and subsections that each have a field.
fn with_subsections(subsections: &[(&str, u8)]) -> (String, Vec<u8>) {
    let mut bytes = vec![7];
    let mut described = Vec::new();
    for (name, value) in subsections {
        let name = &format!("dev/{name}");
        bytes.extend(embedded(name, *value));
        described.push(format!(
            r#"{{"vmsd_name": "{name}", "version": 1,
                "fields": [{{"name": "on", "type": "uint8", "size": 1}}]}}"#
        ));
    }
    let description = format!(
        r#"{}, "subsections": [{}]"#,
        fields("a:1"),
        described.join(", ")
    );
    (description, bytes)
}

/// A subsection as it goes over the wire: marker, name, version, a field of one byte.
fn embedded(name: &str, value: u8) -> Vec<u8> {
    let mut bytes = vec![5, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.extend([0, 0, 0, 1, value]);
    bytes
}

#[test]
fn subsections_are_compared_with_those_of_their_name() {
    let of = |text: &str| {
        let parts = text.split_whitespace().map(|part| {
            let (name, value) = part.split_once('=').expect(part);
            (name, value.parse().expect(part))
        });
        with_subsections(&parts.collect::<Vec<_>>())
    };
    for (sent, actual, expected) in [
        ("x=1", "x=1", &[][..]),
        ("x=1", "x=2", &["dev/x/on"]),
        // Its needed() says so: see `compare_bodies`.
        ("x=1", "", &[]),
        ("", "x=1", &[]),
        // They may come in another order, and are their own places.
        ("x=1 y=2", "y=2 x=1", &[]),
        ("x=1 y=2", "y=2", &[]),
        ("x=1 y=2", "y=3", &["dev/y/on"]),
        // Of two of one name the first is the first, and the second the second.
        ("x=1 x=2", "x=1 x=2", &[]),
        ("x=1 x=2", "x=1 x=3", &["dev/x/on"]),
        ("x=1 x=2", "x=2 x=1", &["dev/x/on", "dev/x/on"]),
    ] {
        let found = lost_in(&of(sent), &of(actual), &StateNames::default());
        assert_eq!(paths(&found), expected, "{sent:?} {actual:?}");
    }
}

#[test]
fn a_field_that_lies_in_padding_and_holds_it_is_reported() {
    let padding = fields("a:1 unused=unused_buffer:3 c:1");
    let sent: &[u8] = &[1, 0, 0, 0, 4];
    // What the destination describes and holds, and the fields that have their value from padding.
    let table = [
        "padding there too | a:1 unused=unused_buffer:3 c:1 | 1 0 0 0 4 | ",
        "fields | a:1 irq:1 dma:2 c:1 | 1 0 0 0 4 | irq dma",
        "one that the load worked out | a:1 irq:1 dma:2 c:1 | 1 0 0 7 4 | irq",
        "one that reaches into a field that was sent | ab:2 dma:2 c:1 | 1 0 0 0 4 | dma",
        "one that was sent at another place | c:1 x:1 a:1 y:2 | 1 0 0 0 4 | x",
        "one that the lists know | a:1 known:1 dma:2 c:1 | 1 0 0 0 4 | dma",
    ];
    let known = names(
        r#"
[[volatile]]
description = "dev"
fields = ["known"]
reason = "worked out anew"
source = "a test"
"#,
    );
    let ours = stream(1, &padding, sent);
    for row in table {
        let [what, layout, actual, expected] = *row.split(" | ").collect::<Vec<_>>() else {
            panic!("{row}");
        };
        let actual = stream(1, &fields(layout), &bytes(actual));
        let found = fillings(&ours, &actual, &known);
        let paths: Vec<&str> = found.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths.join(" "), expected, "{what}");
    }
    // Another version of a section lies otherwise, and how is not known.
    let (description, actual) = (&fields("a:1 irq:1 dma:2 c:1"), sent);
    assert_eq!(fillings(&ours, &stream(2, description, actual), &known), []);

    let found = fillings(&ours, &stream(1, description, actual), &known);
    assert_eq!(found[1].offset, PAYLOAD + 2);
    assert_eq!(found[1].held, [0, 0][..]);
    let other = stream(1, description, &[9, 9, 0, 5, 9]);
    assert_eq!(found[1].on(&other).as_deref(), Some(&[0, 5][..]));
    assert_eq!(found[1].on(&stream(1, &padding, sent)), None);
    assert_eq!(found[1].on(&Stream::default()), None);
}

/// It has the version of its structure on both sides, or it is a loss.
#[test]
fn a_build_writes_its_own_version_into_a_field() {
    let of = |name: &str, own: u32, part: u32| {
        let field = |name: &str| format!(r#"{{"name": "{name}", "type": "uint8", "size": 1}}"#);
        format!(
            r#""vmsd_name": "dev", "version": {own}, "fields": [{}, {{"name": "esp", "type": "struct", "size": 2,
            "struct": {{"vmsd_name": "esp", "version": {part}, "fields": [{}, {}]}}}}]"#,
            field(name),
            field("a"),
            field("version_id")
        )
    };
    let none: &[&str] = &[];
    for (name, own, part, actual, lost) in [
        ("esp.mig_version_id", 1, 8, [8, 2, 8], none),
        // A value that is no version, of the one side or of the other.
        (
            "esp.mig_version_id",
            1,
            8,
            [9, 2, 8],
            &["esp.mig_version_id"],
        ),
        (
            "esp.mig_version_id",
            1,
            9,
            [8, 2, 9],
            &["esp.mig_version_id"],
        ),
        ("esp.mig_version_id", 1, 8, [8, 8, 8], &["esp/a"]),
        // Another structure's, and the section's own.
        (
            "fdc.mig_version_id",
            1,
            8,
            [8, 2, 8],
            &["fdc.mig_version_id"],
        ),
        ("version", 8, 8, [8, 2, 8], none),
        // Numbers that are alike by chance.
        ("esp.lun", 1, 8, [8, 2, 8], &["esp.lun"]),
    ] {
        let before = if name == "version" { 7 } else { 1 };
        let ours = stream(before, &of(name, before, 7), &[7, 2, 7]);
        let theirs = stream(own, &of(name, own, part), &actual);
        let found = compare(&ours, &theirs, &StateNames::default(), &Lengths::default());
        let paths: Vec<&str> = found.iter().map(|loss| loss.path.as_str()).collect();
        assert_eq!(paths, lost, "{name} {own} {part} {actual:?}");
    }
}

/// Real builds that send padding where another one has a field.
#[test]
fn real_streams_show_which_fields_lie_in_padding() {
    let found = |sent: &str, actual: &str| {
        let (sent, actual) = (parse(&fixture(sent)).stream, parse(&fixture(actual)).stream);
        let found = fillings(&sent, &actual, &StateNames::default());
        let found: Vec<String> = found
            .iter()
            .map(|f| format!("{} {}", f.section, f.path))
            .collect();
        found
    };
    let (old, new) = ("7.2.22/x86_64-q35", "10.0.13/x86_64-q35");
    assert_eq!(found(old, old), Vec::<String>::new());
    assert_eq!(found(old, new), Vec::<String>::new());
    assert_eq!(
        found(new, old),
        [
            "0000:00:01.0/e1000e core.itr_intr_pending",
            "0000:00:01.0/e1000e core.eitr_intr_pending",
        ]
    );
}

#[test]
fn sections_of_two_versions_are_compared_by_names_alone() {
    let sent = stream(2, &fields("a:1 b:1 c:1"), &[1, 2, 3]);
    // In other places, one with another value, one with another length, one not at all.
    let actual = stream(3, &fields("b:1 a:1 c:2"), &[9, 1, 0, 3]);
    let losses = compare(&sent, &actual, &StateNames::default(), &Lengths::default());
    assert_eq!(listed(&losses), [("b", Change::Changed, None)]);
    assert_eq!(losses[0].held.as_deref(), Some(&[9][..]));
}

/// A device with a field that writes descriptions of its own, and a field behind it.
fn opaque(contents: &[u8], behind: u8) -> (String, Vec<u8>) {
    let description = fields(&format!("virtio=virtio:{} n:1", contents.len()));
    (description, [contents, &[behind]].concat())
}

#[test]
fn a_subsection_more_in_an_opaque_field_is_no_loss_and_hides_none() {
    let (one, other) = (embedded("virtio/a", 1), embedded("virtio/b", 1));
    let short = [&[1, 2], &one[..]].concat();
    let last = [&[1, 2], &one[..], &other].concat();
    let first = [&[1, 2], &other[..], &one].concat();
    let changed = [&[1, 3], &one[..], &other].concat();
    let no_marker = [&short[..], &[6], &other[1..]].concat();
    let no_name = [&short[..], &[5], &[0; 16]].concat();
    // The actual bytes, with the value behind it, and what is lost.
    let table: [(&str, &[u8], u8, &[&str]); 7] = [
        ("at the end", &last, 9, &[]),
        ("in front of another", &first, 9, &[]),
        ("and the field behind it", &last, 8, &["n"]),
        ("and a byte before it", &changed, 9, &["virtio", "n"]),
        ("no marker", &no_marker, 9, &["virtio", "n"]),
        ("no name", &no_name, 9, &["virtio", "n"]),
        ("nothing", &short, 9, &[]),
    ];
    for (what, actual, behind, expected) in table {
        let (ours, theirs) = (opaque(&short, 9), opaque(actual, behind));
        let found = lost_in(&ours, &theirs, &StateNames::default());
        assert_eq!(paths(&found), expected, "{what}");
    }
    // One less is none either; bytes that are no subsection, or something else beside it, are
    // reported.
    let halved = [&[1, 2], &one[..one.len() - 1]].concat();
    let table: [(&str, &[u8], &[u8], bool); 4] = [
        ("the last", &last, &short, false),
        ("the first", &first, &short, false),
        ("a part of one", &short, &halved, true),
        ("and a byte before it", &changed, &short, true),
    ];
    for (what, sent, actual, reported) in table {
        let (ours, theirs) = (opaque(sent, 9), opaque(actual, 9));
        let found = lost_in(&ours, &theirs, &StateNames::default());
        let virtio = paths(&found).contains(&"virtio");
        assert_eq!(virtio, reported, "{what}: {found:?}");
    }
}

/// `virtio-gpu`: a configuration space that is longer in one build, and a subsection that the other
/// one sends, in one opaque field.
#[test]
fn a_subsection_more_or_less_behind_another_length_is_no_loss_either() {
    let known = names(
        r#"
[[volatile]]
description = "dev"
fields = ["virtio"]
resized = 4
reason = "each takes what it knows"
source = "a test"
"#,
    );
    let (own, more) = (embedded("virtio/a", 1), embedded("virtio/b", 1));
    // A status, a length and so many bytes, the size of a queue, and subsections.
    let of = |status: u8, config: &[u8], queue: u8, subsections: &[&[u8]]| {
        let length = (config.len() as u32).to_be_bytes();
        [
            &[1, status],
            &length[..],
            config,
            &[0, queue],
            &subsections.concat(),
        ]
        .concat()
    };
    let config = |length: usize| vec![7; length];
    // What else 11.1 sends where 10.0 has no more is its own.
    let (short, long) = (config(16), [&config(20)[..], &[0, 0, 0, 9]].concat());
    let sent = opaque(&of(2, &config(20), 64, &[&own]), 9);
    let found = |actual: &[u8], behind| {
        let losses = lost_in(&sent, &opaque(actual, behind), &known);
        losses.into_iter().map(|loss| loss.path).collect::<Vec<_>>()
    };
    for (what, actual) in [
        ("shorter", of(2, &short, 64, &[&own])),
        ("longer", of(2, &long, 64, &[&own])),
        ("shorter and one more", of(2, &short, 64, &[&own, &more])),
        ("longer and one more", of(2, &long, 64, &[&more, &own])),
        ("longer and one fewer", of(2, &long, 64, &[])),
        ("shorter and one fewer", of(2, &short, 64, &[])),
    ] {
        assert_eq!(found(&actual, 9), [""; 0], "{what}");
        assert_eq!(found(&actual, 8), ["n"], "{what}, and the field behind it");
    }
    for (what, actual) in [
        ("another length", of(2, &config(15), 64, &[&own, &more])),
        ("another status", of(3, &short, 64, &[&own])),
        ("a byte that both know", of(2, &[8; 24], 64, &[&own])),
        ("another size of a queue", of(2, &short, 16, &[&own])),
        ("all of that, one more", of(3, &short, 16, &[&own, &more])),
        ("another one instead", of(2, &short, 64, &[&more])),
    ] {
        assert_eq!(found(&actual, 9), ["virtio", "n"], "{what}");
    }
}

#[test]
fn what_the_lists_know_is_no_loss_and_nothing_else_is() {
    let known = names(
        r#"
[[volatile]]
description = "dev"
fields = ["clock"]
bytes = [[0, 1]]
reason = "goes on"
source = "a test"

[[volatile]]
description = "dev"
fields = ["config"]
resized = 4
reason = "each takes what it knows"
source = "a test"
"#,
    );
    let description = |config| fields(&format!("clock=buffer:4 config=buffer:{} n:1", config));
    let sent: &[u8] = &[1, 2, 3, 4, 5, 5, 6];
    let table: [(&str, usize, &[u8], &[&str]); 5] = [
        ("the clock", 2, &[9, 9, 3, 4, 5, 5, 6], &[]),
        ("more than the clock", 2, &[9, 9, 3, 9, 5, 5, 6], &["clock"]),
        ("four more", 6, &[1, 2, 3, 4, 5, 5, 0, 0, 0, 0, 6], &[]),
        (
            "four more, and what follows",
            6,
            &[1, 2, 3, 4, 5, 5, 0, 0, 0, 0, 7],
            &["n"],
        ),
        (
            "three more",
            5,
            &[1, 2, 3, 4, 5, 5, 0, 0, 0, 6],
            &["config", "n"],
        ),
    ];
    for (what, config, actual, expected) in table {
        let theirs = description(config);
        let found = lost((&description(2), sent), (&theirs, actual), &known);
        assert_eq!(paths(&found), expected, "{what}");
    }
    // The name in another description is another field.
    let elsewhere = fields("clock=buffer:1").replace("\"dev\"", "\"other\"");
    let found = lost((&elsewhere, &[1]), (&elsewhere, &[2]), &known);
    assert_eq!(listed(&found), [("clock", Change::Changed, None)]);
}

#[test]
fn a_known_rename_shows_its_value_under_the_sent_name() {
    let known = names(
        r#"
[[field]]
description = "dev"
old = "b"
new = "beta"
by = "8.0"
source = "a test"
reason = "a test"
"#,
    );
    let ours = fields("a:1 b:1");
    let theirs = fields("a:1 beta:1");
    assert!(lost((&ours, &[1, 2]), (&theirs, &[1, 2]), &known).is_empty());
    let found = lost((&ours, &[1, 2]), (&theirs, &[1, 3]), &known);
    // It is the field itself, not bytes that went into another.
    assert_eq!(listed(&found), [("b", Change::Changed, None)]);
}

#[test]
fn a_real_stream_equals_itself_by_both_comparisons() {
    let streams = fixtures()
        .into_iter()
        .map(|(name, bytes)| (name, parse(&bytes).stream));
    let streams: Vec<(String, Stream)> = streams.collect();
    let mut across = 0;
    for (name, sent) in &streams {
        for (other, actual) in &streams {
            for section in sent.devices() {
                let Some(back) = actual.section(section.name.as_str(), section.instance_id) else {
                    continue;
                };
                let short = are_alike(section, back);
                assert!(short || name != other, "{name}: {}", section.name);
                if !short {
                    continue;
                }
                across += usize::from(name != other);
                let [ours, theirs] = [section, back].map(|section| {
                    section.content.structure().expect("decoded");
                    bodies(section)
                });
                let mut losses = Losses::of(section);
                let known = Known {
                    names: &StateNames::default(),
                    by_themselves: None,
                };
                compare_bodies(&ours, &theirs, known, &mut losses);
                assert_eq!(
                    listed(&losses.found),
                    [],
                    "{name} to {other}: {}",
                    section.name
                );
            }
        }
    }
    assert!(
        across > 100,
        "{across} sections came out of two builds alike"
    );
}

/// A section of a real stream with all of its values, and how it is described.
struct Real {
    section: Section,
    description: crate::stream::StructDesc,
    leaves: Vec<Leaf>,
}

static REAL: LazyLock<Vec<Real>> = LazyLock::new(|| {
    let mut real = Vec::new();
    for name in [
        "5.2.0/ppc64-pseries",
        "7.2.22/s390x-ccw",
        "10.0.13/x86_64-q35",
        "11.1.3/aarch64-virt",
    ] {
        let stream = parse(&fixture(name)).stream;
        let vmdesc = stream.vmdesc().expect("a description").clone();
        for section in stream.devices() {
            let device = vmdesc
                .devices
                .iter()
                .find(|d| section.name == *d.name && d.instance_id == section.instance_id);
            section.content.structure().expect("decoded");
            let leaves = bodies(section).into_iter().flat_map(|body| body.leaves);
            let leaves: Vec<Leaf> = leaves.filter(|leaf| !leaf.is_padding()).collect();
            if leaves.is_empty() {
                continue;
            }
            real.push(Real {
                section: section.clone(),
                description: device.expect("described").description.clone(),
                leaves,
            });
        }
    }
    assert!(real.len() > 100, "{} sections", real.len());
    real
});

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
    #[test]
    fn a_changed_byte_of_any_value_is_found(
        section: Index,
        leaf: Index,
        byte: Index,
        flip in 1u8..,
    ) {
        let real = section.get(&REAL);
        let leaf = leaf.get(&real.leaves);
        let at = leaf.offset - real.section.payload_offset;
        let at = at as usize + byte.index(leaf.bytes.len());
        let mut payload = real.section.payload.to_vec();
        payload[at] ^= flip;

        let mut actual = real.section.clone();
        actual.payload = payload.into();
        let decoded = decode(&real.description, &actual.payload, actual.payload_offset);
        if decoded.error.is_none() {
            actual.content = Content::Decoded(decoded.structure);
            let sections = |section: &Section| Stream {
                sections: vec![section.clone()],
                ..Stream::default()
            };
            let losses = compare(&sections(&real.section), &sections(&actual), &StateNames::default(), &Lengths::default());
            let place = (leaf.path.as_str(), Change::Changed, None);
            prop_assert_eq!(listed(&losses), [place], "{} byte {}", real.section.name, at);
        }
    }
}

#[test]
fn a_field_that_each_build_writes_in_its_own_length_holds_what_was_sent() {
    let (short, long) = (
        fields("before:1 v=buffer:4 after:1"),
        fields("before:1 v=buffer:5 after:1"),
    );
    let lengths = Lengths::between(
        &stream(1, &short, &[0; 6]),
        &stream(1, &long, &[0, 0, 0, 7, 0, 0, 0]),
    );
    let none = Lengths::between(&stream(1, &short, &[0; 6]), &stream(1, &short, &[1; 6]));
    assert_eq!(none, Lengths::default());
    let sent: &[u8] = &[9, 1, 2, 3, 4, 8];
    let table: [(&str, &[u8], bool); 4] = [
        ("one byte more", &[9, 1, 2, 7, 3, 4, 8], false),
        ("and another value", &[9, 1, 2, 7, 3, 5, 8], true),
        ("and another field", &[9, 1, 2, 7, 3, 4, 0], true),
        ("two bytes in two places", &[9, 7, 1, 2, 3, 7, 8], true),
    ];
    for (case, actual, is_lost) in table {
        let (there, back) = (stream(1, &short, sent), stream(1, &long, actual));
        for (sent, actual) in [(&there, &back), (&back, &there)] {
            let names = StateNames::default();
            let unexplained = compare(sent, actual, &names, &none);
            assert!(
                paths(&unexplained).contains(&"v"),
                "{case}: {unexplained:?}"
            );
            assert!(lengths.may_explain(&unexplained) && !none.may_explain(&unexplained));
            let found = compare(sent, actual, &names, &lengths);
            let expected = if is_lost { unexplained } else { Vec::new() };
            assert_eq!(found, expected, "{case}");
        }
    }
}

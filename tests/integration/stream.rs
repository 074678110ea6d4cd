//! Migration streams that real builds wrote: every value against an independent reader, damage of all
//! kinds, and the command line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use macro_rules_attribute::apply;
use migcompat::internals::stream::{
    Content, DescriptionState, Leaf, Node, Options, Parser, SectionKind, StreamErrorKind,
    Structure, Value, open, parse,
};
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::common::{migcompat, program, stderr, stdout, words};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/streams")
}

fn unpacked(file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    open(&folder().join(file))
        .unwrap_or_else(|e| panic!("{file}: {e}"))
        .read_to_end(&mut bytes)
        .expect("the fixture is sound");
    bytes
}

/// `VERSION/NAME` of all streams.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    for version in folder().read_dir().expect("fixtures").flatten() {
        for file in version.path().read_dir().expect("a folder").flatten() {
            let file = format!(
                "{}/{}",
                version.file_name().display(),
                file.file_name().display()
            );
            names.extend(file.strip_suffix(".stream.zst").map(str::to_owned));
        }
    }
    names.sort();
    names
}

/// A field as the independent reader has it: one value, or the list of all elements and of all
/// fields of that name.
#[derive(Debug)]
enum Shown<'s> {
    Leaf(&'s Node, Leaf<'s>, usize),
    Raw(&'s Node),
    Struct(&'s Structure),
    Null,
}

fn shown(structure: &Structure) -> BTreeMap<&str, Vec<Shown<'_>>> {
    let mut all: BTreeMap<&str, Vec<Shown<'_>>> = BTreeMap::new();
    for node in &structure.fields {
        let list = all.entry(&node.name).or_default();
        match &node.value {
            Value::Leaf(_) => list.extend(
                node.leaf()
                    .map(|leaf| Shown::Leaf(node, leaf, node.bytes.len())),
            ),
            Value::Leaves { element_size, .. } => {
                list.extend(
                    node.leaves()
                        .map(|leaf| Shown::Leaf(node, leaf, *element_size)),
                );
            }
            Value::Struct(structure) if &*node.type_name == "struct" => {
                list.push(Shown::Struct(structure));
            }
            // It does not look into lists and the like.
            Value::Struct(_) | Value::List(_) => list.push(Shown::Raw(node)),
            Value::Structs(elements) => list.extend(elements.iter().map(|element| match element {
                Some(structure) => Shown::Struct(structure),
                None => Shown::Null,
            })),
        }
    }
    all
}

fn spaced(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    bytes.join(" ")
}

/// The number of values compared.
fn compare(structure: &Structure, expected: &Json, path: &str) -> usize {
    let mut count = 0;
    let mut keys = 0;
    for (name, values) in shown(structure) {
        keys += 1;
        let path = format!("{path}/{name}");
        match (values.as_slice(), &expected[name]) {
            ([one], expected) => count += compare_one(one, expected, &path),
            (many, Json::Array(expected)) => {
                assert_eq!(many.len(), expected.len(), "{path}");
                for (value, expected) in many.iter().zip(expected) {
                    count += compare_one(value, expected, &path);
                }
            }
            (many, expected) => panic!("{path}: {} values, expected {expected}", many.len()),
        }
    }
    for subsection in &structure.subsections {
        keys += 1;
        let name = &*subsection.name;
        count += compare(
            &subsection.structure,
            &expected[name],
            &format!("{path}/{name}"),
        );
    }
    let expected = expected.as_object().map_or(0, serde_json::Map::len);
    assert_eq!(keys, expected, "fields and subsections of {path}");
    count
}

fn compare_one(value: &Shown<'_>, expected: &Json, path: &str) -> usize {
    let (node, leaf, size) = match value {
        Shown::Struct(structure) => return compare(structure, expected, path),
        Shown::Null => {
            assert_eq!(expected, "nullptr", "{path}");
            return 1;
        }
        Shown::Raw(node) => {
            assert_eq!(expected, &spaced(&node.bytes), "{path}");
            return 1;
        }
        Shown::Leaf(node, leaf, size) => (node, *leaf, *size),
    };
    // Types that it does not know it prints as bytes, numbers that it knows as hex and, where
    // negative, as decimal too.
    let known = matches!(
        &*node.type_name,
        "int8"
            | "int16"
            | "int32"
            | "int32 equal"
            | "int32 le"
            | "int64"
            | "int64 equal"
            | "uint8"
            | "uint8 equal"
            | "uint16"
            | "uint16 equal"
            | "uint32"
            | "uint32 equal"
            | "uint64"
    );
    let bytes = |number: u64| spaced(&number.to_be_bytes()[8 - size..]);
    let number = |number: u64| {
        let cut = number << (64 - 8 * size) >> (64 - 8 * size);
        format!("0x{cut:0width$x}", width = 2 * size)
    };
    match leaf {
        Leaf::Bool(value) => assert_eq!(expected, &Json::Bool(value), "{path}"),
        Leaf::Signed(value) if known && value < 0 => {
            let wanted = format!("{} ({value})", number(value.cast_unsigned()));
            assert_eq!(expected, &wanted, "{path}");
        }
        Leaf::Signed(value) if known => {
            assert_eq!(expected, &number(value.cast_unsigned()), "{path}");
        }
        // It takes `uint8 equal` for a signed type.
        Leaf::Unsigned(value) if known => {
            let expected = expected.as_str().and_then(|s| s.split(' ').next());
            assert_eq!(expected, Some(&*number(value)), "{path}");
        }
        Leaf::Signed(value) => assert_eq!(expected, &bytes(value.cast_unsigned()), "{path}"),
        Leaf::Unsigned(value) => assert_eq!(expected, &bytes(value), "{path}"),
        Leaf::Float(value) => assert_eq!(expected, &bytes(value.to_bits()), "{path}"),
        Leaf::Null => assert_eq!(expected, "nullptr", "{path}"),
        Leaf::Text(value) => assert_eq!(expected, value, "{path}"),
        Leaf::Bytes(value) => assert_eq!(expected, &spaced(value), "{path}"),
    }
    1
}

#[apply(test)]
fn every_value_is_what_an_independent_reader_prints() {
    let mut record = String::new();
    for name in names() {
        let bytes = unpacked(&format!("{name}.stream.zst"));
        let reading = parse(&bytes);
        assert!(reading.error.is_none(), "{name}: {:?}", reading.error);
        let (length, trailing) = (reading.stream.length, reading.stream.trailing);
        assert_eq!((length, trailing), (bytes.len() as u64, 0), "{name}");
        assert!(reading.stream.vmdesc().is_some(), "{name}");
        let expected: Json =
            serde_json::from_slice(&unpacked(&format!("{name}.values.json.zst"))).expect("JSON");
        let expected = expected.as_object().expect("sections by name");
        let (mut sections, mut values) = (0, 0);
        for section in &reading.stream.sections {
            let key = format!("{} ({})", section.name, section.id);
            if section.kind == SectionKind::Ram {
                continue;
            }
            sections += 1;
            let there = expected
                .get(&key)
                .unwrap_or_else(|| panic!("{name}: no section {key}"));
            if section.kind == SectionKind::Device {
                let Content::Decoded(structure) = &section.content else {
                    panic!("{name}: {key}: {:?}", section.content.error());
                };
                values += compare(structure, there, &format!("{name}: {key}"));
            }
        }
        assert_eq!(sections, expected.len(), "{name}");
        record.push_str(&format!("{name}: {sections} sections, {values} values\n"));
    }
    insta::assert_snapshot!(record);
}

/// The smallest stream, with most of its memory left out: each step of the reader is still in it.
fn small() -> Vec<u8> {
    let bytes = unpacked("10.0.13/m68k-virt.stream.zst");
    let stream = parse(&bytes).stream;
    let (ram, next) = (&stream.sections[0], &stream.sections[1]);
    assert_eq!(ram.kind, SectionKind::Ram);
    let footer = [&[0x7e][..], &ram.id.to_be_bytes()].concat();
    let start = ram.payload_offset as usize;
    let first = bytes[start..]
        .windows(5)
        .position(|w| w == footer)
        .expect("the list of blocks ends");
    let mut small = bytes[..start + first + 5].to_vec();
    let name = &stream.ram.blocks[0].name;
    small.push(3);
    small.extend_from_slice(&ram.id.to_be_bytes());
    small.extend_from_slice(&0x1002u64.to_be_bytes());
    small.push(name.len() as u8);
    small.extend_from_slice(name.as_bytes());
    small.push(0);
    small.extend_from_slice(&0x2028u64.to_be_bytes());
    small.extend_from_slice(&[0xaa; 4096]);
    small.extend_from_slice(&0x10u64.to_be_bytes());
    small.extend_from_slice(&footer);
    small.extend_from_slice(&bytes[next.offset as usize..]);
    assert!(parse(&small).error.is_none());
    small
}

#[apply(test)]
fn a_stream_cut_at_any_byte_ends_there() {
    let bytes = small();
    let whole = parse(&bytes).stream;
    let described = whole.vmdesc().is_some();
    assert!(described);
    // Before the description, devices; within it every place is like the next.
    let last = whole.sections.last().expect("sections");
    let end = (last.payload_offset + last.size) as usize + 5;
    for cut in (0..end + 64).chain((end + 64..bytes.len()).step_by(997)) {
        let reading = parse(&bytes[..cut]);
        // Right behind the end mark it is a whole stream that has no description.
        if cut == end + 1 {
            assert!(reading.error.is_none(), "{cut}: {:?}", reading.error);
            continue;
        }
        let error = reading.error.unwrap_or_else(|| panic!("{cut}: no error"));
        assert_eq!(error.offset, cut as u64, "{error}");
        assert!(
            matches!(error.kind, StreamErrorKind::Ends { .. }),
            "{error}"
        );
        let description = &reading.stream.description;
        assert!(matches!(description, DescriptionState::NotReached), "{cut}");
        let begun = whole.sections.iter();
        let begun = begun.filter(|section| section.payload_offset <= cut as u64);
        assert_eq!(reading.stream.sections.len(), begun.count(), "{cut}");
        for (cut, whole) in reading.stream.sections.iter().zip(&whole.sections) {
            assert_eq!(cut.name, whole.name);
            assert_eq!(cut.content, Content::Undescribed);
            // Part of a footer may still be data.
            let from = whole.payload_offset as usize;
            assert!(bytes[from..].starts_with(&cut.payload));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[apply(test)]
    fn flipped_bytes_never_panic_nor_swell(
        at in prop::sample::select(names()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        // The large ones add time, not kinds of sections.
        prop_assume!(!at.contains("ppc64") && !at.contains("q35"));
        let mut bytes = unpacked(&format!("{at}.stream.zst"));
        // Most of a stream is memory, where a flip changes nothing: aim behind it.
        let device = parse(&bytes).stream.devices().next().map_or(0, |s| s.offset) as usize;
        for (index, value) in flips {
            let place = device + index.index(bytes.len() - device);
            bytes[place] ^= value;
        }
        let reading = parse(&bytes);
        let kept: u64 = reading.stream.sections.iter().map(|s| s.payload.len() as u64).sum();
        prop_assert!(kept <= bytes.len() as u64);
        if let Some(error) = reading.error {
            prop_assert!(error.offset <= bytes.len() as u64, "{}", error);
        }
    }

    #[apply(test)]
    fn any_cut_into_pieces_gives_the_same(sizes in prop::collection::vec(1usize..5000, 1..50)) {
        let bytes = small();
        let mut parser = Parser::new(Options::default(), ());
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            parser.feed(piece).expect("a good stream");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let pieces = parser.finish().stream;
        let whole = parse(&bytes).stream;
        prop_assert_eq!(pieces.sections.len(), whole.sections.len());
        for (a, b) in pieces.sections.iter().zip(&whole.sections) {
            prop_assert_eq!(&a.content, &b.content);
        }
    }
}

const M68K: &str = "fixtures/streams/10.0.13/m68k-virt.stream.zst";
const OLD_S390X: &str = "fixtures/streams/7.2.22/s390x-ccw.stream.zst";
const S390X: &str = "fixtures/streams/10.0.13/s390x-ccw.stream.zst";
const OLD_Q35: &str = "fixtures/streams/7.2.22/x86_64-q35.stream.zst";
const Q35: &str = "fixtures/streams/10.0.13/x86_64-q35.stream.zst";

#[apply(test)]
fn a_stream_is_shown_as_a_tree() {
    let output = migcompat(&words!(
        "stream show {S390X} --section timer --section s390_css"
    ));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    insta::assert_snapshot!(stdout(&output));
}

#[apply(test)]
fn a_stream_is_shown_as_json_with_every_value() {
    let output = migcompat(&words!("stream show {M68K} --section t*r --format json"));
    let stream: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(stream["machine"], "virt-7.2");
    assert_eq!(stream["description"], "present");
    assert_eq!(stream["error"], Json::Null);
    let [timer] = stream["sections"].as_array().expect("a list").as_slice() else {
        panic!("{}", stream["sections"]);
    };
    assert_eq!(timer["name"], "timer");
    let fields = &timer["struct"]["fields"];
    assert_eq!(fields[1]["type"], "unused_buffer");
    assert_eq!(fields[1]["value"], "0000000000000000");
    assert!(fields[0]["value"].is_i64());
}

#[apply(test)]
fn standard_input_is_read_too() {
    let mut child = program(&["stream", "show", "-", "--section", "timer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(&unpacked("10.0.13/m68k-virt.stream.zst"))
        .expect("it reads all");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("cpu_clock_offset: int64"));
}

#[apply(test)]
fn a_stream_that_is_cut_off_is_shown_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cut.stream");
    let bytes = small();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    let file = file.to_str().expect("a plain name");
    let output = migcompat(&["stream", "show", file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("timer 0 version 2, 24 bytes"));
    let message = stderr(&output);
    assert!(
        message.contains(&format!("at offset {}", bytes.len() / 2)),
        "{message}"
    );
    assert!(
        message.contains("the stream ends in the middle of"),
        "{message}"
    );
}

#[apply(test)]
fn what_is_no_stream_is_refused() {
    for (file, wanted) in [
        (
            "Cargo.toml",
            "not a migration stream: it starts with 5b 70 61 63",
        ),
        (
            "fixtures",
            "is a folder; a file with a migration stream is needed",
        ),
        (
            "no-such-file",
            "cannot read the migration stream no-such-file",
        ),
    ] {
        let output = migcompat(&["stream", "show", file]);
        assert_eq!(output.status.code(), Some(2), "{file}");
        assert!(
            stderr(&output).contains(wanted),
            "{file}: {}",
            stderr(&output)
        );
    }
    let output = migcompat(&["stream", "show", M68K, "--section", "tmer"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("there is timer, for instance"),
        "{}",
        stderr(&output)
    );
}

#[apply(test)]
fn two_streams_are_compared_field_by_field() {
    let args = words!("--section e1000e --section fw_cfg --section mc146818rtc");
    let output = migcompat(&[&["stream", "diff", OLD_Q35, Q35][..], &args[..2]].concat());
    insta::assert_snapshot!(stdout(&output));
    assert!(stdout(&output).contains("core.itr_intr_pending"));

    let same = migcompat(&[&["stream", "diff", Q35, Q35][..], &args[..]].concat());
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    assert!(stdout(&same).ends_with("no differences\n"));
}

#[apply(test)]
fn a_difference_has_its_place_and_both_values() {
    let bytes = small();
    let stream = parse(&bytes).stream;
    let timer = stream.section("timer", 0).expect("it is there");
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::write(&old, &bytes).expect("written");
    let mut changed = bytes;
    changed[timer.payload_offset as usize + 7] ^= 0x40;
    std::fs::write(&new, &changed).expect("written");
    let (old, new) = (old.to_str().expect("plain"), new.to_str().expect("plain"));
    let output = migcompat(&["stream", "diff", old, new, "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let diff: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let [section] = diff["sections"].as_array().expect("a list").as_slice() else {
        panic!("{diff}");
    };
    assert_eq!(section["section"], "timer");
    let change = &section["changes"][0];
    assert_eq!(change["kind"], "value");
    assert_eq!(change["path"], serde_json::json!(["cpu_ticks_offset"]));
    assert_eq!(change["old"]["offset"], timer.payload_offset);
    assert_ne!(change["old"]["value"], change["new"]["value"]);
}

#[apply(test)]
fn elements_that_are_described_in_another_way_are_no_difference_in_layout() {
    const NEW_Q35: &str = "fixtures/streams/11.1.3/x86_64-q35.stream.zst";
    // One array whose elements are mostly null: a piece of bytes before 10.0, and then three parts.
    let output = migcompat(&words!(
        "stream diff {OLD_S390X} {S390X} --section s390_css"
    ));
    assert!(stdout(&output).ends_with("no differences\n"));
    // One whose elements have a number each before 11.1, and none since.
    let output = migcompat(&words!(
        "stream diff {Q35} {NEW_Q35} --section 0000:00:1f.2/ich9_ahci"
    ));
    let printed = stdout(&output);
    assert!(!printed.contains("  layout"), "{printed}");
    assert!(printed.contains("  value ahci/dev[0]/"), "{printed}");

    // A value in such an array is told, by its place.
    let mut changed = unpacked("10.0.13/s390x-ccw.stream.zst");
    let stream = parse(&changed).stream;
    let css = stream.section("s390_css", 0).expect("it is there");
    let structure = css.content.structure().expect("it is described");
    let mut fields = structure.fields.iter();
    let some = fields.find(|node| matches!(node.value, Value::Struct(_)));
    let at = some.expect("one of the elements").offset as usize;
    changed[at + 5] ^= 1;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("changed");
    std::fs::write(&file, &changed).expect("written");
    let file = file.to_str().expect("plain");
    let output = migcompat(&words!("stream diff {OLD_S390X} {file} --section s390_css"));
    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("  value css (not described alike in both streams"),
        "{printed}"
    );
    assert!(printed.contains("from byte 259: "), "{printed}");
}

#[apply(test)]
fn an_array_that_was_described_wrongly_is_left_as_bytes() {
    let output = migcompat(&["stream", "show", OLD_S390X, "--section", "s390_css"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("css: struct"),
        "{}",
        stdout(&output)
    );
}

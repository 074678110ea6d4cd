//! The reader on real streams, and on streams by hand.

use crate::stream::read::*;
use crate::stream::testing::fixture;
use crate::stream::{Leaf, Page, RamBlock};

/// Reads a stream that is good.
fn whole(bytes: &[u8]) -> Stream {
    let Reading { stream, error, .. } = parse(bytes);
    assert!(error.is_none(), "{error:?}");
    stream
}

#[test]
fn sections_stand_where_they_say() {
    let bytes = fixture("10.0.13/m68k-virt");
    let stream = whole(&bytes);
    assert_eq!(stream.machine(), Some("virt-7.2"));
    let timer = stream.section("timer", 0).expect("every guest has it");
    assert_eq!(bytes[timer.offset as usize], FULL);
    let payload = &bytes[timer.payload_offset as usize..][..timer.size as usize];
    assert_eq!(timer.payload, payload);
    let fields = &timer.content.structure().expect("decoded").fields;
    let names: Vec<_> = fields.iter().map(|f| (&*f.name, &*f.type_name)).collect();
    assert_eq!(
        names,
        [
            ("cpu_ticks_offset", "int64"),
            ("unused", "unused_buffer"),
            ("cpu_clock_offset", "int64")
        ]
    );
    for field in fields {
        let at = field.offset as usize;
        assert_eq!(field.bytes, bytes[at..at + field.bytes.len()]);
    }
    assert!(matches!(fields[0].leaf(), Some(Leaf::Signed(_))));
}

/// Sums up what passes.
#[derive(Debug, Default, PartialEq)]
struct Pages {
    blocks: Vec<RamBlock>,
    filled: u64,
    sent: u64,
}

impl RamVisitor for Pages {
    fn blocks(&mut self, blocks: &[RamBlock]) {
        self.blocks = blocks.to_vec();
    }

    fn page(&mut self, block: &str, address: u64, page: Page<'_>) {
        let known = self.blocks.iter().find(|b| *b.name == *block);
        assert!(known.is_some_and(|b| address < b.length));
        match page {
            Page::Filled(0) => self.filled += 4096,
            Page::Bytes(bytes) => self.sent += bytes.len() as u64,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_visitor_sees_every_page_of_guest_memory() {
    let bytes = fixture("7.2.22/aarch64-virt");
    let reading = read(bytes.as_slice(), Options::default(), Pages::default());
    assert!(reading.error.is_none(), "{:?}", reading.error);
    let total: u64 = reading.visitor.blocks.iter().map(|b| b.length).sum();
    assert!(total > 16 << 20);
    assert!(reading.visitor.sent > 0);
    assert_eq!(reading.visitor.filled + reading.visitor.sent, total);
}

#[test]
fn pieces_of_any_size_give_the_same_stream() {
    let bytes = fixture("11.1.3/m68k-virt");
    let whole = format!("{:?}", parse(&bytes).stream);
    for size in [1, 7, 4096, 100_000] {
        let mut parser = Parser::new(Options::default(), ());
        for piece in bytes.chunks(size) {
            parser.feed(piece).expect("a good stream");
        }
        assert!(matches!(parser.state, State::Done));
        let pieces = format!("{:?}", parser.finish().stream);
        assert!(pieces == whole, "pieces of {size} bytes");
    }
}

#[test]
fn wrong_streams_are_refused_with_the_place() {
    let stream = fixture("10.0.13/m68k-virt");
    let at = |offset: usize, new: &[u8]| {
        let mut changed = stream.clone();
        changed[offset..offset + new.len()].copy_from_slice(new);
        changed
    };
    let parsed = parse(&stream).stream;
    let section = |name: &str| parsed.section(name, 0).expect("it is there");
    let ram = section("ram");
    let timer = section("timer");
    let timer_end = (timer.payload_offset + timer.size) as usize;
    let wrong = [
        Vec::new(),
        b"#!/bin/sh".to_vec(),
        at(0, &[0x11, 0x22, 0x33, 0x44]),
        at(4, &[0, 0, 0, 2]),
        at(9, &[0xff; 4]),
        at(ram.offset as usize, &[0x55]),
        at(ram.payload_offset as usize + 7, &[0x03]),
        // Without its footer a section would reach to the end.
        at(timer_end, &[0x7f]),
        at(stream.len() - 1, b"x"),
    ];
    let (section, pages) = (ram.offset, ram.payload_offset);
    let wanted = format!(
        "offset 0 (0x0): the stream ends in the middle of the header
offset 0 (0x0): not a migration stream: it starts with 23 21 2f 62
extra channels of a multifd migration
offset 4 (0x4): stream version 2
offset 9 (0x9): the name of the machine type has the length 4294967295
offset {section}\u{20}
offset {pages} (0x{pages:x}): RAM flags 0x3
the stream ends in the middle of section timer 0
the description at the end of the stream is malformed"
    );
    assert_eq!(wanted.lines().count(), wrong.len());
    for (bytes, wanted) in wrong.iter().zip(wanted.lines()) {
        let error = parse(bytes).error.expect("refused").to_string();
        assert!(error.contains(wanted), "wanted {wanted:?} in {error:?}");
    }
}

/// The records of a stream by hand.
fn header() -> Vec<u8> {
    b"QEVM\0\0\0\x03".to_vec()
}

fn section(kind: u8, id: u8, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, id, name.len() as u8];
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
    bytes
}

fn with_footer(mut section: Vec<u8>, id: u8) -> Vec<u8> {
    section.extend_from_slice(&footer(id.into()));
    section
}

fn vmdesc(json: &str) -> Vec<u8> {
    let mut bytes = vec![EOF, VMDESCRIPTION];
    bytes.extend_from_slice(&(json.len() as u32).to_be_bytes());
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

const TWO: &str = r#"{"page_size": 4096, "devices": [
    {"name": "a", "instance_id": 0, "vmsd_name": "a", "version": 1,
     "fields": [{"name": "x", "type": "uint16", "size": 2}]},
    {"name": "b", "instance_id": 0, "size": 3,
     "fields": [{"name": "data", "size": 3, "type": "buffer"}]}]}"#;

#[test]
fn a_footer_inside_a_section_does_not_end_it() {
    // The bytes of its own footer, with nothing behind that could follow one.
    let inner = [&footer(2)[..], &[0x99]].concat();
    let stream = [
        header(),
        with_footer(section(FULL, 1, "a", &[1, 2]), 1),
        with_footer(section(FULL, 2, "b", &inner), 2),
        vec![EOF],
    ]
    .concat();
    let stream = whole(&stream);
    assert_eq!(stream.sections[1].payload, inner);
    assert!(matches!(stream.description, DescriptionState::Absent));
}

/// A stream of four pages of a size: the first ones full of zeros, and one with contents at this place.
fn pages(size: u64, filled: u64) -> Vec<u8> {
    let record = |header: u64| header.to_be_bytes().to_vec();
    let mut ram = record((4 * size) | 0x04);
    ram.extend_from_slice(b"\x03ram");
    ram.extend_from_slice(&(4 * size).to_be_bytes());
    let mut part = vec![PART, 0, 0, 0, 2];
    for page in 0..4 {
        let (name, goes_on) = match page {
            0 => (&b"\x03ram"[..], 0),
            _ => (&b""[..], 0x20),
        };
        let form = if page == filled { 0x08 } else { 0x02 };
        part.extend(record((page * size) | form | goes_on));
        part.extend_from_slice(name);
        match page == filled {
            true => part.extend(vec![7; size as usize]),
            false => part.push(0),
        }
    }
    part.extend(record(0x10));
    ram.extend(record(0x10));
    let mut start = section(START, 2, "ram", &ram);
    // Its version.
    start[16] = 4;
    [
        header(),
        with_footer(start, 2),
        with_footer(part, 2),
        with_footer(section(FULL, 1, "a", &[1, 2]), 1),
        vec![EOF],
    ]
    .concat()
}

#[test]
fn pages_of_every_size_are_found_whether_zeros_come_first_or_not() {
    for size in [1024, 2048, 4096, 16384] {
        for filled in 0..4 {
            let stream = whole(&pages(size, filled));
            assert_eq!(
                (stream.ram.pages, stream.ram.fills),
                (1, 3),
                "{size} {filled}"
            );
            assert_eq!(stream.devices().count(), 1, "{size} {filled}");
        }
    }
}

#[test]
fn without_footers_the_description_says_where_sections_end() {
    let stream = [
        header(),
        section(FULL, 1, "a", &[1, 2]),
        section(FULL, 2, "b", &[7, 8, 9]),
        vmdesc(TWO),
    ]
    .concat();
    let stream = whole(&stream);
    let sizes: Vec<_> = stream
        .devices()
        .map(|s| (s.name.as_str(), s.size))
        .collect();
    assert_eq!(sizes, [("a", 2), ("b", 3)]);
    let a = stream.sections[0].content.structure().expect("decoded");
    assert_eq!(a.fields[0].leaf(), Some(Leaf::Unsigned(0x0102)));
}

#[test]
fn an_unknown_iterative_section_is_passed_over() {
    let stream = [
        header(),
        with_footer(section(START, 3, "dirty-bitmap", &[0x7e, 0, 0]), 3),
        with_footer(section(FULL, 1, "a", &[1, 2]), 1),
        with_footer(vec![PART, 0, 0, 0, 3, 1, 2, 3, 4], 3),
        with_footer(vec![END, 0, 0, 0, 3], 3),
        vec![EOF],
    ]
    .concat();
    let stream = whole(&stream);
    assert_eq!(stream.sections[0].kind, SectionKind::Iterative);
    assert_eq!(stream.sections[0].size, 3 + 4);
    assert_eq!(stream.sections.len(), 2);
}

#[test]
fn an_error_in_the_description_has_its_place_however_the_bytes_come() {
    let bytes = [header(), vmdesc(r#"{"devices": [}"#)].concat();
    let offset = bytes.iter().rposition(|&b| b == b'}').expect("it is there") as u64;
    assert_eq!(parse(&bytes).error.map(|e| e.offset), Some(offset));
    let mut parser = Parser::new(Options::default(), ());
    for piece in bytes.chunks(3) {
        let _ = parser.feed(piece);
    }
    assert_eq!(parser.finish().error.map(|e| e.offset), Some(offset));
}

#[test]
fn a_section_larger_than_the_limit_is_refused() {
    let bytes = fixture("10.0.13/m68k-virt");
    let options = Options {
        limit: 100,
        ..Options::default()
    };
    let error = read(bytes.as_slice(), options, ()).error.expect("refused");
    assert!(matches!(
        error.kind,
        StreamErrorKind::TooLarge { limit: 100 }
    ));
}

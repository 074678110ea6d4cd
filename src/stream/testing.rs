//! Streams for unit tests: real ones, and small ones made by hand.

use std::path::Path;

use bytes::Bytes;

use crate::model::SectionName;
use crate::stream::vmdesc::{Occurs, StructDesc, VmDesc};
use crate::stream::{Content, Section, SectionKind, Stream, decode, open};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams"))
}

/// The stream `VERSION/NAME`, unpacked.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    open(&folder().join(format!("{name}.stream.zst")))
        .expect("the fixture is there")
        .read_to_end(&mut bytes)
        .expect("and sound");
    bytes
}

/// All of them.
pub(crate) fn fixtures() -> Vec<(String, Vec<u8>)> {
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
    assert!(!names.is_empty());
    let load = |name: String| {
        let bytes = fixture(&name);
        (name, bytes)
    };
    names.into_iter().map(load).collect()
}

/// Describes `dev` by its fields and their sizes: unsigned numbers (`n:4`), arrays of them (`regs:4*2`), elements that have an
/// entry of their own (`regs:4@0`), and those of another type (`config=pci~config:64`, where `~` is a space).
pub(crate) fn fields(version: u32, layout: &str) -> String {
    let field = |field: &str| {
        let (name, size) = field.split_once(':').expect("a size");
        let (size, occurs) = match size.split_once(['*', '@']) {
            Some((of, n)) if size.contains('*') => (of, format!(r#", "array_len": {n}"#)),
            Some((of, n)) => (of, format!(r#", "index": {n}"#)),
            None => (size, String::new()),
        };
        let (name, of) = match name.split_once('=') {
            Some((name, of)) => (name, of.replace('~', " ")),
            None => (
                name,
                format!("uint{}", 8 * size.parse::<u64>().expect("a number")),
            ),
        };
        format!(r#"{{"name": "{name}", "type": "{of}", "size": {size}{occurs}}}"#)
    };
    let fields: Vec<String> = layout.split_whitespace().map(field).collect();
    let fields = fields.join(", ");
    format!(r#""vmsd_name": "dev", "version": {version}, "fields": [{fields}]"#)
}

/// A hand-made section: name, version, the description as a stream has it, and the bytes.
pub(crate) struct HandMade {
    name: &'static str,
    version_id: u32,
    description: StructDesc,
    bytes: Vec<u8>,
}

/// Makes a section of zeros.
pub(crate) fn section(name: &'static str, version_id: u32, description: &str) -> HandMade {
    let json = format!(r#"{{"devices": [{{"name": "{name}", "instance_id": 0, {description}}}]}}"#);
    let mut vmdesc = VmDesc::parse(json.as_bytes()).expect("a description");
    let description = vmdesc.devices.remove(0).description;
    HandMade {
        name,
        version_id,
        bytes: zeros(&description),
        description,
    }
}

impl HandMade {
    /// Puts bytes at places in the section.
    pub(crate) fn with(mut self, values: &[(usize, u8)]) -> Self {
        for &(at, byte) in values {
            self.bytes[at] = byte;
        }
        self
    }

    pub(crate) fn of(self, bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        HandMade { bytes, ..self }
    }
}

/// The payloads stand at 1000, 2000 and so on.
pub(crate) fn hand_made(sections: &[HandMade]) -> Stream {
    let mut stream = Stream::default();
    for (index, made) in sections.iter().enumerate() {
        let description = &made.description;
        let payload = Bytes::from(made.bytes.clone());
        let payload_offset = 1000 * (index as u64 + 1);
        let decoded = decode(description, &payload, payload_offset);
        assert_eq!(decoded.error, None, "{}", made.name);
        stream.sections.push(Section {
            id: index as u32,
            name: SectionName::described(made.name, description.name()),
            instance_id: 0,
            version_id: made.version_id,
            kind: SectionKind::Device,
            offset: payload_offset - 20,
            payload_offset,
            size: payload.len() as u64,
            payload,
            content: Content::Decoded(decoded.structure),
        });
    }
    stream
}

/// Returns what a device whose state is all zero sends.
fn zeros(description: &StructDesc) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in &description.fields {
        let count = match field.occurs {
            Occurs::Array(count) => count,
            Occurs::Once | Occurs::Element(_) => 1,
        };
        for _ in 0..count {
            match field.nested.as_slice() {
                [inner] if *field.type_name == *"struct" => bytes.extend(zeros(inner)),
                _ => bytes.resize(bytes.len() + field.size as usize, 0),
            }
        }
    }
    for subsection in &description.subsections {
        let name = subsection.name();
        bytes.extend([5, name.len() as u8]);
        bytes.extend(name.as_bytes());
        bytes.extend(subsection.version.unwrap_or_default().to_be_bytes());
        bytes.extend(zeros(subsection));
    }
    bytes
}

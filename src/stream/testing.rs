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

/// A stream of hand-made sections: name, version, and the description as a stream has it, for which
/// all bytes are zero but those that `values` puts at a place in the section.
pub(crate) struct HandMade {
    pub name: &'static str,
    pub version_id: u32,
    pub description: &'static str,
    pub values: &'static [(usize, u8)],
}

/// Makes a section of zeros.
pub(crate) fn section(name: &'static str, version_id: u32, description: &'static str) -> HandMade {
    HandMade {
        name,
        version_id,
        description,
        values: &[],
    }
}

impl HandMade {
    pub(crate) fn with(self, values: &'static [(usize, u8)]) -> Self {
        HandMade { values, ..self }
    }
}

/// The payloads stand at 1000, 2000 and so on.
pub(crate) fn hand_made(sections: &[HandMade]) -> Stream {
    let mut stream = Stream::default();
    for (index, made) in sections.iter().enumerate() {
        let json = format!(
            r#"{{"devices": [{{"name": "{}", "instance_id": 0, {}}}]}}"#,
            made.name, made.description
        );
        let vmdesc = VmDesc::parse(json.as_bytes()).expect("a description");
        let description = &vmdesc.devices[0].description;
        let mut bytes = zeros(description);
        for &(at, byte) in made.values {
            bytes[at] = byte;
        }
        let payload = Bytes::from(bytes);
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

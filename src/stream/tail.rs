//! Streams without footers: the description, found first, says where each section ends.

use bytes::Bytes;

use crate::model::SectionName;
use crate::stream::cut::Cut;
use crate::stream::error::StreamErrorKind;
use crate::stream::record::{EOF, FULL, VMDESCRIPTION};
use crate::stream::tree::{Content, Section, SectionKind, Stream};
use crate::stream::values;
use crate::stream::vmdesc::VmDesc;

pub(crate) struct Found<'a> {
    /// The offset of the end mark before the description.
    pub offset: usize,
    pub json: &'a [u8],
}

/// The description that these bytes end with.
pub(crate) fn description(bytes: &[u8]) -> Option<Found<'_>> {
    (0..bytes.len()).find_map(|at| {
        let [EOF, VMDESCRIPTION, a, b, c, d, json @ ..] = bytes.get(at..)? else {
            return None;
        };
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        (size == json.len() && json.first() == Some(&b'{')).then_some(Found { offset: at, json })
    })
}

/// Cuts `bytes` into the section at `index`, whose header was read, and those that follow it.
pub(crate) fn split(
    stream: &mut Stream,
    index: usize,
    bytes: &Bytes,
    vmdesc: &VmDesc,
) -> Result<(), (usize, StreamErrorKind)> {
    let base = stream.sections[index].payload_offset;
    let (mut index, mut at) = (index, 0);
    loop {
        let section = &mut stream.sections[index];
        let undelimited = |section: &Section| StreamErrorKind::Undelimited {
            name: section.name.to_string(),
            instance_id: section.instance_id,
        };
        let Some(device) = vmdesc.device(section.name.as_str(), section.instance_id) else {
            return Err((at, undelimited(section)));
        };
        let decoded =
            values::decode_prefix(&device.description, &bytes.slice(at..), base + at as u64);
        if let Some(error) = decoded.error {
            section.size = (bytes.len() - at) as u64;
            section.payload = bytes.slice(at..);
            section.content = Content::Broken(decoded.structure, error);
            return Err((at, undelimited(section)));
        }
        section.size = decoded.used as u64;
        section.payload = bytes.slice(at..at + decoded.used);
        at += decoded.used;
        if at == bytes.len() {
            return Ok(());
        }
        let mut cut = Cut::new(&bytes[at..], true);
        let header = (|| {
            let kind = cut.u8().ok()?;
            let id = cut.u32().ok()?;
            let name = SectionName::new(cut.name("a section").ok()?);
            let (instance_id, version_id) = (cut.u32().ok()?, cut.u32().ok()?);
            (kind == FULL).then_some((id, name, instance_id, version_id))
        })();
        let Some((id, name, instance_id, version_id)) = header else {
            return Err((
                at,
                StreamErrorKind::Record {
                    expected: "the header of a device's section",
                    found: bytes[at],
                },
            ));
        };
        let offset = base + at as u64;
        at += cut.used();
        index = stream.sections.len();
        stream.sections.push(Section {
            id,
            name,
            instance_id,
            version_id,
            kind: SectionKind::Device,
            offset,
            payload_offset: base + at as u64,
            size: 0,
            payload: Bytes::new(),
            content: Content::Undescribed,
        });
    }
}

//! The records that stand between the bodies of sections, and how to find where one begins.

use bytes::Bytes;
use memchr::memchr;
use rustc_hash::FxHashMap;

use crate::stream::cut::{Cut, Stop, text};
use crate::stream::error::StreamErrorKind;
use crate::stream::tree::Configuration;
use crate::stream::values;

const MAGIC: [u8; 4] = *b"QEVM";
const MULTIFD_MAGIC: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

pub(crate) const EOF: u8 = 0x00;
pub(crate) const START: u8 = 0x01;
pub(crate) const PART: u8 = 0x02;
pub(crate) const END: u8 = 0x03;
pub(crate) const FULL: u8 = 0x04;
pub(crate) const VMDESCRIPTION: u8 = 0x06;
pub(crate) const CONFIGURATION: u8 = 0x07;
pub(crate) const COMMAND: u8 = 0x08;
pub(crate) const FOOTER: u8 = 0x7e;

/// One more than the highest command that QEMU 11.1 knows, with room for those to come.
const COMMANDS: u16 = 32;
/// Longest machine name that is believed.
const LONGEST_MACHINE: u64 = 1024;
const MOST_CAPABILITIES: u64 = 256;

pub(crate) fn header(cut: &mut Cut<'_>) -> Result<(), Stop> {
    let magic = cut.peek_up_to(4)?;
    if magic == MULTIFD_MAGIC {
        return Err(cut.fail(StreamErrorKind::MultifdChannel));
    }
    if !MAGIC.starts_with(magic) {
        return Err(cut.fail(StreamErrorKind::Magic {
            found: magic.to_vec(),
        }));
    }
    cut.take(4)?;
    let version = cut.u32()?;
    if version != 3 {
        return Err(cut.fail_back(4, StreamErrorKind::Version { found: version }));
    }
    Ok(())
}

/// Reads what follows the type byte, which `offset` is one behind.
pub(crate) fn configuration(cut: &mut Cut<'_>, offset: u64) -> Result<Configuration, Stop> {
    let all = Cut::new(cut.rest(), cut.is_last());
    let start = cut.used();
    let size = cut.length("the name of the machine type", LONGEST_MACHINE)?;
    let name = cut.take(size as usize)?;
    let machine = text(name)
        .ok_or_else(|| {
            cut.fail_back(
                name.len(),
                StreamErrorKind::Name {
                    what: "the machine type",
                    found: name.to_vec(),
                },
            )
        })?
        .to_owned();
    let mut configuration = Configuration {
        offset: offset - 1,
        payload: Bytes::new(),
        machine,
        target_page_bits: None,
        capabilities: Vec::new(),
        uuid: None,
        structure: None,
    };
    while cut.peek_up_to(1)? == [values::SUBSECTION] {
        let begin = cut.used();
        cut.u8()?;
        let name = cut.name("a subsection of the configuration")?;
        cut.u32()?; // version
        match name {
            "configuration/target-page-bits" => {
                configuration.target_page_bits = Some(cut.u32()?);
            }
            "configuration/capabilities" => {
                for _ in 0..cut.length("the list of capabilities", MOST_CAPABILITIES)? {
                    let name = cut.name("a capability")?;
                    configuration.capabilities.push(name.to_owned());
                }
            }
            "configuration/uuid" => {
                let mut uuid = [0; 16];
                uuid.copy_from_slice(cut.take(16)?);
                configuration.uuid = Some(uuid);
            }
            name => {
                return Err(Stop::Fail {
                    at: begin,
                    kind: StreamErrorKind::Configuration {
                        name: name.to_owned(),
                    },
                });
            }
        }
    }
    let size = cut.used() - start;
    configuration.payload = Bytes::copy_from_slice(all.peek(size)?);
    Ok(configuration)
}

pub(crate) fn footer(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [FOOTER, a, b, c, d]
}

/// Finds how many bytes belong to the body of a section, and whether its footer follows them.
pub(crate) fn find_footer(
    cut: &Cut<'_>,
    footer: [u8; 5],
    ids: &FxHashMap<u32, usize>,
) -> Result<(usize, bool), Stop> {
    let bytes = cut.rest();
    let mut from = 0;
    loop {
        let here = bytes.get(from..).unwrap_or_default();
        let Some(at) = memchr(FOOTER, here).map(|at| at + from) else {
            return match bytes.len() {
                0 => Err(Stop::Need(1)),
                size => Ok((size, false)),
            };
        };
        let candidate = &bytes[at..];
        let known = candidate.len().min(5);
        if candidate[..known] == footer[..known] {
            let mut after = Cut::new(&candidate[known..], cut.is_last());
            let verdict = if known < 5 {
                Err(Stop::Need(0))
            } else {
                follows(&mut after, ids)
            };
            match verdict {
                Ok(true) => return Ok((at, true)),
                Ok(false) => {}
                // What comes before is certain; the candidate waits for more bytes.
                Err(_) if at > 0 => return Ok((at, false)),
                // The stream ends within or behind the footer.
                Err(_) if cut.is_last() && known == 5 => return Ok((0, true)),
                Err(Stop::Need(size)) => return Err(Stop::Need(5 + size.max(1))),
                Err(stop) => return Err(stop),
            }
        }
        from = at + 1;
    }
}

/// Tells whether this can come behind a footer. Asks for more bytes while it could be.
fn follows(cut: &mut Cut<'_>, ids: &FxHashMap<u32, usize>) -> Result<bool, Stop> {
    Ok(match cut.u8()? {
        START | FULL => {
            let id = cut.u32()?;
            let length = cut.u8()?;
            let name = cut.take(length.into())?;
            !ids.contains_key(&id) && text(name).is_some()
        }
        PART | END => ids.contains_key(&cut.u32()?),
        COMMAND => (1..COMMANDS).contains(&cut.u16()?),
        EOF => match cut.peek_up_to(6)? {
            [VMDESCRIPTION, _, _, _, _, brace] => *brace == b'{',
            [VMDESCRIPTION, ..] | [] => true,
            _ => false,
        },
        _ => false,
    })
}

//! Explanations in words.

use std::fmt;

use crate::compare::explain::Objection;
use crate::compare::explain::explanation::Explanation;
use crate::compare::explain::reason::{
    Lacking, OwnSubsection, Reason, Register, Spot, Takes, Weight,
};
use crate::compare::streams::Leaf;
use crate::model::{count, first_few, joined};
use crate::stream::text::text_of;
use crate::stream::tree::Leaf as Held;

impl Reason {
    /// Returns what stands at the place in what was sent: name, type, size and value.
    pub(crate) fn sent(&self) -> Option<String> {
        Some(match self {
            Reason::Section { version_id, .. } => format!("section of version {version_id}"),
            Reason::Version { sent, .. } => format!("version {sent}"),
            Reason::Memory { block, sent, .. } => format!("{block} of {sent} bytes"),
            Reason::Subsection { name, own, .. } => match own {
                Some(OwnSubsection::Version { sent, .. }) => {
                    format!("subsection {name} of version {sent}")
                }
                Some(OwnSubsection::AtLeast { sent, .. }) => {
                    format!("subsection {name} of version {sent}")
                }
                Some(OwnSubsection::None | OwnSubsection::NotNeeded) | None => {
                    format!("subsection {name}")
                }
            },
            Reason::Layout { sent, .. } => match sent.as_ref()? {
                Spot::Field(field) => with_value(field),
                Spot::End => END.to_owned(),
            },
            Reason::Several { first, .. } => first.sent()?,
            Reason::Unequal { sent, .. } | Reason::TooMany { sent, .. } => with_value(sent),
            Reason::LacksRegisters { list, registers } => {
                let Register { index, number, .. } = registers.first()?;
                format!("{list}[{index}] = 0x{number:x}")
            }
            Reason::OtherRegisters { list, registers } => {
                let (Register { index, value, .. }, _) = registers.first()?;
                format!("{list}[{index}] = 0x{value:x}")
            }
            Reason::PciConfig {
                field, at, sent, ..
            } => format!("{field} byte 0x{at:x} = 0x{sent:02x}"),
            Reason::SameLayout { .. } => return None,
        })
    }

    /// Returns what the destination's build has there.
    pub(crate) fn expected(&self) -> Option<String> {
        Some(match self {
            Reason::Section { instead, .. } => format!("section {}", instead.as_ref()?),
            Reason::Version { takes, .. } => takes.to_string(),
            Reason::Memory {
                own: None,
                renamed: Some(name),
                ..
            } => format!("{name}, of as many bytes"),
            Reason::Memory { own: None, .. } => "no such block".to_owned(),
            Reason::Memory { own: Some(own), .. } => format!("{own} bytes"),
            Reason::Subsection { own, .. } => match (*own)? {
                OwnSubsection::None => "no subsection of this name".to_owned(),
                OwnSubsection::NotNeeded => {
                    "no subsection of this name, in its own state".to_owned()
                }
                OwnSubsection::Version { own, .. } => format!("version {own}"),
                OwnSubsection::AtLeast { minimum, .. } => Takes::AtLeast(minimum).to_string(),
            },
            Reason::Layout { expected, .. } => match expected.as_ref()? {
                Spot::Field(field) => shape(field),
                Spot::End => END.to_owned(),
            },
            Reason::Several { first, .. } => first.expected()?,
            Reason::Unequal { own, .. } => with_value(own),
            Reason::TooMany { own, most, .. } => format!("{}, at most {most}", shape(own)),
            Reason::LacksRegisters { .. } => "a system register that the CPU has".to_owned(),
            Reason::OtherRegisters { registers, .. } => format!("0x{:x}", registers.first()?.1),
            Reason::PciConfig { own, .. } => format!("0x{own:02x}"),
            Reason::SameLayout { .. } => return None,
        })
    }
}

/// Number of registers or fields that a sentence names before it counts the rest.
const NAMED: usize = 3;

/// The place behind the last field.
const END: &str = "the end of the section";

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = match self.instance_id {
            0 => self.section.to_string(),
            instance => format!("{} {instance}", self.section),
        };
        // These are about one place in the section.
        if let Reason::Subsection { .. } | Reason::Layout { .. } = &self.reason {
            let field = self.field.as_deref().unwrap_or_default();
            write!(f, "{section}, {field}")?;
            if let Some(offset) = self.offset {
                write!(f, ", offset {offset}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.reason.words(&section))?;
        if self.only_one {
            f.write_str("; no other section gives a reason to refuse it")?;
        }
        Ok(())
    }
}

impl Reason {
    /// Words it, for a section of this name and instance.
    fn words(&self, section: &str) -> String {
        match self {
            Reason::Section {
                instead, described, ..
            } => {
                let why = match (instead, described) {
                    (Some(other), _) => {
                        &format!("it sends {other} instead, which the source does not send")
                    }
                    (None, true) => {
                        "it knows the description, but registers none of this name and instance"
                    }
                    (None, false) => {
                        "it may register it under another name or instance, or not at all"
                    }
                };
                format!(
                    "the source sends the section {section}, which the destination's build does not send for \
                     the same configuration: {why}"
                )
            }
            Reason::Subsection {
                name,
                own: Some(OwnSubsection::NotNeeded),
                ..
            } => format!(
                "the source sent the subsection {name}, which the destination's build did not need in its own state; \
                 one that it does not know is refused, and here it died"
            ),
            Reason::Subsection { difference, .. } => difference.clone(),
            Reason::Layout {
                sent,
                expected,
                lacking,
                more,
                weight,
                difference,
            } => {
                let parts = (*lacking, sent.as_ref(), expected.as_ref());
                let parting = parting(parts, *more).unwrap_or_else(|| difference.clone());
                format!("{parting}{}", weight.words())
            }
            Reason::Version { sent, takes } => format!(
                "the source sends version {sent} of {section}; the destination's build takes {takes}"
            ),
            Reason::Memory {
                block,
                sent,
                own: None,
                renamed: Some(renamed),
            } => format!(
                "the source sends the memory block {block} of {sent} bytes, which the destination's build calls \
                 {renamed}; a block is looked for by its name alone, so that a machine type has to keep the name that it \
                 has in the older build"
            ),
            Reason::Memory {
                block,
                sent,
                own: None,
                ..
            } => format!(
                "the source sends the memory block {block} of {sent} bytes, which the destination's build does \
                 not have for the same configuration"
            ),
            Reason::Memory {
                block,
                sent,
                own: Some(own),
                ..
            } => format!(
                "the memory block {block} has {sent} bytes in what was sent and {own} in the destination's build"
            ),
            Reason::Several { places, .. } => {
                let places = places.iter().map(|place| {
                    format!("{} ({}, offset {})", place.field, place.rule, place.offset)
                });
                format!(
                    "the layouts of {section} part in several places, and a version or a test decides which of \
                     them the destination reads: {}",
                    joined(places, ", ")
                )
            }
            Reason::Unequal { sent, own } => format!(
                "{} in {section} must equal the value of the destination's own device: {} was sent, it has {}",
                sent.label,
                value(sent),
                value(own)
            ),
            Reason::TooMany {
                sent, length, most, ..
            } => format!(
                "{} may be at most {most} in {section}, as the destination's own device has it: {length} was \
                 sent",
                sent.label
            ),
            Reason::LacksRegisters { registers, .. } => format!(
                "the source sends system registers in {section} that the destination's CPU does not have: {}",
                first_few(registers.iter().map(|r| format!("0x{:x}", r.number)), NAMED)
            ),
            Reason::OtherRegisters { registers, .. } => {
                let registers = registers.iter().map(|(sent, own)| {
                    format!("0x{:x} (0x{:x}, there 0x{own:x})", sent.number, sent.value)
                });
                format!(
                    "system registers in {section} have other values than on a machine of the destination's \
                     build that never ran, and a load ends at one that cannot be written: {}",
                    first_few(registers, NAMED)
                )
            }
            Reason::PciConfig {
                at,
                part,
                sent,
                own,
                ..
            } => format!(
                "the PCI configuration space of {section} differs where a guest cannot write, first at \
                 0x{at:x} ({part}): 0x{sent:02x} was sent, the destination's own device has 0x{own:02x}"
            ),
            Reason::SameLayout {
                unseen,
                is_unseen,
                up_to,
                objection,
                tested,
                differing,
            } => {
                if let Some(tested) = tested {
                    return format!(
                        "{section} is laid out alike in what both builds sent, but {tested}"
                    );
                }
                let after = after_same_layout(*objection, *is_unseen, differing);
                let up_to = up_to.as_ref().map(|field| format!(" up to {field}"));
                let up_to = up_to.unwrap_or_default();
                let but = match unseen.as_slice() {
                    [] => String::new(),
                    names => format!(
                        " (a stream does not describe what is in {})",
                        names.join(", ")
                    ),
                };
                format!("the layout of {section} is the same in both builds{up_to}{but}: {after}")
            }
        }
    }
}

/// Says what one side has of a layout and the other has not, where the fields show it.
fn parting(
    (lacking, sent, expected): (Lacking, Option<&Spot>, Option<&Spot>),
    more: usize,
) -> Option<String> {
    let more = match more {
        0 => String::new(),
        1 => " and the field behind it".to_owned(),
        n => format!(" and {n} fields behind it"),
    };
    Some(match (lacking, sent, expected) {
        (Lacking::Destination, Some(Spot::Field(sent)), _) => format!(
            "the source sends {}{more}, which the destination's build does not send itself",
            shape(sent)
        ),
        (Lacking::Source, _, Some(Spot::Field(expected))) => format!(
            "the destination's build reads {}{more}, which the source does not send",
            shape(expected)
        ),
        (Lacking::Neither, Some(Spot::Field(sent)), Some(Spot::Field(expected))) => format!(
            "the source sends {}{more}, the destination's build has {} there",
            shape(sent),
            shape(expected)
        ),
        _ => return None,
    })
}

impl Weight {
    /// Says how far a difference of layouts may be trusted.
    fn words(self) -> &'static str {
        match self {
            Weight::Given => "",
            Weight::Test => "; a version or a test decides whether it reads that",
            Weight::AfterReset => ", in a machine that never ran",
            Weight::Length => {
                "; where that length is not the state's to choose, the load ends there"
            }
        }
    }
}

/// Says what a load failed of though the layouts are the same, and which values differ.
fn after_same_layout(
    objection: Option<Objection>,
    is_unseen: bool,
    differing: &[String],
) -> String {
    let why = match (objection, differing) {
        (Some(Objection::Length), _) => {
            "the destination reads another number of bytes than its own build sends"
        }
        (Some(Objection::Death), []) => "nothing in the stream shows what the destination died of",
        (Some(Objection::Death), _) => "it died of a value, or of what it does with one",
        (Some(Objection::Subsection), _) => "it does not know a subsection of it",
        // Without a reason of the device's own, what was read there may be no such value at all.
        (None, _) if is_unseen => {
            "a check of the values refused it, or it reads that in another layout"
        }
        (Some(Objection::ConfigByte { .. } | Objection::Value) | None, _) => {
            "a check of the values refused it"
        }
    };
    match differing {
        [] => why.to_owned(),
        names => format!(
            "{why}; other values than in a machine of the destination's build that never ran: {}",
            first_few(names, NAMED)
        ),
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Takes::AtMost(version) => write!(f, "at most {version}"),
            Takes::AtLeast(version) => write!(f, "at least {version}"),
            Takes::Own(version) => {
                write!(f, "version {version}, and which older ones it does not say")
            }
        }
    }
}

/// Returns name, type and size.
fn shape(field: &Leaf) -> String {
    let size = count(field.bytes.len(), "byte");
    format!("{} ({}, {size})", field.label, field.type_name)
}

fn with_value(field: &Leaf) -> String {
    format!("{} = {}", shape(field), value(field))
}

fn value(field: &Leaf) -> String {
    match field.kind.leaf(&field.bytes) {
        _ if field.count != 1 => bytes(&field.bytes),
        Held::Bool(value) => value.to_string(),
        Held::Signed(value) => value.to_string(),
        Held::Unsigned(value) => format!("0x{value:x}"),
        Held::Float(value) => value.to_string(),
        Held::Text(value) => format!("{value:?}"),
        Held::Null => "null".to_owned(),
        Held::Bytes(own) => bytes(own),
    }
}

/// Returns bytes as text, if they are one.
fn bytes(bytes: &[u8]) -> String {
    text_of(bytes).unwrap_or_else(|| hex(bytes))
}

/// Returns the first bytes, which are enough to know them by.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 8;
    let shown = joined(bytes.iter().take(SHOWN).map(|b| format!("{b:02x}")), " ");
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    format!("{shown}{more}")
}

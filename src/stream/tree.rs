//! The decoded contents of a stream.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::model::SectionName;
use crate::stream::error::DecodeError;
use crate::stream::text::hex;
use crate::stream::vmdesc::VmDesc;

/// A migration stream, as far as it was read.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// `None` where the machine type sends none (those of QEMU 2.4 and older).
    pub configuration: Option<Configuration>,
    /// Bytes of a page in the RAM section.
    pub page_size: u32,
    /// The sections in the order in which they began.
    pub sections: Vec<Section>,
    pub ram: Ram,
    pub commands: Vec<Command>,
    pub description: DescriptionState,
    /// Bytes of the stream, trailing ones included.
    pub length: u64,
    /// Bytes behind the end of the stream, which mean nothing.
    pub trailing: u64,
}

/// The state of the stream's description of its sections.
#[derive(Debug, Clone, Default)]
pub enum DescriptionState {
    /// The stream was cut off, or wrong, before the place where the description would be.
    #[default]
    NotReached,
    /// The stream is whole and has none: the machine property `suppress-vmdesc` was on, or the
    /// migration went over to postcopy.
    Absent,
    Present(Arc<VmDesc>),
}

/// The configuration section: what both sides must have in common.
#[derive(Debug, Clone, Serialize)]
pub struct Configuration {
    pub offset: u64,
    /// The bytes behind the type byte.
    #[serde(skip)]
    pub payload: Bytes,
    pub machine: String,
    /// Present where the machine may have several page sizes and does not use the smallest.
    pub target_page_bits: Option<u32>,
    pub capabilities: Vec<String>,
    #[serde(serialize_with = "digits")]
    pub uuid: Option<[u8; 16]>,
    /// The fields, where the description covers this section (from QEMU 8.1 on).
    #[serde(skip)]
    pub structure: Option<Structure>,
}

#[derive(Debug, Clone)]
pub struct Section {
    pub id: u32,
    /// The path of the device and the vmsd name.
    pub name: SectionName,
    pub instance_id: u32,
    pub version_id: u32,
    pub kind: SectionKind,
    /// The offset of the section's type byte.
    pub offset: u64,
    /// The offset of the first byte behind the header.
    pub payload_offset: u64,
    /// Bytes between header and footer; of an iterative section, those of all parts.
    pub size: u64,
    /// The bytes of a device's section. Empty for iterative sections, which are not kept.
    pub payload: Bytes,
    pub content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SectionKind {
    /// Guest memory.
    Ram,
    /// State sent in parts while the guest runs, in a format of its own: hash page table, storage
    /// attributes, dirty bitmaps, VFIO. Skipped.
    Iterative,
    /// The state of a device, a CPU or the machine, sent at once.
    Device,
}

/// The decoded or raw fields of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Iterative, or the stream's description was not there or does not list the section.
    Undescribed,
    Decoded(Structure),
    /// The bytes and the description disagree; the fields before that place are there.
    Broken(Structure, DecodeError),
}

impl Content {
    /// The fields, as far as they could be read.
    pub fn structure(&self) -> Option<&Structure> {
        match self {
            Content::Undescribed => None,
            Content::Decoded(structure) | Content::Broken(structure, _) => Some(structure),
        }
    }

    /// Tells whether a description is of it: what is saved by handlers alone has none.
    pub(crate) fn is_described(&self) -> bool {
        let structure = self.structure();
        structure.is_some_and(|structure| !structure.vmsd_name.is_empty())
    }

    pub fn error(&self) -> Option<&DecodeError> {
        match self {
            Content::Broken(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Guest memory as the stream announces and sends it; the fields in the order of `stream show --format json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ram {
    pub blocks: Vec<RamBlock>,
    /// Pages sent as the changes since they were last sent (XBZRLE).
    pub deltas: u64,
    /// Pages of one repeated byte, which is nearly always zero.
    pub fills: u64,
    /// The pages went over other channels (multifd).
    pub multifd: bool,
    /// Pages that are packed, by the capability `compress`.
    pub packed: u64,
    /// Pages with contents of their own, in full or packed.
    pub pages: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RamBlock {
    /// Bytes.
    pub length: u64,
    #[serde(serialize_with = "text")]
    pub name: Arc<str>,
}

/// A message to the destination between sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    pub offset: u64,
    pub number: u16,
    pub length: u16,
}

impl Command {
    /// The name that QEMU has for it, in lower case.
    pub fn name(&self) -> Option<&'static str> {
        Command::name_of(self.number)
    }

    /// The name of the command with this number.
    pub fn name_of(number: u16) -> Option<&'static str> {
        Some(match number {
            1 => "open-return-path",
            2 => "ping",
            3 => "postcopy-advise",
            4 => "postcopy-listen",
            5 => "postcopy-run",
            6 => "postcopy-ram-discard",
            7 => "packaged",
            8 => "enable-colo",
            9 => "postcopy-resume",
            10 => "recv-bitmap",
            11 => "switchover-start",
            _ => return None,
        })
    }
}

/// Fields in the order of the wire, then subsections.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Structure {
    /// Empty for a legacy section, which is saved by SaveVMHandlers.
    #[serde(serialize_with = "text")]
    pub vmsd_name: Arc<str>,
    pub version: Option<u32>,
    pub fields: Vec<Node>,
    pub subsections: Vec<Subsection>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subsection {
    /// The name as sent; the same as `structure.vmsd_name`.
    #[serde(serialize_with = "text")]
    pub name: Arc<str>,
    /// The version as sent.
    pub version_id: u32,
    /// The offset of its marker byte.
    pub offset: u64,
    #[serde(rename = "struct")]
    pub structure: Structure,
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn digits<S: Serializer>(bytes: &Option<[u8; 16]>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.map(|bytes| hex(&bytes)).serialize(serializer)
}

/// A field.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The name in the description. QEMU numbers fields of one name: `unused[1]`.
    pub name: Arc<str>,
    /// QEMU's name of the type.
    pub type_name: Arc<str>,
    /// Set where the node is one element of an array whose elements differ in layout.
    pub index: Option<u64>,
    /// Bytes from the start of the stream.
    pub offset: u64,
    /// All bytes of the field, those of nested fields and of list markers included.
    pub bytes: Bytes,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Leaf(Kind),
    /// An array of leaves: [`Node::leaves`] walks it. Every element has `element_size` bytes.
    Leaves {
        kind: Kind,
        element_size: usize,
        count: usize,
    },
    Struct(Structure),
    /// An array of structures of one layout; `None` is a null pointer.
    Structs(Vec<Option<Structure>>),
    /// The elements of a list, queue or tree, between markers. Where a tree's keys are structures,
    /// key and value take turns.
    List(Vec<Structure>),
}

/// The meaning of the bytes of a leaf. Numbers are big endian on the wire, whatever the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Signed,
    Unsigned,
    /// An IEEE double.
    Float,
    /// A length byte and a name.
    Text,
    /// The placeholder of a null pointer.
    Null,
    /// Padding, which a loader skips.
    Padding,
    Bytes,
}

/// The value of a leaf.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Leaf<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
    Null,
    Bytes(&'a [u8]),
}

impl Section {
    /// Tells whether both are of one device: QEMU finds a section by its name and instance.
    pub(crate) fn is_same(&self, other: &Section) -> bool {
        self.key() == other.key()
    }

    /// Returns what tells it from the others of a stream.
    pub(crate) fn key(&self) -> SectionKey<'_> {
        (&self.name, self.instance_id)
    }

    /// Returns the name with the instance, where it is not the first of that name.
    pub(crate) fn label(&self) -> String {
        match self.instance_id {
            0 => self.name.to_string(),
            instance => format!("{} {instance}", self.name),
        }
    }

    /// Sets the bytes of a section that is kept.
    pub(super) fn set_payload(&mut self, payload: Bytes) {
        self.size = payload.len() as u64;
        self.payload = payload;
    }
}

/// The name and the instance of a section.
pub(crate) type SectionKey<'s> = (&'s SectionName, u32);

impl Structure {
    /// Returns it and all structures inside it, those of subsections included.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Structure> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let next = left.pop()?;
            left.extend(next.fields.iter().flat_map(Node::nested));
            left.extend(next.subsections.iter().map(|s| &s.structure));
            Some(next)
        })
    }

    /// Returns its fields, those together that follow one another under one name: elements of an array, which may have an
    /// entry each, with an index or, by some versions, without one. A stream numbers other fields of one name.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &[Node]> {
        self.fields.chunk_by(|a, b| a.name == b.name)
    }

    /// Tells whether both have the same fields in the same order with the same bytes, at whatever
    /// offsets.
    pub(crate) fn is_alike(&self, other: &Structure) -> bool {
        self.vmsd_name == other.vmsd_name
            && all(&self.fields, &other.fields, Node::is_alike)
            && all(&self.subsections, &other.subsections, |a, b| {
                a.name == b.name && a.structure.is_alike(&b.structure)
            })
    }
}

/// Tells whether two elements of an array, or two null pointers, are alike.
pub(crate) fn are_alike(one: &Option<Structure>, other: &Option<Structure>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_alike(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn all<T>(ones: &[T], others: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    ones.len() == others.len() && ones.iter().zip(others).all(|(a, b)| same(a, b))
}

impl Stream {
    /// The machine type that the guest ran on.
    pub fn machine(&self) -> Option<&str> {
        self.configuration.as_ref().map(|c| c.machine.as_str())
    }

    pub fn vmdesc(&self) -> Option<&Arc<VmDesc>> {
        match &self.description {
            DescriptionState::Present(vmdesc) => Some(vmdesc),
            _ => None,
        }
    }

    /// The sections of devices, CPUs and the machine.
    pub fn devices(&self) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(|s| s.kind == SectionKind::Device)
    }

    /// Tells whether it has a section of this name.
    pub fn has(&self, name: &str) -> bool {
        self.sections.iter().any(|s| s.name == *name)
    }

    pub fn section(&self, name: &str, instance_id: u32) -> Option<&Section> {
        let mut sections = self.sections.iter();
        sections.find(|s| s.name == *name && s.instance_id == instance_id)
    }

    /// Returns the sections of [`Stream::devices`] by their names; of those of one name the last.
    pub(crate) fn devices_by_name(&self) -> HashMap<SectionKey<'_>, &Section> {
        self.devices().map(|s| (s.key(), s)).collect()
    }

    /// The sections whose bytes do not follow their description.
    pub fn broken(&self) -> impl Iterator<Item = (&Section, &DecodeError)> {
        self.sections
            .iter()
            .filter_map(|s| Some((s, s.content.error()?)))
    }
}

impl Configuration {
    /// Tells whether the source had a capability on; only those that both sides must share are
    /// sent.
    pub fn has_capability(&self, name: &str) -> bool {
        self.capabilities.iter().any(|c| c == name)
    }
}

impl Node {
    /// The name with the index: `regs[3]`.
    pub fn label(&self) -> String {
        match self.index {
            Some(index) => format!("{}[{index}]", self.name),
            None => self.name.to_string(),
        }
    }

    /// The values of a leaf (one) or of an array of leaves; nothing for structures.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf<'_>> + Clone {
        let (kind, element_size, count) = match self.value {
            Value::Leaf(kind) => (kind, self.bytes.len(), 1),
            Value::Leaves {
                kind,
                element_size,
                count,
            } => (kind, element_size, count),
            _ => (Kind::Bytes, 0, 0),
        };
        (0..count).map(move |i| {
            let from = i * element_size;
            let bytes = self.bytes.get(from..from + element_size);
            kind.leaf(bytes.unwrap_or_default())
        })
    }

    /// Returns the structures of an array or a list, each with its index.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (usize, &Structure)> {
        let (array, list) = match &self.value {
            Value::Structs(elements) => (elements.as_slice(), &[][..]),
            Value::List(elements) => (&[][..], elements.as_slice()),
            Value::Leaf(_) | Value::Leaves { .. } | Value::Struct(_) => (&[][..], &[][..]),
        };
        let all = array
            .iter()
            .map(Option::as_ref)
            .chain(list.iter().map(Some));
        all.enumerate()
            .filter_map(|(index, element)| Some((index, element?)))
    }

    /// The structures inside it.
    pub(crate) fn nested(&self) -> impl Iterator<Item = &Structure> {
        let one = match &self.value {
            Value::Struct(structure) => Some(structure),
            Value::Leaf(_) | Value::Leaves { .. } | Value::Structs(_) | Value::List(_) => None,
        };
        let elements = self.elements().map(|(_, element)| element);
        one.into_iter().chain(elements)
    }

    fn is_alike(&self, other: &Node) -> bool {
        self.name == other.name
            && self.index == other.index
            && self.bytes == other.bytes
            && match (&self.value, &other.value) {
                (Value::Leaf(a), Value::Leaf(b)) => a == b,
                (Value::Leaves { kind: a, .. }, Value::Leaves { kind: b, .. }) => a == b,
                (Value::Struct(a), Value::Struct(b)) => a.is_alike(b),
                (Value::Structs(a), Value::Structs(b)) => all(a, b, are_alike),
                (Value::List(a), Value::List(b)) => all(a, b, Structure::is_alike),
                _ => false,
            }
    }

    /// The value of a leaf that is no array.
    pub fn leaf(&self) -> Option<Leaf<'_>> {
        match self.value {
            Value::Leaf(kind) => Some(kind.leaf(&self.bytes)),
            _ => None,
        }
    }
}

impl Kind {
    /// Returns the meaning of one of QEMU's types. A type whose width is not the one that its name
    /// promises is left as bytes: targets have types of their own under known names.
    pub fn of(type_name: &str, size: u64) -> Kind {
        let (kind, width) = match type_name {
            "bool" => (Kind::Bool, 1),
            "int8" => (Kind::Signed, 1),
            "int16" => (Kind::Signed, 2),
            "int32" | "int32 equal" | "int32 le" => (Kind::Signed, 4),
            "int64" | "int64 equal" | "timer" => (Kind::Signed, 8),
            "uint8" | "uint8 equal" => (Kind::Unsigned, 1),
            "uint16" | "uint16 equal" | "int32_as_uint16" | "uint16_from_uint8" => {
                (Kind::Unsigned, 2)
            }
            "uint32" | "uint32 equal" => (Kind::Unsigned, 4),
            "uint64" => (Kind::Unsigned, 8),
            "float64" | "CPU_Double_U" => (Kind::Float, 8),
            "nullptr" => (Kind::Null, 1),
            "capability" => return Kind::Text,
            "unused_buffer" => return Kind::Padding,
            _ => return Kind::Bytes,
        };
        if size == width { kind } else { Kind::Bytes }
    }

    /// The value that these bytes are.
    pub fn leaf(self, bytes: &[u8]) -> Leaf<'_> {
        let unsigned = || {
            bytes
                .iter()
                .fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        match self {
            Kind::Bool => Leaf::Bool(bytes.iter().any(|&b| b != 0)),
            Kind::Signed => {
                let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
                Leaf::Signed((unsigned() << unused).cast_signed() >> unused)
            }
            Kind::Unsigned => Leaf::Unsigned(unsigned()),
            Kind::Float => Leaf::Float(f64::from_bits(unsigned())),
            Kind::Text => match bytes.get(1..).map(std::str::from_utf8) {
                Some(Ok(text)) => Leaf::Text(text),
                _ => Leaf::Bytes(bytes),
            },
            Kind::Null if bytes == b"0" => Leaf::Null,
            Kind::Null | Kind::Padding | Kind::Bytes => Leaf::Bytes(bytes),
        }
    }
}

//! A stream for people, and as JSON for programs.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::stream::error::StreamError;
use crate::stream::text::text_of;
use crate::stream::tree::{
    Configuration, Content, DescriptionState, Kind, Leaf, Node, Section, SectionKind, Stream,
    Structure, Subsection, Value,
};

const HEADING: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const WRONG: Style = AnsiColor::Red.on_default().bold();

/// Bytes of a buffer that the text shows.
const SHOWN_BYTES: usize = 32;
/// Runs of equal values of an array that the text shows.
const SHOWN_RUNS: usize = 12;

/// Writes the stream as a tree. `wanted` says which sections.
///
/// # Errors
/// `out` cannot be written.
pub fn text(
    stream: &Stream,
    error: Option<&StreamError>,
    wanted: impl Fn(&Section) -> bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    overview(stream, out)?;
    for section in stream.sections.iter().filter(|s| wanted(s)) {
        writeln!(out)?;
        section_text(section, out)?;
    }
    if let Some(error) = error {
        writeln!(out, "\n{WRONG}the stream ends here{WRONG:#} {error}")?;
    }
    Ok(())
}

fn overview(stream: &Stream, out: &mut dyn Write) -> io::Result<()> {
    let machine = stream
        .machine()
        .unwrap_or("a machine type that sends no name");
    writeln!(
        out,
        "{HEADING}{machine}{HEADING:#}: {} bytes, {} sections, pages of {} bytes",
        stream.length,
        stream.sections.len(),
        stream.page_size
    )?;
    if let Some(configuration) = &stream.configuration {
        if !configuration.capabilities.is_empty() {
            let names = configuration.capabilities.join(", ");
            writeln!(out, "capabilities: {names}")?;
        }
        if let Some(uuid) = configuration.uuid {
            writeln!(out, "uuid: {}", hex(&uuid))?;
        }
    }
    if let DescriptionState::Absent = stream.description {
        writeln!(
            out,
            "The stream does not describe its sections (suppress-vmdesc, or a postcopy migration): their fields are not known."
        )?;
    }
    for command in &stream.commands {
        let name = command
            .name()
            .map_or_else(|| format!("command {}", command.number), str::to_owned);
        writeln!(out, "{DIM}{:#x}{DIM:#} {name}", command.offset)?;
    }
    let ram = &stream.ram;
    for block in &ram.blocks {
        writeln!(out, "RAM block {}: {} bytes", block.name, block.length)?;
    }
    if !ram.blocks.is_empty() {
        writeln!(
            out,
            "RAM pages: {} sent, {} of one repeated byte, {} as changes{}",
            ram.pages,
            ram.fills,
            ram.deltas,
            if ram.multifd {
                "; others over multifd channels"
            } else {
                ""
            }
        )?;
    }
    if stream.trailing > 0 {
        writeln!(out, "{} bytes behind the end", stream.trailing)?;
    }
    Ok(())
}

fn section_text(section: &Section, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{DIM}{:#x}{DIM:#} {HEADING}{} {}{HEADING:#} version {}, {} bytes{}",
        section.offset,
        section.name,
        section.instance_id,
        section.version_id,
        section.size,
        match section.kind {
            SectionKind::Device => "",
            SectionKind::Ram => ", guest memory",
            SectionKind::Iterative => ", sent in parts",
        }
    )?;
    match &section.content {
        Content::Undescribed if section.payload.is_empty() => Ok(()),
        Content::Undescribed => writeln!(out, "  {} (not described)", short(&section.payload)),
        Content::Decoded(structure) => structure_text(structure, 1, out),
        Content::Broken(structure, error) => {
            structure_text(structure, 1, out)?;
            writeln!(
                out,
                "  {WRONG}its description does not fit{WRONG:#} {error}"
            )
        }
    }
}

fn indent(depth: usize, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{:width$}", "", width = 2 * depth)
}

fn structure_text(structure: &Structure, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut fields = structure.fields.iter().peekable();
    while let Some(node) = fields.next() {
        // Elements with entries of their own that have equal contents are printed once.
        let mut same = None;
        while let Some(next) = fields.next_if(|next| {
            node.index.is_some() && next.name == node.name && next.bytes == node.bytes
        }) {
            same = next.index;
        }
        node_text(node, same, depth, out)?;
    }
    for subsection in &structure.subsections {
        subsection_text(subsection, depth, out)?;
    }
    Ok(())
}

fn subsection_text(subsection: &Subsection, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    indent(depth, out)?;
    writeln!(
        out,
        "{DIM}{:#x}{DIM:#} subsection {HEADING}{}{HEADING:#} version {}",
        subsection.offset, subsection.name, subsection.version_id
    )?;
    structure_text(&subsection.structure, depth + 1, out)
}

fn node_text(node: &Node, same: Option<u64>, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    indent(depth, out)?;
    let label = match (node.index, same) {
        (Some(first), Some(last)) => format!("{}[{first}..={last}]", node.name),
        _ => node.label(),
    };
    write!(
        out,
        "{DIM}{:#x}{DIM:#} {label}: {}",
        node.offset, node.type_name
    )?;
    let size = node.bytes.len();
    match &node.value {
        Value::Leaf(_) => writeln!(out, " {DIM}({size}){DIM:#} = {}", leaves(node)),
        Value::Leaves {
            count,
            element_size,
            ..
        } => writeln!(
            out,
            "[{count}] {DIM}({count} x {element_size}){DIM:#} = {}",
            leaves(node)
        ),
        Value::Struct(structure) => {
            writeln!(out, " {} {DIM}({size}){DIM:#}", structure.vmsd_name)?;
            structure_text(structure, depth + 1, out)
        }
        Value::Structs(elements) => {
            writeln!(out, "[{}] {DIM}({size}){DIM:#}", elements.len())?;
            elements_text(elements, depth + 1, out)
        }
        Value::List(elements) => {
            writeln!(out, " of {} {DIM}({size}){DIM:#}", elements.len())?;
            for (i, element) in elements.iter().enumerate() {
                indent(depth + 1, out)?;
                writeln!(out, "[{i}] {}", element.vmsd_name)?;
                structure_text(element, depth + 2, out)?;
            }
            Ok(())
        }
    }
}

fn elements_text(
    elements: &[Option<Structure>],
    depth: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut at = 0;
    while let Some(element) = elements.get(at) {
        let run = elements[at..]
            .iter()
            .take_while(|other| same_values(element.as_ref(), other.as_ref()))
            .count();
        indent(depth, out)?;
        match run {
            1 => write!(out, "[{at}]")?,
            _ => write!(out, "[{at}..={}]", at + run - 1)?,
        }
        match element {
            None => writeln!(out, " = null")?,
            Some(structure) => {
                writeln!(out)?;
                structure_text(structure, depth + 1, out)?;
            }
        }
        at += run;
    }
    Ok(())
}

/// Tells whether two structures have the same contents, at whatever offsets.
fn same_values(a: Option<&Structure>, b: Option<&Structure>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a.fields.len() == b.fields.len()
                && a.subsections.len() == b.subsections.len()
                && a.fields
                    .iter()
                    .zip(&b.fields)
                    .all(|(a, b)| a.name == b.name && a.bytes == b.bytes)
                && a.subsections.iter().zip(&b.subsections).all(|(a, b)| {
                    a.name == b.name && same_values(Some(&a.structure), Some(&b.structure))
                })
        }
        _ => false,
    }
}

/// The value of a leaf, or those of an array with equal neighbours folded.
pub(crate) fn leaves(node: &Node) -> String {
    let is_bytes = matches!(
        node.value,
        Value::Leaves {
            kind: Kind::Unsigned,
            element_size: 1,
            ..
        }
    );
    if let Some(text) = text_of(&node.bytes).filter(|_| is_bytes) {
        return text;
    }
    let mut text = String::new();
    let mut values = node.leaves().peekable();
    let mut runs = 0;
    while let Some(value) = values.next() {
        let mut run = 1u64;
        // Bit by bit, so that a NaN is equal to itself.
        while values.next_if(|next| same_leaf(*next, value)).is_some() {
            run += 1;
        }
        if runs == SHOWN_RUNS {
            let left = run + values.count() as u64;
            // Writing to a string does not fail.
            let _ = write!(text, ", and {left} more");
            break;
        }
        let separator = if runs > 0 { ", " } else { "" };
        let _ = match run {
            1 => write!(text, "{separator}{value}"),
            _ => write!(text, "{separator}{run} x {value}"),
        };
        runs += 1;
    }
    text
}

pub(crate) fn same_leaf(a: Leaf<'_>, b: Leaf<'_>) -> bool {
    match (a, b) {
        (Leaf::Float(a), Leaf::Float(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

impl fmt::Display for Leaf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Bool(value) => write!(f, "{value}"),
            Leaf::Signed(value) => write!(f, "{value}"),
            Leaf::Unsigned(value @ 0..=9) => write!(f, "{value}"),
            Leaf::Unsigned(value) => write!(f, "{value:#x}"),
            Leaf::Float(value) => write!(f, "{value:?}"),
            Leaf::Text(value) => write!(f, "{value:?}"),
            Leaf::Null => f.write_str("null"),
            Leaf::Bytes(bytes) => f.write_str(&short(bytes)),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A buffer as text, if it is one, else as hex: its start, or the one value that fills it.
pub(crate) fn short(bytes: &[u8]) -> String {
    match bytes {
        [] => "(empty)".to_owned(),
        [first, rest @ ..] if rest.len() >= 8 && rest.iter().all(|b| b == first) => {
            format!("{} x {first:02x}", bytes.len())
        }
        _ => text_of(bytes).unwrap_or_else(|| match bytes.get(..SHOWN_BYTES) {
            Some(start) if bytes.len() > SHOWN_BYTES => {
                format!("{}... ({} bytes)", hex(start), bytes.len())
            }
            _ => hex(bytes),
        }),
    }
}

/// Writes the stream as one JSON object. Keys are only ever added to it.
///
/// A field has `value` (a leaf; an array of leaves is a list), `struct`, or `elements` (structures;
/// a null pointer is `null`). Bytes are hex, doubles have their `bits` beside them.
///
/// # Errors
/// `out` cannot be written.
pub fn json(
    stream: &Stream,
    error: Option<&StreamError>,
    wanted: impl Fn(&Section) -> bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    struct Sections<'s, F>(&'s Stream, F);

    impl<F: Fn(&Section) -> bool> Serialize for Sections<'_, F> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let sections = self.0.sections.iter().filter(|s| (self.1)(s));
            serializer.collect_seq(sections.map(SectionJson))
        }
    }

    struct Top<'s, F>(&'s Stream, Option<&'s StreamError>, Sections<'s, F>);

    impl<F: Fn(&Section) -> bool> Serialize for Top<'_, F> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Top(stream, error, sections) = self;
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("schema", "migcompat-stream-1")?;
            map.serialize_entry("machine", &stream.machine())?;
            map.serialize_entry("page_size", &stream.page_size)?;
            map.serialize_entry("length", &stream.length)?;
            map.serialize_entry("trailing", &stream.trailing)?;
            let description = match stream.description {
                DescriptionState::NotReached => "not reached",
                DescriptionState::Absent => "absent",
                DescriptionState::Present(_) => "present",
            };
            map.serialize_entry("description", description)?;
            let configuration = stream.configuration.as_ref().map(ConfigurationJson);
            map.serialize_entry("configuration", &configuration)?;
            let blocks = stream.ram.blocks.iter();
            let blocks: Vec<_> = blocks
                .map(|b| serde_json::json!({"name": &*b.name, "length": b.length}))
                .collect();
            map.serialize_entry(
                "ram",
                &serde_json::json!({
                    "blocks": blocks,
                    "pages": stream.ram.pages,
                    "fills": stream.ram.fills,
                    "deltas": stream.ram.deltas,
                    "multifd": stream.ram.multifd,
                }),
            )?;
            let commands = stream.commands.iter();
            let commands: Vec<_> = commands
                .map(|c| {
                    serde_json::json!({"offset": c.offset, "number": c.number, "name": c.name()})
                })
                .collect();
            map.serialize_entry("commands", &commands)?;
            map.serialize_entry("sections", sections)?;
            let error = error
                .map(|e| serde_json::json!({"offset": e.offset, "message": e.kind.to_string()}));
            map.serialize_entry("error", &error)?;
            map.end()
        }
    }

    let top = Top(stream, error, Sections(stream, wanted));
    serde_json::to_writer(&mut *out, &top)?;
    writeln!(out)
}

struct ConfigurationJson<'s>(&'s Configuration);

impl Serialize for ConfigurationJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let configuration = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("offset", &configuration.offset)?;
        map.serialize_entry("machine", &configuration.machine)?;
        map.serialize_entry("target_page_bits", &configuration.target_page_bits)?;
        map.serialize_entry("capabilities", &configuration.capabilities)?;
        map.serialize_entry("uuid", &configuration.uuid.map(|uuid| hex(&uuid)))?;
        map.end()
    }
}

struct SectionJson<'s>(&'s Section);

impl Serialize for SectionJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let section = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &section.name)?;
        map.serialize_entry("instance_id", &section.instance_id)?;
        map.serialize_entry("version_id", &section.version_id)?;
        map.serialize_entry("id", &section.id)?;
        let kind = match section.kind {
            SectionKind::Ram => "ram",
            SectionKind::Iterative => "iterative",
            SectionKind::Device => "device",
        };
        map.serialize_entry("kind", kind)?;
        map.serialize_entry("offset", &section.offset)?;
        map.serialize_entry("payload_offset", &section.payload_offset)?;
        map.serialize_entry("size", &section.size)?;
        let structure = section.content.structure();
        map.serialize_entry("struct", &structure.map(StructureJson))?;
        let bytes = structure.is_none().then(|| hex(&section.payload));
        map.serialize_entry("bytes", &bytes)?;
        let error = section.content.error();
        map.serialize_entry("error", &error.map(ToString::to_string))?;
        map.end()
    }
}

struct StructureJson<'s>(&'s Structure);

impl Serialize for StructureJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let structure = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("vmsd_name", &*structure.vmsd_name)?;
        map.serialize_entry("version", &structure.version)?;
        map.serialize_entry("fields", &List(structure.fields.iter().map(NodeJson)))?;
        let subsections = structure.subsections.iter().map(SubsectionJson);
        map.serialize_entry("subsections", &List(subsections))?;
        map.end()
    }
}

struct SubsectionJson<'s>(&'s Subsection);

impl Serialize for SubsectionJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &*self.0.name)?;
        map.serialize_entry("version_id", &self.0.version_id)?;
        map.serialize_entry("offset", &self.0.offset)?;
        map.serialize_entry("struct", &StructureJson(&self.0.structure))?;
        map.end()
    }
}

struct NodeJson<'s>(&'s Node);

impl Serialize for NodeJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &*node.name)?;
        map.serialize_entry("type", &*node.type_name)?;
        if let Some(index) = node.index {
            map.serialize_entry("index", &index)?;
        }
        map.serialize_entry("offset", &node.offset)?;
        map.serialize_entry("size", &node.bytes.len())?;
        match &node.value {
            Value::Leaf(_) => {
                if let Some(leaf) = node.leaf() {
                    map.serialize_entry("value", &LeafJson(leaf))?;
                    if let Leaf::Float(value) = leaf {
                        map.serialize_entry("bits", &format!("{:#018x}", value.to_bits()))?;
                    }
                }
            }
            Value::Leaves { .. } => {
                map.serialize_entry("value", &List(node.leaves().map(LeafJson)))?;
            }
            Value::Struct(structure) => {
                map.serialize_entry("struct", &StructureJson(structure))?;
            }
            Value::Structs(elements) => {
                let elements = elements.iter().map(|e| e.as_ref().map(StructureJson));
                map.serialize_entry("elements", &List(elements))?;
            }
            Value::List(elements) => {
                map.serialize_entry("elements", &List(elements.iter().map(StructureJson)))?;
            }
        }
        map.end()
    }
}

struct LeafJson<'n>(Leaf<'n>);

impl Serialize for LeafJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Leaf::Bool(value) => serializer.serialize_bool(value),
            Leaf::Signed(value) => serializer.serialize_i64(value),
            Leaf::Unsigned(value) => serializer.serialize_u64(value),
            Leaf::Float(value) => serializer.serialize_f64(value),
            Leaf::Text(value) => serializer.serialize_str(value),
            Leaf::Null => serializer.serialize_none(),
            Leaf::Bytes(bytes) => serializer.serialize_str(&hex(bytes)),
        }
    }
}

/// A list that is made while it is written.
struct List<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for List<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

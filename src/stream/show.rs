//! A stream for people, and as JSON for programs.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::json;

use crate::stream::error::StreamError;
use crate::stream::text::{hex, text_of};
use crate::stream::tree::{
    Configuration, Content, DescriptionState, Kind, Leaf, Node, Ram, Section, SectionKind, Stream,
    Structure, Value, are_alike,
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
            "RAM pages: {} sent, {} of one repeated byte, {} as changes{}{}",
            ram.pages,
            ram.fills,
            ram.deltas,
            match ram.packed {
                0 => String::new(),
                packed => format!(", {packed} packed"),
            },
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
        indent(depth, out)?;
        writeln!(
            out,
            "{DIM}{:#x}{DIM:#} subsection {HEADING}{}{HEADING:#} version {}",
            subsection.offset, subsection.name, subsection.version_id
        )?;
        structure_text(&subsection.structure, depth + 1, out)?;
    }
    Ok(())
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
            .take_while(|other| are_alike(element, other))
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
    let commands = stream.commands.iter();
    let top = Top {
        schema: "migcompat-stream-1",
        machine: stream.machine(),
        page_size: stream.page_size,
        length: stream.length,
        trailing: stream.trailing,
        description: match stream.description {
            DescriptionState::NotReached => "not reached",
            DescriptionState::Absent => "absent",
            DescriptionState::Present(_) => "present",
        },
        configuration: stream.configuration.as_ref(),
        ram: &stream.ram,
        commands: commands
            .map(|c| json!({"offset": c.offset, "number": c.number, "name": c.name()}))
            .collect(),
        sections: List(stream.sections.iter().filter(|s| wanted(s))),
        error: error.map(|e| json!({"offset": e.offset, "message": e.kind.to_string()})),
    };
    serde_json::to_writer(&mut *out, &top)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Top<'s, S> {
    schema: &'static str,
    machine: Option<&'s str>,
    page_size: u32,
    length: u64,
    trailing: u64,
    description: &'static str,
    configuration: Option<&'s Configuration>,
    ram: &'s Ram,
    commands: Vec<serde_json::Value>,
    sections: S,
    error: Option<serde_json::Value>,
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("instance_id", &self.instance_id)?;
        map.serialize_entry("version_id", &self.version_id)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("payload_offset", &self.payload_offset)?;
        map.serialize_entry("size", &self.size)?;
        let structure = self.content.structure();
        map.serialize_entry("struct", &structure)?;
        let bytes = structure.is_none().then(|| hex(&self.payload));
        map.serialize_entry("bytes", &bytes)?;
        let error = self.content.error();
        map.serialize_entry("error", &error.map(ToString::to_string))?;
        map.end()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &*self.name)?;
        map.serialize_entry("type", &*self.type_name)?;
        if let Some(index) = self.index {
            map.serialize_entry("index", &index)?;
        }
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("size", &self.bytes.len())?;
        match &self.value {
            Value::Leaf(kind) => {
                let leaf = kind.leaf(&self.bytes);
                map.serialize_entry("value", &leaf)?;
                if let Leaf::Float(value) = leaf {
                    map.serialize_entry("bits", &format!("{:#018x}", value.to_bits()))?;
                }
            }
            Value::Leaves { .. } => map.serialize_entry("value", &List(self.leaves()))?,
            Value::Struct(structure) => map.serialize_entry("struct", structure)?,
            Value::Structs(elements) => map.serialize_entry("elements", elements)?,
            Value::List(elements) => map.serialize_entry("elements", elements)?,
        }
        map.end()
    }
}

impl Serialize for Leaf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
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

//! Decoding of a section: its bytes and its description become fields with values.

use std::sync::Arc;

use bytes::Bytes;

use crate::stream::error::{DecodeError, DecodeErrorKind};
use crate::stream::tree::{Kind, Node, Structure, Subsection, Value};
use crate::stream::vmdesc::{FieldDesc, Occurs, StructDesc};

/// Marks a subsection on the wire.
pub(crate) const SUBSECTION: u8 = 0x05;
/// The byte that stands for a null pointer in an array of pointers.
const NULL_POINTER: u8 = b'0';

/// The bytes of a section, decoded.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The fields, up to the error if there is one.
    pub structure: Structure,
    /// Bytes that the description covers.
    pub used: usize,
    pub error: Option<DecodeError>,
}

/// Reads as many of `bytes` as the description covers. `offset` is where they start in the
/// stream. Any description will do, for instance that of another build.
pub fn decode_prefix(description: &StructDesc, bytes: &Bytes, offset: u64) -> Decoded {
    run(description, bytes, offset, false)
}

/// Values and structures of a section that are kept: more take too much memory. Those of all sections of a
/// real guest are some tens of thousands.
const MOST_NODES: usize = 1 << 19;

fn run(description: &StructDesc, bytes: &Bytes, offset: u64, whole: bool) -> Decoded {
    let mut decoder = Decoder {
        bytes,
        whole,
        base: offset,
        at: 0,
        path: Vec::new(),
        // Arrays of empty structures are all that could yield more nodes than there are bytes
        // and entries.
        budget: (1024 + description.count() + 4 * bytes.len()).min(MOST_NODES),
    };
    let mut structure = Structure::default();
    let error = decoder.structure(description, &mut structure).err();
    Decoded {
        structure,
        used: decoder.at,
        error,
    }
}

/// Reads the bytes of a whole section; bytes left over are an error.
pub fn decode(description: &StructDesc, bytes: &Bytes, offset: u64) -> Decoded {
    let mut decoded = run(description, bytes, offset, true);
    let left = bytes.len() - decoded.used;
    if decoded.error.is_none() && left > 0 {
        decoded.error = Some(DecodeError {
            offset: offset + decoded.used as u64,
            path: description.name().to_owned(),
            kind: DecodeErrorKind::LeftOver { left: left as u64 },
        });
    }
    decoded
}

struct Decoder<'a> {
    bytes: &'a Bytes,
    /// The bytes are all that there is: their end is that of the section.
    whole: bool,
    base: u64,
    at: usize,
    path: Vec<Arc<str>>,
    /// Nodes that may still be made.
    budget: usize,
}

impl Decoder<'_> {
    fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        self.error_at(self.at, kind)
    }

    fn error_at(&self, at: usize, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            offset: self.base + at as u64,
            path: self.path.join("/"),
            kind,
        }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, size: u64) -> Result<Bytes, DecodeError> {
        let left = self.left();
        match usize::try_from(size) {
            Ok(size) if size <= left => {
                let bytes = self.bytes.slice(self.at..self.at + size);
                self.at += size;
                Ok(bytes)
            }
            _ => Err(self.error(DecodeErrorKind::Short {
                wanted: size,
                left: left as u64,
            })),
        }
    }

    fn number(&mut self) -> Result<u32, DecodeError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |n, &byte| n << 8 | u32::from(byte)))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn spend(&mut self) -> Result<(), DecodeError> {
        match self.budget.checked_sub(1) {
            Some(budget) => {
                self.budget = budget;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::TooMany)),
        }
    }

    fn structure(
        &mut self,
        description: &StructDesc,
        into: &mut Structure,
    ) -> Result<(), DecodeError> {
        self.spend()?;
        into.vmsd_name = description.vmsd_name.clone().unwrap_or_default();
        into.version = description.version;
        self.path.push(into.vmsd_name.clone());
        for (i, field) in description.fields.iter().enumerate() {
            match self.field(field, into) {
                Err(error)
                    if error.kind == DecodeErrorKind::PointersUnknown
                        && self.whole
                        && self.path.len() == 2
                        && description.subsections.is_empty() =>
                {
                    self.opaque(field, &description.fields[i + 1..], into, error)?;
                }
                result => result?,
            }
        }
        for subsection in &description.subsections {
            self.subsection(subsection, into)?;
        }
        self.path.pop();
        Ok(())
    }

    fn field(&mut self, field: &FieldDesc, into: &mut Structure) -> Result<(), DecodeError> {
        self.spend()?;
        self.path.push(field.name.clone());
        let start = self.at;
        let mut node = Node {
            name: field.name.clone(),
            type_name: field.type_name.clone(),
            index: match field.occurs {
                Occurs::Element(index) => Some(index),
                Occurs::Once | Occurs::Array(_) => None,
            },
            offset: self.base + start as u64,
            bytes: Bytes::new(),
            value: Value::Leaf(Kind::Bytes),
        };
        let result = self.value(field, &mut node);
        // The part of a field that was read before it failed is worth showing too.
        node.bytes = self.bytes.slice(start..self.at);
        let partial = matches!(
            &node.value,
            Value::Struct(_) | Value::Structs(_) | Value::List(_)
        );
        if result.is_ok() || partial {
            into.fields.push(node);
        }
        result?;
        self.path.pop();
        Ok(())
    }

    /// Takes an array of unknown layout as bytes: all except those of the fields behind it. QEMU
    /// 5.2 and 7.2 describe `s390_css` like that.
    fn opaque(
        &mut self,
        field: &FieldDesc,
        behind: &[FieldDesc],
        into: &mut Structure,
        error: DecodeError,
    ) -> Result<(), DecodeError> {
        let behind = behind.iter().try_fold(0u64, |sum, field| {
            let count = match field.occurs {
                Occurs::Array(count) => count,
                Occurs::Once | Occurs::Element(_) => 1,
            };
            sum.checked_add(field.size.checked_mul(count)?)
        });
        let start = into
            .fields
            .pop()
            .map_or(self.at, |partial| self.at - partial.bytes.len());
        self.at = start;
        let size = behind
            .and_then(|behind| (self.left() as u64).checked_sub(behind))
            .ok_or(error)?;
        let bytes = self.take(size)?;
        into.fields.push(Node {
            name: field.name.clone(),
            type_name: field.type_name.clone(),
            index: None,
            offset: self.base + start as u64,
            bytes,
            value: Value::Leaf(Kind::Bytes),
        });
        self.path.pop();
        Ok(())
    }

    fn value(&mut self, field: &FieldDesc, node: &mut Node) -> Result<(), DecodeError> {
        match (&*field.type_name, field.nested.as_slice(), field.occurs) {
            ("struct", [description], Occurs::Array(count)) => {
                let mut elements = Vec::new();
                let read =
                    (0..count).try_for_each(|_| self.element(field, description, &mut elements));
                node.value = Value::Structs(elements);
                read
            }
            ("struct", [description], _) => {
                if self.is_null(field, description) {
                    self.at += 1;
                    node.value = Value::Leaf(Kind::Null);
                    return Ok(());
                }
                let (structure, read) = self.sized_structure(field, description);
                node.value = Value::Struct(structure);
                read
            }
            ("qtailq" | "qlist", elements, Occurs::Once | Occurs::Element(_)) => {
                self.list(field, node, |decoder, list| decoder.queue(elements, list))
            }
            ("gtree", elements, Occurs::Once | Occurs::Element(_)) => {
                self.list(field, node, |decoder, list| decoder.tree(elements, list))
            }
            (_, [description], Occurs::Once | Occurs::Element(_)) => {
                // A type that saves through a description of its own, `tmp` for the most part.
                // Whether it writes something else besides is not known, but shows in the size.
                let start = self.at;
                let (structure, described) = self.sized_structure(field, description);
                if described.is_ok() {
                    node.value = Value::Struct(structure);
                    return Ok(());
                }
                self.at = start;
                self.leaf(field, node)
            }
            _ => self.leaf(field, node),
        }
    }

    fn leaf(&mut self, field: &FieldDesc, node: &mut Node) -> Result<(), DecodeError> {
        let kind = Kind::of(&field.type_name, field.size);
        let Occurs::Array(count) = field.occurs else {
            self.take(field.size)?;
            node.value = Value::Leaf(kind);
            return Ok(());
        };
        let size = field.size.saturating_mul(count);
        self.take(size)?;
        node.value = Value::Leaves {
            kind,
            // Both fit: their product was taken. A count of empty elements is useless.
            element_size: field.size as usize,
            count: if field.size == 0 { 0 } else { count as usize },
        };
        Ok(())
    }

    /// Runs `read` and compares the bytes that it used with the size that the field states.
    fn sized(
        &mut self,
        field: &FieldDesc,
        read: impl FnOnce(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let (start, depth) = (self.at, self.path.len());
        let result = read(self);
        if result.is_ok() {
            let parts = (self.at - start) as u64;
            if parts != field.size {
                return Err(self.error_at(
                    start,
                    DecodeErrorKind::Size {
                        described: field.size,
                        parts,
                    },
                ));
            }
        } else {
            self.path.truncate(depth);
        }
        result
    }

    /// Reads a structure, as far as it goes, of the size that the field states.
    fn sized_structure(
        &mut self,
        field: &FieldDesc,
        description: &StructDesc,
    ) -> (Structure, Result<(), DecodeError>) {
        let mut structure = Structure::default();
        let result = self.sized(field, |decoder| {
            decoder.structure(description, &mut structure)
        });
        (structure, result)
    }

    /// Recognises a null pointer in an array, which was described as a struct without fields before
    /// 9.2.
    fn is_null(&self, field: &FieldDesc, description: &StructDesc) -> bool {
        description.vmsd_name.is_none()
            && description.fields.is_empty()
            && field.size == 1
            && self.peek() == Some(NULL_POINTER)
    }

    fn element(
        &mut self,
        field: &FieldDesc,
        description: &StructDesc,
        elements: &mut Vec<Option<Structure>>,
    ) -> Result<(), DecodeError> {
        if self.is_null(field, description) {
            self.spend()?;
            self.at += 1;
            elements.push(None);
            return Ok(());
        }
        if description.vmsd_name.is_none() && description.fields.is_empty() && field.size == 1 {
            return Err(self.error(DecodeErrorKind::PointersUnknown));
        }
        let (structure, result) = self.sized_structure(field, description);
        elements.push(Some(structure));
        result
    }

    fn list(
        &mut self,
        field: &FieldDesc,
        node: &mut Node,
        read: impl FnOnce(&mut Self, &mut Vec<Structure>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut elements = Vec::new();
        let result = self.sized(field, |decoder| read(decoder, &mut elements));
        node.value = Value::List(elements);
        result
    }

    /// Each element follows a one, and a zero ends the list.
    fn queue(
        &mut self,
        elements: &[StructDesc],
        list: &mut Vec<Structure>,
    ) -> Result<(), DecodeError> {
        for element in elements {
            self.marker(1, "another element")?;
            self.listed(element, list)?;
        }
        self.marker(0, "the end of the list")
    }

    /// A count, then elements as in a queue; a key is a number or, as the value, a structure.
    fn tree(
        &mut self,
        elements: &[StructDesc],
        list: &mut Vec<Structure>,
    ) -> Result<(), DecodeError> {
        let start = self.at;
        let count = self.number()? as usize;
        let structured = match elements.len() {
            n if n == count => false,
            n if Some(n) == count.checked_mul(2) => true,
            n => {
                return Err(self.error_at(
                    start,
                    DecodeErrorKind::Size {
                        described: n as u64,
                        parts: count as u64,
                    },
                ));
            }
        };
        for element in elements.chunks(if structured { 2 } else { 1 }) {
            self.marker(1, "another element")?;
            if !structured {
                self.take(8)?;
            }
            for part in element {
                self.listed(part, list)?;
            }
        }
        self.marker(0, "the end of the tree")
    }

    fn listed(
        &mut self,
        element: &StructDesc,
        list: &mut Vec<Structure>,
    ) -> Result<(), DecodeError> {
        let mut structure = Structure::default();
        let result = self.structure(element, &mut structure);
        list.push(structure);
        result
    }

    fn marker(&mut self, wanted: u8, expected: &'static str) -> Result<(), DecodeError> {
        let at = self.at;
        match self.take(1)?.first() {
            Some(&found) if found != wanted => {
                Err(self.error_at(at, DecodeErrorKind::Marker { expected, found }))
            }
            _ => Ok(()),
        }
    }

    fn subsection(
        &mut self,
        description: &StructDesc,
        into: &mut Structure,
    ) -> Result<(), DecodeError> {
        let start = self.at;
        let expected = description.name();
        let differs = |decoder: &Self, found: String| {
            decoder.error_at(
                start,
                DecodeErrorKind::Subsection {
                    expected: expected.to_owned(),
                    found,
                },
            )
        };
        match self.peek() {
            Some(SUBSECTION) => self.at += 1,
            Some(byte) => return Err(differs(self, format!("byte 0x{byte:02x}"))),
            None => return Err(differs(self, "the end of the section".to_owned())),
        }
        let length = self.take(1)?.first().copied().unwrap_or_default();
        let name = self.take(length.into())?;
        if *name != *expected.as_bytes() {
            let found = format!("{:?}", String::from_utf8_lossy(&name));
            self.at = start;
            return Err(differs(self, found));
        }
        let version_id = self.number()?;
        let mut structure = Structure::default();
        let result = self.structure(description, &mut structure);
        into.subsections.push(Subsection {
            offset: self.base + start as u64,
            name: structure.vmsd_name.clone(),
            version_id,
            structure,
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Leaf, VmDesc};

    fn description(fields: &str) -> StructDesc {
        let json = format!(
            r#"{{"devices": [{{"name": "d", "instance_id": 0, "vmsd_name": "d", "version": 1, {fields}}}]}}"#
        );
        let vmdesc = VmDesc::parse(json.as_bytes()).expect("a good description");
        vmdesc.devices[0].description.clone()
    }

    fn decoded(fields: &str, bytes: &[u8]) -> Decoded {
        decode(&description(fields), &Bytes::copy_from_slice(bytes), 100)
    }

    fn structure(fields: &str, bytes: &[u8]) -> Structure {
        let decoded = decoded(fields, bytes);
        assert_eq!(decoded.error, None);
        decoded.structure
    }

    const X: &str =
        r#""vmsd_name": "e", "version": 1, "fields": [{"name": "x", "type": "uint8", "size": 1}]"#;

    #[test]
    fn leaves_are_what_their_types_say() {
        let cases: &[(&str, &[u8], Leaf<'_>)] = &[
            ("bool", &[1], Leaf::Bool(true)),
            ("int8", &[0xff], Leaf::Signed(-1)),
            ("int32 le", &[0xff, 0xff, 0xff, 0xfe], Leaf::Signed(-2)),
            ("timer", &[0xff; 8], Leaf::Signed(-1)),
            ("uint16", &[1, 2], Leaf::Unsigned(0x0102)),
            ("uint64", &[0xff; 8], Leaf::Unsigned(u64::MAX)),
            ("float64", &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Leaf::Float(1.5)),
            ("nullptr", b"0", Leaf::Null),
            ("capability", b"\x03abc", Leaf::Text("abc")),
            // A target's own type of a known name and another width.
            ("uint32", &[1, 2], Leaf::Bytes(&[1, 2])),
            ("cpsr", &[1, 2, 3, 4], Leaf::Bytes(&[1, 2, 3, 4])),
        ];
        for (name, bytes, wanted) in cases {
            let fields = format!(
                r#""fields": [{{"name": "f", "type": "{name}", "size": {}}}]"#,
                bytes.len()
            );
            let structure = structure(&fields, bytes);
            assert_eq!(structure.fields[0].leaf(), Some(*wanted), "{name}");
            assert_eq!(structure.fields[0].offset, 100);
        }
    }

    #[test]
    fn lists_and_trees_hold_their_elements() {
        let list = format!(r#""fields": [{{"name": "l", "type": "qtailq", {X}, {X}, "size": 5}}]"#);
        let tree = format!(r#""fields": [{{"name": "t", "type": "gtree", {X}, {X}, "size": 25}}]"#);
        let pairs = format!(r#""fields": [{{"name": "t", "type": "gtree", {X}, {X}, "size": 8}}]"#);
        let direct = [
            &[0, 0, 0, 2, 1][..],
            &7u64.to_be_bytes(),
            &[8, 1],
            &8u64.to_be_bytes(),
            &[9, 0],
        ]
        .concat();
        for (fields, bytes) in [
            (list, vec![1, 8, 1, 9, 0]),
            (tree, direct),
            (pairs, vec![0, 0, 0, 1, 1, 8, 9, 0]),
        ] {
            let structure = structure(&fields, &bytes);
            let Value::List(elements) = &structure.fields[0].value else {
                panic!("{structure:?}");
            };
            let values: Vec<_> = elements.iter().map(|e| e.fields[0].leaf()).collect();
            let wanted = [8, 9].map(|value| Some(Leaf::Unsigned(value)));
            assert_eq!(values, wanted, "{fields}");
        }
    }

    #[test]
    fn a_type_that_saves_through_a_description_is_a_structure_if_it_fits() {
        let fits = format!(r#""fields": [{{"name": "t", "type": "tmp", {X}, "size": 1}}]"#);
        assert!(matches!(
            structure(&fits, &[1]).fields[0].value,
            Value::Struct(_)
        ));
        let more = format!(r#""fields": [{{"name": "t", "type": "tmp", {X}, "size": 2}}]"#);
        let more = structure(&more, &[1, 2]);
        assert_eq!(more.fields[0].leaf(), Some(Leaf::Bytes(&[1, 2])));
    }

    #[test]
    fn null_pointers_before_and_after_they_had_a_type() {
        let array = r#""fields": [{"name": "p", "array_len": 3, "type": "struct", "struct": {}, "size": 1}]"#;
        let null = structure(array, b"000");
        assert_eq!(null.fields[0].value, Value::Structs(vec![None, None, None]));
        // The others' layout is not known: the array is bytes up to what stands behind it.
        let mixed = r#""fields": [{"name": "p", "array_len": 2, "type": "struct", "struct": {}, "size": 1},
            {"name": "y", "type": "uint16", "size": 2}]"#;
        let mixed = structure(mixed, &[b'0', 1, 2, 3, 4, 5]);
        assert_eq!(mixed.fields[0].leaf(), Some(Leaf::Bytes(&[b'0', 1, 2, 3])));
        assert_eq!(mixed.fields[1].leaf(), Some(Leaf::Unsigned(0x0405)));
    }

    #[test]
    fn what_does_not_fit_has_its_place_and_keeps_what_came_before() {
        let two = r#""fields": [{"name": "a", "type": "uint8", "size": 1}, {"name": "b", "type": "uint32", "size": 4}]"#;
        let sub = format!(
            r#"{two}, "subsections": [{{"vmsd_name": "d/s", "version": 1, "fields": []}}]"#
        );
        let sized = format!(
            r#""fields": [{{"name": "s", "type": "struct", "struct": {{{X}}}, "size": 2}}]"#
        );
        let list = format!(r#""fields": [{{"name": "l", "type": "qtailq", {X}, "size": 3}}]"#);
        let empty = r#""fields": [{"name": "z", "array_len": 4000000000, "type": "struct", "struct": {"vmsd_name": "e", "version": 1, "fields": []}, "size": 0}]"#;
        let huge = r#""fields": [{"name": "h", "array_len": 18446744073709551615, "type": "uint64", "size": 8}]"#;
        let wrong: [(&str, &[u8]); 9] = [
            (two, &[1, 2, 3]),
            (two, &[1, 2, 3, 4, 5, 6]),
            (&sub, &[1, 2, 3, 4, 5]),
            (&sub, &[1, 2, 3, 4, 5, 9]),
            (&sub, b"\x01\x02\x03\x04\x05\x05\x03d/t\0\0\0\x01"),
            (&sized, &[1, 2]),
            (&list, &[2, 8, 0]),
            (empty, &[]),
            (huge, &[0; 16]),
        ];
        let wanted = r#"101 d/b: 4 bytes are described, but the section has only 2 left
105 d: 1 bytes are left over
105 expected subsection "d/s", found the end of the section
105 found byte 0x09
105 found "d/t"
100 d/s: described as 2 bytes, but its parts have 1
100 expected the marker of another element, found byte 0x02
100 more values than any section has
100 18446744073709551615 bytes are described"#;
        assert_eq!(wanted.lines().count(), wrong.len());
        for ((fields, bytes), wanted) in wrong.into_iter().zip(wanted.lines()) {
            let (at, wanted) = wanted.split_once(' ').expect("a place");
            let decoded = decoded(fields, bytes);
            let error = decoded.error.expect(wanted);
            assert_eq!(error.offset.to_string(), at, "{error}");
            assert!(
                error.to_string().contains(wanted),
                "wanted {wanted:?} in {error}"
            );
            if bytes.len() == 3 && fields == two {
                assert_eq!(decoded.structure.fields.len(), 1);
            }
        }
    }
}

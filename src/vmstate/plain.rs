//! A dump in the very form that QEMU prints, read in a fraction of the time that a parser of all JSON takes.
//!
//! QEMU prints the keys of an object in one order. Whatever is not in it (another order, an unknown key, an escape, an
//! error) is left to `serde_json`, which knows what it is and where.

use crate::vmstate::dump::{Dump, MACHINE_KEY, Section, Vmsd, VmsdField};

/// Descriptions in each other: far more than QEMU has, and so few that `serde_json` does not refuse them.
const DEEPEST: usize = 32;

/// Reads a dump whose text has no escapes, if QEMU prints it so.
pub(super) fn read(text: &[u8]) -> Option<Dump> {
    let mut reader = Reader {
        rest: text,
        deep: 0,
        fields: Vec::new(),
    };
    let mut dump = Dump::default();
    reader.expect(b"{")?;
    reader.list(b"}", |reader| {
        let type_name = reader.string()?.to_owned();
        reader.expect(b":")?;
        reader.expect(b"{")?;
        reader.expect(br#""Name":"#)?;
        let name = reader.string()?;
        if type_name == MACHINE_KEY {
            dump.machine = Some(name.to_owned());
        } else {
            // The versions are repeated inside.
            reader.expect(b",")?;
            reader.versions()?;
            reader.expect(b",")?;
            reader.expect(br#""Description":"#)?;
            let description = reader.description()?;
            dump.sections.push(Section {
                type_name,
                description,
            });
        }
        reader.expect(b"}")
    })?;
    reader.space();
    reader.rest.is_empty().then_some(dump)
}

struct Reader<'t> {
    rest: &'t [u8],
    deep: usize,
    /// The fields so far of the descriptions around what is read, which are moved as one when the last is known.
    fields: Vec<VmsdField>,
}

impl<'t> Reader<'t> {
    /// Goes past white space, most of which is the indentation of a line.
    fn space(&mut self) {
        while let [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
            while let Some(block) = self.rest.first_chunk::<8>() {
                let others = u64::from_le_bytes(*block) ^ u64::from_le_bytes([b' '; 8]);
                self.rest = &self.rest[others.trailing_zeros() as usize / 8..];
                if others != 0 {
                    break;
                }
            }
        }
    }

    /// Goes past a token behind white space, if it is the next.
    #[inline]
    fn passes<const N: usize>(&mut self, token: &[u8; N]) -> bool {
        self.space();
        match self.rest.split_first_chunk() {
            Some((next, rest)) if next == token => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn expect<const N: usize>(&mut self, token: &[u8; N]) -> Option<()> {
        self.passes(token).then_some(())
    }

    fn string(&mut self) -> Option<&'t str> {
        self.expect(b"\"")?;
        let is_end = |&byte: &u8| byte == b'"' || byte < b' ';
        let (string, end) = self.rest.split_at(self.rest.iter().position(is_end)?);
        self.rest = end.strip_prefix(b"\"")?;
        std::str::from_utf8(string).ok()
    }

    /// Reads a number. JSON has no 007.
    fn number(&mut self) -> Option<u64> {
        self.space();
        let start = self.rest;
        let mut number = 0_u64;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            let digit = u64::from(digit - b'0');
            number = number.checked_mul(10)?.checked_add(digit)?;
            self.rest = rest;
        }
        match (start, start.len() - self.rest.len()) {
            (_, 0) | ([b'0', ..], 2..) => None,
            _ => Some(number),
        }
    }

    /// Reads a number with a sign. JSON's -0 is no integer.
    fn signed(&mut self) -> Option<i64> {
        match self.passes(b"-") {
            true if matches!(self.rest, [b'1'..=b'9', ..]) => {
                0_i64.checked_sub_unsigned(self.number()?)
            }
            true => None,
            false => self.number()?.try_into().ok(),
        }
    }

    fn versions(&mut self) -> Option<(i64, i64)> {
        self.expect(br#""version_id":"#)?;
        let version = self.signed()?;
        self.expect(b",")?;
        self.expect(br#""minimum_version_id":"#)?;
        Some((version, self.signed()?))
    }

    /// Reads elements up to the end of an array or object.
    fn list(
        &mut self,
        end: &[u8; 1],
        mut element: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if self.passes(end) {
            return Some(());
        }
        loop {
            element(self)?;
            if !self.passes(b",") {
                return self.expect(end);
            }
        }
    }

    fn description(&mut self) -> Option<Vmsd> {
        self.deep += 1;
        self.expect(b"{")?;
        self.expect(br#""name":"#)?;
        let name = self.string()?.to_owned();
        self.expect(b",")?;
        let (version_id, minimum_version_id) = self.versions()?;
        let mut more = self.passes(b",");
        let mut fields = None;
        if more && self.passes(br#""Fields":"#) {
            let before = self.fields.len();
            self.expect(b"[")?;
            self.list(b"]", |reader| {
                let field = reader.field()?;
                reader.fields.push(field);
                Some(())
            })?;
            fields = Some(self.fields.split_off(before));
            more = self.passes(b",");
        }
        let mut subsections = Vec::new();
        if more {
            self.expect(br#""Subsections":"#)?;
            self.expect(b"[")?;
            self.list(b"]", |reader| {
                subsections.push(reader.description()?);
                Some(())
            })?;
        }
        self.expect(b"}")?;
        let is_deep = self.deep > DEEPEST;
        self.deep -= 1;
        (!is_deep).then_some(Vmsd {
            name,
            version_id,
            minimum_version_id,
            fields,
            subsections,
        })
    }

    fn field(&mut self) -> Option<VmsdField> {
        self.expect(b"{")?;
        self.expect(br#""field":"#)?;
        let name = self.string()?.to_owned();
        self.expect(b",")?;
        self.expect(br#""version_id":"#)?;
        let version_id = self.signed()?;
        self.expect(b",")?;
        self.expect(br#""field_exists":"#)?;
        let conditional = self.passes(b"true");
        if !conditional {
            self.expect(b"false")?;
        }
        self.expect(b",")?;
        let mut num = None;
        if self.passes(br#""num":"#) {
            num = Some(self.number()?);
            self.expect(b",")?;
        }
        self.expect(br#""size":"#)?;
        let size = self.number()?;
        let mut description = None;
        if self.passes(b",") {
            self.expect(br#""Description":"#)?;
            description = Some(Box::new(self.description()?));
        }
        self.expect(b"}")?;
        Some(VmsdField {
            name,
            version_id,
            conditional,
            num,
            size,
            description,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{
  "vmschkmachine": { "Name": "pc" },
  "d": {
    "Name": "d", "version_id": 10, "minimum_version_id": 1,
    "Description": {
      "name": "d", "version_id": 1, "minimum_version_id": -1,
      "Fields": [
        {"field": "a", "version_id": 0, "field_exists": false, "size": 4},
        {
          "field": "b",
          "version_id": 2,
          "field_exists": true,
          "num": 30,
          "size": 1,
          "Description": { "name": "i", "version_id": 0, "minimum_version_id": 0, "Fields": [] }
        }
      ],
      "Subsections": [ { "name": "d/s", "version_id": 1, "minimum_version_id": 1 } ]
    }
  },
  "e": {
    "Name": "e", "version_id": 1, "minimum_version_id": 1,
    "Description": {"name": "", "version_id": 1, "minimum_version_id": 1}
  }
}
"#;

    /// Reads a text in both ways, and returns whether it was not left to the other.
    fn read_in_both_ways(text: &str) -> bool {
        let read = read(text.as_bytes());
        if let Some(dump) = &read {
            let others = serde_json::from_str::<Dump>(text);
            assert_eq!(others.ok().as_ref(), Some(dump), "{text}");
        }
        read.is_some()
    }

    #[test]
    fn what_is_read_is_what_a_parser_of_all_json_reads() {
        assert!(read_in_both_ways(SMALL));
        let mut read = 0;
        // Each line twice, or not at all.
        for line in SMALL.lines().filter(|line| line.len() > 12) {
            read_in_both_ways(&SMALL.replacen(line, "", 1));
            read_in_both_ways(&SMALL.replacen(line, &format!("{line}\n{line}"), 1));
        }
        for at in 0..SMALL.len() {
            let (before, behind) = SMALL.split_at(at);
            let (_, after) = behind.split_at(1);
            for other in [
                "", "\n", "\t", " ", "\"", "{", "}", "[", "]", ",", ":", "-", "0", "1", ".", "e",
                "N", "null",
            ] {
                for text in [
                    format!("{before}{other}{behind}"),
                    format!("{before}{other}{after}"),
                    format!("{before}{other}"),
                ] {
                    read += usize::from(read_in_both_ways(&text));
                }
            }
        }
        assert!(read > 3000, "{read}");
    }

    #[test]
    fn deep_nesting_is_left_to_the_other() {
        let nested = |depth: usize| {
            let mut inner = r#"{"name": "n", "version_id": 1, "minimum_version_id": 1}"#.to_owned();
            for _ in 0..depth {
                let field = r#""field": "f", "version_id": 0, "field_exists": false, "size": 1"#;
                inner = format!(
                    r#"{{"name": "n", "version_id": 1, "minimum_version_id": 1, "Fields": [{{{field}, "Description": {inner}}}]}}"#
                );
            }
            let versions = r#""version_id": 1, "minimum_version_id": 1"#;
            format!(r#"{{"d": {{"Name": "d", {versions}, "Description": {inner}}}}}"#)
        };
        assert!(read_in_both_ways(&nested(DEEPEST - 1)));
        assert!(!read_in_both_ways(&nested(DEEPEST)));
    }
}

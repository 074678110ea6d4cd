//! Parsing of a [`Dump`]: plain, gzip or zstd, with errors that say where the input is wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::compression::{UnpackError, unpacked};
use crate::input::as_utf8;
use crate::model::{in_brief, is_plain_json};
use crate::vmstate::dump::{Dump, MACHINE_KEY, RawMachine, RawSection, Section, Unreadable};
use crate::vmstate::plain;

/// No memory is set aside for more than this before it is read.
const LIKELY_BYTES: u64 = 4 << 20;
/// A dump that unpacks to more than this is refused. Real ones have 2 MB.
const MAX_BYTES: u64 = 32 << 20;
/// A dump with more device types is refused. Real ones have 720.
const MOST_SECTIONS: usize = 8192;

/// A failure to read a dump. All of these are the input's fault, not QEMU's.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("cannot read the dump {}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is a folder; a vmstate dump file is needed", file.display())]
    Folder { file: PathBuf },
    #[error(
        "{origin} is empty: a QEMU that failed to start leaves such a file; make the dump again and look at what QEMU printed"
    )]
    Empty { origin: String },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("{origin} is not UTF-8 text: byte {offset} (line {line}) does not belong")]
    NotUtf8 {
        origin: String,
        offset: usize,
        line: usize,
    },
    #[error("{origin}:{line}:{column}: {reason}{hint}")]
    Syntax {
        origin: String,
        line: usize,
        column: usize,
        reason: String,
        hint: &'static str,
    },
    #[error(
        "{origin}:{line}:{column}: at {json_path}: {reason} (no section of it can be read, so it is not a vmstate dump)"
    )]
    Shape {
        origin: String,
        line: usize,
        column: usize,
        json_path: String,
        reason: String,
    },
    #[error(
        "{origin} has {sections} device types, more than any build: it is not a vmstate dump of one"
    )]
    TooMany { origin: String, sections: usize },
    #[error("{origin} is JSON but holds no device description: it is not a vmstate dump")]
    NoSections { origin: String },
}

/// Reads a dump file. The compression is recognised by the content, not by the name.
///
/// # Errors
/// The file cannot be read, or is not a dump.
pub fn read_dump(file: &Path) -> Result<Dump, DumpError> {
    let io_error = |source| DumpError::Io {
        file: file.to_owned(),
        source,
    };
    let mut input = File::open(file).map_err(io_error)?;
    let metadata = input.metadata().map_err(io_error)?;
    if metadata.is_dir() {
        return Err(DumpError::Folder {
            file: file.to_owned(),
        });
    }
    // In one piece, where the size is known: it need not be moved as it grows.
    let expected = metadata.len().min(LIKELY_BYTES);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default() + 1);
    input
        .by_ref()
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    let dump = parse_dump(&bytes, &file.display().to_string())?;
    tracing::debug!(file = %file.display(), machine = dump.machine, sections = dump.sections.len(), "read a dump");
    Ok(dump)
}

/// Parses a dump from memory; `origin` names it in errors.
///
/// # Errors
/// The bytes are not a dump; the error says where.
pub fn parse_dump(bytes: &[u8], origin: &str) -> Result<Dump, DumpError> {
    if bytes.is_empty() {
        return Err(DumpError::Empty {
            origin: origin.to_owned(),
        });
    }
    parse_json(&as_utf8(&unpacked(bytes, origin, MAX_BYTES)?), origin)
}

fn parse_json(bytes: &[u8], origin: &str) -> Result<Dump, DumpError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(DumpError::Empty {
            origin: origin.to_owned(),
        });
    }
    // No name in QEMU has a character that JSON writes with a backslash, or one beyond ASCII: only a file
    // of another origin is searched for them.
    let is_plain = is_plain_json(bytes);
    let plain = is_plain.then(|| plain::read(bytes)).flatten();
    let mut dump = match plain {
        Some(dump) => dump,
        None => parse_any(bytes, origin)?,
    };
    if !is_plain {
        dump.make_visible();
    }
    let sections = dump.sections.len() + dump.unreadable.len();
    if sections > MOST_SECTIONS {
        return Err(DumpError::TooMany {
            origin: origin.to_owned(),
            sections,
        });
    }
    dump.set_oddities_aside();
    if dump.sections.is_empty() {
        return Err(DumpError::NoSections {
            origin: origin.to_owned(),
        });
    }
    Ok(dump)
}

/// Parses a dump in whatever form.
fn parse_any(bytes: &[u8], origin: &str) -> Result<Dump, DumpError> {
    // One check of the whole buffer is cheaper than one a string, and says where it went wrong.
    let text = std::str::from_utf8(bytes).map_err(|e| DumpError::NotUtf8 {
        origin: origin.to_owned(),
        offset: e.valid_up_to(),
        line: line_of(bytes, e.valid_up_to()),
    })?;
    serde_json::from_str(text).or_else(|error| {
        // One malformed section does not affect the others.
        one_by_one(text).ok_or_else(|| explain(text, origin, error))
    })
}

fn line_of(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset].iter().filter(|&&b| b == b'\n').count()
}

/// Parses once more, each section by itself; `None` if none is sound. Costs nothing while dumps are
/// sound.
fn one_by_one(text: &str) -> Option<Dump> {
    let entries: Entries = serde_json::from_str(text).ok()?;
    let mut dump = Dump::default();
    for (type_name, value) in entries.0 {
        let read = if type_name == MACHINE_KEY {
            traced::<RawMachine>(value.get()).map(|machine| dump.machine = Some(machine.name))
        } else {
            traced::<RawSection>(value.get()).map(|section| {
                dump.sections.push(Section {
                    type_name: type_name.clone(),
                    description: section.description,
                });
            })
        };
        if let Err(Traced { path, error }) = read {
            let reason = match path.as_str() {
                "." => plain(&error),
                path => format!("at {path}: {}", plain(&error)),
            };
            dump.unreadable.push(Unreadable { type_name, reason });
        }
    }
    (!dump.sections.is_empty()).then_some(dump)
}

/// The top level of a dump, without the contents of the keys.
struct Entries<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Deserialize<'t> for Entries<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'t> Visitor<'t> for InOrder {
            type Value = Entries<'t>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Entries<'t>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A value that has another form than expected.
struct Traced {
    /// The JSON path of the place; `.` is the value itself.
    path: String,
    error: serde_json::Error,
}

fn traced<T: DeserializeOwned>(text: &str) -> Result<T, Traced> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let wrapped = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    T::deserialize(wrapped).map_err(|error| Traced {
        path: track.path().to_string(),
        error,
    })
}

/// Returns the message of serde_json without the position that it appends.
fn plain(error: &serde_json::Error) -> String {
    let mut message = error.to_string();
    if let Some(at) = message.rfind(" at line ") {
        message.truncate(at);
    }
    in_brief(message)
}

/// Parses once more to learn the JSON path of the failure; costs nothing while dumps are fine.
fn explain(text: &str, origin: &str, first: serde_json::Error) -> DumpError {
    let origin = origin.to_owned();
    if !first.is_data() {
        let hint = if first.is_eof() {
            " (the file is cut off: QEMU died while writing it, or a copy was incomplete)"
        } else if !text.trim_start().starts_with('{') {
            " (this is not JSON, so it is not a vmstate dump)"
        } else {
            ""
        };
        return DumpError::Syntax {
            origin,
            line: first.line(),
            column: first.column(),
            reason: plain(&first),
            hint,
        };
    }
    let (path, error) = match traced::<Dump>(text) {
        Ok(_) => (".".to_owned(), first),
        Err(Traced { path, error }) => (path, error),
    };
    DumpError::Shape {
        origin,
        line: error.line(),
        column: error.column(),
        json_path: if path == "." {
            "the top level".to_owned()
        } else {
            path
        },
        reason: plain(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{
  "vmschkmachine": { "Name": "pc-q35-7.2" },
  "dev": {
    "Name": "dev", "version_id": 1, "minimum_version_id": 1, "added_in_12.0": [1, {"x": null}],
    "Description": {
      "name": "dev", "version_id": 1, "minimum_version_id": 1,
      "Fields": [
        {"field": "unused", "version_id": 0, "field_exists": false, "size": 4},
        {"field": "a", "version_id": 2, "field_exists": true, "num": 3, "size": 1, "new_key": "x"},
        {"field": "unused", "version_id": 0, "field_exists": false, "size": 8}
      ]
    }
  }
}"#;

    #[test]
    fn order_and_repeated_names_are_kept_and_unknown_keys_ignored() {
        let dump = parse_dump(SMALL.as_bytes(), "small").expect("a good dump");
        assert_eq!(dump.machine.as_deref(), Some("pc-q35-7.2"));
        let names: Vec<_> = dump.sections[0]
            .description
            .fields()
            .iter()
            .map(|f| (f.name.as_str(), f.size, f.num))
            .collect();
        assert_eq!(
            names,
            [("unused", 4, None), ("a", 1, Some(3)), ("unused", 8, None)]
        );
        assert!(dump.states_array_lengths());
    }

    #[test]
    fn compression_is_recognised_by_the_content() {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(SMALL.as_bytes()).expect("in memory");
        let gz = gz.finish().expect("in memory");
        let zst = zstd::encode_all(SMALL.as_bytes(), 1).expect("in memory");
        let plain = parse_dump(SMALL.as_bytes(), "plain").expect("a good dump");
        assert_eq!(parse_dump(&gz, "gz").expect("gzip"), plain);
        assert_eq!(parse_dump(&zst, "zst").expect("zstd"), plain);
        for cut in [&gz[..gz.len() / 2], &zst[..zst.len() / 2]] {
            let message = parse_dump(cut, "cut").expect_err("cut off").to_string();
            assert!(message.starts_with("cannot unpack cut as "), "{message}");
        }
    }

    #[test]
    fn an_odd_section_leaves_the_others_readable() {
        let description = r#"{"name":"d","version_id":1,"minimum_version_id":1}"#;
        let sound = format!(r#""sound":{{"Description":{description}}}"#);
        // No description; a description without a name; a value of the wrong type, deep inside; no
        // object; a number that does not fit; the machine's own key.
        for (key, odd, reason) in [
            (
                "odd",
                r#"{"Name":"odd","version_id":1}"#.to_owned(),
                "missing field `Description`",
            ),
            (
                "odd",
                r#"{"Description":{"version_id":1,"minimum_version_id":1}}"#.to_owned(),
                "at Description: missing field `name`",
            ),
            (
                "odd",
                format!(
                    r#"{{"Description":{}}}"#,
                    description.replace('}', r#","Fields":[{"field":"x","version_id":"0"}]}"#)
                ),
                "at Description.Fields[0].version_id: invalid type: string \"0\", expected i64",
            ),
            ("odd", "null".to_owned(), "invalid type: null"),
            (
                "odd",
                format!(
                    r#"{{"Description":{}}}"#,
                    description.replace(":1,", ":1e999,")
                ),
                "number out of range",
            ),
            ("vmschkmachine", "{}".to_owned(), "missing field `Name`"),
        ] {
            for text in [
                format!(r#"{{"{key}":{odd},{sound}}}"#),
                format!(r#"{{{sound},"{key}":{odd}}}"#),
            ] {
                let dump = parse_dump(text.as_bytes(), "in").expect(&text);
                assert_eq!(dump.sections.len(), 1, "{text}");
                assert_eq!(dump.sections[0].type_name, "sound");
                assert_eq!(dump.unreadable.len(), 1, "{text}");
                assert_eq!(dump.unreadable[0].type_name, key);
                let found = &dump.unreadable[0].reason;
                assert!(found.contains(reason), "wanted {reason:?} in {found:?}");
                assert!(dump.has_unreadable(key) && !dump.has_unreadable("sound"));
            }
        }
        let none = parse_dump(br#"{"a":{"Name":"a"},"b":null}"#, "in").expect_err("nothing sound");
        assert!(none.to_string().contains("at a: missing field"), "{none}");
    }

    #[test]
    fn a_section_that_no_build_has_is_set_aside() {
        let field = |name: &str, size: u64, num: &str| {
            format!(
                r#"{{"field":"{name}","version_id":0,"field_exists":false,"size":{size}{num}}}"#
            )
        };
        let section = |fields: &[String]| {
            format!(
                r#"{{"Description":{{"name":"d","version_id":1,"minimum_version_id":1,"Fields":[{}]}}}}"#,
                fields.join(",")
            )
        };
        let sound = section(&[field("x", 4, "")]);
        let many: Vec<String> = (0..3000).map(|i| field(&format!("f{i}"), 1, "")).collect();
        for (odd, reason) in [
            (
                section(&many),
                "it has more than 2048 fields and subsections",
            ),
            (
                section(&[field("x", 1 << 40, "")]),
                "the size of `x` is more than 4294967295 bytes or elements",
            ),
            (
                section(&[field("y", 4, r#","num":9223372036854775808"#)]),
                "the size of `y` is more than 4294967295 bytes or elements",
            ),
        ] {
            let text = format!(r#"{{"odd":{odd},"sound":{sound}}}"#);
            let dump = parse_dump(text.as_bytes(), "in").expect("the rest is sound");
            assert_eq!(dump.sections.len(), 1);
            assert_eq!(dump.unreadable[0].type_name, "odd");
            assert_eq!(dump.unreadable[0].reason, reason);
        }
        let types: Vec<String> = (0..9000).map(|i| format!(r#""t{i}":{sound}"#)).collect();
        let text = format!("{{{}}}", types.join(","));
        let error = parse_dump(text.as_bytes(), "in").expect_err("too many");
        assert!(
            error.to_string().starts_with("in has 9000 device types"),
            "{error}"
        );
    }

    #[test]
    fn names_are_visible_once_they_are_read() {
        let text = SMALL.replace(r#""field": "a""#, r#""field": "a\n\ncompatible\u001b[8m""#);
        let text = text.replace(r#""dev": {"#, "\"d\u{202e}ev\": {");
        let dump = parse_dump(text.as_bytes(), "in").expect("a dump");
        assert_eq!(dump.sections[0].type_name, "d\\u{202e}ev");
        let field = &dump.sections[0].description.fields()[1];
        assert_eq!(field.name, "a\\n\\ncompatible\\u{1b}[8m");
    }

    #[test]
    fn broken_input_is_refused_with_its_place() {
        let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        let deep_list = format!(r#"{{"dev":{{"x":{}"#, "[".repeat(10_000));
        let mut deep_dump = String::from(r#"{"dev":{"Description":"#);
        for _ in 0..10_000 {
            deep_dump.push_str(
                r#"{"name":"n","version_id":1,"minimum_version_id":1,"Fields":[{"field":"f","version_id":0,"field_exists":false,"size":1,"Description":"#,
            );
        }
        let not_utf8 = [b"{\n\"dev".as_slice(), &[0xff], b"\": {}}"].concat();
        let cases: &[(&[u8], &str)] = &[
            (b"", "is empty"),
            (b" \n\t", "is empty"),
            (b"{", "in:1:1: EOF while parsing an object (the file is cut off"),
            (b"not json", "in:1:2: expected ident (this is not JSON, so it is not a vmstate dump)"),
            (b"[1, 2]", "in:1:0: at the top level: invalid type: sequence, expected an object with one key per device type"),
            (b"{}", "holds no device description"),
            (b"{\"vmschkmachine\": {\"Name\": \"pc\"}}", "holds no device description"),
            (
                b"{\"a\": 1}",
                "at a: invalid type: integer `1`, expected an object with a Description \
                 (no section of it can be read, so it is not a vmstate dump)",
            ),
            (b"{\n \"a\": {\"b\": 2}}", "in:2:14: at a: missing field `Description`"),
            (&not_utf8, "is not UTF-8 text: byte 6 (line 2)"),
            (deep.as_bytes(), "missing field `Description`"),
            (deep_list.as_bytes(), "EOF while parsing a list"),
            (deep_dump.as_bytes(), "recursion limit exceeded"),
            (
                br#"{"d":{"Description":{"name":"d","version_id":1,"minimum_version_id":1,"Fields":[{"field":"x","version_id":0,"field_exists":false,"size":"4"}]}}}"#,
                "at d.Description.Fields[0].size: invalid type: string \"4\", expected u64",
            ),
            (
                br#"{"d":{"Description":{"name":"d","version_id":1,"minimum_version_id":1,"Fields":[{"field":"x","version_id":0,"field_exists":false,"size":-4}]}}}"#,
                "invalid value: integer `-4`",
            ),
            (&[0x1f, 0x8b, 0, 0], "cannot unpack in as gzip"),
            (&[0x28, 0xb5, 0x2f, 0xfd, 9], "cannot unpack in as zstd"),
        ];
        for (bytes, wanted) in cases {
            let message = parse_dump(bytes, "in").expect_err(wanted).to_string();
            assert!(message.contains(wanted), "wanted {wanted:?} in {message:?}");
        }
        let folder = std::env::temp_dir();
        let message = read_dump(&folder).expect_err("a folder").to_string();
        assert!(message.contains("is a folder"), "{message}");
    }
}

//! The typed model of a `-dump-vmstate` file.
//!
//! It keeps the order of fields and repeated names, both of which matter on the wire, and ignores
//! keys it does not know. The format is what `dump_vmstate_json_to_file()` in QEMU's
//! `migration/savevm.c` prints.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::model::make_visible;

/// A whole dump: every QOM type of a build that has a vmstate description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    /// The machine type it was made with, from `vmschkmachine`.
    pub machine: Option<String>,
    /// The sections in file order, which is the order of a hash table and means nothing.
    pub sections: Vec<Section>,
    /// The sections that cannot be read, in file order.
    pub unreadable: Vec<Unreadable>,
}

/// A section of another form than QEMU prints, beside others that are sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The key in the file: a QOM type, or `vmschkmachine`.
    pub type_name: String,
    /// The error, and its place in the section.
    pub reason: String,
}

/// A device type and what it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The QOM type: the key in the file, which is not on the wire.
    pub type_name: String,
    pub description: Vmsd,
}

/// A reason why a section cannot be of a build of QEMU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Oddity {
    #[error("it has more than {MOST_ITEMS} fields and subsections")]
    Items,
    #[error("the size of `{field}` is more than {MOST_BYTES} bytes or elements")]
    Size { field: String },
}

/// The largest section of a real build has 237, that of nvme.
const MOST_ITEMS: usize = 2048;
/// Bytes of an element, and elements of an array. The largest of a real build are three million and
/// half a million.
const MOST_BYTES: u64 = u32::MAX as u64;

impl Section {
    /// Returns the reason why it cannot be real, if there is one.
    fn oddity(&self) -> Option<Oddity> {
        fn walk(vmsd: &Vmsd, left: &mut usize) -> Result<(), Oddity> {
            let items = vmsd.fields().len() + vmsd.subsections.len();
            *left = left.checked_sub(items).ok_or(Oddity::Items)?;
            for field in vmsd.fields() {
                if field.size > MOST_BYTES || field.num.is_some_and(|num| num > MOST_BYTES) {
                    let field = field.name.clone();
                    return Err(Oddity::Size { field });
                }
            }
            vmsd.nested().try_for_each(|inner| walk(inner, left))
        }
        let mut left = MOST_ITEMS;
        walk(&self.description, &mut left).err()
    }
}

/// A `VMStateDescription`: of a section, of a nested structure or of a subsection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a description")]
pub struct Vmsd {
    pub name: String,
    pub version_id: i64,
    pub minimum_version_id: i64,
    /// `None` when the file has no such key. QEMU leaves it out for a description without a field
    /// table, which in practice is one marked `unmigratable`.
    #[serde(rename = "Fields")]
    pub fields: Option<Vec<VmsdField>>,
    #[serde(rename = "Subsections", default)]
    pub subsections: Vec<Vmsd>,
}

impl Vmsd {
    pub fn fields(&self) -> &[VmsdField] {
        self.fields.as_deref().unwrap_or_default()
    }

    /// Returns the descriptions in it: those of its fields, and its subsections.
    pub(crate) fn nested(&self) -> impl Iterator<Item = &Vmsd> {
        let of_fields = self
            .fields()
            .iter()
            .filter_map(|field| field.description.as_deref());
        of_fields.chain(&self.subsections)
    }
}

/// Tells whether a loader that has read the fields of a description takes a subsection of this name for one
/// of it, whether it knows it or not (`vmstate_subsection_load()` in QEMU's `migration/vmstate.c`).
pub(crate) fn takes_subsection(description: &str, subsection: &str) -> bool {
    let rest = subsection.strip_prefix(description);
    rest.is_some_and(|rest| !rest.is_empty())
}

/// A `VMStateField`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a field")]
pub struct VmsdField {
    #[serde(rename = "field")]
    pub name: String,
    pub version_id: i64,
    /// A run-time test function decides whether the field is sent.
    #[serde(rename = "field_exists")]
    pub conditional: bool,
    /// Elements of a fixed array. Printed from QEMU 8.1 on.
    pub num: Option<u64>,
    /// Bytes of one element in memory; not always those on the wire.
    pub size: u64,
    #[serde(rename = "Description")]
    pub description: Option<Box<Vmsd>>,
}

impl Dump {
    /// Tells whether the build that wrote this dump prints array lengths, as QEMU does from 8.1 on.
    /// It is seen from the dump itself: any real one has arrays.
    pub fn states_array_lengths(&self) -> bool {
        fn states(description: &Vmsd) -> bool {
            let mut fields = description.fields().iter();
            fields.any(|field| field.num.is_some()) || description.nested().any(states)
        }
        self.sections.iter().any(|s| states(&s.description))
    }

    /// Tells whether there is a section of this type that cannot be read.
    pub fn has_unreadable(&self, type_name: &str) -> bool {
        self.unreadable.iter().any(|s| s.type_name == type_name)
    }

    /// Sets the sections aside that no build has, so that a comparison takes bounded time and its sums
    /// are right.
    pub(crate) fn set_oddities_aside(&mut self) {
        let Dump {
            sections,
            unreadable,
            ..
        } = self;
        let odd = sections.extract_if(.., |section| section.oddity().is_some());
        unreadable.extend(odd.filter_map(|section| {
            Some(Unreadable {
                reason: section.oddity()?.to_string(),
                type_name: section.type_name,
            })
        }));
    }

    /// Makes every name visible.
    pub(crate) fn make_visible(&mut self) {
        fn description(vmsd: &mut Vmsd) {
            make_visible(&mut vmsd.name);
            for field in vmsd.fields.iter_mut().flatten() {
                make_visible(&mut field.name);
                field.description.as_deref_mut().map(description);
            }
            vmsd.subsections.iter_mut().for_each(description);
        }
        self.machine.as_mut().map(make_visible);
        for section in &mut self.sections {
            make_visible(&mut section.type_name);
            description(&mut section.description);
        }
        for section in &mut self.unreadable {
            make_visible(&mut section.type_name);
            make_visible(&mut section.reason);
        }
    }

    pub fn section(&self, type_name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.type_name == type_name)
    }
}

/// The top-level key that names the machine and is no section.
pub(crate) const MACHINE_KEY: &str = "vmschkmachine";

/// The contents of any other top-level key; the versions are repeated inside.
#[derive(Deserialize)]
#[serde(expecting = "an object with a Description")]
pub(crate) struct RawSection {
    #[serde(rename = "Description")]
    pub description: Vmsd,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with a Name")]
pub(crate) struct RawMachine {
    #[serde(rename = "Name")]
    pub name: String,
}

impl<'de> Deserialize<'de> for Dump {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sections;

        impl<'de> Visitor<'de> for Sections {
            type Value = Dump;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with one key per device type")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dump, A::Error> {
                let mut dump = Dump::default();
                while let Some(type_name) = map.next_key::<String>()? {
                    if type_name == MACHINE_KEY {
                        dump.machine = Some(map.next_value::<RawMachine>()?.name);
                    } else {
                        let RawSection { description } = map.next_value()?;
                        dump.sections.push(Section {
                            type_name,
                            description,
                        });
                    }
                }
                Ok(dump)
            }
        }

        deserializer.deserialize_map(Sections)
    }
}

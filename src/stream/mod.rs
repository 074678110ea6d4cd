//! A migration stream: its framing, its description of itself, and the values in it.
//!
//! The data that `migrate` sends to a file, a socket or a command: a header, the configuration,
//! guest memory and the sections of devices, CPUs and the machine, and at the end a description
//! (vmdesc) of what each of those sections holds. QEMU 5.2 to 11.1; always big endian, whatever the
//! guest.
//!
//! # Reading
//! - [`open_at`] opens a file, compressed or not, finds the stream in an image of libvirt, in a
//!   snapshot of a qcow2 image or behind other data, and [`read`] reads it or any other [`std::io::Read`]; [`parse`] reads bytes in
//!   memory.
//! - [`Parser`] takes the bytes as they come ([`Parser::feed`], then [`Parser::finish`]), so that a
//!   relay can look at what it passes on. It never blocks and starts no thread.
//!
//! All of them give a [`Reading`]: the [`Stream`] as far as it could be read, and the
//! [`StreamError`] that ended it, with its offset. A stream that is cut off still shows its
//! sections; without the description they are bytes ([`Content::Undescribed`]).
//!
//! ```
//! # let bytes = b"QEVM\0\0\0\x03";
//! let reading = migcompat::internals::stream::parse(bytes);
//! for section in reading.stream.devices() {
//!     println!("{} {}: {} bytes", section.name, section.instance_id, section.size);
//!     for node in section.content.structure().into_iter().flat_map(|s| &s.fields) {
//!         println!("  {} {:?}", node.label(), node.leaf());
//!     }
//! }
//! ```
//!
//! # What there is
//! - [`Stream`] → [`Section`] → [`Content`] → [`Structure`] → [`Node`] → [`Value`]; every node has
//!   its offset in the stream and its bytes. [`Node::leaves`] gives numbers, names and bytes.
//! - [`VmDesc`] is the layout alone: [`Stream::vmdesc`]. A device's layout is a [`StructDesc`] of
//!   [`FieldDesc`]s, with the sizes on the wire.
//! - [`decode`] reads bytes by any description, so also those of one build by the layout of another
//!   one; it gives the fields up to the first place where the two part, and that place.
//! - [`show`] prints a stream, [`diff`] compares two by values and layout with the rename lists applied.
//! - [`RamVisitor`] visits the pages of guest memory, which are kept nowhere.
//!
//! # Limits
//! - The end of an iterative section of a kind that is not known (anything but RAM, `spapr/htab` and
//!   `s390-storage_attributes`), and of a device's section until the description has come, is where
//!   its footer stands and something follows that can follow a footer. Data made to look like that
//!   can mislead the reader; the description then does not fit, and it says so.
//! - Memory: device state and the description are kept, up to [`Options::limit`], and never more than
//!   was read; decoded fields take a small multiple of the bytes that they describe. Guest memory is
//!   not kept.
//! - Pages of multifd go over channels of their own and are not seen. Those of a file with `mapped-ram` are
//!   counted, and a [`RamVisitor`] does not see them.

mod container;
mod cut;
mod error;
mod iterative;
pub(crate) mod machine_name;
mod open;
mod ram;
mod read;
mod record;
pub mod section_override;
pub mod show;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod text;
pub mod tree;
mod values;
mod vmdesc;

pub use container::{Contained, ContainerError};
pub use error::{DecodeError, DecodeErrorKind, StreamError, StreamErrorKind};
pub use open::{OpenError, Place, open, open_at};
pub use ram::{Page, RamVisitor};
pub use read::{Options, Parser, Reading, parse, read};
pub use tree::{
    Command, Configuration, Content, DescriptionState, Kind, Leaf, Node, Ram, RamBlock, Section,
    SectionKind, Stream, Structure, Subsection, Value,
};
pub use values::{Decoded, decode, decode_prefix};
pub use vmdesc::{DeviceDesc, FieldDesc, Occurs, StructDesc, VmDesc};

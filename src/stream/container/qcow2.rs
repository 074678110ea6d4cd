//! Snapshots within a qcow2 image: `savevm` stores a migration stream behind the last byte of the disk that the
//! guest sees. `docs/interop/qcow2.txt` of QEMU specifies the form; all its numbers are big endian.

use std::fmt;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// The first bytes of an image.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The header of version 2; version 3 adds features behind it.
const HEADER: usize = 72;
/// The header of version 3 up to its incompatible features.
const HEADER_WITH_FEATURES: usize = 80;
/// The part of a snapshot's entry that has a fixed length.
const ENTRY: usize = 40;
/// Numbers of bits in an offset within a cluster that QEMU takes.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// The most snapshots that QEMU keeps in an image (`QCOW_MAX_SNAPSHOTS`).
const MOST_SNAPSHOTS: u32 = 65536;
/// The most bytes of all snapshots' entries (`QCOW_MAX_SNAPSHOTS_SIZE`).
const LARGEST_ENTRIES: usize = 1024 * 65536;
/// The largest disk: a block device's size is a signed number.
const LARGEST_DISK: u64 = i64::MAX as u64;
/// The largest first-level table that QEMU takes, in bytes (`QCOW_MAX_L1_SIZE`).
const LARGEST_L1: u64 = 32 << 20;
/// The bits of a table's entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The bit of a second-level entry whose cluster is compressed, and that of one that reads as zeros.
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;
/// Incompatible features: the data is in another file; entries of the second level have two words.
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTENDED_L2: u64 = 1 << 4;
/// The incompatible features that do not change where data is: an unclean end, corruption, the form of compression.
const HARMLESS: u64 = 0b1011;

/// An image without a snapshot that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    #[error(
        "a qcow2 image without a snapshot of a running guest: only those of `savevm` have a migration stream"
    )]
    NoSnapshot,
    #[error("a qcow2 image without a snapshot {wanted:?}; it has {}", Names(.have))]
    NotFound { wanted: String, have: Vec<String> },
    #[error("a qcow2 image with several snapshots: {}; `--snapshot NAME` chooses one", Names(.have))]
    Several { have: Vec<String> },
    #[error(
        "an encrypted qcow2 image; `qemu-img convert` makes a plain copy, without its snapshots: start the guest with `-loadvm` and `migrate` it to a file"
    )]
    Encrypted,
    #[error(
        "a qcow2 image with features that are not known here (0x{features:x}); start the guest with `-loadvm` and `migrate` it to a file"
    )]
    Features { features: u64 },
    #[error("a qcow2 image with a header that makes no sense: {what}")]
    Senseless { what: &'static str },
    #[error("cannot be read on: {0}")]
    Io(#[from] io::Error),
}

/// The names of snapshots in a sentence.
struct Names<'n>(&'n [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

/// A snapshot of a guest that had state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snapshot {
    id: String,
    name: String,
    l1: Table,
    /// Length of the stream.
    state: u64,
    /// The disk's size at that time.
    disk: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Table {
    offset: u64,
    entries: u64,
}

/// The shape of an image's tables.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    cluster_bits: u32,
    /// Bits of an index into a table of the second level.
    l2_bits: u32,
    /// Bytes of an entry of the second level.
    l2_entry: u64,
}

/// Opens the stream of a snapshot, by its name or id, or of the only one.
///
/// # Errors
/// There is no such snapshot, or the image cannot be read here.
pub(super) fn open<F: Read + Seek>(
    mut image: F,
    wanted: Option<&str>,
) -> Result<State<F>, Qcow2Error> {
    let header = read_at::<HEADER_WITH_FEATURES>(&mut image, 0)?;
    let version = word(&header, 4);
    let cluster_bits = word(&header, 20);
    let is_known = (2..=3).contains(&version);
    sensible(is_known, "its version is neither 2 nor 3")?;
    let has_clusters = CLUSTER_BITS.contains(&cluster_bits);
    sensible(has_clusters, "the size of its clusters")?;
    if word(&header, 32) != 0 {
        return Err(Qcow2Error::Encrypted);
    }
    let features = match version {
        2 => 0,
        _ => long(&header, HEADER),
    };
    if features & !(HARMLESS | EXTENDED_L2) != 0 || features & EXTERNAL_DATA != 0 {
        return Err(Qcow2Error::Features { features });
    }
    let l2_entry_bits = if features & EXTENDED_L2 != 0 { 4 } else { 3 };
    let geometry = Geometry {
        cluster_bits,
        l2_bits: cluster_bits - l2_entry_bits,
        l2_entry: 1 << l2_entry_bits,
    };
    let snapshots = snapshots(
        &mut image,
        word(&header, 60),
        long(&header, 64),
        long(&header, 24),
    )?;
    let snapshot = choose(snapshots, wanted)?;
    sensible(snapshot.disk <= LARGEST_DISK, "the size of its disk")?;
    let fits = snapshot.l1.entries <= LARGEST_L1 / 8;
    sensible(fits, "the length of a snapshot's table")?;
    // What no cluster is for reads as zeros, without an end; QEMU has one for all of a state.
    let fits = snapshot.state <= image.seek(SeekFrom::End(0))?;
    sensible(fits, "the length of a snapshot's state")?;
    Ok(State {
        image,
        geometry,
        at: geometry.behind(snapshot.disk),
        left: snapshot.state,
        l1: snapshot.l1,
    })
}

/// Refuses a header in which a number makes no sense.
fn sensible(is_sensible: bool, what: &'static str) -> Result<(), Qcow2Error> {
    match is_sensible {
        true => Ok(()),
        false => Err(Qcow2Error::Senseless { what }),
    }
}

fn choose(snapshots: Vec<Snapshot>, wanted: Option<&str>) -> Result<Snapshot, Qcow2Error> {
    let have = || snapshots.iter().map(|one| one.name.clone()).collect();
    match (wanted, snapshots.as_slice()) {
        (None, []) => Err(Qcow2Error::NoSnapshot),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Qcow2Error::Several { have: have() }),
        (Some(wanted), _) => {
            let by_name = snapshots.iter().find(|snapshot| snapshot.name == wanted);
            let by_id = || snapshots.iter().find(|snapshot| snapshot.id == wanted);
            let found = by_name.or_else(by_id).cloned();
            found.ok_or_else(|| Qcow2Error::NotFound {
                wanted: wanted.to_owned(),
                have: have(),
            })
        }
    }
}

/// Reads the snapshots that have a stream.
fn snapshots<F: Read + Seek>(
    image: &mut F,
    count: u32,
    mut at: u64,
    disk: u64,
) -> Result<Vec<Snapshot>, Qcow2Error> {
    sensible(count <= MOST_SNAPSHOTS, "the number of its snapshots")?;
    let mut found = Vec::new();
    let mut all = 0;
    for _ in 0..count {
        let entry = read_at::<ENTRY>(image, at)?;
        let lengths = [usize::from(half(&entry, 12)), usize::from(half(&entry, 14))];
        let extra_length = word(&entry, 36) as usize;
        let whole = lengths.iter().sum::<usize>() + extra_length;
        all = whole.saturating_add(all);
        let fits = all <= LARGEST_ENTRIES;
        sensible(fits, "the length of its snapshots' entries")?;
        let mut rest = vec![0; whole];
        fill(image, at.saturating_add(ENTRY as u64), &mut rest)?;
        let (extra, names) = rest.split_at(extra_length);
        let (id, name) = names.split_at(lengths[0]);
        let state = match extra.len() {
            0..8 => word(&entry, 32).into(),
            _ => long(extra, 0),
        };
        if state > 0 {
            found.push(Snapshot {
                id: String::from_utf8_lossy(id).into_owned(),
                name: String::from_utf8_lossy(name).into_owned(),
                l1: Table {
                    offset: long(&entry, 0),
                    entries: word(&entry, 8).into(),
                },
                state,
                disk: match extra.len() {
                    0..16 => disk,
                    _ => long(extra, 8),
                },
            });
        }
        // Entries begin at multiples of eight.
        at = at.saturating_add((ENTRY + whole).next_multiple_of(8) as u64);
    }
    Ok(found)
}

impl Geometry {
    /// Returns the first offset behind a disk that has a table of the second level of its own: state begins there.
    fn behind(self, disk: u64) -> u64 {
        let bits = self.cluster_bits + self.l2_bits;
        disk.div_ceil(1 << bits).saturating_mul(1 << bits)
    }
}

/// The stream of a snapshot.
#[derive(Debug)]
pub(super) struct State<F> {
    image: F,
    geometry: Geometry,
    l1: Table,
    /// The next byte, as an offset that a guest would use.
    at: u64,
    /// Bytes that are not yet read.
    left: u64,
}

impl<F: Read + Seek> State<F> {
    /// Returns where a cluster is in the image; `None` has zeros.
    fn cluster(&mut self, number: u64) -> io::Result<Option<u64>> {
        let Geometry {
            l2_bits, l2_entry, ..
        } = self.geometry;
        let first = number >> l2_bits;
        if first >= self.l1.entries {
            return Ok(None);
        }
        let second = number & ((1 << l2_bits) - 1);
        let table = self.entry(self.l1.offset, first * 8)? & OFFSET;
        if table == 0 {
            return Ok(None);
        }
        let entry = self.entry(table, second * l2_entry)?;
        if entry & COMPRESSED != 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a part of the snapshot is compressed, which QEMU never writes",
            ));
        }
        let offset = entry & OFFSET;
        Ok((offset != 0 && entry & ZEROS == 0).then_some(offset))
    }

    fn entry(&mut self, table: u64, at: u64) -> io::Result<u64> {
        let bytes = read_at::<8>(&mut self.image, table.saturating_add(at))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

impl<F: Read + Seek> Read for State<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = 1_u64 << self.geometry.cluster_bits;
        let within = self.at % size;
        // No more than to the end of the cluster.
        let length = (size - within).min(self.left).min(into.len() as u64);
        let into = &mut into[..length as usize];
        if into.is_empty() {
            return Ok(0);
        }
        match self.cluster(self.at / size)? {
            Some(offset) => {
                fill(&mut self.image, offset.saturating_add(within), into)?;
            }
            None => into.fill(0),
        }
        self.at += length;
        self.left -= length;
        Ok(into.len())
    }
}

fn read_at<const N: usize>(image: &mut (impl Read + Seek), at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(image, at, &mut bytes)?;
    Ok(bytes)
}

/// Reads what is at a place of an image.
fn fill(image: &mut (impl Read + Seek), at: u64, into: &mut [u8]) -> io::Result<()> {
    let read = image
        .seek(SeekFrom::Start(at))
        .and_then(|_| image.read_exact(into));
    read.map_err(|error| match error.kind() {
        // The second is a place that no file has.
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput => io::Error::new(
            ErrorKind::UnexpectedEof,
            format!(
                "the qcow2 image names {} bytes at offset {at} (0x{at:x}), which is behind its end: it is cut off or damaged",
                into.len()
            ),
        ),
        _ => error,
    })
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const CLUSTER: usize = 512;
    /// The disk has as much: one table of the second level maps 64 clusters.
    const DISK: u64 = 64 * 512;

    /// An image with snapshots, each of a state that is not longer than a table maps.
    fn image(snapshots: &[(&str, &str, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; CLUSTER];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(4, &3u32.to_be_bytes());
        put(20, &9u32.to_be_bytes());
        put(24, &DISK.to_be_bytes());
        put(60, &(snapshots.len() as u32).to_be_bytes());
        let mut entries = Vec::new();
        for (id, name, state) in snapshots {
            let l1 = image.len();
            let l2 = l1 + CLUSTER;
            let data = l2 + CLUSTER;
            image.resize(data + state.len().next_multiple_of(CLUSTER), 0);
            // The first entry is the disk's, the second that of what is behind it.
            image[l1 + 8..l1 + 16].copy_from_slice(&(1 << 63 | l2 as u64).to_be_bytes());
            for cluster in 0..state.len().div_ceil(CLUSTER) {
                let entry = 1 << 63 | (data + cluster * CLUSTER) as u64;
                image[l2 + cluster * 8..][..8].copy_from_slice(&entry.to_be_bytes());
            }
            image[data..data + state.len()].copy_from_slice(state);
            let mut entry = (l1 as u64).to_be_bytes().to_vec();
            entry.extend(2u32.to_be_bytes());
            entry.extend((id.len() as u16).to_be_bytes());
            entry.extend((name.len() as u16).to_be_bytes());
            entry.resize(36, 0);
            entry.extend(16u32.to_be_bytes());
            entry.extend((state.len() as u64).to_be_bytes());
            entry.extend(DISK.to_be_bytes());
            entry.extend(id.bytes().chain(name.bytes()));
            entry.resize(entry.len().next_multiple_of(8), 0);
            entries.extend(entry);
        }
        let at = image.len() as u64;
        image[64..72].copy_from_slice(&at.to_be_bytes());
        image.extend(entries);
        image
    }

    fn read(image: &[u8], wanted: Option<&str>) -> Result<Vec<u8>, Qcow2Error> {
        let mut content = Vec::new();
        open(Cursor::new(image), wanted)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn a_snapshot_is_found_by_its_name_or_id() {
        let long: Vec<u8> = (0..1300_u32).map(|n| n as u8).collect();
        let image = image(&[
            ("1", "empty", b""),
            ("2", "first", b"short"),
            ("3", "second", &long),
        ]);
        for (wanted, content) in [("first", &b"short"[..]), ("2", b"short"), ("second", &long)] {
            assert_eq!(read(&image, Some(wanted)).expect(wanted), content);
        }
        let only = super::tests::image(&[("1", "", b"state")]);
        assert_eq!(read(&only, None).expect("the only one"), b"state");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let two = image(&[("1", "a", b"x"), ("2", "b", b"y")]);
        let with = |at: usize, bytes: &[u8]| {
            let mut image = two.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            image
        };
        let none = "without a snapshot of a running guest";
        let empty = image(&[("1", "empty", b"")]);
        let mut long = image(&[("1", "long", b"x")]);
        let entry = long.len() - 64;
        long[entry + 40..entry + 48].copy_from_slice(&(1u64 << 62).to_be_bytes());
        for (image, wanted, words) in [
            (&two, None, "several snapshots: a, b; `--snapshot NAME`"),
            (&two, Some("c"), "without a snapshot \"c\"; it has a, b"),
            (&image(&[]), None, none),
            (&empty, None, none),
            (&with(4, &4u32.to_be_bytes()), Some("a"), "its version"),
            (&with(20, &60u32.to_be_bytes()), Some("a"), "its clusters"),
            (&with(32, &2u32.to_be_bytes()), Some("a"), "encrypted"),
            (&with(72, &4u64.to_be_bytes()), Some("a"), "here (0x4)"),
            (&with(60, &[0xff; 4]), Some("a"), "number of its snapshots"),
            (&with(60, &60u32.to_be_bytes()), Some("a"), "cut off"),
            (&two[..two.len() - 7].to_vec(), Some("b"), "cut off"),
            (&with(CLUSTER + 8, &[0x7f; 8]), Some("a"), "cut off"),
            (&with(64, &[0xff; 8]), Some("a"), "cut off"),
            (&long, None, "length of a snapshot's state"),
        ] {
            let error = read(image, wanted).expect_err(words).to_string();
            assert!(error.contains(words), "wanted {words:?} in {error:?}");
        }
    }

    proptest! {
        /// Damage is an error or other data, and never a panic.
        #[test]
        fn damage_does_no_harm(at in 0..2000_usize, byte: u8, more: [u8; 7]) {
            let mut image = image(&[("1", "a", b"x"), ("2", "b", b"y")]);
            for (place, byte) in std::iter::once(byte).chain(more).enumerate() {
                if let Some(found) = image.get_mut(at + place) {
                    *found = byte;
                }
            }
            for wanted in [None, Some("a")] {
                if let Ok(state) = open(Cursor::new(&image), wanted) {
                    let _read = io::copy(&mut state.take(1 << 20), &mut io::sink());
                }
            }
        }
    }
}

//! What must be the same on both sides when a guest has moved.

use std::ops::Range;
use std::time::Duration;

use nix::sys::stat::Mode;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use xxhash_rust::xxh3::xxh3_64;

use crate::migration::endpoint::commands::{HumanCommand, PmemSave};
use crate::migration::endpoint::vm::{Vm, bad_event};
use crate::migration::leg::error::{End, LegError, broken};
use crate::qemu::qmp::QmpError;
use crate::report::Outcome;
use crate::workload::{Guest, Header, Progress, SerialLog, check_region};

/// Bytes that are hashed together; the unit in which a difference is told.
const PAGE: u64 = 4096;
/// Writing guest memory into a pipe takes milliseconds.
const SAVE_DEADLINE: Duration = Duration::from_secs(60);

/// Memory of a guest as its CPUs see it: addresses of what is RAM or ROM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryMap {
    ranges: Vec<Range<u64>>,
    /// What the build calls each piece, whether or not the next one touches it.
    regions: Vec<(Range<u64>, String)>,
}

impl MemoryMap {
    /// Reads what `info mtree -f` prints: the flat view of the address space called `memory`.
    pub fn from_mtree(text: &str) -> MemoryMap {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut regions = Vec::new();
        let views = text.split("FlatView #").skip(1);
        let system = views.into_iter().find(|view| {
            view.lines()
                .any(|line| line.trim_start().starts_with("AS \"memory\""))
        });
        for line in system.unwrap_or_default().lines() {
            // 0000000000100000-0000000001ffffff (prio 0, ram): pc.ram @0000000000100000
            let Some((span, rest)) = line.trim_start().split_once(" (prio ") else {
                continue;
            };
            let kind = rest
                .split_once(')')
                .and_then(|(inner, _)| inner.rsplit_once(", "))
                .map(|(_, kind)| kind);
            if !matches!(kind, Some("ram" | "rom")) {
                continue;
            }
            let Some((from, to)) = span.split_once('-') else {
                continue;
            };
            let parse = |hex: &str| u64::from_str_radix(hex, 16).ok();
            if let (Some(from), Some(to)) = (parse(from), parse(to))
                && let Some(end) = to.checked_add(1)
            {
                let name = rest.split_once("): ").map_or("", |(_, name)| name);
                let name = name.split(" @").next().unwrap_or_default().trim();
                regions.push((from..end, name.to_owned()));
                match ranges.last_mut() {
                    Some(last) if last.end == from => last.end = end,
                    _ => ranges.push(from..end),
                }
            }
        }
        MemoryMap { ranges, regions }
    }

    /// The name of what is at an address.
    fn region(&self, address: u64) -> Option<&str> {
        let there = self.regions.iter().find(|(at, _)| at.contains(&address));
        there.map(|(_, name)| name.as_str())
    }

    /// What both maps have.
    fn shared(&self, other: &MemoryMap) -> MemoryMap {
        let mut ranges = Vec::new();
        for a in &self.ranges {
            for b in &other.ranges {
                let (from, to) = (a.start.max(b.start), a.end.min(b.end));
                if from < to {
                    ranges.push(from..to);
                }
            }
        }
        MemoryMap {
            ranges,
            regions: self.regions.clone(),
        }
    }

    fn size(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }
}

/// A question to one side that was not answered.
type Failed = (End, QmpError);

/// Why two guests cannot be called the same.
#[derive(Debug)]
pub(crate) enum IntegrityError {
    Found(LegError),
    Unanswered(Failed),
}

impl From<LegError> for IntegrityError {
    fn from(unfit: LegError) -> Self {
        IntegrityError::Found(unfit)
    }
}

impl From<Failed> for IntegrityError {
    fn from(failed: Failed) -> Self {
        IntegrityError::Unanswered(failed)
    }
}

impl IntegrityError {
    /// What it means for the leg: a side that does not answer may have ended.
    pub async fn unfit(self, source: &mut Vm, destination: &mut Vm) -> LegError {
        match self {
            IntegrityError::Found(unfit) => unfit,
            IntegrityError::Unanswered((End::Source, error)) => {
                broken(source, End::Source, error).await
            }
            IntegrityError::Unanswered((end, error)) => broken(destination, end, error).await,
        }
    }
}

fn lost(message: String) -> LegError {
    LegError::new(Outcome::Lost, message)
}

/// The memory that two stopped guests both have where their CPUs look for it.
pub(crate) async fn shared(source: &Vm, destination: &Vm) -> Result<MemoryMap, IntegrityError> {
    let (ours, theirs) =
        tokio::try_join!(map(source, End::Source), map(destination, End::Destination))?;
    let shared = ours.shared(&theirs);
    // Windows onto devices may be elsewhere in another build; the memory itself may not.
    let least = ours.size().min(theirs.size());
    if shared.size() == 0 || shared.size() < least / 2 {
        return Err(lost(format!(
            "the source has {} bytes of memory, the destination {}, at the same addresses {}",
            ours.size(),
            theirs.size(),
            shared.size()
        ))
        .into());
    }
    Ok(shared)
}

/// Compares the memory of two stopped guests, and what the workload left there and on its console.
/// The number of bytes compared comes back, and how far the workload is.
pub(crate) async fn compare(
    source: &mut Vm,
    destination: &Vm,
    guest: Option<&Guest>,
    log: &mut SerialLog,
) -> Result<(u64, Option<Progress>), IntegrityError> {
    // The source is stopped: what it has said by now is all.
    if let Some(bad) = source.hear(log).into_iter().find(|event| !event.is_good()) {
        return Err(lost(format!("on the source, {}", bad_event(&bad))).into());
    }
    let source = &*source;
    let shared = shared(source, destination).await?;
    let (ours, theirs) = tokio::try_join!(
        hashes(source, End::Source, &shared),
        hashes(destination, End::Destination, &shared)
    )?;
    let progress = match guest {
        Some(guest) => {
            let state = workload(source, End::Source, guest).await?;
            let (header, progress) =
                state.map_err(|why| lost(format!("before the move was over, {why}")))?;
            log.check_against(&header)
                .map_err(|why| lost(format!("on the source's console, {why}")))?;
            Some(progress)
        }
        None => None,
    };
    if ours != theirs {
        let (message, region) = difference(&shared, &ours, &theirs);
        let lost = |message| LegError {
            place: region,
            ..lost(message)
        };
        let found = match guest {
            Some(guest) => workload(destination, End::Destination, guest).await.ok(),
            None => None,
        };
        let Some(Err(why)) = found else {
            return Err(lost(message).into());
        };
        return Err(lost(format!("{message}; {why}")).into());
    }
    Ok((shared.size(), progress))
}

/// Which pages differ, in words, and what the first one belongs to.
fn difference(map: &MemoryMap, ours: &[u64], theirs: &[u64]) -> (String, Option<String>) {
    let mut addresses = map.ranges.iter().flat_map(|range| {
        let pages = (range.end - range.start).div_ceil(PAGE);
        (0..pages).map(|page| range.start + page * PAGE)
    });
    let mut count = 0usize;
    let mut first = 0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        let address = addresses.next().unwrap_or_default();
        if ours != theirs {
            if count == 0 {
                first = address;
            }
            count += 1;
        }
    }
    let region = map.region(first).filter(|name| !name.is_empty());
    let within = region.map_or_else(String::new, |name| format!(", in {name}"));
    let message = format!(
        "{count} of {} pages of memory differ, the first at {first:#x}{within}",
        ours.len()
    );
    (message, region.map(str::to_owned))
}

async fn map(vm: &Vm, end: End) -> Result<MemoryMap, Failed> {
    let command = HumanCommand {
        command_line: "info mtree -f".to_owned(),
    };
    let text = vm.monitored.session.execute(command, vm.command).await;
    Ok(MemoryMap::from_mtree(&text.map_err(|error| (end, error))?))
}

async fn hashes(vm: &Vm, end: End, map: &MemoryMap) -> Result<Vec<u64>, Failed> {
    let mut hashes = Vec::new();
    for range in &map.ranges {
        read(vm, range.clone(), |page| hashes.push(xxh3_64(page)))
            .await
            .map_err(|error| (end, error))?;
    }
    Ok(hashes)
}

/// Header and region of the workload: what is wrong with them, or how far it is.
async fn workload(
    vm: &Vm,
    end: End,
    guest: &Guest,
) -> Result<Result<(Header, Progress), crate::workload::WorkloadError>, Failed> {
    let failed = |error| (end, error);
    let mut bytes = Vec::new();
    let header = guest.header..guest.header + Guest::HEADER_SIZE as u64;
    read(vm, header, |page| bytes.extend_from_slice(page))
        .await
        .map_err(failed)?;
    let header = match Header::parse(&bytes) {
        Ok(header) => header,
        Err(why) => return Ok(Err(why)),
    };
    bytes.clear();
    let region = header.region..header.region.saturating_add(header.region_size());
    read(vm, region, |page| bytes.extend_from_slice(page))
        .await
        .map_err(failed)?;
    Ok(check_region(&header, &bytes).map(|progress| (header, progress)))
}

/// Reads guest memory page by page, through a pipe: nothing of it reaches a disk, and a page is all
/// that we hold.
async fn read(vm: &Vm, range: Range<u64>, mut take: impl FnMut(&[u8])) -> Result<(), QmpError> {
    let io = |error: std::io::Error| QmpError::Io(error.to_string());
    let path = vm.folder.join(format!("r{}", vm.index));
    if !path.exists() {
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| io(e.into()))?;
    }
    let size = range.end - range.start;
    // Open for writing too, so that no end of file is seen before the build has opened it.
    let mut reader = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(&path)
        .map_err(io)?;
    let command = PmemSave {
        val: range.start,
        size,
        filename: path.display().to_string(),
    };
    let saved = vm.monitored.session.execute(command, SAVE_DEADLINE);
    let taken = async {
        let mut left = size;
        let mut chunk = vec![0; 16 * PAGE as usize];
        while left > 0 {
            let want = left.min(chunk.len() as u64) as usize;
            reader.read_exact(&mut chunk[..want]).await.map_err(io)?;
            for page in chunk[..want].chunks(PAGE as usize) {
                take(page);
            }
            left -= want as u64;
        }
        Ok(())
    };
    // A build that refuses writes nothing, and we would read for ever.
    let taken = tokio::time::timeout(SAVE_DEADLINE, async { tokio::try_join!(saved, taken) });
    match taken.await {
        Ok(result) => result.map(drop),
        Err(_) => Err(QmpError::Deadline {
            what: "pmemsave",
            after: SAVE_DEADLINE,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTREE: &str = "\
FlatView #0
 AS \"I/O\", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS \"memory\", root: system
 AS \"cpu-memory-0\", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000c0000-00000000000cafff (prio 0, rom): pc.ram @00000000000c0000
  00000000000cb000-0000000001ffffff (prio 0, ram): pc.ram @00000000000cb000
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
";

    #[test]
    fn the_map_holds_memory_and_no_devices() {
        let map = MemoryMap::from_mtree(MTREE);
        assert_eq!(
            map.ranges,
            [0..0xa0000, 0xc0000..0x200_0000, 0xfffc_0000..0x1_0000_0000]
        );
        assert_eq!(map.region(0xcb010), Some("pc.ram"));
        assert_eq!(map.region(0xfffc_0000), Some("pc.bios"));
        let smaller = MemoryMap {
            ranges: vec![0x1000..0xd0000, 1 << 40..1 << 41],
            ..MemoryMap::default()
        };
        assert_eq!(
            map.shared(&smaller).ranges,
            [0x1000..0xa0000, 0xc0000..0xd0000]
        );
        assert_eq!(MemoryMap::from_mtree("garbage"), MemoryMap::default());
    }

    #[test]
    fn a_difference_names_the_first_page() {
        let map = MemoryMap {
            ranges: vec![0..0x2000, 0x10_0000..0x10_2000],
            regions: vec![(0x10_0000..0x10_2000, "pc.ram".to_owned())],
        };
        let (text, region) = difference(&map, &[1, 2, 3, 4], &[1, 2, 9, 9]);
        assert_eq!(
            text,
            "2 of 4 pages of memory differ, the first at 0x100000, in pc.ram"
        );
        assert_eq!(region.as_deref(), Some("pc.ram"));
        let (text, _) = difference(&map, &[1, 2, 3, 4], &[0, 2, 3, 4]);
        assert_eq!(text, "1 of 4 pages of memory differ, the first at 0x0");
    }
}

//! Comparing the memory of two stopped guests, as their CPUs see it, and what the workload left in it.

use std::ops::Range;
use std::time::Duration;

use nix::sys::stat::Mode;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::migration::checks::changes::LoadChanges;
use crate::migration::checks::memory_map::{FLAT_VIEWS, MemoryMap};
use crate::migration::checks::pages::{self, PAGE_SIZE, PageDifference, PlacedPage, Places};
use crate::migration::endpoint::commands::PmemSave;
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{GuestFault, LegError, LegErrorKind, MemoryFault, Obstacle};
use crate::qemu::qmp::{HumanCommand, QmpError};
use crate::report::{LegSide, Phase};
use crate::workload::{Guest, Header, SerialLog, WorkloadError, check_region};

/// Writing guest memory into a pipe takes milliseconds.
const SAVE_DEADLINE: Duration = Duration::from_secs(60);

fn failed(side: Option<LegSide>, kind: impl Into<LegErrorKind>) -> LegError {
    LegError::new(side, Phase::MemoryCheck, kind)
}

/// Makes the error of a question to one side that was not answered. That side may have ended.
fn unanswered(side: LegSide, error: QmpError) -> LegError {
    LegError::of_command(side, Phase::MemoryCheck, error)
}

/// Returns the memory that two stopped guests both have where their CPUs look for it: none where their CPUs have
/// address spaces of their own.
pub(crate) async fn shared_map(source: &Vm, destination: &Vm) -> Result<MemoryMap, LegError> {
    let (sent, arrived) = tokio::try_join!(
        map(source, LegSide::Source),
        map(destination, LegSide::Destination)
    )?;
    let shared = sent.shared(&arrived);
    // Windows onto devices may be elsewhere in another build; the memory itself may not.
    let least = sent.size().min(arrived.size());
    let has_any = sent.size() > 0 || arrived.size() > 0;
    if has_any && (shared.size() == 0 || shared.size() < least / 2) {
        let sizes = MemoryFault::Sizes {
            sent: sent.size(),
            arrived: arrived.size(),
            shared: shared.size(),
        };
        return Err(failed(None, sizes));
    }
    Ok(shared)
}

/// Compares the memory of two stopped guests, and what the workload left there and on its console.
/// Pages that a load is known to change are left out. An error may be a side that does not answer: see
/// [`LegError::with_end_of`].
pub(crate) async fn compare(
    source: &mut Vm,
    destination: &Vm,
    guest: Option<&Guest>,
    tolerated: &LoadChanges,
    log: &mut SerialLog,
) -> Result<(), LegError> {
    // The source is stopped: nothing more will come on its console.
    if let Some(bad) = source.read_console(log) {
        return Err(failed(
            Some(LegSide::Source),
            GuestFault::OnSourceConsole(bad),
        ));
    }
    let source = &*source;
    let shared = shared_map(source, destination).await?;
    if shared.size() == 0 {
        return Err(failed(None, Obstacle::MemoryOutOfReach));
    }
    let (sent, arrived) = tokio::try_join!(
        hashes(source, LegSide::Source, &shared),
        hashes(destination, LegSide::Destination, &shared)
    )?;
    if let Some(guest) = guest {
        check_source(source, guest, log).await?;
    }
    let pages = difference(&shared, &sent, &arrived);
    let Some(pages) = pages.and_then(|pages| tolerated.leave_out(pages)) else {
        return Ok(());
    };
    // The workload may name the page that is at fault.
    let workload = match guest {
        Some(guest) => {
            let found = workload(destination, LegSide::Destination, guest).await;
            found.ok().and_then(Result::err)
        }
        None => None,
    };
    let fault = match workload {
        Some(error) => MemoryFault::PagesOfWorkload(pages, error),
        None => MemoryFault::Pages(pages),
    };
    Err(failed(None, fault))
}

/// Checks what the workload left on the source: what is wrong there did not happen in transit.
async fn check_source(source: &Vm, guest: &Guest, log: &SerialLog) -> Result<(), LegError> {
    let fault = |fault| failed(Some(LegSide::Source), fault);
    let state = workload(source, LegSide::Source, guest).await?;
    let header = state.map_err(|error| fault(GuestFault::BeforeTheMove(error)))?;
    log.check_against(&header)
        .map_err(|error| fault(GuestFault::SourceConsole(error)))
}

/// Compares the hashes of all pages in a map.
fn difference(map: &MemoryMap, sent: &[u64], arrived: &[u64]) -> Option<PageDifference> {
    let addresses = map.ranges().iter().flat_map(|range| {
        let pages = (range.end - range.start).div_ceil(PAGE_SIZE);
        (0..pages).map(|page| range.start + page * PAGE_SIZE)
    });
    let hashes = sent.iter().zip(arrived);
    let differing = addresses
        .zip(hashes)
        .filter(|(_, (sent, arrived))| sent != arrived)
        .map(|(address, _)| PlacedPage {
            block: map.region(address).unwrap_or_default().to_owned(),
            at: address,
        });
    let pages: Vec<PlacedPage> = differing.collect();
    (!pages.is_empty()).then_some(PageDifference {
        of: sent.len() as u64,
        places: Places::AtAddresses,
        pages,
    })
}

async fn map(vm: &Vm, side: LegSide) -> Result<MemoryMap, LegError> {
    let text = vm.execute(HumanCommand::new(FLAT_VIEWS)).await;
    let text = text.map_err(|error| unanswered(side, error))?;
    Ok(MemoryMap::from_mtree(&text))
}

async fn hashes(vm: &Vm, side: LegSide, map: &MemoryMap) -> Result<Vec<u64>, LegError> {
    let mut hashes = Vec::new();
    for range in map.ranges() {
        let take = |page: &[u8]| hashes.push(pages::hash(page));
        read(vm, range.clone(), take)
            .await
            .map_err(|error| unanswered(side, error))?;
    }
    Ok(hashes)
}

/// Reads header and region of the workload. Returns the error in them, or the header.
async fn workload(
    vm: &Vm,
    side: LegSide,
    guest: &Guest,
) -> Result<Result<Header, WorkloadError>, LegError> {
    let mut bytes = Vec::new();
    let header = guest.header..guest.header + Guest::HEADER_SIZE as u64;
    read(vm, header, |page| bytes.extend_from_slice(page))
        .await
        .map_err(|error| unanswered(side, error))?;
    let header = match Header::parse(&bytes) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    bytes.clear();
    let region = header.region..header.region.saturating_add(header.region_size());
    read(vm, region, |page| bytes.extend_from_slice(page))
        .await
        .map_err(|error| unanswered(side, error))?;
    Ok(check_region(&header, &bytes).map(|()| header))
}

/// Reads guest memory page by page, through a pipe: nothing of it reaches a disk, and a page is all
/// that is kept at a time.
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
        let mut chunk = vec![0; 16 * PAGE_SIZE as usize];
        while left > 0 {
            let want = left.min(chunk.len() as u64) as usize;
            reader.read_exact(&mut chunk[..want]).await.map_err(io)?;
            for page in chunk[..want].chunks(PAGE_SIZE as usize) {
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
 AS \"memory\", root: system
 Root memory region: system
  0000000000000000-0000000000001fff (prio 0, rom): low
  0000000000100000-0000000000101fff (prio 0, ram): pc.ram
  0000000000200000-0000000000200fff (prio 0, ram):
";

    #[test]
    fn a_difference_names_the_first_page() {
        let map = MemoryMap::from_mtree(MTREE);
        let sentence = |sent: &[u64], arrived: &[u64]| {
            difference(&map, sent, arrived).map(|found| found.to_string())
        };
        assert_eq!(
            sentence(&[1, 2, 3, 4, 5], &[1, 2, 9, 9, 5]).as_deref(),
            Some("2 of 5 pages of memory differ, the first at 0x100000, in pc.ram")
        );
        assert_eq!(
            sentence(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 0]).as_deref(),
            Some("1 of 5 pages of memory differ, the first at 0x200000")
        );
        assert_eq!(sentence(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]), None);
    }
}

//! The disk of a vhost-user block device, and the requests of its driver.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

/// The size in bytes of a disk that is new.
const SIZE: u64 = 64 << 20;
/// A sector in bytes, whatever the size of a block is.
const SECTOR: u64 = 512;
/// The most segments of a request, and of one that discards or writes zeroes.
const SEGMENTS: u32 = 126;
/// The most sectors of one segment that is discarded or written with zeroes.
const MOST: u32 = 2048;
/// The name that a disk gives of itself.
const NAME: &[u8; 20] = b"migcompat\0\0\0\0\0\0\0\0\0\0\0";

/// What stands behind a block device: a file that source and destination share, as they share a disk.
#[derive(Debug)]
pub(in crate::beside) struct Disk {
    file: File,
    /// In bytes, a number of whole sectors.
    size: u64,
}

/// A segment of a request that discards or writes zeroes.
struct Segment {
    start: u64,
    bytes: u64,
}

impl Disk {
    /// Opens a disk as large as it is, and makes one of zeroes where there is none.
    ///
    /// # Errors
    /// There can be no such file.
    pub(in crate::beside) fn open(path: &Path) -> io::Result<Disk> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut size = file.metadata()?.len() / SECTOR * SECTOR;
        if size == 0 {
            file.set_len(SIZE)?;
            size = SIZE;
        }
        Ok(Disk { file, size })
    }

    /// Returns what a driver reads of the set-up: `struct virtio_blk_config` of the specification, with zeroes for what
    /// belongs to features that the disk does not have.
    pub(super) fn config(&self, queues: u16, writes_back: bool) -> Vec<u8> {
        let mut config = Vec::with_capacity(60);
        config.extend((self.size / SECTOR).to_le_bytes());
        config.extend([0; 4]);
        config.extend(SEGMENTS.to_le_bytes());
        // The geometry.
        config.extend([0; 4]);
        config.extend((SECTOR as u32).to_le_bytes());
        // The topology.
        config.extend([0; 8]);
        config.extend([u8::from(writes_back), 0]);
        config.extend(queues.to_le_bytes());
        for of_discards in [MOST, SEGMENTS, 1] {
            config.extend(of_discards.to_le_bytes());
        }
        for of_zeroes in [MOST, SEGMENTS] {
            config.extend(of_zeroes.to_le_bytes());
        }
        config.extend([1, 0, 0, 0]);
        config
    }

    /// Does what a request says. `room` is how many bytes the driver has for the answer, the last of which is the status.
    /// Returns how many were written.
    ///
    /// # Errors
    /// The request is cut off, or does not lie in the guest's memory.
    pub(super) fn answer(
        &self,
        request: &mut impl Read,
        answer: &mut impl Write,
        room: usize,
    ) -> io::Result<usize> {
        let mut word = [0; 4];
        request.read_exact(&mut word)?;
        let kind = u32::from_le_bytes(word);
        // The priority.
        request.read_exact(&mut word)?;
        let mut sector = [0; 8];
        request.read_exact(&mut sector)?;
        let start = u64::from_le_bytes(sector).checked_mul(SECTOR);
        let space = room.checked_sub(1).ok_or(ErrorKind::InvalidData)?;
        // Nobody reads more than there is, and a build that says so may mean any number.
        if u64::try_from(space).is_ok_and(|space| space > self.size) {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; if kind == VIRTIO_BLK_T_IN { space } else { 0 }];
        let done = match (kind, start) {
            (VIRTIO_BLK_T_IN, Some(start)) => self.read(start, &mut data),
            (VIRTIO_BLK_T_OUT, Some(start)) => self.write(start, request),
            // What is written need not outlive the run: a busy disk of the host is waited for by no other disk either.
            (VIRTIO_BLK_T_FLUSH, _) => Ok(()),
            (VIRTIO_BLK_T_GET_ID, _) => {
                data.extend(&NAME[..NAME.len().min(space)]);
                Ok(())
            }
            (VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES, _) => self.clear(request),
            _ => Err(ErrorKind::Unsupported.into()),
        };
        let status = match done {
            Ok(()) => VIRTIO_BLK_S_OK,
            Err(error) if error.kind() == ErrorKind::Unsupported => VIRTIO_BLK_S_UNSUPP,
            Err(_) => VIRTIO_BLK_S_IOERR,
        };
        // The status is the last byte, wherever the data end.
        data.resize(space, 0);
        data.push(u8::try_from(status).map_err(io::Error::other)?);
        answer.write_all(&data)?;
        Ok(data.len())
    }

    fn read(&self, start: u64, data: &mut [u8]) -> io::Result<()> {
        let length = u64::try_from(data.len()).map_err(io::Error::other)?;
        self.within(start, length)?;
        self.file.read_exact_at(data, start)
    }

    fn write(&self, start: u64, request: &mut impl Read) -> io::Result<()> {
        let data = self.rest(request)?;
        let length = u64::try_from(data.len()).map_err(io::Error::other)?;
        self.within(start, length)?;
        self.file.write_all_at(&data, start)
    }

    /// Reads what is left of a request, which is no longer than a disk.
    fn rest(&self, request: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        request.take(self.size + 1).read_to_end(&mut data)?;
        Ok(data)
    }

    /// Refuses what reaches behind the end of a disk, which would grow.
    fn within(&self, start: u64, length: u64) -> io::Result<()> {
        match start.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Writes zeroes where the segments of a request lie.
    fn clear(&self, request: &mut impl Read) -> io::Result<()> {
        let data = self.rest(request)?;
        for segment in data.chunks_exact(16).map(Segment::read) {
            let segment = segment?;
            self.within(segment.start, segment.bytes)?;
            let length = usize::try_from(segment.bytes).map_err(io::Error::other)?;
            self.file.write_all_at(&vec![0; length], segment.start)?;
        }
        Ok(())
    }
}

impl Segment {
    /// Reads a sector, how many there are and the flags.
    fn read(bytes: &[u8]) -> io::Result<Segment> {
        let (sector, rest) = bytes.split_first_chunk().ok_or(ErrorKind::InvalidData)?;
        let (sectors, _flags) = rest.split_first_chunk().ok_or(ErrorKind::InvalidData)?;
        let sectors = u32::from_le_bytes(*sectors);
        if sectors > MOST {
            return Err(ErrorKind::InvalidData.into());
        }
        let start = u64::from_le_bytes(*sector).checked_mul(SECTOR);
        Ok(Segment {
            start: start.ok_or(ErrorKind::InvalidData)?,
            bytes: u64::from(sectors) * SECTOR,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u32, sector: u64, data: &[u8]) -> Vec<u8> {
        let head = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()];
        [&head.concat()[..], data].concat()
    }

    fn ask(disk: &Disk, request: &[u8], room: usize) -> Vec<u8> {
        let mut answer = Vec::new();
        let written = disk.answer(&mut &request[..], &mut answer, room).unwrap();
        assert_eq!(written, answer.len());
        answer
    }

    fn disk() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("disk")).unwrap();
        (folder, disk)
    }

    const SEVENS: [u8; 512] = [7; 512];
    const LAST: u64 = SIZE / SECTOR - 1;

    #[test]
    fn what_was_written_is_read_until_it_is_cleared() {
        let (folder, disk) = disk();
        let read = |disk: &Disk| ask(disk, &request(VIRTIO_BLK_T_IN, LAST, &[]), 513);
        assert_eq!(read(&disk), [0; 513]);
        let write = request(VIRTIO_BLK_T_OUT, LAST, &SEVENS);
        assert_eq!(ask(&disk, &write, 1), [0]);
        assert_eq!(ask(&disk, &request(VIRTIO_BLK_T_FLUSH, 0, &[]), 1), [0]);
        // A destination has the same disk.
        let other = Disk::open(&folder.path().join("disk")).unwrap();
        assert_eq!(read(&other)[..512], SEVENS);
        let segment = [&LAST.to_le_bytes()[..], &1_u32.to_le_bytes(), &[0; 4]].concat();
        for kind in [VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
            ask(&disk, &write, 1);
            assert_eq!(ask(&disk, &request(kind, 0, &segment), 1), [0]);
            assert_eq!(read(&other), [0; 513]);
        }
        let name = ask(&disk, &request(VIRTIO_BLK_T_GET_ID, 0, &[]), 21);
        assert_eq!(name[..10], *b"migcompat\0");
    }

    #[test]
    fn what_no_disk_can_do_is_an_error_of_the_request() {
        let (folder, disk) = disk();
        let behind = [&u64::MAX.to_le_bytes()[..], &1_u32.to_le_bytes(), &[0; 4]].concat();
        let many = [&[0; 8][..], &u32::MAX.to_le_bytes(), &[0; 4]].concat();
        for (request, status) in [
            (request(VIRTIO_BLK_T_IN, LAST + 1, &[]), VIRTIO_BLK_S_IOERR),
            (request(VIRTIO_BLK_T_IN, u64::MAX, &[]), VIRTIO_BLK_S_UNSUPP),
            (
                request(VIRTIO_BLK_T_OUT, LAST + 1, &SEVENS),
                VIRTIO_BLK_S_IOERR,
            ),
            (
                request(VIRTIO_BLK_T_DISCARD, 0, &behind),
                VIRTIO_BLK_S_IOERR,
            ),
            (
                request(VIRTIO_BLK_T_WRITE_ZEROES, 0, &many),
                VIRTIO_BLK_S_IOERR,
            ),
            (request(99, 0, &[]), VIRTIO_BLK_S_UNSUPP),
        ] {
            let answer = ask(&disk, &request, 513);
            assert_eq!(u32::from(answer[512]), status, "{request:?}");
        }
        let size = folder.path().join("disk").metadata().unwrap().len();
        assert_eq!(size, SIZE);
        // One that is cut off, or has no room for its status, has no answer.
        assert!(
            disk.answer(&mut &[0; 15][..], &mut Vec::new(), 513)
                .is_err()
        );
        let flush = request(VIRTIO_BLK_T_FLUSH, 0, &[]);
        assert!(disk.answer(&mut &flush[..], &mut Vec::new(), 0).is_err());
        let read = request(VIRTIO_BLK_T_IN, 0, &[]);
        let answer = disk.answer(&mut &read[..], &mut Vec::new(), usize::MAX);
        assert!(answer.is_err());
    }

    #[test]
    fn the_set_up_is_as_long_as_the_specification_has_it() {
        let (folder, disk) = disk();
        let config = disk.config(4, true);
        assert_eq!(config.len(), 60);
        assert_eq!(config[..8], (SIZE / SECTOR).to_le_bytes());
        assert_eq!(config[20..24], 512_u32.to_le_bytes());
        assert_eq!((config[32], config[34]), (1, 4));
        assert_eq!(config[36..40], MOST.to_le_bytes());
        assert_eq!(config[56], 1);
        // Somebody's own file stays as long as it is.
        let own = folder.path().join("own");
        std::fs::write(&own, [7; 1000]).unwrap();
        let disk = Disk::open(&own).unwrap();
        assert_eq!(disk.config(1, true)[..8], 1_u64.to_le_bytes());
        assert_eq!(own.metadata().unwrap().len(), 1000);
    }
}

//! One device: how it is set up, what it answers a driver, and the state that a migration carries.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserProtocolFeatures,
};
use vhost_user_backend::bitmap::BitmapMmapRegion;
use vhost_user_backend::{VhostUserBackendMut, VringRwLock, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::beside::vhost_user::disk::Disk;
use crate::beside::vhost_user::kind::{Addresses, Kind};

/// The most rings of a device: the crate has a bit for each.
const RINGS: u16 = 64;
/// The most entries of a ring that QEMU has (`VIRTQUEUE_MAX_SIZE`).
const ENTRIES: usize = 1024;
/// Where a driver says whether a disk writes back (`wce` of `struct virtio_blk_config`).
const WRITES_BACK: usize = 32;
/// The answer of a SCSI host to a request of no target (`VIRTIO_SCSI_S_BAD_TARGET`).
const BAD_TARGET: u8 = 3;
/// Where the answer to a SCSI command says what came of it (`response` of `struct virtio_scsi_cmd_resp`).
const RESPONSE: usize = 11;
/// The length of the answer to a SCSI command (`struct virtio_scsi_cmd_resp`).
const SCSI_ANSWER: usize = 108;
/// What a file system answers to a request that it does not know, as FUSE has it: an error (`ENOSYS`) behind the length.
const UNKNOWN: i32 = -38;
/// The length of what comes before the data of a FUSE request and of its answer.
const FUSE_ANSWER: usize = 16;

pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap<BitmapMmapRegion>>;

/// A device whose rings are worked here.
#[derive(Debug)]
pub(super) struct Device {
    kind: Kind,
    addresses: Addresses,
    memory: Memory,
    disk: Option<Disk>,
    writes_back: bool,
    event_idx: bool,
    /// What the device keeps beside its rings.
    state: Arc<Mutex<Vec<u8>>>,
    /// Sends the state, or takes another one.
    transfer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Device {
    /// A device of a kind, of which `owner` is told to whoever gets its state.
    pub(super) fn new(
        (kind, addresses): (Kind, Addresses),
        memory: Memory,
        owner: &str,
        disk: Option<Disk>,
    ) -> Device {
        Device {
            kind,
            addresses,
            memory,
            disk,
            writes_back: true,
            event_idx: false,
            state: Arc::new(Mutex::new(owner.into())),
            transfer: Mutex::new(None),
        }
    }

    /// Answers what is in a ring.
    fn work(&self, ring: &VringRwLock<Memory>) -> io::Result<()> {
        let memory = self.memory.memory();
        let other = |error| io::Error::other(format!("a ring: {error}"));
        loop {
            ring.disable_notification().map_err(other)?;
            let mut state = ring.get_mut();
            while let Some(chain) = state.get_queue_mut().pop_descriptor_chain(memory.clone()) {
                let head = chain.head_index();
                let request = chain.clone().reader(&memory);
                let answer = chain.writer(&memory);
                let written = match (request, answer) {
                    (Ok(mut request), Ok(mut answer)) => {
                        let lengths = (request.available_bytes(), answer.available_bytes());
                        // What cannot be answered is given back as it is.
                        let written = self.answer(&mut request, &mut answer, lengths);
                        written.unwrap_or(0)
                    }
                    _ => 0,
                };
                let written = u32::try_from(written).map_err(io::Error::other)?;
                state.add_used(head, written).map_err(other)?;
            }
            if state.needs_notification().map_err(other)? {
                state.signal_used_queue()?;
            }
            drop(state);
            if !self.event_idx || !ring.enable_notification().map_err(other)? {
                return Ok(());
            }
        }
    }

    /// Writes the answer to a request, of which so many bytes were asked and may be answered; returns how long it is.
    fn answer(
        &self,
        request: &mut impl Read,
        answer: &mut impl Write,
        (asked, room): (usize, usize),
    ) -> io::Result<usize> {
        let refusal = match (self.kind, &self.disk) {
            (Kind::Block, Some(disk)) => return disk.answer(request, answer, room),
            (Kind::Scsi, _) => {
                // There is room for data behind it, of which a target would send some.
                let mut refusal = vec![0; room.min(SCSI_ANSWER)];
                // A task of no target has one byte for its end.
                let at = if room > RESPONSE { RESPONSE } else { 0 };
                let end = refusal.get_mut(at).ok_or(ErrorKind::InvalidData)?;
                *end = BAD_TARGET;
                refusal
            }
            (Kind::FileSystem, _) if room >= FUSE_ANSWER => {
                let mut head = [0; 16];
                request.read_exact(&mut head)?;
                // Numbers are as the guest's processor has them; the first one is how long the request is.
                let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
                let is_little = usize::try_from(length).is_ok_and(|length| length == asked);
                let number = |value: u32| match is_little {
                    true => value.to_le_bytes(),
                    false => value.to_be_bytes(),
                };
                let error = UNKNOWN.cast_unsigned();
                [&number(FUSE_ANSWER as u32)[..], &number(error), &head[8..]].concat()
            }
            _ => Vec::new(),
        };
        answer.write_all(&refusal)?;
        Ok(refusal.len())
    }

    fn config(&self) -> Vec<u8> {
        let disk = self.disk.as_ref();
        disk.map_or_else(Vec::new, |disk| disk.config(RINGS, self.writes_back))
    }
}

impl VhostUserBackendMut for Device {
    type Bitmap = BitmapMmapRegion;
    type Vring = VringRwLock<Memory>;

    fn num_queues(&self) -> usize {
        RINGS.into()
    }

    fn max_queue_size(&self) -> usize {
        ENTRIES
    }

    fn features(&self) -> u64 {
        self.kind.features(self.addresses)
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        self.kind.protocol_features()
    }

    fn set_event_idx(&mut self, enabled: bool) {
        self.event_idx = enabled;
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // Releases differ in how much of it there is.
        let own = self.config();
        let wanted = (offset..offset.saturating_add(size)).map(|at| at as usize);
        wanted.map(|at| own.get(at).copied().unwrap_or(0)).collect()
    }

    fn set_config(&mut self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        let at = WRITES_BACK.checked_sub(offset as usize);
        if let Some(byte) = at.and_then(|at| bytes.get(at)) {
            self.writes_back = *byte != 0;
        }
        Ok(())
    }

    fn update_memory(&mut self, memory: Memory) -> io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        vec![u64::MAX]
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn handle_event(
        &mut self,
        ring: u16,
        _events: EventSet,
        rings: &[VringRwLock<Memory>],
        _thread: usize,
    ) -> io::Result<()> {
        match rings.get(usize::from(ring)) {
            Some(vring) if self.kind.answers(ring) => self.work(vring),
            _ => Ok(()),
        }
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        mut pipe: File,
    ) -> io::Result<Option<File>> {
        let state = Arc::clone(&self.state);
        let task = move || match direction {
            VhostTransferStateDirection::SAVE => pipe.write_all(&locked(&state)),
            VhostTransferStateDirection::LOAD => {
                let mut sent = Vec::new();
                pipe.read_to_end(&mut sent)?;
                *locked(&state) = sent;
                Ok(())
            }
        };
        // QEMU works the other end of the pipe once it has the answer to this.
        let named = thread::Builder::new().name("vhost-user state".to_owned());
        *locked(&self.transfer) = Some(named.spawn(task)?);
        Ok(None)
    }

    fn check_device_state(&self) -> io::Result<()> {
        let ended = locked(&self.transfer).take().map(JoinHandle::join);
        ended
            .unwrap_or(Ok(Ok(())))
            .unwrap_or_else(|_| Err(ErrorKind::Other.into()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kind: Kind, owner: &str) -> Device {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let folder = tempfile::tempdir().unwrap();
        let disk = (kind == Kind::Block).then(|| Disk::open(&folder.path().join("disk")).unwrap());
        Device::new((kind, Addresses::Plain), memory, owner, disk)
    }

    fn transfer(device: &mut Device, to: VhostTransferStateDirection, pipe: impl Into<File>) {
        let phase = VhostTransferStatePhase::STOPPED;
        let answer = device.set_device_state_fd(to, phase, pipe.into());
        assert!(answer.unwrap().is_none());
    }

    fn sent_by(device: &mut Device) -> Vec<u8> {
        let (mut read, write) = io::pipe().unwrap();
        transfer(
            device,
            VhostTransferStateDirection::SAVE,
            std::os::fd::OwnedFd::from(write),
        );
        let mut sent = Vec::new();
        read.read_to_end(&mut sent).unwrap();
        device.check_device_state().unwrap();
        sent
    }

    #[test]
    fn a_folder_keeps_the_state_that_it_was_sent() {
        let mut source = device(Kind::FileSystem, "a source");
        let mut destination = device(Kind::FileSystem, "a destination");
        assert_eq!(sent_by(&mut destination), b"a destination");
        let (read, mut write) = io::pipe().unwrap();
        transfer(
            &mut destination,
            VhostTransferStateDirection::LOAD,
            std::os::fd::OwnedFd::from(read),
        );
        write.write_all(&sent_by(&mut source)).unwrap();
        drop(write);
        destination.check_device_state().unwrap();
        assert_eq!(sent_by(&mut destination), b"a source");
    }

    #[test]
    fn what_has_nothing_behind_it_refuses_each_request() {
        let refusal = |kind: Kind, request: &[u8], room: usize| {
            let mut answer = Vec::new();
            let device = device(kind, "a source");
            let lengths = (request.len(), room);
            let written = device.answer(&mut &request[..], &mut answer, lengths);
            written.map(|written| {
                assert_eq!(written, answer.len());
                answer
            })
        };
        // A command of SCSI has 108 bytes for its answer, and a task one.
        let command = refusal(Kind::Scsi, &[], usize::MAX).unwrap();
        assert_eq!(command.len(), 108);
        assert_eq!(command[RESPONSE], BAD_TARGET);
        assert_eq!(command.iter().filter(|byte| **byte != 0).count(), 1);
        assert_eq!(refusal(Kind::Scsi, &[], 1).unwrap(), [BAD_TARGET]);
        assert!(refusal(Kind::Scsi, &[], 0).is_err());
        // A request of FUSE is known by the second eight bytes of it.
        let mut request: Vec<u8> = (0..40).collect();
        request[..4].copy_from_slice(&40_u32.to_le_bytes());
        let answer = refusal(Kind::FileSystem, &request, 80).unwrap();
        assert_eq!(answer[..4], 16_u32.to_le_bytes());
        assert_eq!(answer[4..8], UNKNOWN.to_le_bytes());
        assert_eq!(answer[8..], request[8..16]);
        request[..4].copy_from_slice(&40_u32.to_be_bytes());
        let answer = refusal(Kind::FileSystem, &request, 80).unwrap();
        assert_eq!(answer[..4], 16_u32.to_be_bytes());
        // One that forgets a file has no answer.
        assert_eq!(refusal(Kind::FileSystem, &request, 0).unwrap(), [0; 0]);
    }

    #[test]
    fn a_set_up_is_as_long_as_a_release_reads() {
        let mut disk = device(Kind::Block, "a source");
        assert_eq!(disk.get_config(0, 60), disk.config());
        assert_eq!(disk.get_config(56, 40)[..4], disk.config()[56..]);
        assert_eq!(disk.get_config(56, 40)[4..], [0; 36]);
        let writes_back = |disk: &Device| disk.get_config(32, 1) == [1];
        assert!(writes_back(&disk));
        disk.set_config(32, &[0]).unwrap();
        assert!(!writes_back(&disk));
        // The whole of it may be written.
        disk.set_config(0, &[1; 60]).unwrap();
        assert!(writes_back(&disk));
        disk.set_config(40, &[0]).unwrap();
        assert!(writes_back(&disk));
    }
}

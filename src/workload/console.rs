//! A guest's output on its serial port, across all builds that it runs in.

use crate::model::joined;
use crate::workload::excerpt::Excerpt;
use crate::workload::fault::{Check, Mismatch, WorkloadError};
use crate::workload::guest::guests;
use crate::workload::linux::{Beat, Inventory, Line};
use crate::workload::memory::Header;

/// An unfinished line is kept up to here: the guests' own lines are under 100 bytes, and firmware may
/// write without end.
const MAX_LINE: usize = 4096;

/// The meaning of a line on a guest's console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialEvent {
    /// `S migcompat ARCH 1`: the guest works from now on.
    #[error("the {arch} guest started")]
    Started { arch: String },
    /// The first line again: the machine was reset.
    #[error("the {arch} guest started over")]
    Restarted { arch: String },
    /// The heartbeat that was due.
    #[error("the guest printed heartbeat {0}")]
    Heartbeat(u32),
    /// A heartbeat that was printed before: the guest runs twice, or went back to an earlier state.
    #[error("the guest printed heartbeat {got} again where {want} was due")]
    Repeated { want: u32, got: u32 },
    /// Heartbeats before this one never came.
    #[error("the guest's heartbeat {want} never came, {got} did")]
    Skipped { want: u32, got: u32 },
    /// The guest found its memory changed.
    #[error("the guest found its memory changed: {0}")]
    Guest(Mismatch),
    /// A guest with drivers says what it is made of.
    #[error("the guest described its devices")]
    Described,
    /// A device did not do what the guest asked of it, in the guest's words.
    #[error("the guest's check failed: {0}")]
    CheckFailed(String),
    /// The guest's kernel logged an error.
    #[error("the guest's kernel logged an error: {0}")]
    KernelError(String),
    /// A processor's timer had fewer interrupts than before.
    #[error("the timer of the guest's processor {processor} counts {is} interrupts after {was}")]
    TimerWentBack { processor: usize, was: u64, is: u64 },
    /// A line that no guest writes: lost or mixed bytes. Escaped to ASCII.
    #[error("the guest's console has {0:?}")]
    Garbage(String),
}

impl SerialEvent {
    /// Tells whether an intact guest, migrated well, can cause this.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(
            self,
            Self::Started { .. } | Self::Heartbeat(_) | Self::Described
        )
    }
}

/// A guest's console, across all builds that it runs in.
///
/// Output before the guest's first line is the firmware's and is skipped. From there on every byte
/// counts.
#[derive(Debug, Clone, Default)]
pub struct SerialLog {
    line: Vec<u8>,
    overlong: bool,
    started: bool,
    last: Option<u32>,
    /// Nothing of a tiny guest.
    linux: Option<LinuxState>,
    /// What a Linux guest and what ran before it printed, for who has to find out why it stopped.
    excerpt: Excerpt,
}

/// The facts that a Linux guest has printed.
#[derive(Debug, Clone, Default)]
struct LinuxState {
    inventory: Inventory,
    /// The timers' interrupts at the last heartbeat.
    timers: Vec<u64>,
    /// A round is under way.
    in_round: bool,
}

impl SerialLog {
    /// Makes the log of a tiny guest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the log of a Linux guest.
    pub(crate) fn of_linux() -> Self {
        Self {
            linux: Some(LinuxState::default()),
            ..Self::default()
        }
    }

    /// Returns what a guest with drivers said of its devices.
    pub(crate) fn inventory(&self) -> Option<&Inventory> {
        self.linux.as_ref().map(|linux| &linux.inventory)
    }

    /// Takes the next bytes, cut anywhere, and returns what the lines that they end mean.
    ///
    /// Bytes of a destination follow those of its source in the same log.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<SerialEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let overlong = std::mem::take(&mut self.overlong);
                events.extend(self.line(&line, overlong));
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            } else {
                self.overlong = true;
            }
        }
        events
    }

    /// Returns the last heartbeat that came completely; 1 is the first one.
    #[must_use]
    pub fn last_heartbeat(&self) -> Option<u32> {
        self.last
    }

    /// Returns how many heartbeats from now on show that the guest goes on: the next one may end a round that
    /// began before the guest was moved.
    pub(crate) fn heartbeats_due(&self) -> u32 {
        match &self.linux {
            // A line may have begun that says it.
            Some(linux) if linux.in_round || !self.line.is_empty() => 2,
            _ => 1,
        }
    }

    /// Tells whether a Linux guest, and what ran before it, has printed no line yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.excerpt.is_empty()
    }

    /// Says what the console of a Linux guest ends with.
    pub(crate) fn last_lines(&self) -> String {
        if self.is_silent() {
            return "its console is empty".to_owned();
        }
        let lines = joined(self.excerpt.lines(), "\n");
        format!("its console ends with {lines:?}")
    }

    /// Compares with the header of the same guest, which is stopped, and all of whose serial bytes
    /// have been fed.
    ///
    /// # Errors
    /// [`WorkloadError::Console`] if the last line is neither the header's last heartbeat nor, since that
    /// one may be on its way, the one before it.
    pub fn check_against(&self, header: &Header) -> Result<(), WorkloadError> {
        let printed = u64::from(self.last.unwrap_or(0));
        // The console has the low 32 bits alone.
        let counted = header.heartbeats & u64::from(u32::MAX);
        let before = header.heartbeats.wrapping_sub(1) & u64::from(u32::MAX);
        if printed == counted || (header.heartbeats != 0 && printed == before) {
            Ok(())
        } else {
            Err(WorkloadError::Console {
                header: header.heartbeats,
                serial: self.last,
            })
        }
    }

    fn line(&mut self, line: &[u8], overlong: bool) -> Option<SerialEvent> {
        match self.linux {
            None => self.tiny_line(line, overlong),
            Some(_) => self.linux_line(line, overlong),
        }
    }

    fn tiny_line(&mut self, line: &[u8], overlong: bool) -> Option<SerialEvent> {
        if !self.started {
            let arch = start_line(line)?;
            self.started = true;
            return Some(SerialEvent::Started { arch });
        }
        if overlong {
            return Some(garbage(line));
        }
        if let Some(got) = heartbeat_line(line) {
            return Some(self.heartbeat(got));
        }
        if let Some(mismatch) = error_line(line) {
            return Some(SerialEvent::Guest(mismatch));
        }
        // After a reset the firmware may speak first, and the lines before this one were garbage.
        if let Some(arch) = start_line(line) {
            self.last = None;
            return Some(SerialEvent::Restarted { arch });
        }
        Some(garbage(line))
    }

    fn linux_line(&mut self, line: &[u8], overlong: bool) -> Option<SerialEvent> {
        // A terminal may end its lines with both.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let read = str::from_utf8(line).ok().and_then(Line::read);
        self.excerpt.take(line);
        let arch = || "linux".to_owned();
        if !self.started {
            // Firmware and the kernel may write before it.
            self.started = read? == Line::Started;
            return self.started.then(|| SerialEvent::Started { arch: arch() });
        }
        let Some(read) = read.filter(|_| !overlong) else {
            return Some(garbage(line));
        };
        if let Some(linux) = &mut self.linux {
            linux.inventory.take(&read);
            match &read {
                Line::Begun(_) => linux.in_round = true,
                Line::Beat(_) | Line::Started => linux.in_round = false,
                _ => {}
            }
        }
        Some(match read {
            Line::Started => {
                self.last = None;
                SerialEvent::Restarted { arch: arch() }
            }
            Line::Begun(round) => match self.due(round) {
                SerialEvent::Heartbeat(_) => SerialEvent::Described,
                missed => missed,
            },
            Line::Beat(beat) => {
                let heartbeat = self.heartbeat(beat.round);
                self.timers(&beat)
                    .filter(|_| heartbeat.is_good())
                    .unwrap_or(heartbeat)
            }
            Line::Failed(what) => SerialEvent::CheckFailed(what),
            Line::Logged(text) => SerialEvent::KernelError(text),
            Line::Asked(_)
            | Line::Virtio(_)
            | Line::Attached(_)
            | Line::Uses(_)
            | Line::LoggedAtBoot(_) => SerialEvent::Described,
        })
    }

    fn heartbeat(&mut self, got: u32) -> SerialEvent {
        let event = self.due(got);
        // Go on from here, so that one loss is one event.
        self.last = Some(got);
        event
    }

    /// Compares a number with that of the heartbeat which is due.
    fn due(&self, got: u32) -> SerialEvent {
        let want = self.last.unwrap_or(0).wrapping_add(1);
        if got == want {
            SerialEvent::Heartbeat(got)
        } else if got.wrapping_sub(want) < 1 << 31 {
            SerialEvent::Skipped { want, got }
        } else {
            SerialEvent::Repeated { want, got }
        }
    }

    /// Returns the first timer that has counted fewer interrupts than before.
    fn timers(&mut self, beat: &Beat) -> Option<SerialEvent> {
        let timers = &mut self.linux.as_mut()?.timers;
        let before = std::mem::replace(timers, beat.timers.clone());
        let mut pairs = before.iter().zip(&beat.timers).enumerate();
        let (processor, (&was, &is)) = pairs.find(|(_, (was, is))| is < was)?;
        Some(SerialEvent::TimerWentBack { processor, was, is })
    }
}

fn garbage(line: &[u8]) -> SerialEvent {
    let shown = line.get(..200).unwrap_or(line);
    SerialEvent::Garbage(shown.escape_ascii().to_string())
}

/// Reads `S migcompat ARCH 1`, also after other text in the same line: firmware may leave its cursor anywhere.
fn start_line(line: &[u8]) -> Option<String> {
    const START: &[u8] = b"S migcompat ";
    let at = line.windows(START.len()).position(|w| w == START)?;
    let rest = str::from_utf8(line.get(at + START.len()..)?).ok()?;
    let (arch, version) = rest.split_once(' ')?;
    let known = guests().iter().any(|guest| guest.arch == arch);
    (known && version == "1").then(|| arch.to_owned())
}

/// Reads `B` and eight hexadecimal digits.
fn heartbeat_line(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"B ")?;
    u32::try_from(hex(digits, 8)?).ok()
}

/// Reads `E kind=8 page=8 want=16 got=16`, the numbers as so many hexadecimal digits.
fn error_line(line: &[u8]) -> Option<Mismatch> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    if words.next()? != "E" {
        return None;
    }
    let mut field = |name: &str, digits| {
        let value = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
        hex(value.as_bytes(), digits)
    };
    let mismatch = Mismatch {
        check: Check::from(field("kind", 8)?),
        page: field("page", 8)?,
        want: field("want", 16)?,
        got: field("got", 16)?,
    };
    words.next().is_none().then_some(mismatch)
}

/// Reads exactly so many lower-case hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u64> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::memory::Endian;
    use crate::workload::memory::sample::*;
    use SerialEvent::{
        Described, Garbage, Guest, Heartbeat, Repeated, Restarted, Skipped, Started, TimerWentBack,
    };

    fn started() -> SerialLog {
        let mut log = SerialLog::new();
        log.feed(b"S migcompat x86 1\nB 00000001\n");
        log
    }

    #[test]
    fn a_line_may_be_cut_anywhere() {
        let text = b"SLOF\r\nBooting S migcompat ppc64 1\nB 00000001\nB 00000002\n";
        for cut in 0..=text.len() {
            let mut log = SerialLog::new();
            let mut events = log.feed(&text[..cut]);
            events.extend(log.feed(&text[cut..]));
            assert_eq!(
                events,
                [
                    Started {
                        arch: "ppc64".to_owned()
                    },
                    Heartbeat(1),
                    Heartbeat(2)
                ]
            );
        }
    }

    #[test]
    fn firmware_may_print_anything_first() {
        let mut log = SerialLog::new();
        assert_eq!(log.feed(b"B 00000007\nE oops\n\x1b[2J\xff\n"), []);
        assert_eq!(log.feed(&[b'x'; 3 * MAX_LINE]), []);
        assert_eq!(log.feed(b"\nS migcompat vax 1\n"), []);
        assert!(!log.started);
        assert_eq!(log.feed(b"S migcompat s390x 1\n").len(), 1);
        assert!(log.started);
        assert_eq!(log.last_heartbeat(), None);
    }

    #[test]
    fn repeated_and_skipped_heartbeats_are_reported_once() {
        let mut log = started();
        assert_eq!(
            log.feed(b"B 00000002\nB 00000002\nB 00000003\nB 00000006\nB 00000007\n"),
            [
                Heartbeat(2),
                Repeated { want: 3, got: 2 },
                Heartbeat(3),
                Skipped { want: 4, got: 6 },
                Heartbeat(7),
            ]
        );
    }

    #[test]
    fn the_counter_wraps() {
        let mut log = started();
        log.last = Some(u32::MAX - 1);
        assert_eq!(
            log.feed(b"B ffffffff\nB 00000000\n"),
            [Heartbeat(u32::MAX), Heartbeat(0)]
        );
    }

    #[test]
    fn broken_lines_are_garbage() {
        for line in [
            "",
            "B 0000002",
            "B 000000022",
            "B 0000000G",
            "B 0000000A",
            " B 00000002",
            "B 00000002\r",
            "B 000B 00000002",
            "E kind=00000001",
            "E kind=00000001 page=00000001 want=0000000000000001 got=0000000000000002 ",
        ] {
            let mut log = started();
            let events = log.feed(format!("{line}\n").as_bytes());
            assert!(matches!(events[..], [Garbage(_)]), "{line:?}: {events:?}");
        }
        let mut log = started();
        let events = log.feed(&[&[b'B'; 2 * MAX_LINE][..], b"\n"].concat());
        assert!(matches!(events[..], [Garbage(_)]));
    }

    #[test]
    fn the_guests_own_report_is_read() {
        let mut log = started();
        assert_eq!(
            log.feed(b"E kind=00000006 page=000003df want=00000000001367df got=0102030405060708\n"),
            [Guest(Mismatch {
                check: Check::Progress,
                page: 0x3df,
                want: 0x1367df,
                got: 0x0102_0304_0506_0708,
            })]
        );
    }

    fn linux(text: &str) -> Vec<SerialEvent> {
        let mut log = SerialLog::of_linux();
        log.feed(b"SeaBIOS\nS migcompat linux 1\r\nV virtio0 type=0x0001 driver=- status=0x0 features=01\nB 00000001 loc=5,6\n");
        assert_eq!(log.last_heartbeat(), Some(1));
        assert_eq!(log.inventory().map(|found| found.virtio.len()), Some(1));
        log.feed(text.as_bytes())
    }

    #[test]
    fn a_guest_with_drivers_counts_rounds_and_interrupts() {
        assert_eq!(
            linux("B 00000002 loc=7,6\r\nB 00000003 loc=8,9\n"),
            [Heartbeat(2), Heartbeat(3)]
        );
        assert_eq!(
            linux("B 00000002 loc=9,4\n"),
            [TimerWentBack {
                processor: 1,
                was: 6,
                is: 4
            }]
        );
        assert_eq!(linux("B 00000004 loc=7,7\n"), [Skipped { want: 2, got: 4 }]);
    }

    #[test]
    fn a_round_that_began_before_shows_nothing_by_its_end() {
        let mut log = SerialLog::of_linux();
        log.feed(b"S migcompat linux 1\nB 00000001 loc=5,6\n");
        assert_eq!(log.heartbeats_due(), 1);
        assert!(log.feed(b"R 0000000")[..].is_empty());
        assert_eq!(log.heartbeats_due(), 2, "a line that has begun");
        assert_eq!(log.feed(b"2\n"), [Described]);
        assert_eq!(log.heartbeats_due(), 2);
        log.feed(b"B 00000002 loc=7,8\n");
        assert_eq!(log.heartbeats_due(), 1);
        assert_eq!(
            log.feed(b"R 00000002\nR 00000004\n"),
            [Repeated { want: 3, got: 2 }, Skipped { want: 3, got: 4 }]
        );
        assert_eq!(SerialLog::new().heartbeats_due(), 1);
    }

    #[test]
    fn what_a_guest_with_drivers_finds_wrong_is_bad() {
        for line in [
            "E disk vda pattern",
            "L 3 blk_update_request: I/O error",
            "S migcompat linux 1",
            "B 00000002",
            "Kernel panic",
            "",
        ] {
            let events = linux(&format!("{line}\n"));
            assert!(!events[0].is_good(), "{line}: {events:?}");
        }
        assert!(linux("l 3 said while booting\n")[0].is_good());
    }

    #[test]
    fn a_reset_is_no_continuation() {
        let mut log = started();
        assert_eq!(
            log.feed(b"SeaBIOS S migcompat x86 1\nB 00000001\n"),
            [
                Restarted {
                    arch: "x86".to_owned()
                },
                Heartbeat(1)
            ]
        );
    }

    #[test]
    fn the_console_agrees_with_the_header() {
        let (header, _) = memory(Endian::Little, 4 * PAGES);
        let header = Header::parse(&header).expect("an intact header");
        assert_eq!(header.heartbeats, 2);
        let mut log = SerialLog::new();
        assert!(log.check_against(&header).is_err());
        log.feed(b"S migcompat x86 1\nB 00000001\nB 0000");
        assert_eq!(log.check_against(&header), Ok(()));
        log.feed(b"0002\n");
        assert_eq!(log.check_against(&header), Ok(()));
        log.feed(b"B 00000003\n");
        assert_eq!(
            log.check_against(&header).map_err(|e| e.to_string()),
            Err("the header counts 2 heartbeats, the console's last one is 3".to_owned())
        );
    }

    #[test]
    fn the_last_lines_of_a_kernel_that_gives_up_say_why() {
        let mut log = SerialLog::of_linux();
        assert!(log.is_silent());
        assert_eq!(log.last_lines(), "its console is empty");
        log.feed(b"[ 0.1] Kernel panic - not syncing: no timer\r\n[ 0.1]  frame\r\n");
        assert_eq!(
            log.last_lines(),
            r#"its console ends with "[ 0.1] Kernel panic - not syncing: no timer""#
        );
    }
}

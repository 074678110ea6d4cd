//! Parsing of the reason why a load failed from QEMU's output: the wordings of 5.2 to 11.1.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::data::regex;
use crate::model::SectionName;
use crate::qemu::output::{complaints, without_program};

/// Wordings, with what they name as groups: `section`, `instance` (in decimal), `hex` (the same in
/// hexadecimal) and `field`; `inner` is a description within a section.
/// The first one that matches any line wins, so that what names a place comes before what does not.
const WORDINGS: &[&str] = &[
    // The source: before it starts, or at once.
    r"State blocked by non-migratable device '(?P<section>[^']+)'",
    r"[Mm]igration is disabled (?:when|while|because|due).*",
    r"(?:VM|Guest) state .*cannot be (?:saved|migrated).*",
    // A section as a whole.
    r"[Uu]nknown (?:savevm )?section or instance '(?P<section>[^']+)' (?P<instance>\d+)",
    r"(?:savevm: )?[Uu]nsupported version (?P<v>\d+) for '(?P<section>[^']+)' v\d+",
    r"Missing section footer for (?P<section>\S+)",
    r"savevm: unexpected section id|Unknown section \d+",
    // A description, a subsection, a field. A subsection may be one within a field that has a format of its own, which
    // then is said to be what failed.
    r"VM subsection '(?P<field>[^']+)' in '[^']+' does not exist",
    r"of device '(?P<section>[^']+)': (?P<field>\S+): incoming version_id \d+ is too (?:new|old) for local",
    r"^(?:\S+: )?(?P<field>\S+): incoming version_id \d+ is too (?:new|old) for local",
    r"of device '(?P<section>[^']+)': Failed to load element of type \S+ for (?P<field>\S+?):? ",
    r"of device '(?P<section>[^']+)': Failed to load element of type \S+ for (?P<field>[^\s:]+)",
    r"of device '(?P<section>[^']+)': (?:post|pre) load hook failed for: (?P<field>[^,\s]+)",
    r"of device '(?P<section>[^']+)': .*[Ss]ubsection.*",
    r"[Uu]nknown (?:vmstate )?subsection '?(?P<field>[^'\s]+)'?",
    r"Failed to load (?P<inner>[^\s:]+):(?P<field>\S+)",
    r"Input validation failed: (?P<field>\S+)",
    // Memory.
    r#"Unknown ramblock "(?P<field>[^"]+)", cannot accept migration"#,
    r"(?:Length|Size) mismatch: (?P<field>\S+): ",
    r"(?i)mismatched ram page size (?P<field>\S+)",
    // A message between sections.
    r"MIG_CMD 0x[0-9a-f]+ unknown.*",
    // The machine.
    r"Machine type received is '(?P<field>[^']+)' and local is '[^']+'",
    r"Configuration section missing|Not a migration stream|Unsupported migration stream version",
    // A device's own reason.
    r"VQ \d+ (?:vring\.num|size) .*",
    r"system register \S+ in the incoming stream but unknown on the destination",
    r"get_pci_config_device: Bad config data: .*",
    r"Features 0x[0-9a-f]+ unsupported\. Allowed features: .*",
    // Assertions and the like.
    r"Assertion `[^']+' failed",
    r"\*\* ?ERROR:.*|ERROR:\S+:\d+:.*",
];

/// Wordings that name the section at most, and no reason. They come after the others.
const BARE_WORDINGS: &[&str] = &[
    r"loading state for instance 0x(?P<hex>[0-9a-f]+) of device '(?P<section>[^']+)'",
    r"(?:failed to save|Failed to save) SaveStateEntry with id\(name\): \d+\((?P<section>[^)]+)\)",
    r"load of migration failed: (?P<rest>.*)",
    r"[Ss]ection footer error",
];

/// Beginnings of the reasons that devices print when they refuse a state, without naming themselves.
const DEVICE_REASONS: &[&str] = &[
    "VQ ",
    "system register",
    "Bad config data",
    "Features 0x",
    "Invalid value ",
    "incoming version_id",
    "Input validation failed",
];

static EXPRESSIONS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let wordings = WORDINGS.iter().chain(BARE_WORDINGS);
    wordings.map(|wording| regex(wording)).collect()
});

/// Tells whether a line has the reason of a device.
fn is_reason(line: &str) -> bool {
    DEVICE_REASONS.iter().any(|reason| line.contains(reason))
}

/// The section that was being loaded, where another line says more about the reason.
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?:for|loading state for) instance 0x(?P<hex>[0-9a-f]+) of device '(?P<section>[^']+)'")
});

static MINIMUM_VERSION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?P<of>\S+): incoming version_id \d+ is too old for local minimum version_id +(?P<n>\d+)",
    )
});

static CONFIG_BYTE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"Bad config data: i=0x(?P<at>[0-9a-f]+) read: (?P<sent>[0-9a-f]+) device: (?P<own>[0-9a-f]+)",
    )
});

static FEATURES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"Features 0x(?P<accepted>[0-9a-f]+) unsupported\. Allowed features: 0x(?P<offered>[0-9a-f]+)",
    )
});

static SUBSECTION: LazyLock<Regex> =
    LazyLock::new(|| regex("VM subsection '[^']+' in '[^']+' does not exist"));

static FOOTER: LazyLock<Regex> = LazyLock::new(|| regex("[Ss]ection footer"));

static COMMAND: LazyLock<Regex> =
    LazyLock::new(|| regex(r"MIG_CMD 0x(?P<number>[0-9a-f]+) unknown"));

/// A load that failed, as QEMU printed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadFailure {
    /// The section's idstr, or the name of a description in it where that is all.
    pub section: Option<SectionName>,
    pub instance: Option<u64>,
    /// The field or the description, or the block of memory.
    pub field: Option<String>,
    /// The lowest version that the build accepts of what it refused as too old.
    pub minimum_version: Option<MinimumVersion>,
    /// The refusal that a device printed itself, which is better evidence than a layout that
    /// differs.
    pub refused: Option<Refused>,
    /// The stream ended early: the failure is the other side's.
    pub io_error: bool,
    /// The message in QEMU's words: the line, after a device's own reason where there is one.
    pub words: String,
}

/// The thing that a build refused, by its own message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A byte of the PCI configuration space that a guest cannot write.
    ConfigByte { at: usize, sent: u8, own: u8 },
    /// A message between sections, by its number.
    Command(u16),
    /// Features of a virtio device that a driver accepted and the build does not offer, by their bits.
    Features { missing: u64 },
    /// A subsection that the build does not know: the field of the failure names it.
    Subsection,
    /// A section that does not end where the build has read to.
    Length,
    /// A value, for a reason that is only text for people.
    Value,
}

impl Refused {
    fn of(words: &str, is_reason: bool) -> Option<Refused> {
        let hex = |text: &str| usize::from_str_radix(text, 16).ok();
        if let Some(groups) = CONFIG_BYTE.captures(words) {
            let byte = |name| u8::try_from(hex(&groups[name])?).ok();
            return Some(Refused::ConfigByte {
                at: hex(&groups["at"])?,
                sent: byte("sent")?,
                own: byte("own")?,
            });
        }
        if let Some(groups) = FEATURES.captures(words) {
            let mask = |name| u64::from_str_radix(&groups[name], 16).ok();
            return Some(Refused::Features {
                missing: mask("accepted")? & !mask("offered")?,
            });
        }
        if let Some(groups) = COMMAND.captures(words) {
            let number = u16::try_from(hex(&groups["number"])?).ok()?;
            return Some(Refused::Command(number));
        }
        if SUBSECTION.is_match(words) {
            return Some(Refused::Subsection);
        }
        if FOOTER.is_match(words) {
            return Some(Refused::Length);
        }
        is_reason.then_some(Refused::Value)
    }
}

/// The lowest version that a build takes of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MinimumVersion {
    /// The description's name.
    pub of: String,
    pub version: i64,
}

/// The complaints in an error output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Printed {
    /// No complaint at all.
    Nothing,
    /// Complaints in no known wording; the last line of them.
    Unrecognised(String),
    Failure(LoadFailure),
}

impl Printed {
    /// Reads texts, the most telling one first.
    pub(crate) fn read(texts: &[&str]) -> Printed {
        let lines_of = |texts| {
            let complaints = <[&str]>::iter(texts).flat_map(|text| complaints(text));
            complaints
                .map(without_program)
                .filter(|line| !line.is_empty())
        };
        let lines = || lines_of(texts);
        let found = EXPRESSIONS.iter().enumerate().find_map(|(at, wording)| {
            lines().find_map(|line| Some((line, wording.captures(line)?, at >= WORDINGS.len())))
        });
        let Some((line, groups, is_bare)) = found else {
            let last = lines().last();
            return last.map_or(Printed::Nothing, |line| {
                Printed::Unrecognised(line.to_owned())
            });
        };
        // A device gives its reason on a line of its own, and the section that was being loaded comes on
        // another one.
        let reason = lines().find(|other| *other != line && is_reason(other));
        let place = lines().find_map(|line| PLACE.captures(line));
        let mut failure = LoadFailure::new(line, &groups, reason, place.as_ref());
        if is_bare && reason.is_none() {
            // What is in no known wording says more than that it failed. The other texts have the effects, too.
            let is_known = |line: &str| EXPRESSIONS.iter().any(|wording| wording.is_match(line));
            let mut first = lines_of(&texts[..1]);
            if let Some(other) = first.find(|line| !is_known(line)) {
                failure.words = format!("{other}; {line}");
            }
        }
        Printed::Failure(failure)
    }

    /// The failure, if it is a known one.
    pub(crate) fn failure(&self) -> Option<&LoadFailure> {
        match self {
            Printed::Failure(failure) => Some(failure),
            Printed::Nothing | Printed::Unrecognised(_) => None,
        }
    }

    /// Distinguishes a stream that ended early from one that was refused.
    pub(crate) fn is_io_error(&self) -> bool {
        match self {
            Printed::Nothing => false,
            Printed::Unrecognised(line) => is_io_error(line),
            Printed::Failure(failure) => failure.io_error,
        }
    }
}

impl LoadFailure {
    /// Takes the facts of a line. The place serves where the line has none.
    fn new(
        line: &str,
        groups: &Captures<'_>,
        reason: Option<&str>,
        place: Option<&Captures<'_>>,
    ) -> LoadFailure {
        let group = |name| groups.name(name).map(|found| found.as_str().to_owned());
        let in_place = |name| Some(place?.name(name)?.as_str().to_owned());
        let instance = group("instance").and_then(|n| n.parse().ok()).or_else(|| {
            let hex = group("hex").or_else(|| in_place("hex"))?;
            u64::from_str_radix(&hex, 16).ok()
        });
        let words = match reason {
            Some(reason) => format!("{reason}; {line}"),
            None => line.to_owned(),
        };
        LoadFailure {
            // The description that was being loaded may be a part of many sections: the section is
            // the place.
            section: group("section")
                .or_else(|| in_place("section"))
                .or_else(|| group("inner"))
                .map(SectionName::from),
            instance,
            field: group("field"),
            minimum_version: MINIMUM_VERSION.captures(&words).and_then(|groups| {
                Some(MinimumVersion {
                    of: groups["of"].to_owned(),
                    version: groups["n"].parse().ok()?,
                })
            }),
            // A device's own reason may also be the only line of a known wording; it names no field then.
            refused: Refused::of(
                &words,
                reason.is_some() || (is_reason(line) && groups.name("field").is_none()),
            ),
            io_error: is_io_error(&words),
            words,
        }
    }
}

/// Recognises QEMU's message about a stream that ended before it should.
pub(crate) fn is_io_error(text: &str) -> bool {
    text.contains("Input/output error")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs of real builds, each behind the section, the instance and the field that it names.
    const PRINTED: &str = r#"
0000:00:01.0/nvme - -
qemu-system-x86_64: State blocked by non-migratable device '0000:00:01.0/nvme'

0000:00:01.0/pciespscsi - -
qemu-system-x86_64: savevm: unsupported version 2 for '0000:00:01.0/pciespscsi' v1
qemu-system-x86_64: load of migration failed: Invalid argument

0000:00:01.0/pciespscsi - -
qemu-system-x86_64: Missing section footer for 0000:00:01.0/pciespscsi
qemu-system-x86_64: load of migration failed: Invalid argument

ps2kbd 1 -
qemu-system-x86_64: Unknown savevm section or instance 'ps2kbd' 1. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices

vga 0 -
load of migration failed: Invalid argument: Unknown section or instance 'vga' 0. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices

cpu 0 cpu/slb
qemu-system-ppc64: cpu/slb: incoming version_id 2 is too new for local version_id 1
qemu-system-ppc64: error while loading state for instance 0x0 of device 'cpu'
qemu-system-ppc64: load of migration failed: Invalid argument

cpu 0 cpu
load of migration failed: Invalid argument: error while loading state for instance 0x0 of device 'cpu': cpu: incoming version_id 1 is too old for local minimum version_id 12

0000:00:01.0/virtio-scsi 0 virtio
qemu-system-x86_64: VQ 0 vring.num 1024 exceeds allocated max 256
qemu-system-x86_64: load of migration failed: Invalid argument: error while loading state for instance 0x0 of device '0000:00:01.0/virtio-scsi': Failed to load element of type virtio for virtio

0000:00:01.0/intel-hda 0 config
qemu-system-x86_64: get_pci_config_device: Bad config data: i=0x6 read: 0 device: 10 cmask: 10 wmask: 0 w1cmask:0
qemu-system-x86_64: Failed to load PCIDevice:config
qemu-system-x86_64: Failed to load intel-hda:pci
qemu-system-x86_64: error while loading state for instance 0x0 of device '0000:00:01.0/intel-hda'
qemu-system-x86_64: load of migration failed: Invalid argument

cpu 0 cpreg_vmstate_array_len
qemu-system-aarch64: Invalid value 258 expecting positive value <= 228
qemu-system-aarch64: Failed to load cpu:cpreg_vmstate_array_len
qemu-system-aarch64: error while loading state for instance 0x0 of device 'cpu'

cpu 0 cpu
load of migration failed: Invalid argument: error while loading state for instance 0x0 of device 'cpu': post load hook failed for: cpu, version_id: 22, minimum_version: 22, ret: -1

ram 0 /rom@etc/acpi/tables
qemu-system-x86_64: Unknown ramblock "/rom@etc/acpi/tables", cannot accept migration
qemu-system-x86_64: error while loading state for instance 0x0 of device 'ram'

- - -
qemu-system-x86_64: ../../migration/vmstate.c:361: vmstate_save_state_v: Assertion `first_elem || !n_elems || !size' failed.

0000:00:01.0/virtio-net 0 virtio-net-device/rss
qemu-system-x86_64: VM subsection 'virtio-net-device/rss' in 'virtio-net-device' does not exist
load of migration failed: No such file or directory: error while loading state for instance 0x0 of device '0000:00:01.0/virtio-net': Failed to load element of type virtio for virtio: -2

igb 0 igb/eitr
load of migration failed: No such file or directory: error while loading state for instance 0x0 of device 'igb': VM subsection 'igb/eitr' in 'igb' does not exist

uefi-vars - variables
qemu-system-aarch64: Failed to load uefi-vars:variables
"#;

    fn failure(texts: &[&str]) -> LoadFailure {
        match Printed::read(texts) {
            Printed::Failure(failure) => failure,
            other => panic!("{texts:?}: {other:?}"),
        }
    }

    #[test]
    fn failures_are_read_from_the_wordings_of_all_versions() {
        for case in PRINTED.trim().split("\n\n") {
            let (named, printed) = case.split_once('\n').unwrap();
            let mut named = named
                .split(' ')
                .map(|name| Some(name).filter(|name| *name != "-"));
            let mut next = || named.next().flatten();
            let found = failure(&[printed]);
            assert_eq!(found.section, next().map(SectionName::new), "{printed}");
            let instance = next().map(|number| number.parse().unwrap());
            assert_eq!(found.instance, instance, "{printed}");
            assert_eq!(found.field.as_deref(), next(), "{printed}");
            assert!(!found.words.starts_with("qemu-system"), "{printed}");
            assert!(!found.io_error, "{printed}");
        }
    }

    #[test]
    fn a_device_gives_its_own_reason() {
        let mut printed = PRINTED
            .split("\n\n")
            .filter(|case| case.contains("VQ 0 vring"));
        let words = failure(&[printed.next().unwrap()]).words;
        assert!(
            words.starts_with("VQ 0 vring.num 1024 exceeds allocated max 256; "),
            "{words}"
        );
    }

    #[test]
    fn what_is_in_no_known_wording_says_more_than_that_it_failed() {
        let failed = "load of migration failed: Invalid argument: loading ram";
        for (printed, words) in [
            (
                "qemu-system-avr: Unknown flags: 0x122",
                Some("Unknown flags: 0x122"),
            ),
            ("qemu-system-avr: warning: Unknown flags: 0x122", None),
            (
                "qemu-system-avr: error while loading state for instance 0x0 of device 'ram'",
                None,
            ),
        ] {
            let source = "q: Unable to write: Broken pipe";
            let found = failure(&[printed, failed, source]).words;
            match words {
                Some(words) => assert_eq!(found, format!("{words}; {failed}")),
                None => assert!(!found.contains(';'), "{found}"),
            }
        }
    }

    #[test]
    fn what_a_build_refused_is_read_out_of_its_words() {
        for (printed, refused) in [
            (
                "q: get_pci_config_device: Bad config data: i=0x34 read: 98 device: 84 cmask: ff wmask: 0 w1cmask:0\n\
                 q: Failed to load PCIDevice:config\n\
                 q: error while loading state for instance 0x0 of device '0000:00:01.0/virtio-rng'",
                Some(Refused::ConfigByte {
                    at: 0x34,
                    sent: 0x98,
                    own: 0x84,
                }),
            ),
            (
                "q: MIG_CMD 0xb unknown (len 0x0)",
                Some(Refused::Command(11)),
            ),
            (
                "q: VQ 0 vring.num 1024 exceeds allocated max 256\n\
                 q: load of migration failed: Invalid argument",
                Some(Refused::Value),
            ),
            (
                "q: Features 0x1c0010130afffa7 unsupported. Allowed features: 0x10179bfffe7\n\
                 q: Failed to load virtio-net:virtio\n\
                 q: error while loading state for instance 0x0 of device '0000:00:01.0/virtio-net'",
                Some(Refused::Features { missing: 7 << 54 }),
            ),
            (
                "q: Missing section footer for cpu\n\
                 q: load of migration failed: Invalid argument",
                Some(Refused::Length),
            ),
            (
                "q: VM subsection 'virtio-net-device/rss' in 'virtio-net-device' does not exist\n\
                 load of migration failed: No such file or directory",
                Some(Refused::Subsection),
            ),
            ("q: load of migration failed: Invalid argument", None),
        ] {
            assert_eq!(failure(&[printed]).refused, refused, "{printed}");
        }
    }

    #[test]
    fn the_lowest_version_is_read_with_what_it_is_of() {
        for (printed, minimum) in [
            (
                "of device 'cpu': cpu: incoming version_id 10 OLD 12",
                Some(("cpu", 12)),
            ),
            (
                "virtio-iommu: incoming version_id 1 OLD  2",
                Some(("virtio-iommu", 2)),
            ),
            (
                "cpu/slb: incoming version_id 1 OLD  2",
                Some(("cpu/slb", 2)),
            ),
            (
                "cpu: incoming version_id 3 is too new for local version_id 2",
                None,
            ),
        ] {
            let printed = &printed.replace("OLD", "is too old for local minimum version_id");
            let found = failure(&[printed]).minimum_version;
            let found = found.as_ref().map(|m| (m.of.as_str(), m.version));
            assert_eq!(found, minimum, "{printed}");
        }
    }

    #[test]
    fn what_is_in_no_known_wording_is_quoted() {
        assert_eq!(Printed::read(&["qemu: warning: old\n"]), Printed::Nothing);
        assert_eq!(
            Printed::read(&["odd words\n", "qemu-system-arm: more\n"]),
            Printed::Unrecognised("more".to_owned())
        );
        let two_lines = "q: warning: multiple floppy disk controllers have been found\n\
                         the one being picked for CMOS setup might not reflect your intent";
        assert_eq!(Printed::read(&[two_lines]), Printed::Nothing);
    }

    #[test]
    fn a_stream_that_ended_early_is_no_refusal() {
        for (printed, cut_off) in [
            ("q: load of migration failed: Input/output error", true),
            ("q: Unable to read: Input/output error", true),
            ("q: load of migration failed: Invalid argument", false),
            ("", false),
        ] {
            assert_eq!(
                Printed::read(&[printed]).is_io_error(),
                cut_off,
                "{printed}"
            );
        }
    }
}

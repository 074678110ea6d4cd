//! Why a migration failed, out of what builds print: the wordings of 5.2 to 11.1.

use std::sync::LazyLock;

use regex::Regex;

use crate::model::{Cause, Direction, Finding};

/// A wording and what it tells. Groups of the expression are called `section`, `instance` and `field`;
/// `inner` is a description within a section.
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
    // A description, a subsection, a field.
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
    // The machine.
    r"Machine type received is '(?P<field>[^']+)' and local is '[^']+'",
    r"Configuration section missing|Not a migration stream|Unsupported migration stream version",
    // A device's own word.
    r"VQ \d+ (?:vring\.num|size) .*",
    r"system register \S+ in the incoming stream but unknown on the destination",
    r"get_pci_config_device: Bad config data: .*",
    r"Features 0x[0-9a-f]+ unsupported\. Allowed features: .*",
    // Assertions and the like.
    r"Assertion `[^']+' failed",
    r"\*\* ?ERROR:.*|ERROR:\S+:\d+:.*",
    // The section alone.
    r"loading state for instance 0x(?P<hex>[0-9a-f]+) of device '(?P<section>[^']+)'",
    r"(?:failed to save|Failed to save) SaveStateEntry with id\(name\): \d+\((?P<section>[^)]+)\)",
    r"load of migration failed: (?P<rest>.*)",
    r"[Ss]ection footer error",
];

/// What devices say themselves when they refuse a state, without naming themselves.
const OWN_WORDS: &[&str] = &[
    "VQ ",
    "system register",
    "Bad config data",
    "Features 0x",
    "Invalid value ",
    "incoming version_id",
    "Input validation failed",
];

static EXPRESSIONS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compile = |wording: &&str| {
        // Not from outside: a test compiles them all.
        Regex::new(wording).unwrap_or_else(|error| unreachable!("{wording}: {error}"))
    };
    WORDINGS.iter().map(compile).collect()
});

/// Which section was being loaded, where another line says more about the reason.
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?:for|loading state for) instance 0x(?P<hex>[0-9a-f]+) of device '(?P<section>[^']+)'",
    )
    .unwrap_or_else(|error| unreachable!("{error}"))
});

/// Reads the reason out of what was said, the most telling text first. `fallback` is what is known
/// without any of it.
pub fn read(texts: &[&str], fallback: &str) -> Cause {
    let lines = || {
        texts
            .iter()
            .flat_map(|text| text.lines())
            .map(plain)
            .filter(|line| !line.is_empty() && !is_harmless(line))
    };
    let found = EXPRESSIONS
        .iter()
        .find_map(|wording| lines().find_map(|line| Some((line, wording.captures(line)?))));
    let Some((line, groups)) = found else {
        let said = lines().next_back();
        return Cause {
            message: said.map_or_else(
                || fallback.to_owned(),
                |said| format!("{fallback}; it said: {said}"),
            ),
            ..Cause::default()
        };
    };
    let group = |name| groups.name(name).map(|m| m.as_str().to_owned());
    // A device says why in its own words, and the section that was being loaded comes on another line.
    let own = lines().find(|own| *own != line && OWN_WORDS.iter().any(|word| own.contains(word)));
    let place = lines().find_map(|line| PLACE.captures(line));
    let at = |name| Some(place.as_ref()?.name(name)?.as_str().to_owned());
    let instance = group("instance")
        .and_then(|n| n.parse().ok())
        .or_else(|| u64::from_str_radix(&group("hex").or_else(|| at("hex"))?, 16).ok());
    Cause {
        // What was being loaded may be a part that many sections have: the section is the place.
        section: group("section")
            .or_else(|| at("section"))
            .or_else(|| group("inner")),
        instance,
        field: group("field"),
        rule: None,
        message: match own {
            Some(own) => format!("{own}; {line}"),
            None => line.to_owned(),
        },
        ..Cause::default()
    }
}

/// The lowest version of the section that the build says it takes, where it is not that of a part.
pub fn minimum_version(cause: &Cause) -> Option<i64> {
    static MINIMUM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?P<of>\S+): incoming version_id \d+ is too old for local minimum version_id +(?P<n>\d+)")
            .unwrap_or_else(|error| unreachable!("{error}"))
    });
    let groups = MINIMUM.captures(&cause.message)?;
    let section = cause.section.as_deref()?;
    let name = section.rsplit_once('/').map_or(section, |(_, name)| name);
    (&groups["of"] == name).then(|| groups["n"].parse().ok())?
}

/// The line without the program's name before it.
fn plain(line: &str) -> &str {
    let line = line.trim();
    match line.split_once(": ") {
        Some((program, rest)) if program.contains("qemu-system-") && !program.contains(' ') => rest,
        _ => line,
    }
}

/// Whether a line on a build's error output says nothing about the migration.
pub fn is_harmless(line: &str) -> bool {
    let line = line.trim();
    line.is_empty()
        || line.contains("warning:")
        || line.contains("deprecated")
        || line.contains("info:")
        || line.ends_with("has no peer")
        // What a source says when the destination has gone: an effect, not a cause.
        || line.contains("terminating on signal")
}

/// The first line that a QEMU which did its work should not have printed.
pub fn complaint(stderr: &str) -> Option<&str> {
    stderr.lines().find(|line| !is_harmless(line))
}

/// The finding of a comparison that predicted the failure: same direction, same description.
pub fn explain<'f>(
    cause: &Cause,
    direction: Direction,
    findings: &'f mut [Finding],
) -> Option<&'f mut Finding> {
    let section = cause.section.as_deref()?;
    // `0000:00:01.0/pciespscsi`: where it sits, and the description.
    let name = section.rsplit_once('/').map_or(section, |(_, name)| name);
    let named = |finding: &Finding, place: &str| finding.path.iter().any(|part| part == place);
    let mut candidates: Vec<&mut Finding> = findings
        .iter_mut()
        .filter(|f| f.direction == direction && f.path.first().is_some_and(|p| p == name))
        .collect();
    candidates.sort_by_key(|finding| {
        let field = cause.field.as_deref();
        let hit = field.is_some_and(|field| named(finding, field));
        (!hit, finding.level, finding.allowed_by.is_some())
    });
    // A note says that nothing breaks: it explains no failure.
    candidates
        .into_iter()
        .find(|finding| finding.level != crate::model::Level::Note)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What real builds said, the section, instance and field in it.
    type Said = (
        &'static str,
        Option<&'static str>,
        Option<u64>,
        Option<&'static str>,
    );

    #[test]
    fn the_lowest_version_is_that_of_the_section() {
        for (section, said, minimum) in [
            (
                "cpu",
                "of device 'cpu': cpu: incoming version_id 10 is too old for local minimum version_id 12",
                Some(12),
            ),
            (
                "0000:00:01.0/virtio-iommu",
                "virtio-iommu: incoming version_id 1 is too old for local minimum version_id  2",
                Some(2),
            ),
            (
                "cpu",
                "cpu/slb: incoming version_id 1 is too old for local minimum version_id  2",
                None,
            ),
            (
                "cpu",
                "cpu: incoming version_id 3 is too new for local version_id 2",
                None,
            ),
        ] {
            let cause = Cause {
                section: Some(section.to_owned()),
                message: said.to_owned(),
                ..Cause::default()
            };
            assert_eq!(minimum_version(&cause), minimum, "{said}");
        }
    }

    const SAID: &[Said] = &[
        (
            "qemu-system-x86_64: State blocked by non-migratable device '0000:00:01.0/nvme'",
            Some("0000:00:01.0/nvme"),
            None,
            None,
        ),
        (
            "qemu-system-x86_64: savevm: unsupported version 2 for '0000:00:01.0/pciespscsi' v1\n\
             qemu-system-x86_64: load of migration failed: Invalid argument",
            Some("0000:00:01.0/pciespscsi"),
            None,
            None,
        ),
        (
            "qemu-system-x86_64: Missing section footer for 0000:00:01.0/pciespscsi\n\
             qemu-system-x86_64: load of migration failed: Invalid argument",
            Some("0000:00:01.0/pciespscsi"),
            None,
            None,
        ),
        (
            "qemu-system-x86_64: Unknown savevm section or instance 'ps2kbd' 1. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices",
            Some("ps2kbd"),
            Some(1),
            None,
        ),
        (
            "load of migration failed: Invalid argument: Unknown section or instance 'vga' 0. Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices",
            Some("vga"),
            Some(0),
            None,
        ),
        (
            "qemu-system-ppc64: cpu/slb: incoming version_id 2 is too new for local version_id 1\n\
             qemu-system-ppc64: error while loading state for instance 0x0 of device 'cpu'\n\
             qemu-system-ppc64: load of migration failed: Invalid argument",
            Some("cpu"),
            Some(0),
            Some("cpu/slb"),
        ),
        (
            "load of migration failed: Invalid argument: error while loading state for instance 0x0 of device 'cpu': cpu: incoming version_id 1 is too old for local minimum version_id 12",
            Some("cpu"),
            Some(0),
            Some("cpu"),
        ),
        (
            "qemu-system-x86_64: VQ 0 vring.num 1024 exceeds allocated max 256\n\
             qemu-system-x86_64: load of migration failed: Invalid argument: error while loading state for instance 0x0 of device '0000:00:01.0/virtio-scsi': Failed to load element of type virtio for virtio",
            Some("0000:00:01.0/virtio-scsi"),
            Some(0),
            Some("virtio"),
        ),
        (
            "qemu-system-x86_64: get_pci_config_device: Bad config data: i=0x6 read: 0 device: 10 cmask: 10 wmask: 0 w1cmask:0\n\
             qemu-system-x86_64: Failed to load PCIDevice:config\n\
             qemu-system-x86_64: Failed to load intel-hda:pci\n\
             qemu-system-x86_64: error while loading state for instance 0x0 of device '0000:00:01.0/intel-hda'\n\
             qemu-system-x86_64: load of migration failed: Invalid argument",
            Some("0000:00:01.0/intel-hda"),
            Some(0),
            Some("config"),
        ),
        (
            "qemu-system-aarch64: Invalid value 258 expecting positive value <= 228\n\
             qemu-system-aarch64: Failed to load cpu:cpreg_vmstate_array_len\n\
             qemu-system-aarch64: error while loading state for instance 0x0 of device 'cpu'",
            Some("cpu"),
            Some(0),
            Some("cpreg_vmstate_array_len"),
        ),
        (
            "load of migration failed: Invalid argument: error while loading state for instance 0x0 of device 'cpu': post load hook failed for: cpu, version_id: 22, minimum_version: 22, ret: -1",
            Some("cpu"),
            Some(0),
            Some("cpu"),
        ),
        (
            "qemu-system-x86_64: Unknown ramblock \"/rom@etc/acpi/tables\", cannot accept migration\n\
             qemu-system-x86_64: error while loading state for instance 0x0 of device 'ram'",
            Some("ram"),
            Some(0),
            Some("/rom@etc/acpi/tables"),
        ),
        (
            "qemu-system-x86_64: ../../migration/vmstate.c:361: vmstate_save_state_v: Assertion `first_elem || !n_elems || !size' failed.",
            None,
            None,
            None,
        ),
        (
            "qemu-system-aarch64: Failed to load uefi-vars:variables",
            Some("uefi-vars"),
            None,
            Some("variables"),
        ),
    ];

    #[test]
    fn causes_are_read_from_the_wordings_of_all_versions() {
        for (said, section, instance, field) in SAID {
            let cause = read(&[said], "it failed");
            assert_eq!(cause.section.as_deref(), *section, "{said}");
            assert_eq!(cause.instance, *instance, "{said}");
            assert_eq!(cause.field.as_deref(), *field, "{said}");
            assert!(!cause.message.starts_with("qemu-system"), "{said}");
        }
    }

    #[test]
    fn a_device_speaks_for_itself() {
        let cause = read(&[SAID[7].0], "it failed");
        assert!(
            cause
                .message
                .starts_with("VQ 0 vring.num 1024 exceeds allocated max 256; "),
            "{}",
            cause.message
        );
    }

    #[test]
    fn without_a_reason_the_cause_is_what_happened() {
        let cause = read(
            &["qemu: warning: old\n"],
            "the source was killed by SIGKILL",
        );
        assert_eq!(cause.message, "the source was killed by SIGKILL");
        let cause = read(&["odd words\n"], "the source exited");
        assert_eq!(cause.message, "the source exited; it said: odd words");
    }

    #[test]
    fn warnings_are_no_complaints() {
        let quiet = "qemu-system-x86_64: warning: nic x has no peer\n\
                     qemu-system-x86_64: Machine type 'pc-q35-5.2' is deprecated: use a newer one";
        assert_eq!(complaint(quiet), None);
        assert_eq!(complaint("x: it broke"), Some("x: it broke"));
    }
}

//! Why a migration failed, out of what builds print: the wordings of 5.2 to 11.1.

use std::sync::LazyLock;

use regex::Regex;

use crate::migration::diagnosis::layouts::BOTH_SEND;
use crate::model::Direction;
use crate::model::Rule;
use crate::qemu::output;
use crate::report::{Case, Cause, Finding, Level, Outcome};

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
        let told = texts.iter().flat_map(|text| output::complaints(text));
        told.map(output::without_program)
            .filter(|line| !line.is_empty())
    };
    let found = EXPRESSIONS
        .iter()
        .find_map(|wording| lines().find_map(|line| Some((line, wording.captures(line)?))));
    let Some((line, groups)) = found else {
        let said = lines().last();
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

/// The finding of a comparison that predicted the failure: same direction, same description, and the
/// same field, unless nothing of that description gets across whatever the state is.
fn explain<'f>(
    cause: &Cause,
    direction: Direction,
    findings: &'f mut [Finding],
) -> Option<&'f mut Finding> {
    let section = cause.section.as_deref()?;
    // `0000:00:01.0/pciespscsi`: where it sits, and the description.
    let name = section.rsplit_once('/').map_or(section, |(_, name)| name);
    // `esp/drq_state`, or a field alone. Names of subsections have slashes themselves.
    let names_it = |finding: &Finding| {
        let last = finding.path.iter().skip(1).next_back();
        let rest = cause.field.as_deref().zip(last);
        let rest = rest.and_then(|(field, last)| field.strip_suffix(last.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    let explains = |finding: &Finding| match finding.level {
        Level::Error => true,
        Level::Warning => names_it(finding),
        // A note says that nothing breaks, which of bytes that are padded is true of the load alone.
        Level::Note => finding.rule == Rule::FieldPadded && names_it(finding),
    };
    findings
        .iter_mut()
        .filter(|f| f.direction == direction && f.path.first().is_some_and(|p| p == name))
        .filter(|f| explains(f))
        .min_by_key(|f| (!names_it(f), f.level, f.allowed_by.is_some()))
}

/// Ties a case that did not get across to the finding that foresaw it.
pub fn link<'f>(case: &mut Case, findings: &'f mut [Finding]) -> Option<&'f Finding> {
    if matches!(
        case.outcome,
        Outcome::Pass | Outcome::Skip | Outcome::Broken
    ) {
        return None;
    }
    let direction = case.legs.last().map_or(case.direction, |leg| leg.direction);
    let cause = case.cause.as_mut()?;
    let finding = explain(cause, direction, findings)?;
    cause.rule = Some(finding.rule);
    // Whoever reads the findings alone is to know that it was met.
    finding.level = finding.level.min(Level::Warning);
    // A build may say no more than the section: the finding knows the place in it.
    if cause.field.is_none() && finding.path.len() > 1 {
        cause.field = Some(finding.path[1..].join("/"));
    }
    // A migration that failed proves more than a layout that was seen.
    match &finding.confirmed_by {
        Some(by) if by != BOTH_SEND => {}
        _ => finding.confirmed_by = Some(case.id.clone()),
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn a_warning_of_two_lines_is_no_cause() {
        let two_lines = "q: warning: multiple floppy disk controllers have been found\n\
                         the one being picked for CMOS setup might not reflect your intent";
        let said = read(&[two_lines], "the source exited").message;
        assert_eq!(said, "the source exited");
    }

    fn case(outcome: &str, field: Option<&str>) -> Case {
        serde_json::from_value(json!({
            "id": "x", "machine": "pc-q35-7.2", "device_set": "x", "devices": [], "left_out": [],
            "transport": "unix", "direction": "backward", "running": false, "outcome": outcome,
            "cause": {"section": "0000:00:01.0/sd", "instance": 0, "field": field, "rule": null,
                "message": "no"},
            "control": null, "repeated": null, "legs": [], "state_diff": [], "state_checked": null,
            "state_unchecked": null, "allowed_by": null, "reproduce": null, "source_stderr": "",
            "destination_stderr": "", "logs": null, "elapsed_ms": 1
        }))
        .expect("a case")
    }

    fn finding(rule: Rule, level: &str, direction: &str, path: &[&str]) -> Finding {
        serde_json::from_value(json!({
            "rule": rule.id(), "level": level, "direction": direction, "section": "sd-card",
            "also_in": [], "path": path, "message": "m", "old": null, "new": null,
            "allowed_by": null, "evidence": "dump", "confirmed_by": null, "context": []
        }))
        .expect("a finding")
    }

    #[test]
    fn a_case_is_tied_to_what_foresaw_it_and_to_nothing_else() {
        use Rule::{FieldAdded, FieldPadded, FieldRenamed, SubsectionUnknown};
        let padded = finding(FieldPadded, "note", "backward", &["sd", "enable"]);
        let renamed = finding(FieldRenamed, "note", "backward", &["sd", "enable"]);
        let maybe = finding(
            SubsectionUnknown,
            "warning",
            "backward",
            &["sd", "sd/modes"],
        );
        let certain = finding(FieldAdded, "error", "backward", &["sd", "other"]);
        let elsewhere = finding(FieldAdded, "error", "backward", &["mmc", "enable"]);
        let forward = finding(FieldAdded, "error", "forward", &["sd", "enable"]);
        // What is known, the field of the cause, and what explains it.
        let table: &[(&[&Finding], Option<&str>, Option<Rule>)] = &[
            (&[&maybe, &padded], Some("enable"), Some(FieldPadded)),
            (&[&maybe, &renamed], Some("enable"), None),
            (&[&maybe], Some("inner/sd/modes"), Some(SubsectionUnknown)),
            (&[&maybe], Some("inner/bsd/modes"), None),
            (&[&maybe], Some("sd/modes"), Some(SubsectionUnknown)),
            (&[&maybe, &certain], Some("enable"), Some(FieldAdded)),
            (&[&maybe, &certain], None, Some(FieldAdded)),
            (&[&maybe], None, None),
            (&[&elsewhere, &forward], Some("enable"), None),
        ];
        for (known, field, rule) in table {
            let mut findings: Vec<Finding> = known.iter().copied().cloned().collect();
            let mut case = case("lost", *field);
            link(&mut case, &mut findings);
            let told = case.cause.and_then(|cause| cause.rule);
            assert_eq!(told, *rule, "{field:?}: {findings:#?}");
            for finding in findings {
                let met = Some(finding.rule) == *rule;
                assert_eq!(finding.confirmed_by.is_some(), met, "{finding:#?}");
                assert!(!met || finding.level != Level::Note, "{finding:#?}");
            }
        }
        let mut findings = vec![certain];
        assert!(link(&mut case("pass", None), &mut findings).is_none());
    }
}

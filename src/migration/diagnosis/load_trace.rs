//! Reading from the destination's own trace how far a load got: a build that dies or hangs names no
//! section.
//!
//! The log of QEMU's trace backend writes the events into a file. A build without them still runs,
//! and nothing is known of its load then.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::data::regex;
use crate::model::SectionName;

/// The events that a destination traces: the beginning of each section and of each further part of one,
/// and the end of it all. By name: a build matches a pattern against thousands of events, for a
/// millisecond.
const EVENTS: [&str; 3] = [
    "qemu_loadvm_state_section_startfull",
    "qemu_loadvm_state_section_partend",
    "qemu_loadvm_state_post_main",
];

/// 5.2 to 11.1 write the same, some with the time before it:
/// `qemu_loadvm_state_section_startfull 37(0000:00:02.0/vga) 0 2`.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?:^|:)(?:qemu_loadvm_state_section_startfull (?P<id>\d+)\((?P<name>.*)\) (?P<instance>\d+) \d+",
        r"|qemu_loadvm_state_section_partend (?P<part>\d+)",
        r"|qemu_loadvm_state_post_main (?P<ret>-?\d+))$",
    ))
});

/// The place that a load had reached when its destination wrote its last trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Reached {
    /// No section was begun, or that is not known.
    #[default]
    Nothing,
    /// The last section that was begun.
    Section { name: SectionName, instance: u64 },
    /// The whole stream was loaded.
    Everything,
}

impl Reached {
    pub(crate) fn from_trace(text: &str) -> Reached {
        let mut reached = Reached::Nothing;
        let mut begun = HashMap::new();
        for groups in text.lines().filter_map(|line| LINE.captures(line)) {
            let group = |name| groups.name(name).map(|found| found.as_str());
            if let (Some(id), Some(name)) = (group("id"), group("name")) {
                let instance = group("instance").and_then(|n| n.parse().ok()).unwrap_or(0);
                reached = Reached::Section {
                    name: name.into(),
                    instance,
                };
                begun.insert(id, reached.clone());
            } else if let Some(section) = group("part").and_then(|id| begun.get(id)) {
                reached = section.clone();
            } else if group("ret") == Some("0") {
                return Reached::Everything;
            }
        }
        reached
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Nothing => f.write_str("nothing"),
            Reached::Section { name, instance: 0 } => name.fmt(f),
            Reached::Section { name, instance } => write!(f, "{name} instance {instance}"),
            Reached::Everything => f.write_str("everything"),
        }
    }
}

/// A new file for a trace, which `-D` then names; `None` where it cannot be, and nothing is traced.
pub(crate) fn file(folder: &Path, index: usize) -> Option<PathBuf> {
    let path = folder.join(format!("l{index}"));
    // In a log's name QEMU puts its process's number in the place of a `%d`, and takes no other `%`.
    let plain = !path.as_os_str().as_encoded_bytes().contains(&b'%');
    (plain && File::create(&path).is_ok()).then_some(path)
}

/// Has a destination trace its load into a file. Not on its error output, where it would be taken for a
/// complaint; a build without an event warns and goes on.
pub(crate) fn args(path: &Path) -> Vec<OsString> {
    let events = EVENTS.iter().flat_map(|name| ["-trace", name]);
    let mut args: Vec<OsString> = events.map(OsString::from).collect();
    args.extend(["-D".into(), path.into()]);
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 11.1 wrote it.
    const MEMORY: &str = "\
qemu_loadvm_state_section 1
qemu_loadvm_state_section_startfull 1(ram) 0 4
qemu_loadvm_state_section_startfull 4(dirty-bitmap) 0 1
qemu_loadvm_state_section_partend 1
";

    #[test]
    fn the_last_section_begun_is_where_a_load_was() {
        let mut trace = MEMORY.to_owned();
        // A further part of what was begun before is the last there.
        let mut reached = "ram";
        for line in MORE.lines() {
            assert_eq!(Reached::from_trace(&trace).to_string(), reached, "{trace}");
            let (begun, more) = line.split_once(" <- ").expect("what is reached by what");
            reached = begun;
            trace.push_str(&format!("{more}\n"));
        }
        assert_eq!(Reached::from_trace(&trace), Reached::Everything);
        assert_eq!(Reached::from_trace(""), Reached::Nothing);
    }

    /// Further lines, each with the section that was begun last by then: what is cut off, as where a build died, begins
    /// none. The last ones are as 5.2 wrote them.
    const MORE: &str = "\
ram <- qemu_loadvm_state_section_startfull 38(vg
fw_cfg (io) <- qemu_loadvm_state_section_startfull 17(fw_cfg (io)) 0 2
fw_cfg (io) <- qemu_loadvm_state_section_command 0
cpu instance 3 <- qemu_loadvm_state_section_startfull 37(cpu) 3 12
cpu instance 3 <- qemu_loadvm_state_post_main -22
0000:00:02.0/vga <- 19416@1795519766.554061:qemu_loadvm_state_section_startfull 38(0000:00:02.0/vga) 0 1
everything <- 19416@1795519766.554079:qemu_loadvm_state_post_main 0";

    #[test]
    fn a_log_that_qemu_would_name_otherwise_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let found = file(folder.path(), 1).unwrap();
        assert!(found.is_file());
        let odd = folder.path().join("100%");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(file(&odd, 1), None);
        assert_eq!(file(&folder.path().join("absent"), 1), None);
    }
}

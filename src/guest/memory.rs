//! The memory of a guest: its size and layout stay, its place on the host does not matter.

use crate::guest::lines::{Arg, Treated, omission};
use crate::guest::options::Composer;
use crate::guest::opts::{Opts, bytes, is_number, is_word, join};
use crate::guest::{Idle, MOST_WORKING_MEMORY};
use crate::report::GuestReason;

/// Keeps the size, the slots and the most that there can be.
pub(super) fn size(composer: &mut Composer, value: &str) -> Treated {
    let opts = Opts::parse(value, "size").unwrap_or_default();
    let mut kept = Vec::new();
    let mut without = Vec::new();
    for (name, value) in &opts.items {
        match value.text() {
            Some(value)
                if matches!(name.as_str(), "size" | "slots" | "maxmem") && is_number(value) =>
            {
                kept.push((name.as_str(), value));
            }
            _ => without.push(omission(name, GuestReason::UnknownSetting)),
        }
    }
    composer.board.memory = opts
        .get("size")
        .and_then(|size| bytes(size, 1 << 20))
        .unwrap_or_default();
    if composer.board.memory > MOST_WORKING_MEMORY {
        composer.board.idle.get_or_insert(Idle::Memory);
    }
    if kept.is_empty() {
        return Treated::left_out(GuestReason::Malformed);
    }
    Treated::kept([Arg::new("-m", join(kept))]).without(without)
}

/// Settings of a memory backend that the guest or the stream shows. `share` decides on the kind of a RAM block.
const SEEN: &[&str] = &["share", "x-use-canonical-path-for-ramblock-id"];

/// Puts plain memory in the place of any backend.
pub(super) fn backend(kind: &str, opts: &Opts, id: &str) -> Treated {
    let Some(size) = opts.get("size").filter(|size| is_number(size)) else {
        return Treated::left_out(GuestReason::Malformed);
    };
    let mut kept = vec![
        ("qom-type", "memory-backend-ram"),
        ("id", id),
        ("size", size),
    ];
    let mut without = Vec::new();
    for (name, value) in &opts.items {
        match value.text() {
            _ if matches!(name.as_str(), "qom-type" | "id" | "size") => {}
            Some(value) if SEEN.contains(&name.as_str()) && is_word(value) => {
                kept.push((name.as_str(), value));
            }
            _ => without.push(omission(name, GuestReason::HostMemorySetting)),
        }
    }
    let args = [Arg::new("-object", join(kept))];
    match kind {
        "memory-backend-ram" => Treated::kept(args).without(without),
        _ => Treated::replaced(args, GuestReason::HostMemory),
    }
}

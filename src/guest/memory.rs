//! The memory of a guest: its size and layout stay, its place on the host does not matter.

use crate::guest::lines::{Arg, Treated, omission, with_some};
use crate::guest::options::Composer;
use crate::guest::opts::{Opts, bytes, is_number, is_word, join};
use crate::guest::{Idle, MOST_WORKING_MEMORY};
use crate::report::GuestReason;

/// Keeps the size, the slots and the most that there can be.
pub(super) fn size(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
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
        return Err(GuestReason::Malformed);
    }
    Ok(Treated::kept([Arg::new("-m", join(kept))]).without(without))
}

/// Settings of a memory backend that the guest or the stream shows. `share` decides on the kind of a RAM block.
const SEEN: &[&str] = &["share", "x-use-canonical-path-for-ramblock-id"];

/// Puts plain memory in the place of any backend.
pub(super) fn backend(kind: &str, opts: &Opts, id: &str) -> Result<Treated, GuestReason> {
    let size = opts.get("size").filter(|size| is_number(size));
    let size = size.ok_or(GuestReason::Malformed)?;
    let made = vec![
        ("qom-type", "memory-backend-ram"),
        ("id", id),
        ("size", size),
    ];
    let is_seen = |name: &str, value: &str| SEEN.contains(&name) && is_word(value);
    let reason = GuestReason::HostMemorySetting;
    let treated = with_some(made, opts, is_seen, reason);
    Ok(match kind {
        "memory-backend-ram" => treated,
        _ => Treated::replaced(treated.args, GuestReason::HostMemory),
    })
}

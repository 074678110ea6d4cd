//! The memory of a guest: its size and layout stay, its place on the host does not matter.

use crate::guest::composer::Composer;
use crate::guest::lines::{Arg, Treated, omission};
use crate::guest::opts::{Opts, bytes, is_number, join};
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

//! The CPU of a guest.

use crate::guest::composer::Composer;
use crate::guest::lines::{Treated, omission};
use crate::report::GuestReason;

/// Flags that decide where a guest may start, and not what it is.
const ENFORCED: &[&str] = &[
    "enforce",
    "check",
    "migratable",
    "host-cache-info",
    "+invtsc",
    "invtsc",
];

/// Keeps the model and its flags. Whether that of the host can be had is known once there is an accelerator.
pub(super) fn cpu(composer: &mut Composer, value: &str) -> Result<Treated, GuestReason> {
    let mut parts = value.split(',').map(str::trim);
    let model = parts.next().unwrap_or_default();
    if !is_flag(model) || matches!(model, "help" | "?") {
        return Err(GuestReason::Malformed);
    }
    let mut kept = vec![model.to_owned()];
    let mut without = Vec::new();
    for flag in parts.filter(|flag| !flag.is_empty()) {
        let name = flag.split('=').next().unwrap_or_default();
        if ENFORCED.contains(&name) {
            without.push(omission(flag, GuestReason::CpuEnforced));
        } else if !is_flag(flag) {
            without.push(omission(flag, GuestReason::Malformed));
        } else {
            kept.push(flag.to_owned());
        }
    }
    let cpu = kept.join(",");
    if model == "host" {
        composer.board.host_cpu = Some(cpu);
        return Ok(Treated::replaced([], GuestReason::HostCpu));
    }
    composer.board.cpu = Some(cpu);
    Ok(Treated::kept([]).without(without))
}

fn is_flag(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.=+:".contains(c))
}

//! The objects of a guest: those that it sees the effect of, and those of the host.

use crate::guest::lines::{Arg, Treated, with_some};
use crate::guest::opts::{Opts, is_number, is_word, join};
use crate::report::GuestReason;

/// The fate of a type of object.
enum Fate {
    /// Plain memory of the same size.
    Memory,
    /// Kept, with these properties.
    Kept(&'static [&'static str]),
    /// Another type stands for it.
    Replaced(&'static str, GuestReason),
    LeftOut(GuestReason),
}

fn fate(kind: &str) -> Fate {
    match kind {
        "memory-backend-ram"
        | "memory-backend-file"
        | "memory-backend-memfd"
        | "memory-backend-shm" => Fate::Memory,
        "iothread" => Fate::Kept(&[
            "poll-max-ns",
            "poll-grow",
            "poll-shrink",
            "aio-max-batch",
            "thread-pool-min",
            "thread-pool-max",
        ]),
        "rng-builtin" | "can-bus" => Fate::Kept(&[]),
        "cryptodev-backend-builtin" => Fate::Kept(&["queues"]),
        "rng-random" | "rng-egd" => Fate::Replaced("rng-builtin", GuestReason::HostEntropy),
        "cryptodev-vhost-user" | "cryptodev-backend-lkcf" => {
            Fate::Replaced("cryptodev-backend-builtin", GuestReason::NeedsProcess)
        }
        "secret" | "secret_keyring" | "tls-creds-x509" | "tls-creds-psk" | "tls-creds-anon"
        | "tls-cipher-suites" => Fate::LeftOut(GuestReason::Secret),
        "sev-guest" | "sev-snp-guest" | "tdx-guest" | "pef-guest" | "s390-pv-guest"
        | "arm-rme-guest" | "rme-guest" | "igvm-cfg" => {
            Fate::LeftOut(GuestReason::ConfidentialGuest)
        }
        "thread-context" | "main-loop" | "iommufd" => Fate::LeftOut(GuestReason::HostMemorySetting),
        "throttle-group" | "pr-manager-helper" => Fate::LeftOut(GuestReason::HostDisk),
        "filter-buffer" | "filter-mirror" | "filter-redirector" | "filter-dump"
        | "filter-rewriter" | "filter-replay" | "colo-compare" | "can-host-socketcan" => {
            Fate::LeftOut(GuestReason::HostNetwork)
        }
        "input-linux" | "input-barrier" | "memory-backend-epc" => {
            Fate::LeftOut(GuestReason::HostDevice)
        }
        "dbus-vmstate" | "x-remote-object" | "vfio-user-server" | "x-vfio-user-server"
        | "vhost-user-backend" => Fate::LeftOut(GuestReason::NeedsProcess),
        "authz-list" | "authz-list-file" | "authz-pam" | "authz-simple" => {
            Fate::LeftOut(GuestReason::Monitor)
        }
        _ => Fate::LeftOut(GuestReason::UnknownObject),
    }
}

/// Tells whether the guest has an object of a type, in some form.
pub(super) fn is_kept(kind: &str) -> bool {
    !matches!(fate(kind), Fate::LeftOut(_))
}

/// Decides what becomes of an object.
pub(super) fn object(value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "qom-type")?;
    let kind = opts.get("qom-type").unwrap_or_default();
    let fate = fate(kind);
    if let Fate::LeftOut(reason) = fate {
        return Err(reason);
    }
    let id = opts.id("id")?;
    match fate {
        Fate::Memory => memory_backend(kind, &opts, id),
        Fate::Kept(known) => {
            let made = vec![("qom-type", kind), ("id", id)];
            let is_known = |name: &str, value: &str| {
                known.contains(&name) && is_number(value) && is_word(value)
            };
            Ok(with_some(
                made,
                &opts,
                is_known,
                GuestReason::UnknownSetting,
            ))
        }
        Fate::Replaced(by, reason) => {
            let args = join([("qom-type", by), ("id", id)]);
            Ok(Treated::replaced([Arg::new("-object", args)], reason))
        }
        Fate::LeftOut(reason) => Err(reason),
    }
}

/// Settings of a memory backend that the guest or the stream shows. `share` decides on the kind of a RAM block.
const SEEN: &[&str] = &["share", "x-use-canonical-path-for-ramblock-id"];

/// Puts plain memory in the place of any backend.
fn memory_backend(kind: &str, opts: &Opts, id: &str) -> Result<Treated, GuestReason> {
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

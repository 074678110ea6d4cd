//! The TPM of a guest.

use crate::guest::lines::{Arg, Treated};
use crate::guest::opts::{Opts, join};
use crate::report::GuestReason;

/// The kind of backend that the guest has in any case: the tool connects it to a TPM of its own.
pub(super) const EMULATOR: &str = "emulator";
/// The kind that is a device of the host.
const PASSTHROUGH: &str = "passthrough";
/// The character device of an emulator where the guest has none for it.
const CHARDEV: &str = "migcompat-tpm";

/// Tells whether the guest keeps such a backend, in some form.
pub(super) fn is_kept(opts: &Opts) -> bool {
    matches!(opts.get("type"), Some(EMULATOR | PASSTHROUGH))
}

/// Puts an emulator in the place of the backend of a TPM. Its character device is among the others of the guest.
pub(super) fn tpmdev(value: &str) -> Result<Treated, GuestReason> {
    let opts = Opts::parse(value, "type")?;
    if !is_kept(&opts) {
        return Err(GuestReason::UnknownSetting);
    }
    let id = opts.id("id")?;
    let backend = |chardev| join([("type", EMULATOR), ("id", id), ("chardev", chardev)]);
    let mut args = Vec::new();
    let chardev = match opts.get("type") {
        Some(EMULATOR) => opts.id("chardev")?,
        _ => {
            args.push(Arg::new(
                "-chardev",
                join([("backend", "null"), ("id", CHARDEV)]),
            ));
            CHARDEV
        }
    };
    args.push(Arg::new("-tpmdev", backend(chardev)));
    Ok(Treated::replaced(args, GuestReason::HostTpm))
}

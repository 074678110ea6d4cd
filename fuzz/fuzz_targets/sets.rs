//! Device sets: reading, checking and composing one ends, on every architecture.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migcompat::internals::devices::{DeviceSet, Known, Target};
use migcompat::internals::guest::concerns_the_guest_alone;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(set) = DeviceSet::parse("own.toml", text) else {
        return;
    };
    for arch in ["x86_64", "aarch64", "s390x"] {
        concerns_the_guest_alone(&set, arch);
        for guest in set.guests() {
            guest.compose(&Target {
                arch,
                machine: "virt",
                old: Known::default(),
                new: Known::default(),
            });
        }
    }
});

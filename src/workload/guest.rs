//! The guests themselves, and the options by which QEMU loads them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::workload::memory::PAGE_SIZE;

/// A guest and how QEMU takes it.
#[derive(Debug)]
pub struct Guest {
    /// The name that the guest prints for itself: `x86`, `aarch64`, `s390x`, `ppc64` or `riscv64`.
    pub arch: &'static str,
    /// The contents of the file that QEMU is given.
    pub image: &'static [u8],
    /// A name for that file. An option ROM's base name is visible to the guest in `fw_cfg`, so source
    /// and destination use the same.
    pub file_name: &'static str,
    /// Guest-physical address of the header page. The region follows it; ask the header where.
    pub header: u64,
    /// The least memory that the machine has to have, in MiB.
    pub min_memory_mib: u32,
    /// The options that take the image, before its path.
    attach: &'static [&'static str],
    /// `-option-rom` reads an option list, where a comma in a path has to be doubled.
    commas_doubled: bool,
}

impl Guest {
    /// Bytes to read at [`Guest::header`].
    pub const HEADER_SIZE: usize = PAGE_SIZE as usize;

    /// The options that make QEMU start this guest from `image`, a file that holds [`Guest::image`].
    ///
    /// They add no device and work beside `-nodefaults` and any set of devices.
    #[must_use]
    pub fn attach_args(&self, image: &Path) -> Vec<OsString> {
        let path = if self.commas_doubled {
            double_commas(image.as_os_str())
        } else {
            image.as_os_str().to_owned()
        };
        let mut args: Vec<OsString> = self.attach.iter().map(OsString::from).collect();
        args.push(path);
        args
    }
}

fn double_commas(path: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(path.len());
    for &byte in path.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

static GUESTS: [Guest; 5] = [
    Guest {
        arch: "x86",
        image: include_bytes!("../../guests/x86/guest.bin"),
        file_name: "migcompat-x86.rom",
        header: 0x20_0000,
        min_memory_mib: 32,
        attach: &["-option-rom"],
        commas_doubled: true,
    },
    Guest {
        arch: "aarch64",
        image: include_bytes!("../../guests/aarch64/guest.bin"),
        file_name: "migcompat-aarch64.bin",
        header: 0x4020_0000,
        min_memory_mib: 32,
        attach: &["-kernel"],
        commas_doubled: false,
    },
    Guest {
        arch: "s390x",
        image: include_bytes!("../../guests/s390x/guest.bin"),
        file_name: "migcompat-s390x.bin",
        header: 0x20_0000,
        min_memory_mib: 32,
        attach: &["-kernel"],
        commas_doubled: false,
    },
    Guest {
        arch: "ppc64",
        image: include_bytes!("../../guests/ppc64/guest.bin"),
        file_name: "migcompat-ppc64.bin",
        header: 0x100_0000,
        min_memory_mib: 256,
        attach: &["-bios"],
        commas_doubled: false,
    },
    Guest {
        arch: "riscv64",
        image: include_bytes!("../../guests/riscv64/guest.bin"),
        file_name: "migcompat-riscv64.bin",
        header: 0x8020_0000,
        min_memory_mib: 32,
        attach: &["-bios", "none", "-kernel"],
        commas_doubled: false,
    },
];

/// The guest for a QEMU target, by the name in `qemu-system-NAME` (`x86_64`, `i386`, `aarch64`, `s390x`,
/// `ppc64`, `riscv64`) or by [`Guest::arch`].
#[must_use]
pub fn guest(arch: &str) -> Option<&'static Guest> {
    let name = match arch {
        "x86_64" | "i386" => "x86",
        other => other,
    };
    GUESTS.iter().find(|guest| guest.arch == name)
}

/// All guests.
#[must_use]
pub fn guests() -> &'static [Guest] {
    &GUESTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_their_guests() {
        for (target, arch) in [
            ("x86_64", "x86"),
            ("i386", "x86"),
            ("aarch64", "aarch64"),
            ("s390x", "s390x"),
            ("ppc64", "ppc64"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(guest(target).map(|guest| guest.arch), Some(arch));
        }
        assert!(guest("m68k").is_none());
    }

    #[test]
    fn a_comma_in_an_option_list_is_doubled() {
        let path = Path::new("/a,b/guest");
        let args = |arch| guest(arch).map(|guest| guest.attach_args(path));
        assert_eq!(
            args("i386"),
            Some(vec!["-option-rom".into(), "/a,,b/guest".into()])
        );
        assert_eq!(
            args("riscv64"),
            Some(vec![
                "-bios".into(),
                "none".into(),
                "-kernel".into(),
                "/a,b/guest".into()
            ])
        );
    }
}

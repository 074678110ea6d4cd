//! The workload guests' bytes are what their sources say.

use macro_rules_attribute::apply;
use migcompat::internals::workload;
use migcompat::internals::workload::Guest;

use crate::needs::assemble;

fn rebuild(arch: &str) {
    let guest = workload::guest(arch).expect("a guest for the architecture");
    let folder = tempfile::tempdir().expect("a folder for the image");
    let image = folder.path().join("guest.bin");
    let build = assemble(arch, &image).output().expect("a shell");
    let printed = String::from_utf8_lossy(&build.stderr);
    assert!(build.status.success(), "guests/build.sh {arch}: {printed}");
    assert_eq!(printed, "", "guests/build.sh {arch}");

    let built = std::fs::read(&image).expect("the image that was built");
    let differs = built.iter().zip(guest.image).position(|(a, b)| a != b);
    assert!(
        built == guest.image,
        "guests/{arch}/guest.bin ({} bytes) is not what its source gives ({} bytes); first \
         difference at {differs:?}. Run guests/build.sh {arch} guests/{arch}/guest.bin",
        guest.image.len(),
        built.len(),
    );
}

#[apply(test)]
#[needs(Assembler("x86"))]
fn x86_is_its_source() {
    rebuild("x86");
}

#[apply(test)]
#[needs(Assembler("aarch64"))]
fn aarch64_is_its_source() {
    rebuild("aarch64");
}

#[apply(test)]
#[needs(Assembler("s390x"))]
fn s390x_is_its_source() {
    rebuild("s390x");
}

#[apply(test)]
#[needs(Assembler("ppc64"))]
fn ppc64_is_its_source() {
    rebuild("ppc64");
}

#[apply(test)]
#[needs(Assembler("riscv64"))]
fn riscv64_is_its_source() {
    rebuild("riscv64");
}

/// A guest that this file forgets would never be rebuilt.
#[apply(test)]
fn no_guest_is_left_out() {
    let mut all: Vec<_> = workload::guests().iter().map(|guest| guest.arch).collect();
    all.sort_unstable();
    assert_eq!(all, ["aarch64", "ppc64", "riscv64", "s390x", "x86"]);
}

fn image(arch: &str) -> &'static [u8] {
    let Guest { image, .. } = workload::guest(arch).expect("a guest for the architecture");
    image
}

/// The BIOS runs an option ROM only if its signature, length and checksum are right.
#[apply(test)]
fn x86_is_an_option_rom() {
    let rom = image("x86");
    assert_eq!(rom[..2], [0x55, 0xaa]);
    assert_eq!(usize::from(rom[2]) * 512, rom.len());
    assert_eq!(rom.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

/// QEMU reads the kernel as ELF, SLOF's replacement starts at 0x100: both have to be the same code.
#[apply(test)]
fn ppc64_starts_at_one_place() {
    let elf = image("ppc64");
    assert_eq!(elf[..6], [0x7f, b'E', b'L', b'F', 2, 2]);
    let word = |at: usize| {
        elf[at..at + 8]
            .iter()
            .fold(0u64, |v, b| v << 8 | u64::from(*b))
    };
    assert_eq!(word(64 + 8), 0x100, "offset of the segment");
    assert_eq!(word(64 + 16), 0, "address of the segment");
    assert_eq!(word(64 + 32), elf.len() as u64 - 0x100, "its size");
}

/// QEMU takes a raw s390x image's entry from the short PSW at its beginning.
#[apply(test)]
fn s390x_begins_with_its_psw() {
    let raw = image("s390x");
    assert_eq!(raw[..8], [0, 8, 0, 0, 0x80, 0, 2, 0]);
}

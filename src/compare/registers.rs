//! The system registers of an Arm CPU, as its section has them: their numbers, their values, and how many there are.
//!
//! A load takes the value of each number that both sides have. One that the source alone has is refused (QEMU 11.1 ignores a
//! few), and one that the destination alone has is left as it is after reset: `cpu_post_load()` in `target/arm/machine.c`.

pub(crate) const COUNT: &str = "cpreg_vmstate_array_len";
pub(crate) const NUMBERS: &str = "cpreg_vmstate_indexes";
pub(crate) const VALUES: &str = "cpreg_vmstate_values";

/// The bytes of a number and of a value.
pub(crate) const WIDTH: usize = 8;

/// Returns the numbers or the values of a list.
pub(crate) fn entries(list: &[u8]) -> impl Iterator<Item = u64> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
    list.chunks_exact(WIDTH).map(number)
}

//! The image of a kernel, as a machine starts it.
//!
//! On x86 a kernel is packed, and unpacks itself. Emulated, that takes a quarter of what the guest needs to boot. QEMU starts
//! what is in it by itself, if the kernel has an entry for that (`CONFIG_PVH`; load_elfboot(), since 4.0, in hw/i386/x86.c or
//! x86-common.c), with firmware of its own alone.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::compression;
use crate::qemu::keep;

/// What a kernel of x86 has at [`MAGIC_AT`]. All offsets are those of Documentation/arch/x86/boot.rst in Linux.
const MAGIC: &[u8] = b"HdrS";
const MAGIC_AT: usize = 0x202;
/// The number of sectors in front of what is started, without the first.
const SECTORS_AT: usize = 0x1f1;
const SECTOR: usize = 512;
/// The number of sectors that 0 stands for.
const OLD_SECTORS: usize = 4;
/// Where the packed kernel begins and how long it is; behind the sectors.
const PAYLOAD_AT: usize = 0x248;
const LENGTH_AT: usize = 0x24c;
/// The most bytes of a kernel. Debian's have a quarter of it.
const MOST: u32 = 256 << 20;
/// The line of a kernel's configuration that says that it has the entry.
const ENTRY: &str = "CONFIG_PVH=y";

/// A kernel that is packed.
struct Packed<'i> {
    payload: &'i [u8],
    /// Bytes of what is in it.
    size: u32,
}

impl<'i> Packed<'i> {
    /// Finds it in an image; `None` if that is none of x86, or of Linux before 2.6.26, which does not say where it is.
    fn of(image: &'i [u8]) -> Option<Packed<'i>> {
        let word = |at: usize| {
            let bytes = image.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        if !image.get(MAGIC_AT..)?.starts_with(MAGIC) {
            return None;
        }
        let sectors = match *image.get(SECTORS_AT)? {
            0 => OLD_SECTORS,
            sectors => sectors.into(),
        };
        let begin = (sectors + 1) * SECTOR + word(PAYLOAD_AT)?;
        let payload = image.get(begin..)?.get(..word(LENGTH_AT)?)?;
        // The linker puts it behind what the packer wrote.
        let (payload, size) = payload.split_last_chunk()?;
        let size = u32::from_le_bytes(*size);
        (size <= MOST).then_some(Packed { payload, size })
    }

    /// Unpacks it; `None` if it is packed in a way that is not read here, or is no ELF file.
    fn unpacked(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(reader) = compression::reader(self.payload)? else {
            return Ok(None);
        };
        let mut kernel = Vec::new();
        reader.take(self.size.into()).read_to_end(&mut kernel)?;
        let is_whole = kernel.len() as u64 == u64::from(self.size);
        Ok((is_whole && kernel.starts_with(b"\x7fELF")).then_some(kernel))
    }
}

/// Returns the file that has what is packed in an image, as it is kept with the notes on its package. `None` if that is not
/// packed, or cannot be started by itself.
///
/// # Errors
/// The image cannot be read or unpacked, or what is in it cannot be kept.
pub(super) fn unpacked(image: &Path, release: &str, notes: &Path) -> io::Result<Option<PathBuf>> {
    let name = format!("vmlinux-{release}.migcompat-1");
    let kept = notes.join(&name);
    if kept.is_file() {
        return Ok(Some(kept));
    }
    let configuration = image.with_file_name(format!("config-{release}"));
    let configuration = fs::read_to_string(configuration).unwrap_or_default();
    if !configuration.lines().any(|line| line == ENTRY) {
        return Ok(None);
    }
    let image = fs::read(image)?;
    let Some(packed) = Packed::of(&image) else {
        return Ok(None);
    };
    let Some(kernel) = packed.unpacked()? else {
        return Ok(None);
    };
    keep(notes, &name, &kernel)?;
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with three sectors in front and some bytes between them and the packed kernel.
    fn image(packed: &[u8], size: usize) -> Vec<u8> {
        let mut image = vec![0; 4 * SECTOR + 16];
        image[SECTORS_AT] = 3;
        image[MAGIC_AT..][..4].copy_from_slice(MAGIC);
        image[PAYLOAD_AT] = 16;
        image.extend(packed);
        image.extend(u32::try_from(size).unwrap().to_le_bytes());
        let length = u32::try_from(packed.len() + 4).unwrap();
        image[LENGTH_AT..][..4].copy_from_slice(&length.to_le_bytes());
        image.extend(b"what follows");
        image
    }

    /// The kernel that [`unpacked`] finds in an image.
    fn found(image: &[u8], configuration: &str) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz-6.1");
        fs::write(&path, image).unwrap();
        fs::write(folder.path().join("config-6.1"), configuration).unwrap();
        let kept = unpacked(&path, "6.1", folder.path()).ok()??;
        // The next one takes it from there.
        fs::remove_file(&path).unwrap();
        let again = unpacked(&path, "6.1", folder.path()).unwrap();
        assert_eq!(again.as_ref(), Some(&kept));
        Some(fs::read(kept).unwrap())
    }

    #[test]
    fn a_kernel_is_unpacked_if_it_starts_by_itself() {
        let kernel = [b"\x7fELF", &[7; 5000][..]].concat();
        let packed = zstd::encode_all(&kernel[..], 1).unwrap();
        let other = zstd::encode_all(&b"MZ"[..], 1).unwrap();
        let whole = image(&packed, kernel.len());
        let with = "CONFIG_PCI=y\nCONFIG_PVH=y\n";
        assert_eq!(found(&whole, with), Some(kernel.clone()));
        for (why, image, configuration) in [
            (
                "it has no entry for it",
                whole.clone(),
                "# CONFIG_PVH is not set",
            ),
            ("it ends early", whole[..whole.len() / 2].to_vec(), with),
            (
                "it is longer than it says",
                image(&packed, kernel.len() + 1),
                with,
            ),
            ("it is no ELF file", image(&other, 2), with),
            ("it is packed in another way", image(b"\xfd7zXZ\0", 2), with),
            ("it is of another processor", kernel, with),
            ("there is nothing", Vec::new(), with),
        ] {
            assert_eq!(found(&image, configuration), None, "{why}");
        }
    }
}

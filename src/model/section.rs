//! Names of sections.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// The section of guest memory.
pub(crate) const RAM: &str = "ram";

/// The name of a section as the stream has it (QEMU's `idstr`): the vmsd name, and before it, where
/// the device's bus gives one, the path of the device. Blocks of guest memory are named alike.
///
/// `0000:00:01.0/pciespscsi` is the section `pciespscsi` of the PCI device at `0000:00:01.0`. Both
/// parts may have slashes: `0000:00:05.0/1/usb-kbd` is `usb-kbd` on port 1 of the controller there,
/// and `icp/server` has no path at all. A stream that describes itself says which is which
/// ([`SectionName::described`]); for a name alone, the forms decide that QEMU's buses give to paths
/// (`get_dev_path` of PCI, SCSI, USB, virtio-mmio, channel I/O and sPAPR VIO).
///
/// Two names are equal when the stream's are, and compare, sort and hash like it. It is serialised as
/// that string.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct SectionName {
    idstr: Arc<str>,
    /// The offset at which the vmsd name begins.
    vmsd_at: usize,
}

impl SectionName {
    /// Splits a name by the forms that paths of devices have.
    pub fn new(idstr: &str) -> Self {
        SectionName {
            vmsd_at: end_of_path(idstr),
            idstr: idstr.into(),
        }
    }

    /// Splits the name of a section whose vmsd name is known. A name that does not end in that is
    /// split by its form.
    pub fn described(idstr: &str, vmsd_name: &str) -> Self {
        let before = idstr.strip_suffix(vmsd_name);
        match before.filter(|path| path.is_empty() || path.ends_with('/')) {
            Some(path) if !vmsd_name.is_empty() => SectionName {
                vmsd_at: path.len(),
                idstr: idstr.into(),
            },
            _ => SectionName::new(idstr),
        }
    }

    /// Returns the whole name, as the stream has it.
    pub fn as_str(&self) -> &str {
        &self.idstr
    }

    /// Returns the name of the VMStateDescription, or of the handlers of a section that has none.
    pub fn vmsd_name(&self) -> &str {
        self.idstr.get(self.vmsd_at..).unwrap_or_default()
    }

    /// Returns the path of the device on its bus, for instance `0000:00:05.0/1`.
    pub fn device_path(&self) -> Option<&str> {
        self.idstr.get(..self.vmsd_at)?.strip_suffix('/')
    }

    /// Returns the part of the path that names a PCI device: `0000:00:01.0`, or `0000:00:1e.0:02.0`
    /// behind a bridge.
    pub fn pci_path(&self) -> Option<&str> {
        let path = self.device_path()?;
        let first = path.split_once('/').map_or(path, |(first, _)| first);
        is_pci(first).then_some(first)
    }

    /// Tells whether it is that of the memory block with the boot code of a card (`pci_add_option_rom()` in hw/pci/pci.c).
    pub(crate) fn is_of_boot_code(&self) -> bool {
        self.pci_path().is_some() && self.vmsd_name().ends_with(".rom")
    }

    /// Tells whether the section belongs to the PCI device at an address, or to one behind it.
    pub fn is_at(&self, address: &str) -> bool {
        let rest = self.pci_path().and_then(|path| path.strip_prefix(address));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// Tells whether this is the whole name, or the last parts of it.
    pub fn ends_in(&self, name: &str) -> bool {
        let before = self.idstr.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }
}

/// Returns where the vmsd name begins in a name of which nothing else is known.
fn end_of_path(idstr: &str) -> usize {
    let mut end = 0;
    // Channel I/O begins its paths with a slash.
    let mut from = usize::from(idstr.starts_with('/'));
    while let Some(length) = idstr.get(from..).and_then(|rest| rest.find('/')) {
        let part = &idstr[from..from + length];
        if !is_path(part) || from + length + 1 == idstr.len() {
            break;
        }
        from += length + 1;
        end = from;
    }
    end
}

/// Tells whether a part of a name has the form of a place on a bus.
fn is_path(part: &str) -> bool {
    is_pci(part) || is_scsi(part) || is_usb(part) || is_channel_io(part) || has_unit_address(part)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `0000:00:1e.0:02.0`: the root bus, which is `pci@800000020000000` on sPAPR, and slot and function of
/// each bridge and of the device.
fn is_pci(part: &str) -> bool {
    let Some((_, last)) = part.rsplit_once(':') else {
        return false;
    };
    let slot = last.split_once('.');
    slot.is_some_and(|(slot, function)| slot.len() == 2 && is_hex(slot) && is_hex(function))
}

/// `0:1:0`: channel, target and unit.
fn is_scsi(part: &str) -> bool {
    part.split(':').count() == 3 && part.split(':').all(is_decimal)
}

/// `1.4`: the ports on the way.
fn is_usb(part: &str) -> bool {
    part.split('.').all(is_decimal)
}

/// `fe.0.0001`.
fn is_channel_io(part: &str) -> bool {
    part.split('.').count() == 3 && part.split('.').all(is_hex)
}

/// `virtio-mmio@000000000a003e00`, `vty@71000000`.
fn has_unit_address(part: &str) -> bool {
    let unit = part.split_once('@');
    unit.is_some_and(|(name, address)| !name.is_empty() && is_hex(address))
}

impl From<&str> for SectionName {
    fn from(idstr: &str) -> Self {
        SectionName::new(idstr)
    }
}

impl From<String> for SectionName {
    fn from(idstr: String) -> Self {
        SectionName::new(&idstr)
    }
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<str> for SectionName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for SectionName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for SectionName {
    fn eq(&self, other: &Self) -> bool {
        self.idstr == other.idstr
    }
}

impl Eq for SectionName {}

impl PartialEq<str> for SectionName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for SectionName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for SectionName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SectionName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for SectionName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Serialize for SectionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_code_of_a_card_is_no_other_memory_of_it() {
        for (name, is_so) in [
            ("0000:00:01.0/virtio-net-pci.rom", true),
            ("0000:00:01.0/bochs-display-vram", false),
            ("pc.rom", false),
        ] {
            assert_eq!(SectionName::new(name).is_of_boot_code(), is_so, "{name}");
        }
    }

    #[test]
    fn a_name_is_taken_apart_by_the_forms_of_device_paths() {
        // The path of the device, of which brackets enclose the path of its PCI function, and the vmsd name.
        for row in [
            "| timer",
            "| icp/server",
            "| spapr/htab",
            "| fw_cfg (io)",
            "| /rom@etc/acpi/tables",
            "[0000:00:01.0] | pciespscsi",
            "[0000:00:1e.0:02.0] | e1000",
            "[0000:00:05.0]/1.4 | usb-kbd",
            "[0000:00:04.0]/0:1:0 | scsi-disk",
            "[0000:00:04.0] | a device/part",
            "[pci@800000020000000:01.0] | xhci",
            "virtio-mmio@000000000a003e00 | virtio-rng",
            "l-lan@71000002 | spapr_llan",
            "/fe.0.0001 | virtio-net",
            "| 0000:00:01.0",
            "| 0000:00:01.0/",
            "| ",
            "| /",
            "| //x",
        ] {
            let (path, vmsd_name) = row.split_once("| ").expect("a name");
            let pci = path.find(']').map(|end| &path[1..end]);
            let path = path.trim().replace(['[', ']'], "");
            let path = Some(path.as_str()).filter(|path| !path.is_empty());
            let idstr = &path.map_or(vmsd_name.to_owned(), |path| format!("{path}/{vmsd_name}"));
            let name = SectionName::new(idstr);
            assert_eq!(name.device_path(), path, "{idstr}");
            assert_eq!(name.pci_path(), pci, "{idstr}");
            assert_eq!(name.vmsd_name(), vmsd_name, "{idstr}");
            assert_eq!(name, **idstr);
        }
    }

    #[test]
    fn a_description_decides_what_the_form_cannot() {
        let taken = |idstr: &str, vmsd_name: &str| {
            let name = SectionName::described(idstr, vmsd_name);
            let path = name.device_path().map(str::to_owned);
            (path, name.vmsd_name().to_owned())
        };
        let of = |path: Option<&str>, name: &str| (path.map(str::to_owned), name.to_owned());
        assert_eq!(taken("a place/dev", "dev"), of(Some("a place"), "dev"));
        assert_eq!(taken("1/part", "1/part"), of(None, "1/part"));
        assert_eq!(taken("1/part", ""), of(Some("1"), "part"));
        assert_eq!(taken("1/part", "art"), of(Some("1"), "part"));
        assert_eq!(
            SectionName::described("1/part", "1/part"),
            SectionName::new("1/part"),
            "the stream has one name"
        );
    }

    #[test]
    fn a_section_belongs_to_the_device_at_its_address() {
        for (idstr, address, there) in [
            ("0000:00:01.1/vga", "0000:00:01.1", true),
            ("0000:00:01.0/vga", "0000:00:01.1", false),
            ("0000:00:01.1f/vga", "0000:00:01.1", false),
            ("0000:00:01.0:00.0/nvme", "0000:00:01.0", true),
            ("0000:00:01.0/1/usb-kbd", "0000:00:01.0", true),
            ("vga", "0000:00:01.1", false),
        ] {
            assert_eq!(SectionName::new(idstr).is_at(address), there, "{idstr}");
        }
    }

    #[test]
    fn the_end_of_a_name_means_it() {
        let name = SectionName::new("0000:00:01.0/virtio-net");
        assert!(name.ends_in("virtio-net"));
        assert!(name.ends_in("0000:00:01.0/virtio-net"));
        assert!(!name.ends_in("net"));
    }

    #[test]
    fn a_report_has_the_plain_string() {
        let name = SectionName::new("0000:00:01.0/vga");
        let json = serde_json::to_string(&name).expect("a string");
        assert_eq!(json, r#""0000:00:01.0/vga""#);
        let back: SectionName = serde_json::from_str(&json).expect("a name");
        assert_eq!((&back, back.vmsd_name()), (&name, "vga"));
    }
}

//! The places in a command line where a program beside the build belongs.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::beside::vhost_user::{Addresses, Kind};
use crate::qemu::{option_value, settings};

/// A character device that stands for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub chardev: String,
    pub what: What,
}

/// The program that a device of the guest expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The emulator of a TPM.
    Tpm,
    /// The backend of a vhost-user device.
    VhostUser(Kind),
}

impl Place {
    /// Finds the character devices on which a build expects a program.
    pub(super) fn all(args: &[impl AsRef<OsStr>]) -> Vec<Place> {
        let options = args.windows(2);
        let options = options
            .filter_map(|pair| Some((pair[0].as_ref().to_str()?, pair[1].as_ref().to_str()?)));
        options
            .filter_map(|(option, value)| Place::read(option, value))
            .collect()
    }

    /// Takes the character devices out of the arguments of a build on which it expects a program, where nothing is behind
    /// them, as in device sets and users' guests.
    pub(super) fn take_all(args: &mut Vec<OsString>) -> Vec<Place> {
        let mut places = Place::all(args);
        places.retain(|place| match place.stand_in(args) {
            Some(at) => args.drain(at..=at + 1).len() > 0,
            None => false,
        });
        places
    }

    /// Finds the character device, if nothing is behind it.
    pub(super) fn stand_in(&self, args: &[impl AsRef<OsStr>]) -> Option<usize> {
        let is_it = |value: &str| {
            let mut empty = ["null", "ringbuf"].into_iter();
            let settings = empty.find_map(|kind| settings(value, "backend", kind));
            settings.is_some_and(|mut all| all.any(|known| known == ("id", &self.chardev)))
        };
        let mut options = args.windows(2);
        options.position(|pair| {
            let value = pair[1].as_ref().to_str();
            pair[0].as_ref() == "-chardev" && value.is_some_and(is_it)
        })
    }

    /// Reads an option of a build. Nothing where it expects no program.
    fn read(option: &str, value: &str) -> Option<Place> {
        let chardev_of = |key: &str, first: &str| {
            let mut settings = settings(value, key, first)?;
            let (_, chardev) = settings.find(|(name, _)| *name == "chardev")?;
            Some(chardev.to_owned())
        };
        let (chardev, what) = match option {
            "-tpmdev" => (chardev_of("type", "emulator")?, What::Tpm),
            "-device" => {
                let first = value.split(',').next()?;
                let driver = first.strip_prefix("driver=").unwrap_or(first);
                let kind = Kind::of_driver(driver)?;
                (chardev_of("driver", driver)?, What::VhostUser(kind))
            }
            _ => return None,
        };
        Some(Place { chardev, what })
    }

    /// Returns the name of the file in which its disk stays, for all builds of a run.
    pub(super) fn disk(&self) -> Option<String> {
        let has_disk = self.what == What::VhostUser(Kind::Block);
        has_disk.then(|| format!("{}.disk", self.chardev))
    }

    /// Returns the options that connect the character device with a socket.
    pub(super) fn connected_to(&self, path: &Path) -> [String; 2] {
        let path = option_value(&path.to_string_lossy());
        let value = format!("socket,id={},path={path}", self.chardev);
        ["-chardev".to_owned(), value]
    }
}

/// Tells which addresses devices get: those of an IOMMU, if the guest has one, as a device or as a part of its board.
pub(super) fn addresses(args: &[OsString]) -> Addresses {
    let mut values = args.windows(2).filter_map(|pair| {
        let is_such = ["-device", "-M", "-machine"]
            .iter()
            .any(|name| pair[0] == *name);
        pair[1].to_str().filter(|_| is_such)
    });
    let is_iommu = |value: &str| {
        let (first, rest) = value.split_once(',').unwrap_or((value, ""));
        let board = rest.split(',').any(|word| word.starts_with("iommu="));
        board || ["iommu", "smmu"].iter().any(|name| first.contains(name))
    };
    match values.any(is_iommu) {
        true => Addresses::Translated,
        false => Addresses::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str) -> (Vec<Place>, String) {
        let mut args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let places = Place::take_all(&mut args);
        (places, args.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn the_character_device_of_a_program_is_taken_out() {
        for (chardev, option, what) in [
            (
                "null,id=chr",
                "-tpmdev emulator,id=tpm0,chardev=chr",
                What::Tpm,
            ),
            (
                "backend=null,id=chr",
                "-tpmdev type=emulator,id=tpm0,chardev=chr",
                What::Tpm,
            ),
            (
                "ringbuf,id=chr,size=4096",
                "-tpmdev emulator,chardev=chr,id=tpm0",
                What::Tpm,
            ),
            (
                "null,id=chr",
                "-device vhost-user-fs-pci,chardev=chr,tag=home",
                What::VhostUser(Kind::FileSystem),
            ),
            (
                "null,id=chr",
                "-device driver=vhost-user-blk-pci-transitional,id=d,chardev=chr",
                What::VhostUser(Kind::Block),
            ),
        ] {
            let line = format!("-chardev null,id=other -chardev {chardev} {option} -S");
            let (places, rest) = taken(&line);
            let chardev = "chr".to_owned();
            assert_eq!(places, [Place { chardev, what }], "{line}");
            assert_eq!(rest, format!("-chardev null,id=other {option} -S"));
        }
    }

    #[test]
    fn an_iommu_is_a_device_or_a_part_of_a_board() {
        for (line, addresses) in [
            (
                "-M q35 -device vhost-user-blk-pci,iommu_platform=on",
                Addresses::Plain,
            ),
            (
                "-M q35 -device intel-iommu,intremap=off",
                Addresses::Translated,
            ),
            ("-M q35 -device virtio-iommu-pci", Addresses::Translated),
            ("-M virt,iommu=smmuv3", Addresses::Translated),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(super::addresses(&args), addresses, "{line}");
        }
    }

    #[test]
    fn several_programs_stand_beside_one_build() {
        let (places, rest) = taken(
            "-chardev null,id=a -chardev null,id=b -device vhost-user-blk-pci,chardev=b -device vhost-user-scsi-pci,chardev=a",
        );
        let chardevs = places.iter().map(|place| &place.chardev);
        assert_eq!(chardevs.collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(
            rest,
            "-device vhost-user-blk-pci,chardev=b -device vhost-user-scsi-pci,chardev=a"
        );
    }

    #[test]
    fn without_a_program_nothing_is_taken() {
        for line in [
            "-chardev null,id=chr -S",
            "-chardev null,id=chr -device isa-serial,chardev=chr",
            "-chardev null,id=chr -tpmdev passthrough,id=tpm0,path=chr",
            "-tpmdev emulator,id=tpm0,chardev=nobodys -chardev null,id=other",
            // Somebody has given it one.
            "-chardev socket,id=chr,path=/run/swtpm -tpmdev emulator,id=tpm0,chardev=chr",
            "-chardev socket,id=chr,path=/run/fs -device vhost-user-fs-pci,chardev=chr,tag=home",
        ] {
            assert_eq!(taken(line), (Vec::new(), line.to_owned()));
        }
    }
}

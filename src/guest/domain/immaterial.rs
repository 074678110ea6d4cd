//! The parts of a domain that no guest and no stream shows.

/// The most elements of a path.
pub(super) const DEPTH: usize = 4;

/// The name of an element's text among its attributes.
pub(super) const TEXT: &str = "text()";

/// Elements with all that is in them, by the end of their paths.
const ELEMENTS: &[&str] = &[
    // Names by which libvirt itself finds things. Where QEMU sees them, they are read.
    "alias",
    "commandline/env",
    "privateData",
    "diskSecretsPlacement",
    // What a disk is made of on the host, and how much of it may be used.
    "disk/source",
    "disk/backingStore",
    "disk/mirror",
    "disk/auth",
    "disk/encryption",
    "disk/iotune",
    "disk/throttlefilters",
    "disk/transient",
    "disk/shareable",
    "disk/reservations",
    "disk/driver/metadata_cache",
    "disk/driver/statistics",
    "filesystem/source",
    "filesystem/binary",
    "filesystem/readonly",
    "filesystem/space_hard_limit",
    "filesystem/space_soft_limit",
    // The other end of a network card.
    "interface/source",
    "interface/target",
    "interface/script",
    "interface/downscript",
    "backenddomain",
    "interface/actual",
    "interface/backend",
    "interface/bandwidth",
    "interface/virtualport",
    "interface/vlan",
    "interface/filterref",
    "interface/link",
    "interface/tune",
    "interface/coalesce",
    "interface/portForward",
    "interface/port",
    "interface/ip",
    "interface/route",
    "interface/guest",
    // The other end of a port, of memory, of sound and of random numbers.
    "serial/source",
    "serial/log",
    "console/source",
    "console/log",
    "channel/source",
    "channel/log",
    "parallel/source",
    "parallel/log",
    "redirdev/source",
    "smartcard/source",
    "protocol",
    "parallel/target",
    // Which firmware libvirt looks for: an empty one stands for it.
    "os/firmware",
    "os/nvram/source",
    "memory/source",
    "rng/backend",
    "tpm/backend",
    "shmem/model",
    "pstore/path",
    "sound/audio",
    "video/model/acceleration",
    // How often libvirt asks, and what the guest has been told to give back by now.
    "memballoon/stats",
    "domain/currentMemory",
    // Which device the firmware tries first, and the tables that it shows: no section has them.
    "os/boot",
    "os/smbios",
    // What other hypervisors have.
    "features/pae",
    "features/hap",
    "features/viridian",
    "features/privnet",
    "features/capabilities",
    // How the accelerator and the process work.
    "features/tcg",
    "features/msrs",
    "features/async-teardown",
    "features/kvm/dirty-ring",
    "timer/catchup",
    // Where the CPU may start.
    "cpu/vendor",
];

/// Attributes of elements, by the end of their paths. `*` is any attribute.
const PARTS: &[&str] = &[
    "domain@id",
    "domain@type",
    "domain@schemaLocation",
    "os/type@text()",
    // Empty firmware stands for it.
    "os/loader@readonly",
    "os/loader@format",
    "os/nvram@*",
    "memory@dumpCore",
    "memory@access",
    "memory@discard",
    // Where the CPU may start.
    "cpu@check",
    "cpu@match",
    "cpu@migratable",
    "cpu/model@fallback",
    "cpu/cache@level",
    "vcpu@placement",
    "vcpu@cpuset",
    "vcpus/vcpu@hotpluggable",
    "vcpus/vcpu@order",
    "cell@memAccess",
    "cell@discard",
    // Where the clock begins.
    "clock@adjustment",
    "clock@basis",
    "clock@timezone",
    "clock@start",
    // There is one PCI domain, and one bus of each controller for ports. Each kind of disk has some of the numbers.
    "address@domain",
    "channel/address@bus",
    "console/address@bus",
    "smartcard/address@slot",
    "disk/address@*",
    "disk@type",
    "disk@snapshot",
    "disk@rawio",
    "disk@sgio",
    "disk/target@dev",
    "disk/target@tray",
    "disk/driver@name",
    "disk/driver@type",
    "disk/driver@io",
    "disk/driver@discard",
    "disk/driver@detect_zeroes",
    "disk/driver@discard_no_unref",
    "disk/driver@copy_on_read",
    "disk/driver@error_policy",
    "disk/driver@rerror_policy",
    "disk/driver@max_bufs",
    "filesystem@*",
    "filesystem/driver@*",
    "interface@*",
    "interface/driver@name",
    "interface/mac@type",
    "interface/mac@check",
    "nvram/address@type",
    "interface/teaming@persistent",
    "serial@*",
    "serial/target@port",
    "console@*",
    "console/target@port",
    "channel@*",
    "channel/target@state",
    "parallel@*",
    "redirdev@*",
    "smartcard@*",
    "hub@type",
    "watchdog@action",
    "shmem@name",
    "panic/address@type",
    // Attributes that libvirt passes on for some models alone.
    "video/model@heads",
    "video/model@ram",
    "video/model@vram",
    "video/model@vram64",
    "video/model@vgamem",
    "video/driver@*",
];

/// Tells whether an element and all that is in it are immaterial, by the names from it outwards.
pub(super) fn element(path: &[&str]) -> bool {
    ELEMENTS.iter().any(|end| ends(path, end))
}

/// Tells whether an attribute of such an element, or its [`TEXT`], is immaterial.
pub(super) fn part(path: &[&str], attribute: &str) -> bool {
    let mut parts = PARTS.iter().filter_map(|part| part.split_once('@'));
    parts.any(|(end, name)| (name == "*" || name == attribute) && ends(path, end))
}

fn ends(path: &[&str], end: &str) -> bool {
    let mut names = path.iter();
    end.rsplit('/').all(|name| names.next() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_longer_than_what_it_is_held_against() {
        for path in ELEMENTS.iter().chain(PARTS) {
            assert!(path.split('/').count() <= DEPTH, "{path}");
        }
    }

    #[test]
    fn a_path_ends_as_an_element_is_in_others() {
        let link = ["link", "interface", "devices", "domain"];
        assert!(element(&link));
        assert!(!element(&["link", "novelty", "devices", "domain"]));
        assert!(!element(&["link"]));
        let disk = ["driver", "disk", "devices", "domain"];
        assert!(part(&disk, "io") && !part(&disk, "novel"));
        assert!(part(&["type", "os", "domain"], TEXT));
    }
}

use crate::devices::*;

const HELP_5_2: &str = r#"Controller/Bridge/Hub devices:
name "igd-passthrough-isa-bridge", bus PCI, desc "ISA bridge faked to support IGD PT"
name "pci-bridge", bus PCI, desc "Standard PCI Bridge"
name "vmbus-bridge", bus System

Storage devices:
name "ich9-ahci", bus PCI, alias "ahci"
name "scsi-disk", bus SCSI, desc "virtual SCSI disk or CD-ROM (legacy)"

Misc devices:
name "vmgenid"
name "ivshmem-plain", bus PCI, desc "Inter-VM shared memory"
"#;

const HELP_11_1: &str = r#"Network devices:
name "e1000", bus PCI, alias "e1000-82540em", desc "Intel Gigabit Ethernet"
name "igb", bus PCI, desc "Intel 82576 Gigabit Ethernet Controller"
name "virtio-net-pci", bus PCI, alias "virtio-net"
name "virtio-net-ccw", bus virtual-css-bus, alias "virtio-net-s390"
name "odd", bus PCI, desc "a name, alias "other", in a text"

CPU devices:
name "qemu64-x86_64-cpu"
"#;

fn set(text: &str) -> Result<DeviceSet, DeviceError> {
    let head = "name = 'own'\ndescription = 'd'\n";
    DeviceSet::parse("own.toml", &format!("{head}{text}"))
}

fn good(text: &str) -> DeviceSet {
    set(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn target<'a>(old: Known<'a>, new: Known<'a>) -> Target<'a> {
    Target {
        arch: "x86_64",
        machine: "pc-q35-5.2",
        old,
        new,
    }
}

fn version(text: &str) -> Known<'static> {
    Known {
        version: text.parse().ok(),
        ..Known::default()
    }
}

fn lists(drivers: &Drivers) -> Known<'_> {
    Known {
        drivers: Some(drivers),
        ..Known::default()
    }
}

fn between(set: &DeviceSet, old: &str, new: &str) -> Composition {
    set.compose(&target(version(old), version(new)))
}

fn reasons(composition: &Composition) -> Vec<String> {
    composition
        .excluded
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn drivers_are_read_from_the_help_of_every_release() {
    let old = Drivers::from_help(HELP_5_2);
    let names: Vec<&str> = old.names().collect();
    let known = "ich9-ahci igd-passthrough-isa-bridge ivshmem-plain pci-bridge scsi-disk vmbus-bridge vmgenid";
    assert_eq!(names.join(" "), known);
    assert!(old.contains("ahci"), "an alias is as good");
    assert!(!old.contains("igb"));

    let new = Drivers::from_help(HELP_11_1);
    for name in ["igb", "e1000", "e1000-82540em", "virtio-net", "odd"] {
        assert!(new.contains(name), "{name}");
    }
    assert!(!new.contains("other"), "a description is no alias");
    assert_eq!(Drivers::from_help(""), Drivers::default());
}

#[test]
fn a_device_stands_after_what_it_needs() {
    let set = good(
        "[[device]]\nid='disk0'\ndriver='scsi-hd'\nneeds=['scsi0']\nbus='scsi0.0'\n\
         backend=['-blockdev','null-co,node-name=n']\nproperties={drive='n',lun=0,'write-cache'=true,serial='a,b'}\n\
         [[device]]\nid='scsi0'\ndriver='virtio-scsi-pci'\n",
    );
    let composed = between(&set, "5.2", "11.1");
    assert_eq!(composed.included, ["scsi0", "disk0"]);
    let wanted = "-device virtio-scsi-pci,id=scsi0 -blockdev null-co,node-name=n \
                  -device scsi-hd,id=disk0,bus=scsi0.0,drive=n,lun=0,serial=a,,b,write-cache=on";
    assert_eq!(composed.args.join(" "), wanted);
}

#[test]
fn what_a_build_lacks_is_named_with_all_that_hangs_on_it() {
    let set = good(
        "[[device]]\nid='nic'\ndriver='igb'\n\
         [[device]]\nid='tail'\ndriver='odd'\nneeds=['nic']\n\
         [[device]]\nid='old'\ndriver='vmgenid'\n",
    );
    let (old, new) = (Drivers::from_help(HELP_5_2), Drivers::from_help(HELP_11_1));
    let composed = set.compose(&target(lists(&old), lists(&old)));
    assert_eq!(composed.included, ["old"]);
    assert_eq!(composed.args, ["-device", "vmgenid,id=old"]);
    let composed = set.compose(&target(lists(&old), lists(&new)));
    assert_eq!(composed.included, [] as [&str; 0]);
    assert_eq!(composed.args, [] as [&str; 0]);
    assert_eq!(
        reasons(&composed),
        [
            "nic: the old build does not have it",
            "tail: the old build does not have it",
            "old: the new build does not have it",
        ]
    );
}

#[test]
fn a_build_that_was_asked_knows_better_than_its_version() {
    let set = good("[[device]]\nid='ahci'\n[[device]]\nid='igb'\n[[device]]\nid='gone'\n");
    let (old, new) = (Drivers::from_help(HELP_5_2), Drivers::from_help(HELP_11_1));
    let composed = set.compose(&target(lists(&old), lists(&new)));
    assert_eq!(
        reasons(&composed),
        [
            "ahci: the new build does not have it",
            "igb: the old build does not have it",
            "gone: neither build has it",
        ]
    );
    let nothing_known = set.compose(&target(Known::default(), Known::default()));
    assert_eq!(nothing_known.included, ["ahci", "igb", "gone"]);
}

#[test]
fn a_property_that_a_build_does_not_know_leaves_its_device_out() {
    let set = good(
        "[[device]]\nid='disk'\nproperties={lun=0,dsn='x'}\n[[device]]\nid='plain'\ndriver='disk'\n\
         [[device]]\nid='other'\nproperties={dsn='x'}\n",
    );
    let listed = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        ListedProperties::from([("disk".to_owned(), names)])
    };
    let (old, new) = (listed(&["lun"]), listed(&["dsn", "lun"]));
    let known = |properties| Known {
        properties: Some(properties),
        ..Known::default()
    };
    let composed = set.compose(&target(known(&old), known(&new)));
    // Of the third one nobody was asked.
    assert_eq!(composed.included, ["plain", "other"]);
    assert_eq!(
        reasons(&composed),
        ["disk: disk of the old build has no property dsn"]
    );
    let both = set.compose(&target(known(&new), known(&new)));
    assert_eq!(both.included, ["disk", "plain", "other"]);
}

#[test]
fn an_unmigratable_device_stays_out_until_both_builds_migrate_it() {
    let set = good(
        "[[device]]\nid='nvme'\nunmigratable='no state'\nmigratable_since='11.1'\n\
         [[device]]\nid='rocker'\nunmigratable='no state'\n",
    );
    assert_eq!(between(&set, "11.1", "11.2").included, ["nvme"]);
    assert_eq!(
        reasons(&between(&set, "10.0", "11.1")),
        [
            "nvme: no QEMU before 11.1 migrates it: no state",
            "rocker: no QEMU migrates it: no state",
        ]
    );
}

#[test]
fn a_place_can_be_limited_by_architecture_and_machine_family() {
    let text = "[[device]]\nid='a'\nmachines=['pc-q35']\n[[device]]\nid='b'\narch=['s390x']\n\
                [[device]]\nid='c'\ndriver='net-pci'\ndriver_on={s390x='net-ccw'}\n";
    let set = good(text);
    let on = |arch, machine| {
        set.compose(&Target {
            arch,
            machine,
            old: Known::default(),
            new: Known::default(),
        })
    };
    assert_eq!(on("x86_64", "pc-q35-7.2").included, ["a", "c"]);
    assert_eq!(on("x86_64", "pc-q35").included, ["a", "c"]);
    // Of types that are paired it is enough that one is meant.
    for pair in ["pc-q35-7.2=ours", "ours=pc-q35-noble"] {
        assert_eq!(on("x86_64", pair).included, ["a", "c"], "{pair}");
    }
    let other = on("x86_64", "pc-q35x-7.2");
    assert_eq!(other.included, ["c"], "a family is not any beginning");
    assert!(other.excluded.iter().all(|e| e.reason.is_by_design()));
    let s390x = on("s390x", "s390-ccw-virtio-7.2");
    assert_eq!(s390x.args, ["-device", "b,id=b", "-device", "net-ccw,id=c"]);
    assert_eq!(reasons(&s390x), ["a: not a device for s390-ccw-virtio-7.2"]);
}

#[test]
fn a_device_stands_for_one_that_is_not_in_the_guest() {
    let text = "[[device]]\nid='usb'\narch=['x86_64']\n[[device]]\nid='tablet'\ninstead_of='usb'\n";
    let own = good(text);
    let on = |arch| {
        own.compose(&Target {
            arch,
            machine: "virt",
            old: Known::default(),
            new: Known::default(),
        })
    };
    assert_eq!(on("x86_64").included, ["usb"]);
    assert_eq!(
        reasons(&on("x86_64")),
        ["tablet: usb is in the guest instead"]
    );
    assert_eq!(on("m68k").included, ["tablet"]);
    let lost = set("[[device]]\nid='a'\ninstead_of='b'\n").expect_err("no such device");
    assert!(
        lost.to_string()
            .contains("`a` is instead of `b`, which is not here"),
        "{lost}"
    );
}

#[test]
fn a_guest_has_one_of_a_kind_and_the_set_makes_several_guests() {
    let set = good(
        "[[device]]\nid='net'\n\
         [[device]]\nid='b1'\none_of='balloon'\n\
         [[device]]\nid='b2'\none_of='balloon'\n\
         [[device]]\nid='i1'\none_of='IOMMU'\n\
         [[device]]\nid='bmc'\n\
         [[device]]\nid='i2'\none_of='IOMMU'\nneeds=['bmc']\n\
         [[device]]\nid='behind'\nneeds=['i2']\n",
    );
    let whole = between(&set, "7.2", "10.0");
    assert_eq!(whole.included, ["net", "b1", "i1", "bmc"]);
    assert_eq!(
        reasons(&whole),
        [
            "b2: a guest has one balloon, here it is b1",
            "i2: a guest has one IOMMU, here it is i1",
            "behind: needs i2, which is not in the guest",
        ]
    );
    let guests = set.guests();
    let ids = |guest: &DeviceSet| between(guest, "7.2", "10.0").included;
    assert_eq!(guests.len(), 2);
    assert_eq!(ids(&guests[0]), ["net", "b1", "i1", "bmc"]);
    assert_eq!(ids(&guests[1]), ["b2", "bmc", "i2", "behind"]);
    assert_eq!(guests[1].name, "own-2");
    assert_eq!(good("").guests().len(), 1, "an empty set is a guest");
}

#[test]
fn a_set_that_is_wrong_says_where() {
    let x = "[[device]]\nid = 'x'\n";
    // Without the head, whose two lines come first, and without the first device where there is one.
    for (before, text, wanted) in [
        (x, "drivr = 'y'", "5: unknown field `drivr`"),
        (x, "since = '8.0'", "5: unknown field `since`"),
        (x, "needs = ['y']", "3: `x` needs `y`, which is not here"),
        (x, "needs = ['x']", "3: `x` needs itself in the end"),
        (x, "[[device]]\nid = 'x'", "5: a second device `x`"),
        (
            x,
            "needs = ['y']\n[[device]]\nid = 'y'\nneeds = ['x']",
            "3: `x` needs itself in the end",
        ),
        (
            x,
            "[[device]]\nid = 'y'\nbus = 'x.0'",
            "5: `y` sits on a bus of `x` and has to need it",
        ),
        (x, "driver = 'y,id=z'", "3: `y,id=z` is not the name of"),
        (x, "arch = ['arm64']", "3: there is no target `arm64`"),
        (
            x,
            "driver_on = { ppc64le = 'y' }",
            "3: there is no target `ppc64le`",
        ),
        ("arch = ['x86-64']\n", x, "1: there is no target `x86-64`"),
        (x, "properties = { bus = 'b' }", "3: the property bus"),
        (x, "properties = { a = 1.5 }", "5: a property is a text"),
        (x, "backend = ['null']", "3: a backend starts with"),
        (x, "migratable_since = '8.0'", "3: migratable_since without"),
        (x, "unmigratable = ''", "3: a reason that says nothing"),
        ("", "[[device]]\nid = '0'", "3: `0` is not an id"),
        (
            "",
            "[[left_out]]\ndrivers = []\nreason = 'r'",
            "3: left_out says",
        ),
        ("", "[[device]]", "3: missing field `id`"),
    ] {
        let text = format!("{before}{text}\n");
        let message = set(&text).expect_err(&text).to_string();
        let wanted = format!("own.toml:{wanted}");
        assert!(message.starts_with(&wanted), "{wanted:?}: {message:?}");
    }
}

#[test]
fn what_the_user_wrote_reaches_qemu_unchanged() {
    let arguments = [
        "virtio-net,mac=52:54:00:00:00:01",
        "id=own,driver=e1000e,serial=a,,id=b",
        r#"{"driver": "igb", "id": "json0", "addr": 5}"#,
        "virtio-net,mq=on",
    ]
    .map(str::to_owned);
    let set = DeviceSet::ad_hoc(&arguments, "x86_64").expect("good");
    let composed = between(&set, "6.2", "11.1");
    let ids = ["virtio-net", "own", "json0", "virtio-net-2"];
    assert_eq!(composed.included, ids);
    let given: Vec<&str> = composed.args.iter().map(String::as_str).collect();
    let wanted: Vec<&str> = arguments.iter().flat_map(|a| ["-device", a]).collect();
    assert_eq!(given, wanted);
    let drivers = Drivers::from_help(HELP_11_1);
    // The driver is found wherever it stands.
    let why = reasons(&set.compose(&target(lists(&drivers), lists(&drivers))));
    assert_eq!(why, ["own: neither build has it"]);
}

#[test]
fn a_device_that_is_none_is_refused() {
    for text in [
        "",
        "addr=5",
        "help",
        "?",
        "{",
        "{}",
        "{\"id\": \"x\"}",
        ",id=x",
    ] {
        let error = DeviceSet::ad_hoc(&[text.to_owned()], "x86_64").expect_err(text);
        assert!(error.to_string().starts_with("--device "), "{error}");
    }
    let twice = ["a,id=x", "b,id=x"].map(str::to_owned);
    let error = DeviceSet::ad_hoc(&twice, "x86_64").expect_err("the same id");
    assert!(error.to_string().contains("id `x` already"), "{error}");
}

#[test]
fn what_a_guest_may_not_boot_with_is_said_with_a_reason() {
    let text = "[[device]]\nid = 'x'\nboots_alone = 'its ROM hangs'\n[[device]]\nid = 'y'\n";
    let devices = good(text).devices;
    let boots_alone: Vec<bool> = devices.iter().map(Device::boots_alone).collect();
    assert_eq!(boots_alone, [true, false]);
    let error = set("[[device]]\nid = 'x'\nboots_alone = ' '\n").expect_err("no reason");
    let error = error.to_string();
    assert!(error.contains("a reason that says nothing"), "{error}");
}

#[test]
fn several_sets_in_one_word_are_none() {
    let error = DeviceSet::shipped("network,usb").unwrap_err().to_string();
    assert!(error.contains("there are default, "), "{error}");
    assert!(
        error.ends_with("each with a --device-set of its own"),
        "{error}"
    );
}

/// What keeps a named device from being moved is told, so that nothing else may be left out that a recipe brings along.
#[test]
fn what_a_named_device_brings_along_is_in_its_guest() {
    for (arch, machine) in [
        ("x86_64", "pc-q35-10.0"),
        ("x86_64", "pc-i440fx-10.0"),
        ("aarch64", "virt-10.0"),
        ("s390x", "s390-ccw-virtio-10.0"),
        ("ppc64", "pseries-10.0"),
        ("riscv64", "virt"),
    ] {
        for device in DeviceSet::all().iter().flat_map(|set| &set.devices) {
            let driver = device.driver(arch);
            let given = DeviceSet::ad_hoc(&[driver.to_owned()], arch).unwrap();
            let composed = given.compose(&Target {
                arch,
                machine,
                old: Known::default(),
                new: Known::default(),
            });
            let is_there = |id: &String| {
                let mut devices = given.devices.iter();
                devices.any(|device| device.id == *id && device.driver(arch) == driver)
            };
            if composed.included.iter().any(is_there) {
                let mut others = composed.excluded.iter();
                assert!(
                    others.all(|of| of.reason.is_replaced()),
                    "{driver} on {machine}: {composed:?}"
                );
            }
        }
    }
}

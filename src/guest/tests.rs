//! Whole descriptions: what becomes of ordinary ones, and that hostile ones leave nothing behind.

use std::collections::BTreeSet;
use std::path::Path;

use super::{GuestSpec, Idle, MOST_BYTES, ReadError, What};
use crate::devices::{Known, Target};
use crate::model::Accelerator;
use crate::report::Treatment::{LeftOut, Replaced};
use crate::report::{GuestFormat, GuestLine, GuestReason as Reason, Treatment};

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/guests")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn guest(name: &str) -> GuestSpec {
    GuestSpec::read(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn of(text: &str) -> GuestSpec {
    GuestSpec::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn words(guest: &GuestSpec) -> Vec<String> {
    let composed = guest.devices.compose(&Target {
        arch: "x86_64",
        machine: "pc-q35-10.0",
        old: Known::default(),
        new: Known::default(),
    });
    assert!(composed.excluded.is_empty(), "{:?}", composed.excluded);
    let board = &guest.board;
    let parts = [&board.machine_options, &board.args, &composed.args];
    let mut words: Vec<String> = parts.into_iter().flatten().cloned().collect();
    words.extend(board.cpu.clone());
    words.extend(guest.machine.clone());
    words.extend(board.console.clone());
    words
}

/// Tells whether a guest has an option with its value.
fn has(guest: &GuestSpec, option: &str) -> bool {
    let pair: Vec<&str> = option.splitn(2, ' ').collect();
    words(guest).windows(2).any(|words| words == pair)
}

fn has_all(guest: &GuestSpec, options: &[&str]) {
    for option in options {
        assert!(has(guest, option), "{option}: {:#?}", words(guest));
    }
}

/// The line of a file that a device is from.
fn line_of(guest: &GuestSpec, device: &str, name: &str) -> String {
    let at = guest.report.of_device(device).unwrap().line - 1;
    let text = String::from_utf8(file(name)).unwrap();
    text.lines().nth(at).unwrap().to_owned()
}

/// The only line that begins like this.
fn line<'g>(guest: &'g GuestSpec, start: &str) -> &'g GuestLine {
    let lines = guest.report.lines.iter();
    let mut found = lines.filter(|line| line.given.starts_with(start));
    let first = found.next().unwrap_or_else(|| panic!("no {start}"));
    assert!(found.next().is_none(), "several {start}");
    first
}

fn devices(guest: &GuestSpec) -> Vec<&str> {
    let devices = guest.devices.devices.iter();
    devices.map(|device| device.id.as_str()).collect()
}

#[test]
fn the_last_start_in_a_log_is_the_guest() {
    let guest = guest("libvirt.log");
    assert_eq!(guest.report.format, GuestFormat::LibvirtLog);
    assert_eq!(guest.arch.as_deref(), Some("x86_64"));
    assert_eq!(guest.machine.as_deref(), Some("pc-q35-10.0"));
    assert_eq!(guest.board.memory, 128 << 20);
    assert_eq!(guest.board.cpu, None, "that of the host");
    let of_host = guest.board.host_cpu.as_deref();
    assert!(
        of_host.is_some_and(|cpu| cpu.starts_with("host")),
        "{of_host:?}"
    );
    assert!(!guest.board.has_defaults);
    assert_eq!(guest.board.idle, None);
    let options = [
        "usb=off",
        "vmport=off",
        "memory-backend=pc.ram",
        "hpet=off",
        "acpi=on",
    ];
    assert_eq!(guest.board.machine_options, options);
    assert_eq!(
        devices(&guest).join(" "),
        "pci.1 pci.2 pci.3 pci.4 usb virtio-serial0 virtio-disk0 net0 channel0 tpm0 input0 video0 rng0"
    );
    // The port is the guest's own, and where the workload guest speaks.
    assert_eq!(guest.board.console.as_deref(), Some("charserial0"));
    let serial = "-device isa-serial,chardev=charserial0,id=serial0,index=0";
    assert!(has(&guest, serial));
    let mut words = words(&guest).into_iter();
    assert!(!words.any(|word| word.starts_with("backend=null,id=charserial0")));
    let memory = "id=pc.ram,share=on,size=134217728,x-use-canonical-path-for-ramblock-id=off";
    let (share, size) = ("share=on,size=134217728", "size=134217728,share=on");
    let memory = format!("-object qom-type=memory-backend-ram,{memory}");
    assert!(has(&guest, &memory) || has(&guest, &memory.replace(share, size)));
    has_all(
        &guest,
        &[
            "-netdev type=hubport,id=hostnet0,hubid=1",
            "-chardev backend=null,id=chrtpm",
            "-tpmdev type=emulator,id=tpm-tpm0,chardev=chrtpm",
            "-device tpm-crb,id=tpm0,tpmdev=tpm-tpm0",
            "-global driver=ICH9-LPC,property=disable_s3,value=1",
        ],
    );
    for (start, treatment, reason) in [
        (
            r#"-object {"qom-type":"memory"#,
            Replaced,
            Reason::HostMemory,
        ),
        (r#"-object {"qom-type":"secret"#, LeftOut, Reason::Secret),
        (r#"-object {"qom-type":"rng"#, Replaced, Reason::HostEntropy),
        (
            r#"-blockdev {"driver":"file"#,
            LeftOut,
            Reason::PartOfAnother,
        ),
        (r#"-blockdev {"node-name"#, Replaced, Reason::HostDisk),
        ("-netdev", Replaced, Reason::HostNetworkQueues),
        ("-tpmdev", Replaced, Reason::HostTpm),
        (
            r#"-device {"driver":"vfio-pci"#,
            LeftOut,
            Reason::NotPluggedIn,
        ),
        ("-cpu", Replaced, Reason::HostCpu),
        ("-accel", LeftOut, Reason::Accelerator),
        ("-global kvm-pit", LeftOut, Reason::Accelerator),
        ("-chardev socket,id=charmonitor", LeftOut, Reason::Monitor),
        ("-spice", LeftOut, Reason::HostDisplay),
    ] {
        let line = line(&guest, start);
        let treated = (line.treatment, line.reason);
        assert_eq!(treated, (treatment, Some(reason)), "{start}");
    }
    assert!(line_of(&guest, "net0", "libvirt.log").contains("virtio-net-pci"));
}

#[test]
fn a_device_needs_the_one_whose_bus_it_is_on() {
    let guest = guest("libvirt.log");
    for (device, with) in [
        ("input0", vec!["pci.2", "usb", "input0"]),
        ("channel0", vec!["pci.3", "virtio-serial0", "channel0"]),
        ("video0", vec!["video0"]),
    ] {
        let part = guest.devices.select(&[device]).unwrap();
        let ids: Vec<&str> = part.devices.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, with);
    }
    let guest = of(
        "kvm -M pc -device usb-ehci -device usb-hub -device usb-tablet -device lsi -device scsi-hd,drive=d -drive if=none,id=d,file=x",
    );
    let part = guest.devices.select(&["usb-tablet"]).unwrap();
    assert_eq!(part.devices.len(), 2);
    let part = guest.devices.select(&["scsi-hd"]).unwrap();
    assert_eq!(part.devices[0].id, "lsi");
}

#[test]
fn the_line_that_proxmox_prints_is_a_guest() {
    let guest = guest("proxmox.txt");
    assert_eq!(guest.report.format, GuestFormat::CommandLine);
    assert_eq!(guest.arch, None);
    assert_eq!(guest.machine.as_deref(), Some("pc"));
    assert_eq!(guest.board.cpu.as_deref(), Some("qemu64,+kvm_pv_eoi"));
    assert_eq!(guest.board.memory, 96 << 20);
    has_all(
        &guest,
        &[
            "-drive if=none,id=drive-ide2,media=cdrom",
            "-drive if=none,id=drive-scsi0,driver=null-co,size=1073741824,read-zeroes=on",
            "-device virtio-net-pci,mac=BC:24:11:01:02:03,netdev=net0,bus=pci.0,addr=0x12,id=net0,rx_queue_size=1024,tx_queue_size=256,host_mtu=1500",
            "-boot menu=on,strict=on,reboot-timeout=1000",
        ],
    );
    assert!(devices(&guest).contains(&"qga0"));
    // The names of a backend and a device may be the same.
    let monitor = line(&guest, "-chardev socket,id=qmp");
    assert_eq!(monitor.reason, Some(Reason::Monitor));
    let cpu = line(&guest, "-cpu");
    assert_eq!(cpu.without[0].name, "enforce");
    assert!(guest.report.lines.iter().all(|of| of.line == 1));
}

#[test]
fn a_machine_with_qemus_defaults_keeps_them() {
    let guest = guest("plain.txt");
    assert!(guest.board.has_defaults);
    has_all(
        &guest,
        &[
            "-monitor none",
            "-parallel null",
            "-net type=nic,netdev=migcompat-net1,model=e1000,macaddr=52:54:00:aa:bb:cc",
            "-smp cpus=2",
        ],
    );
    assert_eq!(guest.board.console.as_deref(), Some("migcompat-serial"));
    // Without a backend of its own it would play on the host.
    has_all(
        &guest,
        &[
            "-device AC97,audiodev=migcompat-audio",
            "-audiodev driver=none,id=migcompat-audio",
        ],
    );
    assert_eq!(devices(&guest), ["AC97", "ehci", "usb-storage"]);
    assert_eq!(line(&guest, "exec").reason, Some(Reason::NoOption));
    assert_eq!(line(&guest, "-cdrom").line, 4);
    let bare = of("qemu-system-x86_64 -M pc");
    assert!(has(&bare, "-net nic,netdev=migcompat-net1"));
    let bare = of("-M pc -nodefaults");
    assert_eq!(bare.board.args, Vec::<String>::new());
    // A word alone is a disk.
    let disk = of("qemu-system-x86_64 -M pc disk.img");
    assert_eq!(line(&disk, "-hda disk.img").reason, Some(Reason::HostDisk));
}

#[test]
fn firmware_of_the_same_size_stands_for_the_guests() {
    let guest = guest("uefi.txt");
    assert_eq!(guest.board.idle, Some(Idle::Firmware));
    has_all(
        &guest,
        &[
            "-blockdev driver=null-co,node-name=libvirt-pflash0-format,size=3653632,read-zeroes=on,read-only=on",
            "-blockdev driver=null-co,node-name=libvirt-pflash1-format,size=540672,read-zeroes=on",
        ],
    );
    assert!(guest.board.machine_options.contains(&"smm=on".to_owned()));
    let secure = "-global driver=cfi.pflash01,property=secure,value=on";
    assert!(has(&guest, secure));
    let own = of("qemu-system-x86_64 -M pc -bios /usr/share/seabios/bios.bin");
    assert!(has(&own, "-bios bios.bin"));
    let other = of("qemu-system-x86_64 -M pc -bios /usr/share/ovmf/OVMF.fd");
    assert_eq!(line(&other, "-bios").reason, Some(Reason::OwnFirmware));
    assert_eq!(other.board.idle, None);
}

/// Returns the sizes of the flash devices of a guest.
fn flash(guest: &GuestSpec) -> Vec<u64> {
    let words = words(guest).into_iter();
    let of_flash = words.filter(|word| word.contains("if=pflash") || word.contains("node-name=f"));
    let size = |word: String| word.split("size=").nth(1)?.split(',').next()?.parse().ok();
    of_flash.filter_map(size).collect()
}

#[test]
fn a_flash_device_has_the_size_that_its_board_or_its_firmware_has() {
    let kib = |size: &str| size.parse::<u64>().unwrap() << 10;
    // The program, its machine, the files of its two flash devices, and their KiB.
    for row in [
        "qemu-system-x86_64 q35 OVMF_CODE_4M.fd x_VARS.fd 3568 528",
        "qemu-system-x86_64 q35 OVMF_CODE.4m.fd x_VARS.fd 3568 528",
        "qemu-system-x86_64 pc ovmf-x86_64-4m-code.bin n 3568 528",
        "qemu-system-x86_64 pc edk2-x86_64-code.fd edk2-i386-vars.fd 3568 528",
        "qemu-system-x86_64 pc OVMF_CODE.secboot.fd x_VARS.fd 1920 128",
        "kvm type=q35+pve0 OVMF_CODE_4M.fd d,size=1M 3568 1024",
        "kvm virt AAVMF_CODE.fd x_VARS.fd 65536 65536",
        "qemu-system-arm virt-9.0 AAVMF32_CODE.fd v 65536 65536",
        "qemu-system-aarch64 virt+pve0 c,size=64M v,size=64M 65536 65536",
        "qemu-system-riscv64 virt RISCV_VIRT_CODE.fd v 32768 32768",
        "qemu-system-loongarch64 virt QEMU_EFI.fd v 16384 16384",
        "qemu-system-aarch64 sbsa-ref SBSA_FLASH0.fd v 262144 262144",
    ] {
        let [program, machine, code, vars, first, second] = *row.split(' ').collect::<Vec<_>>()
        else {
            panic!("{row}");
        };
        let sizes = [first, second].map(kib);
        let drives = format!(
            "{program} -drive if=pflash,unit=0,file=/f/{code} -drive if=pflash,unit=1,file=/f/{vars} -machine {machine}"
        );
        let nodes = format!(
            "{program} -blockdev file,node-name=f0,filename=/f/{code} -blockdev file,node-name=f1,filename=/f/{vars} \
             -machine {machine},pflash0=f0,pflash1=f1"
        );
        for text in [drives, nodes] {
            assert_eq!(flash(&of(&text)), sizes, "{text}");
        }
    }
    for (arch, machine, sizes) in [
        ("x86_64", "q35", ["3568", "528"]),
        ("aarch64", "virt", ["65536", "65536"]),
    ] {
        let guest = of(&format!(
            "<domain><os firmware='efi'><type arch='{arch}' machine='{machine}'>hvm</type>\
             <nvram>/var/lib/libvirt/qemu/nvram/x_VARS.fd</nvram></os></domain>"
        ));
        let words = words(&guest).join(" ");
        for size in sizes.map(kib) {
            assert!(words.contains(&format!("size={size},")), "{arch}: {words}");
        }
    }
    // What a state says is so.
    let text = b"qemu-system-x86_64 -M q35 -drive if=pflash,file=/f/a,size=1M -drive if=pflash,unit=1,file=/f/b";
    let known = GuestSpec::with_flash(text, [Some(4096), Some(8192)]).unwrap();
    assert_eq!(flash(&known), [4096, 8192]);
}

#[test]
fn the_networks_that_take_work_off_a_card_are_known_with_their_queues() {
    for (netdev, queues) in [
        ("tap,id=n,ifname=vnet0,script=no", Some(1)),
        ("tap,id=n,queues=4", Some(4)),
        ("tap,id=n,fds=30:31:32,vhost=on,vhostfds=33:34:35", Some(3)),
        (r#"{"type":"tap","fd":"30","vhost":true,"id":"n"}"#, Some(1)),
        ("bridge,id=n,br=br0", Some(1)),
        ("vhost-user,id=n,chardev=c,queues=2", Some(2)),
        ("tap,id=n,vnet_hdr=off", None),
        ("user,id=n", None),
        ("socket,id=n,listen=:1", None),
    ] {
        let guest = of(&format!("qemu-system-x86_64 -M pc -netdev '{netdev}'"));
        let found = guest.board.interfaces.get("n").copied();
        assert_eq!(found, queues, "{netdev}");
    }
    let domain = |kind: &str| {
        of(&format!(
            "<domain type='kvm'><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
             <interface type='{kind}'><model type='virtio'/><driver queues='4'/></interface></devices></domain>"
        ))
    };
    for (kind, queues) in [("bridge", Some(4)), ("vhostuser", Some(4)), ("user", None)] {
        let interfaces = domain(kind).board.interfaces;
        assert_eq!(interfaces.values().next().copied(), queues, "{kind}");
    }
}

#[test]
fn what_a_guest_lacks_is_known_by_what_it_may_be() {
    let of_type = |name: &str| Some(What::Type(name.to_owned()));
    let card = Some(What::Card("virtio-net-pci".to_owned()));
    for (option, what) in [
        ("-device vfio-pci,host=01:00.0", of_type("vfio-pci")),
        ("-device e1000,romfile=/x/y.rom", of_type("e1000")),
        ("-device e1000", None),
        (
            "-device scsi-block,drive=d -drive if=none,id=d,file=/x",
            None,
        ),
        (
            "-object dbus-vmstate,id=v,addr=unix:path=/x",
            of_type("dbus-vmstate"),
        ),
        ("-netdev user,id=n", Some(What::Network)),
        ("-cpu host", Some(What::Processor)),
        ("-readconfig /etc/q35.cfg", Some(What::Anything)),
        ("-machine no-such-option=on", Some(What::Anything)),
        ("-soundhw hda", Some(What::Anything)),
        ("-drive if=virtio,file=/x", None),
        ("-vnc :0 -pidfile /x -monitor stdio -enable-kvm", None),
    ] {
        let guest = of(&format!("qemu-system-x86_64 -M pc {option}"));
        let lacks = guest.lacks.into_iter().map(|part| part.what);
        assert_eq!(lacks.collect::<Vec<_>>(), Vec::from_iter(what), "{option}");
    }
    for options in [
        "-netdev tap,id=n -device virtio-net-pci,netdev=n",
        "-device virtio-net-pci,netdev=n -netdev tap,id=n",
        "-netdev tap,id=n -net nic,model=virtio-net-pci,netdev=n",
        "-nic tap,model=virtio-net-pci",
    ] {
        let guest = of(&format!("kvm -M pc {options}"));
        let mut lacks = guest.lacks.into_iter().map(|part| part.what);
        assert_eq!(lacks.next_back(), card, "{options}");
        assert_eq!(guest.board.interfaces.len(), 1, "{options}");
    }
}

#[test]
fn the_accelerator_that_a_guest_ran_under_is_known_and_what_it_has_of_the_machine() {
    let ran_under = |text: &str| of(text).board.accelerator;
    for text in [
        "/usr/bin/kvm -id 100 -M pc",
        "qemu-kvm -M pc",
        "qemu-system-x86_64 -M pc -enable-kvm",
        "qemu-system-x86_64 -M pc,accel=kvm:tcg",
        "<domain type='kvm'><os><type machine='pc'>hvm</type></os></domain>",
    ] {
        assert_eq!(ran_under(text), Some(Accelerator::Kvm), "{text}");
    }
    let emulated = "qemu-system-x86_64 -M pc -accel tcg,thread=multi";
    assert_eq!(ran_under(emulated), Some(Accelerator::Tcg));
    for text in [
        "qemu-system-x86_64 -M pc",
        "<domain type='qemu'><os><type machine='pc'>hvm</type></os></domain>",
    ] {
        assert_eq!(ran_under(text), None, "{text}");
    }
    for text in [
        "kvm -M q35,kernel-irqchip=split",
        "kvm -M q35 -accel kvm,kernel-irqchip=split",
        "<domain><os><type machine='q35'>hvm</type></os><features><ioapic driver='qemu'/></features></domain>",
    ] {
        let options = of(text).board.machine_options;
        let is_split = |option: &String| option.replace('_', "-") == "kernel-irqchip=split";
        assert_eq!(options.iter().filter(|o| is_split(o)).count(), 1, "{text}");
    }
}

#[test]
fn what_stands_for_a_disk_of_the_host_lacks_its_own_properties() {
    for driver in ["scsi-block", "scsi-generic"] {
        let guest = of(&format!(
            "kvm -M pc -device virtio-scsi-pci -drive if=none,id=d,file=/dev/sda \
             -device {driver},drive=d,io_timeout=30,lun=1"
        ));
        has_all(&guest, &["-device scsi-hd,drive=d,lun=1"]);
        let disk = line(&guest, &format!("-device {driver}"));
        let without: Vec<&str> = disk.without.iter().map(|gone| &*gone.name).collect();
        assert_eq!(without, ["io_timeout"]);
    }
}

#[test]
fn a_large_guest_is_moved_as_it_is_after_reset() {
    assert_eq!(of("kvm -M pc -m 4G").board.idle, Some(Idle::Memory));
    assert_eq!(of("kvm -M pc -m 1024").board.idle, None);
}

#[test]
fn what_is_no_command_line_is_refused() {
    let read = |bytes: &[u8]| GuestSpec::read(bytes).map(drop).unwrap_err();
    assert_eq!(read(b""), ReadError::Empty);
    assert_eq!(read(b" \n\n"), ReadError::Empty);
    assert_eq!(read(b"ls -l\n"), ReadError::NoCommand);
    assert_eq!(read(b"kvm\n-M \xff"), ReadError::NotText { line: 2 });
    assert_eq!(
        read(b"kvm -M pc\n-device"),
        ReadError::NoArgument {
            line: 2,
            option: "device".into()
        }
    );
    assert_eq!(read(b"kvm -M 'pc"), ReadError::OpenQuote { line: 1 });
    assert_eq!(
        read(b"kvm -M pc -uuid $(uuidgen)"),
        ReadError::Expands { line: 1, what: '$' }
    );
    let long = [b"kvm -M pc ".as_slice(), &vec![b'x'; MOST_BYTES]].concat();
    assert_eq!(read(&long), ReadError::TooLong);
}

/// The options that a guest may have at all.
const OPTIONS: &str = "-audiodev -bios -blockdev -boot -chardev -debugcon -device -drive -fsdev -fw_cfg -global \
    -m -monitor -net -netdev -nic -numa -object -parallel -rtc -serial -smbios -smp \
    -usbdevice -uuid -vga";

fn is_option(word: &str) -> bool {
    OPTIONS.split(' ').any(|option| option == word)
}

#[test]
fn nothing_of_a_hostile_file_gets_to_a_build() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guests/hostile");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display();
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let text = text
            .replace("@CANARY@", "/canary")
            .replace("@PORT@", "4711");
        let guest = GuestSpec::read(text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        for word in words(&guest) {
            assert!(
                !word.contains("canary") && !word.contains("4711"),
                "{name}: {word}"
            );
            assert!(!word.chars().any(char::is_control), "{name}: {word:?}");
            assert!(!word.starts_with('-') || is_option(&word), "{name}: {word}");
        }
        let board = &guest.board.args;
        let options: BTreeSet<&str> = board.iter().step_by(2).map(String::as_str).collect();
        assert!(
            options.iter().copied().all(is_option),
            "{name}: {options:?}"
        );
        for line in &guest.report.lines {
            assert!(!line.given.contains("hunter2"), "{name}: a secret is shown");
            let shown = [&line.given].into_iter().chain(&line.now);
            for text in shown.chain(line.without.iter().map(|gone| &gone.name)) {
                assert!(!text.chars().any(char::is_control), "{name}: {text:?}");
            }
        }
        files += 1;
    }
    assert!(files >= 20, "{files}");
}

#[test]
fn values_that_lead_out_of_a_device_are_left_out_of_it() {
    let guest = of(
        "kvm -M pc -device e1000,id=a,romfile=/etc/passwd,mac=52:54:00:00:00:01 \
         -device scsi-generic,drive=d -blockdev host_device,filename=/dev/sg0,node-name=d \
         -device e1000,romfile= -device ide-hd,drive=gone -device nonsense,id=b \
         -device virtio-blk-pci,drive=d,serial=a/b,,c",
    );
    let known = ["a", "scsi-generic", "e1000", "virtio-blk-pci"];
    assert_eq!(devices(&guest), known);
    has_all(
        &guest,
        &[
            "-device e1000,id=a,mac=52:54:00:00:00:01",
            "-device scsi-hd,drive=d",
            "-device e1000,romfile=",
            "-device virtio-blk-pci,drive=d,serial=a/b,,c",
        ],
    );
    let reason = |start| line(&guest, start).reason;
    assert_eq!(reason("-device ide-hd"), Some(Reason::NotInTheGuest));
    let below = of(
        "kvm -M pc -device nonsense,id=s3 -device scsi-hd,bus=s3.0,drive=d -drive if=none,id=d,file=x",
    );
    let line_below = line(&below, "-device scsi-hd");
    assert_eq!(line_below.detail.as_deref(), Some("bus=s3.0"));
    let tag =
        of("kvm -M pc -fsdev local,id=f,path=/x -device virtio-9p-pci,fsdev=f,mount_tag=/to/guest");
    let device = "-device virtio-9p-pci,fsdev=f,mount_tag=/to/guest";
    assert!(has(&tag, device));
    assert_eq!(reason("-device nonsense"), Some(Reason::UnknownDevice));
}

#[test]
fn a_domain_of_libvirt_is_read_as_the_options_that_it_means() {
    let guest = guest("domain.xml");
    assert_eq!(guest.report.format, GuestFormat::DomainXml);
    assert_eq!(guest.arch.as_deref(), Some("x86_64"));
    assert_eq!(guest.machine.as_deref(), Some("pc-q35-10.0"));
    assert_eq!(guest.board.memory, 128 << 20);
    assert_eq!(
        guest.board.cpu.as_deref(),
        Some("Nehalem,aes=on,vme=off,hv-relaxed=on,hv-vapic=on,hv-spinlocks=8191")
    );
    let options = ["usb=off", "acpi=on", "vmport=off", "hpet=off"];
    assert_eq!(guest.board.machine_options, options);
    assert!(guest.board.console.is_some());
    assert_eq!(
        devices(&guest).join(" "),
        "pci.1 pci.2 pci.3 pci.4 usb virtio-serial0 virtio-disk0 sata0-0-0 net0 channel0 input0 sound0 hda-duplex video0 balloon0 rng0 tpm-crb"
    );
    has_all(
        &guest,
        &[
            "-smp cpus=2,sockets=1,cores=2,threads=1",
            "-rtc base=utc,driftfix=slew",
            "-boot menu=on,strict=on",
            "-global driver=ICH9-LPC,property=disable_s3,value=1",
            "-global driver=virtio-net-pci,property=mrg_rxbuf,value=on",
            "-object qom-type=iothread,id=iothread1",
            "-device pcie-root-port,id=pci.1,port=16,chassis=1,bus=pcie.0,addr=0x2,multifunction=on",
            "-device virtio-blk-pci,drive=libvirt-disk1,serial=MAIL/1,num-queues=2,iothread=iothread1,id=virtio-disk0,bus=pci.4,addr=0x0,bootindex=1",
            "-device ide-cd,bus=ide.0,id=sata0-0-0",
            "-device usb-tablet,id=input0,bus=usb.0,port=1",
        ],
    );
    let net = line_of(&guest, "net0", "domain.xml");
    assert!(net.contains("<interface type='bridge'>"));
    for (start, reason) in [
        ("<hostdev", Reason::HostDevice),
        ("<graphics", Reason::HostDisplay),
        ("<emulator", Reason::NoOption),
        ("<input type='mouse'", Reason::PartOfAnother),
    ] {
        let line = line(&guest, start);
        let treated = (line.treatment, line.reason);
        assert_eq!(treated, (LeftOut, Some(reason)), "{start}");
    }
    let mut lines = guest.report.lines.iter();
    assert!(lines.all(|line| !line.given.contains("hunter2")));
}

/// An emulator of the host and a TPM of the host itself are the same to a guest: it has one of ours.
#[test]
fn a_guest_has_a_tpm_of_its_model() {
    for (arch, machine, tpm, device) in [
        (
            "x86_64",
            "q35",
            "model='tpm-tis'><backend type='emulator'/",
            "tpm-tis,tpmdev=tpm-tpm1",
        ),
        (
            "x86_64",
            "q35",
            "model='tpm-crb'><backend type='passthrough'/",
            "tpm-crb,tpmdev=tpm-tpm1",
        ),
        // As libvirt chooses.
        (
            "x86_64",
            "q35",
            "><backend type='emulator' version='2.0'/",
            "tpm-crb,tpmdev=tpm-tpm1",
        ),
        (
            "x86_64",
            "q35",
            "><backend type='emulator'/",
            "tpm-tis,tpmdev=tpm-tpm1",
        ),
        (
            "aarch64",
            "virt",
            "model='tpm-tis'><backend type='emulator'/",
            "tpm-tis-device,tpmdev=tpm-tpm1",
        ),
        (
            "ppc64",
            "pseries",
            "><backend type='external'/><address type='spapr-vio' reg='0x00005000'/",
            "tpm-spapr,tpmdev=tpm-tpm1,reg=0x00005000",
        ),
    ] {
        let guest = of(&format!(
            "<domain><memory>65536</memory><os><type arch='{arch}' machine='{machine}'>hvm</type></os>\
            <devices><tpm {tpm}></tpm></devices></domain>"
        ));
        has_all(
            &guest,
            &[
                "-chardev backend=null,id=migcompat-tpm",
                "-tpmdev type=emulator,id=tpm-tpm1,chardev=migcompat-tpm",
                &format!("-device {device}"),
            ],
        );
        let left_out = guest.report.lines.iter();
        let mut left_out = left_out.filter(|line| line.treatment == LeftOut);
        assert!(!left_out.any(|line| line.given.contains("tpm")), "{tpm}");
    }
    let proxy = of(
        "<domain><memory>65536</memory><os><type arch='ppc64' machine='pseries'>hvm</type></os>\
        <devices><tpm model='spapr-tpm-proxy'><backend type='passthrough'/></tpm></devices></domain>",
    );
    assert_eq!(line(&proxy, "<tpm").reason, Some(Reason::HostDevice));
}

/// A folder or a disk that another program has is there with a program of ours.
#[test]
fn a_guest_keeps_folders_and_disks_that_another_program_has() {
    for (of, element, device) in [
        (
            "x86_64 q35",
            "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='1024' iommu='on'/>\
             <source dir='/srv'/><target dir='srv'/><alias name='fs0'/></filesystem>",
            "vhost-user-fs-pci,chardev=char1,queue-size=1024,tag=srv,id=fs0,iommu_platform=on",
        ),
        (
            "s390x s390-ccw-virtio",
            "<filesystem type='mount'><driver type='virtiofs'/><source socket='/run/fs'/><target dir='srv'/>\
             <alias name='fs0'/><address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0001'/></filesystem>",
            "vhost-user-fs-ccw,chardev=char1,tag=srv,id=fs0,devno=fe.0.0001",
        ),
        (
            "x86_64 q35",
            "<disk type='vhostuser' device='disk' model='virtio-non-transitional'><driver name='qemu' type='raw' queues='2'/>\
             <source type='unix' path='/run/spdk'><reconnect enabled='yes' timeout='10'/></source>\
             <target dev='vda' bus='virtio'/><boot order='1'/><alias name='virtio-disk0'/></disk>",
            "vhost-user-blk-pci-non-transitional,chardev=char1,num-queues=2,id=virtio-disk0,bootindex=1",
        ),
    ] {
        let guest = with_devices(of, element);
        has_all(
            &guest,
            &[
                "-chardev backend=null,id=char1",
                &format!("-device {device}"),
            ],
        );
        assert_eq!(unread(&guest), [""; 0], "{of}");
    }
    let guest = of(
        "qemu-system-x86_64 -M q35 -chardev socket,id=c,path=/run/fs -device vhost-user-fs-pci,chardev=c,tag=srv",
    );
    has_all(
        &guest,
        &[
            "-chardev backend=null,id=c",
            "-device vhost-user-fs-pci,chardev=c,tag=srv",
        ],
    );
}

#[test]
fn the_backend_of_a_tpm_is_one_of_ours_or_none() {
    let guest = of(
        "qemu-system-x86_64 -M q35 -tpmdev passthrough,id=t,path=/dev/tpm0 -device tpm-tis,tpmdev=t",
    );
    has_all(
        &guest,
        &[
            "-chardev backend=null,id=migcompat-tpm",
            "-tpmdev type=emulator,id=t,chardev=migcompat-tpm",
            "-device tpm-tis,tpmdev=t",
        ],
    );
    for (options, start, reason) in [
        (
            "-tpmdev vtpm,id=t -device tpm-tis,tpmdev=t",
            "-tpmdev",
            Reason::UnknownSetting,
        ),
        (
            "-tpmdev vtpm,id=t -device tpm-tis,tpmdev=t",
            "-device",
            Reason::NotInTheGuest,
        ),
        (
            "-tpmdev emulator,id=t -device tpm-tis,tpmdev=t",
            "-tpmdev",
            Reason::Malformed,
        ),
        (
            "-device tpm-tis,tpmdev=another",
            "-device",
            Reason::NotInTheGuest,
        ),
    ] {
        let guest = of(&format!("qemu-system-x86_64 -M q35 {options}"));
        let line = line(&guest, start);
        assert_eq!(
            (line.treatment, line.reason),
            (LeftOut, Some(reason)),
            "{options}"
        );
    }
}

#[test]
fn xml_that_grows_or_names_other_files_is_refused() {
    let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>\n<domain>&b;</domain>";
    let other = "<?xml version='1.0'?>\n<!DOCTYPE d SYSTEM \"file:///etc/passwd\" [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\n<domain><name>&x;</name></domain>";
    let many = format!("<domain>{}</domain>", "<a/>".repeat(100_000));
    for text in [bomb, other, &many, "<domain", "<domain><a></domain>"] {
        let error = GuestSpec::read(text.as_bytes()).map(drop).unwrap_err();
        assert!(matches!(error, ReadError::Xml { .. }), "{error}");
    }
    let read = GuestSpec::read(b"<network><name>x</name></network>").map(drop);
    assert_eq!(read, Err(ReadError::NoDomain));
    // Deep ones end as well.
    let deep = format!(
        "{}{}",
        "<domain>".repeat(20_000),
        "</domain>".repeat(20_000)
    );
    let _either = GuestSpec::read(deep.as_bytes());
}

#[test]
fn a_domain_without_addresses_and_with_old_hardware_is_a_guest() {
    let guest = of("<domain type='kvm'><memory>65536</memory><vcpu>1</vcpu>\
        <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
        <controller type='scsi' index='0' model='lsilogic'/>\
        <controller type='usb' index='0' model='ich9-ehci1'><address type='pci' bus='0x00' slot='0x04' function='0x7'/></controller>\
        <controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/><address type='pci' bus='0x00' slot='0x04' function='0x0' multifunction='on'/></controller>\
        <disk type='block' device='lun'><source dev='/dev/sg0'/><target dev='sda' bus='scsi'/><address type='drive' controller='0' bus='0' target='0' unit='3'/></disk>\
        <disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>\
        <interface type='network'><model type='e1000'/></interface></devices></domain>");
    has_all(
        &guest,
        &[
            "-device ich9-usb-uhci1,masterbus=usb.0,firstport=0,bus=pci.0,addr=0x4,multifunction=on",
            "-device scsi-hd,bus=scsi0.0,scsi-id=3,drive=libvirt-disk1",
            "-device floppy,unit=0",
        ],
    );
    // The others have channels, targets and units.
    let disk = "<address type='drive' controller='0' bus='0' target='0' unit='1'/>";
    let guest = of(&format!(
        "<domain type='kvm'><memory>65536</memory><os><type machine='pc'>hvm</type></os><devices>\
        <controller type='scsi' index='0' model='virtio-scsi'/>\
        <disk type='file'><source file='/a'/><target dev='sda' bus='scsi'/>{disk}</disk></devices></domain>"
    ));
    let place = "-device scsi-hd,bus=scsi0.0,channel=0,scsi-id=0,lun=1,drive=libvirt-disk1";
    assert!(has(&guest, place));
    assert!(guest.board.machine_options.contains(&"acpi=off".to_owned()));
}

#[test]
fn a_domain_has_what_libvirt_adds_to_it() {
    let guest = of("<domain type='kvm'><memory>219100</memory><vcpu>2</vcpu>\
        <cpu><numa><cell id='0' cpus='0' memory='109550'/><cell id='1' cpus='1' memory='109550'/></numa></cpu>\
        <os><type arch='x86_64'>hvm</type></os><devices>\
        <disk type='file'><source file='/a'/><target dev='sdh' bus='scsi'/></disk>\
        <disk type='file'><source file='/b'/><target dev='hdd' bus='ide'/></disk>\
        <disk type='file'><source file='/c'/><target dev='sda' bus='usb'/></disk>\
        <console type='pty'><target type='virtio' port='0'/></console></devices></domain>");
    assert_eq!(guest.machine.as_deref(), Some("pc"));
    // Each cell is rounded up to whole MiB, and so is what they add up to.
    assert_eq!(guest.board.memory, 214 << 20);
    has_all(
        &guest,
        &[
            "-device lsi,id=scsi1",
            "-device ide-hd,bus=ide.1,unit=1,drive=libvirt-disk2",
            "-device piix3-usb-uhci,id=usb",
            "-device virtio-serial-pci,id=virtio-serial0",
        ],
    );
}

/// One that somebody wrote by hand or that KubeVirt made; what libvirt has defined has addresses.
#[test]
fn a_domain_as_written_gets_the_devices_that_libvirt_gives_every_guest() {
    let placed = "<address type='pci' bus='0' slot='2'/>";
    let disk = |more: &str| {
        format!("<disk><source file='/a'/><target dev='vda' bus='virtio'/>{more}</disk>")
    };
    let usb_and_balloon = &["piix3-usb-uhci", "virtio-balloon-pci"][..];
    for (of, devices, added) in [
        ("x86_64 pc", disk(""), usb_and_balloon),
        ("x86_64 q35", disk(""), &["qemu-xhci", "virtio-balloon-pci"]),
        (
            "ppc64 pseries",
            disk(""),
            &["qemu-xhci", "virtio-balloon-pci"],
        ),
        ("s390x s390-ccw-virtio", disk(""), &["virtio-balloon-ccw"]),
        ("aarch64 virt", disk(""), &[]),
        ("x86_64 isapc", disk(""), &[]),
        ("x86_64 pc", disk(placed), &[]),
        (
            "x86_64 pc",
            disk("") + "<memballoon model='none'/><controller type='usb' model='none'/>",
            &[],
        ),
    ] {
        let guest = with_devices(of, &devices);
        let words = words(&guest).join(" ");
        for driver in [
            "piix3-usb-uhci",
            "qemu-xhci",
            "virtio-balloon-pci",
            "virtio-balloon-ccw",
        ] {
            let has = words.contains(&format!("-device {driver},"));
            assert_eq!(
                has,
                added.contains(&driver),
                "{of} {devices}: {driver} in {words}"
            );
        }
        let mut lines = guest.report.lines.iter();
        let is_told = lines.any(|line| line.reason == Some(Reason::AsWritten));
        assert_eq!(is_told, !devices.contains("type='pci'"), "{of} {devices}");
    }
}

#[test]
fn a_cell_of_numa_has_its_memory_in_the_units_of_libvirt() {
    for (memory, unit, mib) in [
        ("65536", "KiB", 64),
        ("1", "TiB", 1 << 20),
        ("134217728", "b", 128),
        ("128000000", "bytes", 123),
        ("3000", "MB", 2862),
        ("65536", "K", 64),
        ("2", "gib", 2048),
        ("1", "tb", 953_675),
    ] {
        let guest = of(&format!(
            "<domain type='kvm'><memory>65536</memory><vcpu>1</vcpu>\
             <cpu><numa><cell id='0' cpus='0' memory='{memory}' unit='{unit}'/></numa></cpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
        ));
        assert_eq!(guest.board.memory, mib << 20, "{memory} {unit}");
        let backend = format!(
            "qom-type=memory-backend-ram,id=ram-node0,size={}",
            mib << 20
        );
        assert!(
            has(&guest, &format!("-object {backend}")),
            "{memory} {unit}"
        );
    }
}

#[test]
fn the_cpu_of_the_host_is_told_from_a_model_however_it_is_written() {
    let domain = |cpu: &str| {
        of(&format!(
            "<domain type='kvm'><name>g</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>{cpu}</domain>"
        ))
    };
    let passthrough = "<cpu mode='host-passthrough' check='none' migratable='on'>\
        <feature policy='disable' name='vmx'/></cpu>";
    let of_host = [
        (of("kvm -M pc -cpu host,migratable=on,+pcid"), "host,+pcid"),
        (domain(passthrough), "host,vmx=off"),
        (domain("<cpu mode='host-model'/>"), "host"),
    ];
    for (guest, cpu) in &of_host {
        assert_eq!(guest.board.host_cpu.as_deref(), Some(*cpu));
        assert_eq!(guest.board.cpu, None);
        let mut report = guest.report.clone();
        let of_cpu = |report: &crate::report::GuestFile| {
            let mut lines = report.lines.iter();
            let line = lines.find(|line| line.given.starts_with("-cpu"));
            line.map(|line| (line.treatment, line.reason))
        };
        let replaced = (Replaced, Some(Reason::HostCpu));
        assert_eq!(of_cpu(&report), Some(replaced));
        report.keep_host_cpu();
        assert_eq!(of_cpu(&report), Some((Treatment::Kept, None)));
    }
    let model = domain("<cpu mode='custom'><model>EPYC</model></cpu>");
    assert_eq!(model.board.host_cpu, None);
    assert_eq!(model.board.cpu.as_deref(), Some("EPYC"));
}

/// A domain of an architecture and a machine type, with these elements.
fn domain(of: &str, elements: &str) -> GuestSpec {
    let (arch, machine) = of.split_once(' ').unwrap();
    self::of(&format!(
        "<domain type='kvm' xmlns:qemu='urn:q'><name>g</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>\
         <os><type arch='{arch}' machine='{machine}'>hvm</type></os>{elements}</domain>"
    ))
}

/// A domain with these devices.
fn with_devices(of: &str, devices: &str) -> GuestSpec {
    domain(of, &format!("<devices>{devices}</devices>"))
}

/// What a domain has and no option stands for.
fn unread(guest: &GuestSpec) -> Vec<&str> {
    let lines = guest.report.lines.iter();
    let is_unread =
        |line: &&GuestLine| matches!(line.reason, Some(Reason::Unread | Reason::UnknownElement));
    lines
        .filter(is_unread)
        .map(|line| line.given.as_str())
        .collect()
}

#[test]
fn a_device_is_at_the_address_that_the_domain_has_for_it() {
    // The architecture with its machine, the device in the domain, and the option that it is.
    for row in [
        "s390x s390-ccw-virtio-7.2 | <disk><source file='/x'/><target dev='vda'/>\
         <address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0005'/></disk> | \
         virtio-blk-ccw,drive=libvirt-disk1,devno=fe.0.0005",
        "s390x s390-ccw-virtio-7.2 | <video><model type='virtio' primary='yes'/>\
         <address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0002'/></video> | virtio-gpu-ccw,devno=fe.0.0002",
        "s390x s390-ccw-virtio-7.2 | <interface type='user'><model type='virtio'/><driver queues='4'/>\
         <address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0001'/></interface> | \
         virtio-net-ccw,netdev=hostnet1,mq=on,devno=fe.0.0001",
        "s390x s390-ccw-virtio-7.2 | <memballoon model='virtio'><alias name='b'/>\
         <address type='pci' bus='0x00' slot='0x03' function='0x0'><zpci uid='0x0007' fid='0x00000002'/></address>\
         </memballoon> | zpci,uid=0x0007,fid=0x00000002,target=b",
        "s390x s390-ccw-virtio-7.2 | <console type='pty'><target type='sclp' port='0'/></console> | \
         sclpconsole,chardev=char1",
        "s390x s390-ccw-virtio-7.2 | <console type='pty'><target type='sclplm' port='1'/></console> | \
         sclplmconsole,chardev=char1",
        "s390x s390-ccw-virtio-7.2 | <console type='pty'/> | sclpconsole,chardev=char1",
        "ppc64 pseries-7.2 | <serial type='pty'><target type='spapr-vio-serial'><model name='spapr-vty'/></target>\
         <address type='spapr-vio' reg='0x30000000'/></serial> | spapr-vty,chardev=char1,reg=0x30000000",
        "ppc64 pseries-7.2 | <controller type='scsi' index='0'><address type='spapr-vio' reg='0x00002000'/>\
         </controller> | spapr-vscsi,id=scsi0,reg=0x00002000",
        "ppc64 pseries-7.2 | <controller type='usb' index='0'/> | pci-ohci,id=usb",
        "aarch64 virt-7.2 | <controller type='usb' index='0'/> | qemu-xhci,id=usb",
        "aarch64 virt-7.2 | <interface type='user'/> | virtio-net-pci,netdev=hostnet1",
        "s390x s390-ccw-virtio-7.2 | <interface type='user'/> | virtio-net-ccw,netdev=hostnet1",
        "aarch64 virt-7.2 | <panic/> | pvpanic-pci",
        "aarch64 virt-7.2 | <controller type='scsi' index='0'/> | lsi,id=scsi0",
        "ppc64 pseries-7.2 | <controller type='pci' index='0' model='pci-root'/>\
         <controller type='pci' index='1' model='pci-root'><target index='1'/></controller><interface type='user'>\
         <model type='e1000'/><address type='pci' bus='0x01' slot='0x03' function='0x0'/></interface> | \
         e1000,netdev=hostnet1,bus=pci.1.0,addr=0x3",
        "aarch64 virt-7.2 | <memballoon model='virtio'><address type='virtio-mmio'/></memballoon> | virtio-balloon-device",
        "x86_64 pc-q35-7.2 | <interface type='user'><model type='e1000e'/><acpi index='3'/>\
         <address type='pci' bus='0x00' slot='0x03' function='0x0'></address></interface> | \
         e1000e,netdev=hostnet1,bus=pcie.0,addr=0x3,acpi-index=3",
        "x86_64 pc-q35-7.2 | <panic model='isa'><address type='isa' iobase='0x505'/></panic> | pvpanic,ioport=0x505",
    ] {
        let [of, device, option] = *row.split(" | ").collect::<Vec<_>>() else {
            panic!("{row}");
        };
        let guest = with_devices(of, device);
        has_all(&guest, &[&format!("-device {option}")]);
        assert_eq!(unread(&guest), [""; 0]);
    }
}

#[test]
fn what_a_device_sits_on_comes_before_it() {
    let companion =
        "<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>";
    let ehci = "<controller type='usb' index='0' model='ich9-ehci1'/>";
    let usb = |port: &str| format!("<address type='usb' bus='0' port='{port}'/>");
    for (devices, expected) in [
        (
            format!(
                "<controller type='ccid' index='0'>{}</controller>{companion}{ehci}",
                usb("1")
            ),
            ["ich9-usb-ehci1", "ich9-usb-uhci1", "usb-ccid"],
        ),
        (
            format!(
                "<input type='tablet' bus='usb'>{}</input><hub type='usb'>{}</hub>{ehci}",
                usb("1.1"),
                usb("1")
            ),
            ["ich9-usb-ehci1", "usb-hub", "usb-tablet"],
        ),
        (
            format!(
                "<controller type='ccid' index='0'>{}</controller><hub type='usb'>{}</hub>",
                usb("1.1"),
                usb("1")
            ),
            ["piix3-usb-uhci", "usb-hub", "usb-ccid"],
        ),
    ] {
        let guest = with_devices("x86_64 pc", &devices);
        let mut found: Vec<&str> = words(&guest)
            .iter()
            .filter_map(|word| {
                expected
                    .iter()
                    .find(|driver| word.split(',').next() == Some(driver))
            })
            .copied()
            .collect();
        found.dedup();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_port_that_a_workload_speaks_on_is_the_one_that_the_guest_has() {
    for (of, devices, console) in [
        ("x86_64 pc", "<serial type='pty'/>", Some("char1")),
        (
            "s390x s390-ccw-virtio-7.2",
            "<console type='pty'><target type='sclp'/></console>",
            Some("char1"),
        ),
        ("ppc64 pseries-7.2", "<serial type='pty'/>", Some("char1")),
        ("aarch64 virt-7.2", "<serial type='pty'/>", Some("char1")),
        (
            "x86_64 pc",
            "<serial type='pty'><target type='pci-serial'/></serial>",
            None,
        ),
    ] {
        let guest = with_devices(of, devices);
        assert_eq!(guest.board.console.as_deref(), console, "{of}");
    }
}

#[test]
fn a_configuration_file_is_read_alone_or_after_the_command_that_names_it() {
    let config = "# Board\n[machine]\ntype = \"q35\"\n\n[device \"port\"]\ndriver = \"pcie-root-port\"\n\
                  [chardev \"mon\"]\nbackend = \"socket\"\npath = \"/run/x\"\n[mon]\nchardev = \"mon\"\n";
    let rest = "-device virtio-rng-pci,bus=port";
    let process = format!(
        "kvm\0-readconfig\0/etc/q.cfg\0{}\0",
        rest.replace(' ', "\0")
    );
    for (text, format) in [
        (config.to_owned(), GuestFormat::Configuration),
        (
            format!("kvm -readconfig /etc/q.cfg {rest}\n{config}"),
            GuestFormat::CommandLine,
        ),
        (process + config, GuestFormat::ProcessCommandLine),
    ] {
        let guest = of(&text);
        assert_eq!(guest.report.format, format);
        assert_eq!(guest.machine.as_deref(), Some("q35"), "{text}");
        has_all(&guest, &["-device pcie-root-port,id=port"]);
        assert!(!words(&guest).join(" ").contains("id=mon"));
        assert_eq!(guest.lacks.len(), 0, "{:?}", guest.lacks);
        let on_port = guest
            .devices
            .devices
            .iter()
            .find(|device| device.id == "virtio-rng-pci");
        assert_eq!(on_port.is_some(), format != GuestFormat::Configuration);
    }
}

#[test]
fn a_device_is_known_on_the_architecture_of_its_guest() {
    for (line, device) in [
        ("qemu-system-ppc64le -M pseries", "spapr-vscsi"),
        ("kvm -M pseries-7.2", "spapr-vscsi"),
        (
            "qemu-kvm -device virtio-net-ccw -M s390-ccw-virtio",
            "virtio-net-ccw",
        ),
        ("-M s390-ccw-virtio+x0 -m 1G", "virtio-blk-ccw"),
    ] {
        let guest = of(&format!("{line} -device {device}"));
        assert!(has(&guest, &format!("-device {device}")), "{line}");
    }
}

#[test]
fn a_port_that_a_monitor_shares_is_there() {
    let line = "kvm -M pc -chardev stdio,mux=on,id=c -mon chardev=c -device virtio-serial -device virtconsole,chardev=c";
    has_all(
        &of(line),
        &[
            "-chardev backend=null,id=c",
            "-device virtconsole,chardev=c",
        ],
    );
    let alone = of("kvm -M pc -chardev stdio,id=c -mon chardev=c");
    assert!(!words(&alone).join(" ").contains("id=c"));
}

#[test]
fn the_firmware_sees_that_there_is_no_screen() {
    let guest = of("kvm -M pc -nographic");
    assert_eq!(guest.board.machine_options, ["graphics=off"]);
}

#[test]
fn a_line_of_a_list_of_processes_is_read_without_its_quotes() {
    let guest = of(
        "root 17 0.1 ? Sl 10:00 /usr/bin/qemu-system-x86_64 -machine pc -smbios type=1,manufacturer=A Foundation,product=A Nova,version=1 \
         -object {\"qom-type\":\"rng-builtin\",\"id\":\"r\"} -device {\"driver\":\"virtio-rng-pci\",\"rng\":\"r\",\"addr\":\"0x5\"} disk.img",
    );
    has_all(
        &guest,
        &[
            "-smbios type=1,manufacturer=A Foundation,product=A Nova,version=1",
            "-object qom-type=rng-builtin,id=r",
            "-device virtio-rng-pci,addr=0x5,rng=r",
        ],
    );
    let disks = guest.report.lines.iter();
    assert_eq!(
        disks.filter(|line| line.given.starts_with("-hda")).count(),
        1
    );
}

#[test]
fn a_folder_that_is_called_like_a_program_is_none() {
    let guest = of("-m 64 -L /usr/share/qemu -M q35");
    assert_eq!(guest.board.memory, 64 << 20);
    assert_eq!(guest.machine.as_deref(), Some("q35"));
}

#[test]
fn the_first_bus_is_called_as_the_machine_calls_it() {
    let root = |model: &str| format!("<controller type='pci' index='0' model='{model}'/>");
    for (of, controller, bus) in [
        ("x86_64 pc-q35-7.2", "", "pcie.0"),
        ("x86_64 pc-i440fx-7.2", "", "pci.0"),
        ("x86_64 pc", &root("pci-root"), "pci.0"),
        ("aarch64 virt-7.2", "", "pcie.0"),
        ("armv7l virt-7.2", "", "pcie.0"),
        ("riscv64 virt", &root("pcie-root"), "pcie.0"),
        ("loongarch64 virt", &root("pcie-root"), "pcie.0"),
        ("aarch64 versatilepb", "", "pci"),
        ("ppc64 pseries-7.2", &root("pci-root"), "pci.0"),
    ] {
        let card = "<interface type='user'><model type='e1000'/><address type='pci' bus='0' slot='1'/></interface>";
        let guest = with_devices(of, &format!("{controller}{card}"));
        let device = format!("-device e1000,netdev=hostnet1,bus={bus},addr=0x1");
        has_all(&guest, &[&device]);
    }
}

#[test]
fn what_a_domain_sets_of_a_device_is_set() {
    let place = "<address type='pci' bus='0' slot='4'/>";
    for (device, options) in [
        (
            "<disk><driver name='qemu' type='raw' cache='none' queues='2' packed='on' iommu='on' ats='on' page_per_vq='on' event_idx='off' iothread='1'/>\
             <source file='/x'/><target dev='vda'/><blockio discard_granularity='4096'/>PLACE</disk>",
            "virtio-blk-pci,drive=libvirt-disk1,num-queues=2,event_idx=off,write-cache=on,iothread=iothread1,\
             discard_granularity=4096,iommu_platform=on,ats=on,packed=on,page-per-vq=on,bus=pci.0,addr=0x4",
        ),
        (
            "<disk><source file='/x'/><target dev='sda' bus='sata' rotation_rate='1'/><wwn>5000c50015ea71aa</wwn>\
             <geometry cyls='16383' heads='16' secs='63' trans='lba'/><address type='drive' unit='0'/></disk>",
            "ide-hd,bus=sata0.0,drive=libvirt-disk1,wwn=0x5000c50015ea71aa,rotation_rate=1,\
             cyls=16383,heads=16,secs=63,bios-chs-trans=lba",
        ),
        (
            "<controller type='scsi' index='0' model='virtio-scsi'><driver queues='2' ioeventfd='on' packed='on'/>PLACE</controller>",
            "virtio-scsi-pci,id=scsi0,num_queues=2,ioeventfd=on,packed=on,bus=pci.0,addr=0x4",
        ),
        (
            "<controller type='virtio-serial' index='0' ports='16'><driver ats='on'/>PLACE</controller>",
            "virtio-serial-pci,id=virtio-serial0,max_ports=16,ats=on,bus=pci.0,addr=0x4",
        ),
        (
            "<controller type='pci' index='1' model='pcie-root-port'><target chassis='1' port='0x8' hotplug='off' memReserve='8'/>PLACE</controller>",
            "pcie-root-port,id=pci.1,port=8,chassis=1,hotplug=off,mem-reserve=8192,bus=pci.0,addr=0x4",
        ),
        (
            "<interface type='user'><model type='virtio'/><driver name='vhost' txmode='iothread' rss='on' rss_hash_report='on'><guest csum='off' tso4='off'/></driver>\
             <teaming type='persistent'/><rom enabled='no'/>PLACE</interface>",
            "virtio-net-pci,netdev=hostnet1,tx=bh,rss=on,hash=on,guest_csum=off,guest_tso4=off,failover=on,\
             bus=pci.0,addr=0x4,romfile=",
        ),
        (
            "<video><model type='bochs' vram='16384'><resolution x='1280' y='720'/></model>PLACE</video>",
            "bochs-display,vgamem=16777216,xres=1280,yres=720,bus=pci.0,addr=0x4",
        ),
        (
            "<controller type='pci' index='1' model='pci-bridge'><target chassisNr='7'/>PLACE</controller>",
            "pci-bridge,id=pci.1,chassis_nr=7,bus=pci.0,addr=0x4",
        ),
        (
            "<controller type='pci' index='1' model='pci-expander-bus'><target busNr='254'><node>0</node></target>PLACE</controller>",
            "pxb,id=pci.1,bus_nr=254,numa_node=0,bus=pci.0,addr=0x4",
        ),
        (
            "<crypto model='virtio' type='qemu'><backend model='builtin' queues='2'/>PLACE</crypto>",
            "virtio-crypto-pci,cryptodev=objcrypto1,bus=pci.0,addr=0x4",
        ),
        (
            "<sound model='virtio' streams='4'>PLACE</sound>",
            "virtio-sound-pci,streams=4,bus=pci.0,addr=0x4",
        ),
        (
            "<sound model='usb' multichannel='yes'/>",
            "usb-audio,multi=on",
        ),
    ] {
        let guest = with_devices("x86_64 pc", &device.replace("PLACE", place));
        let iothreads = domain("x86_64 pc", "<iothreads>1</iothreads>");
        assert!(has(&iothreads, "-object qom-type=iothread,id=iothread1"));
        let made = &guest.report.lines;
        let made: Vec<&str> = made.iter().map(|line| line.given.as_str()).collect();
        let option = format!("-device driver={options}");
        assert!(made.contains(&option.as_str()), "{option}: {made:#?}");
        assert_eq!(unread(&guest), [""; 0]);
    }
}

#[test]
fn queues_are_mapped_to_the_threads_that_the_domain_has_for_them() {
    let disk = "<disk><driver queues='3'><iothreads><iothread id='1'><queue id='0'/><queue id='2'/></iothread>\
        <iothread id='2'/></iothreads></driver><source file='/x'/><target dev='vda'/></disk>";
    let guest = with_devices("x86_64 pc-q35-10.0", disk);
    let devices = words(&guest);
    let json = devices.iter().find(|word| word.starts_with('{'));
    let device: serde_json::Value = serde_json::from_str(json.unwrap()).unwrap();
    assert_eq!(device["driver"], "virtio-blk-pci");
    assert_eq!(device["num-queues"], 3);
    let mapping = serde_json::json!([
        {"iothread": "iothread1", "vqs": [0, 2]},
        {"iothread": "iothread2"}
    ]);
    assert_eq!(device["iothread-vq-mapping"], mapping);
}

#[test]
fn what_a_domain_sets_of_the_machine_is_set() {
    for (of, elements, options) in [
        (
            "s390x s390-ccw-virtio-7.2",
            "<keywrap><cipher name='aes' state='off'/><cipher name='dea' state='on'/></keywrap>\
             <devices><disk><source file='/x'/><target dev='vda'/><boot order='1' loadparm='A'/></disk></devices>",
            "usb=off aes-key-wrap=off dea-key-wrap=on loadparm=A",
        ),
        (
            "ppc64 pseries-7.2",
            "<features><cfpc value='broken'/><sbbc value='workaround'/><ibs value='fixed-na'/><htm state='off'/>\
             <hpt resizing='disabled'><maxpagesize unit='KiB'>64</maxpagesize></hpt></features>",
            "usb=off resize-hpt=disabled cap-htm=off cap-cfpc=broken cap-sbbc=workaround cap-ibs=fixed-na cap-hpt-max-page-size=65536",
        ),
        (
            "ppc64 pseries-7.2",
            "<cpu mode='host-model'><model>power9</model></cpu>",
            "usb=off max-cpu-compat=power9",
        ),
        (
            "aarch64 virt-7.2",
            "<features><acpi/><gic version='3'/><ras state='on'/></features><devices><iommu model='smmuv3'/></devices>",
            "usb=off acpi=on gic-version=3 ras=on iommu=smmuv3",
        ),
        (
            "x86_64 pc-q35-7.2",
            "<features><acpi/><smm state='on'/><ps2 state='off'/></features>\
             <clock offset='utc'><timer name='hpet' present='no'/></clock>",
            "usb=off acpi=on smm=on i8042=off hpet=off",
        ),
    ] {
        let guest = domain(of, elements);
        assert_eq!(guest.board.machine_options.join(" "), options);
        assert_eq!(unread(&guest), [""; 0]);
    }
    let nvram = "<nvram><address type='spapr-vio' reg='0x3000'/></nvram>";
    let nvram = with_devices("ppc64 pseries-7.2", nvram);
    let reg = "-global driver=spapr-nvram,property=reg,value=0x3000";
    has_all(&nvram, &[reg]);
    let options = domain(
        "x86_64 pc-q35-7.2",
        "<sysinfo type='fwcfg'><entry name='opt/a'>text</entry><entry name='opt/b' file='/x'/></sysinfo>\
         <genid>3b46d0a1-1b1e-4c35-9a55-3a5ecdd0ad4d</genid>\
         <features><vmcoreinfo state='on'/><smm state='on'><tseg unit='MiB'>48</tseg></smm></features>\
         <devices><controller type='pci' index='0' model='pcie-root'><pcihole64>1048576</pcihole64></controller>\
         <watchdog model='itco' action='reset'/></devices>",
    );
    has_all(
        &options,
        &[
            "-device vmgenid,guid=3b46d0a1-1b1e-4c35-9a55-3a5ecdd0ad4d,id=vmgenid0",
            "-device vmcoreinfo",
            "-global driver=mch,property=extended-tseg-mbytes,value=48",
            "-global driver=q35-pcihost,property=pci-hole64-size,value=1073741824",
            "-global driver=ICH9-LPC,property=noreboot,value=off",
            "-fw_cfg name=opt/a,string=text",
        ],
    );
    let of_host = line(&options, "<entry");
    assert_eq!(of_host.reason, Some(Reason::HostFile));
}

#[test]
fn what_a_domain_sets_of_the_cpu_is_set() {
    let guest = domain(
        "x86_64 pc-q35-7.2",
        "<features><apic eoi='on'/><pvspinlock state='off'/><pmu state='off'/>\
         <kvm><hidden state='on'/><poll-control state='on'/><pv-ipi state='on'/></kvm>\
         <hyperv mode='custom'><stimer state='on'><direct state='on'/></stimer><tlbflush state='on'><extended state='on'/></tlbflush>\
         <xmm_input state='on'/><ipi state='off'/></hyperv></features>\
         <cpu mode='custom'><model vendor_id='KVMKVMKVM'>Nehalem</model><cache mode='emulate' level='3'/><maxphysaddr mode='emulate' bits='42'/>\
         <feature policy='optional' name='vmx'/></cpu>\
         <clock offset='utc'><timer name='kvmclock' present='no'/><timer name='hypervclock' present='yes'/>\
         <timer name='tsc' frequency='2000000000'/></clock><devices><panic model='hyperv'/></devices>",
    );
    let cpu = "Nehalem,vendor=KVMKVMKVM,kvmclock=off,hv-time=on,tsc-frequency=2000000000,kvm-pv-eoi=on,kvm=off,\
        kvm-poll-control=on,kvm-pv-unhalt=off,pmu=off,hv-stimer=on,hv-stimer-direct=on,hv-tlbflush=on,hv-tlbflush-ext=on,\
        hv-xmm-input=on,hv-crash,l3-cache=on,phys-bits=42";
    assert_eq!(guest.board.cpu.as_deref(), Some(cpu));
    assert_eq!(unread(&guest), [""; 0]);
}

/// A block of memory is found in a stream by its name.
#[test]
fn memory_is_called_as_libvirt_calls_it() {
    let size = "<size unit='MiB'>64</size>";
    let module = |model: &str, rest: &str| {
        format!("<memory model='{model}'><target>{size}</target>{rest}</memory>")
    };
    let guest = with_devices(
        "x86_64 pc-q35-7.2",
        &[
            module("dimm", "<alias name='dimm7'/>"),
            module("dimm", ""),
            module("nvdimm", "<address type='dimm' slot='3'/>"),
            module("virtio-mem", ""),
            module("virtio-pmem", ""),
            module("virtio-mem", ""),
            "<shmem name='s'><model type='ivshmem-plain'/></shmem>".to_owned(),
            "<shmem name='t'><model type='ivshmem-plain'/><alias name='ua-t'/></shmem>".to_owned(),
        ]
        .concat(),
    );
    let blocks = guest.board.args.iter().filter_map(|arg| {
        let (_, rest) = arg.split_once("memory-backend-ram,id=")?;
        rest.split(',').next()
    });
    let blocks: Vec<&str> = blocks.collect();
    assert_eq!(
        blocks.join(" "),
        "memdimm7 memdimm0 memnvdimm3 memvirtiomem0 memvirtiopmem0 memvirtiomem1 shmmem-shmem0 shmmem-ua-t"
    );
}

/// Machines up to 5.0 take the sizes of cells alone, and have one block of memory then.
#[test]
fn memory_is_one_block_or_one_for_each_cell() {
    let cell = |more: &str| {
        format!("<cpu><numa><cell id='0' cpus='0' memory='131072'{more}/></numa></cpu>")
    };
    for (machine, elements, is_divided) in [
        ("pc-q35-5.1", cell(""), false),
        ("pc-q35-5.0", cell(""), true),
        ("pc-i440fx-4.2", cell(""), true),
        ("pc-i440fx-10.0", cell(""), false),
        ("q35", cell(""), false),
        ("pc-q35-5.0", cell(" memAccess='shared'"), false),
        (
            "pc-q35-5.0",
            cell("") + "<memoryBacking><source type='memfd'/></memoryBacking>",
            false,
        ),
        (
            "pc-q35-5.0",
            cell("") + "<memoryBacking><nosharepages/></memoryBacking>",
            true,
        ),
        (
            "pc-q35-5.0",
            cell("") + "<numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>",
            false,
        ),
    ] {
        let guest = domain(&format!("x86_64 {machine}"), &elements);
        let memory = if is_divided {
            "mem=128"
        } else {
            "memdev=ram-node0"
        };
        let option = format!("-numa type=node,nodeid=0,cpus=0,{memory}");
        has_all(&guest, &[&option]);
    }
}

#[test]
fn what_nobody_reads_of_a_domain_is_named() {
    let guest = domain(
        "x86_64 pc-q35-7.2",
        "<novelty kind='a'><part/></novelty><metadata><note/></metadata><vcpus><vcpu id='0' enabled='no'/></vcpus>\
         <features><acpi/><novel state='on'/></features>\
         <devices><disk type='file' device='disk' snapshot='no'><driver name='qemu' type='raw' cache='none' novel='on'/>\
         <source file='/x'/><target dev='vda' bus='virtio'/><alias name='a'/><address type='pci' bus='0' slot='4'/></disk>\
         <rng model='virtio'><backend model='random'>/dev/urandom</backend><rate bytes='4'>a text</rate><address type='pci' novel='1'/></rng></devices>\
         <qemu:commandline><qemu:env name='SECRET' value='hunter2'/></qemu:commandline>",
    );
    let named = [
        "<novelty kind='a'>",
        "<vcpu id='0' enabled='no'>",
        "<novel state='on'>",
        "<driver novel='on'>",
        "<address novel='1'>",
        "<rate>",
    ];
    let mut found = unread(&guest);
    found.sort_unstable();
    let mut wanted = named;
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn properties_that_are_overridden_are_those_of_the_device() {
    let property = |name: &str, kind: &str, value: &str| {
        format!("<qemu:property name='{name}' type='{kind}' value='{value}'/>")
    };
    let properties = [
        property("x-txburst", "unsigned", "64"),
        property("mrg_rxbuf", "bool", "false"),
        property("mac", "remove", ""),
    ];
    let guest = domain(
        "x86_64 pc-q35-7.2",
        &format!(
            "<devices><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><alias name='ua-a'/></interface></devices>\
             <qemu:override><qemu:device alias='ua-a'><qemu:frontend>{}</qemu:frontend></qemu:device></qemu:override>",
            properties.concat()
        ),
    );
    let device = "-device virtio-net-pci,netdev=hostnet1,id=ua-a,x-txburst=64,mrg_rxbuf=off";
    has_all(&guest, &[device]);
    assert_eq!(unread(&guest), [""; 0]);
}

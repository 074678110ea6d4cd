//! Each option of QEMU, and what becomes of it. An option that is not here is left out.

use crate::devices::DeviceSet;
use crate::guest::composer::{Composer, FlashSizes};
use crate::guest::defined::Defined;
use crate::guest::given::{Description, Given};
use crate::guest::lacking::{Lacking, What};
use crate::guest::lines::{Treated, printable, shown};
use crate::guest::{GuestSpec, block, board, cpu, device, memory, object, tpm};
use crate::model::Accelerator;
use crate::qemu::{is_id, machine};
use crate::report::{GuestFile, GuestLine, GuestReason, Treatment};

/// The name of the device set in reports.
const SET: &str = "guest";

pub(super) fn compose(description: Description, flash: FlashSizes) -> GuestSpec {
    let arch = description.program.as_deref().and_then(arch);
    let mut composer = Composer::new(arch, Defined::of(&description.options), flash);
    // So QEMU takes its own name (configure_accelerators(), system/vl.c).
    let is_kvm = (description.program.as_deref()).is_some_and(|name| name.ends_with("kvm"));
    composer.board.accelerator = is_kvm.then_some(Accelerator::Kvm);
    composer.has_config = description.has_config;
    let mut lines: Vec<GuestLine> = Vec::new();
    let around = description
        .around
        .iter()
        .map(|word| (word.line, around(&word.text), GuestReason::NoOption));
    let elements = description.left_out.iter();
    let elements = elements.map(|(word, reason)| (word.line, printable(&word.text), *reason));
    let mut lacks = Vec::new();
    for (line, given, reason) in around.chain(elements) {
        lacks.extend(What::left_out_for(reason).map(|what| Lacking {
            line,
            given: given.clone(),
            treatment: Treatment::LeftOut,
            what,
        }));
        lines.push(Treated::left_out(reason).line(line, given));
    }
    for given in &description.options {
        let treated = composer.treat(given);
        lacks.extend(Lacking::of(given, &treated));
        if treated.device.is_none() {
            let words = treated.args.iter().flat_map(|arg| arg.words());
            composer.board.args.extend(words);
        }
        lines.push(treated.line(given.line, shown(given)));
    }
    composer.add_defaults(&description.options);
    let interfaces = &composer.board.interfaces;
    lacks.extend(Lacking::cards(&description.options, interfaces));
    lines.sort_by_key(|line| line.line);
    GuestSpec {
        arch: composer.arch,
        machine: composer.machine,
        board: composer.board,
        devices: DeviceSet::of_guest(SET, composer.devices),
        lacks,
        report: GuestFile {
            format: description.format,
            lines,
            answers: Vec::new(),
            other_findings: 0,
        },
    }
}

/// Returns what a word around the command may show of itself: the environment has secrets.
fn around(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if is_id(&name.replace('_', "x")) => format!("{}=…", printable(name)),
        _ => printable(text),
    }
}

/// Returns the architecture of a program.
fn arch(program: &str) -> Option<String> {
    let name = program.strip_prefix("qemu-system-")?;
    let target = machine::target_called(name).unwrap_or(name);
    machine::packages(target).map(|_| target.to_owned())
}

impl Composer {
    /// Decides what becomes of an option.
    pub(super) fn treat(&mut self, given: &Given) -> Treated {
        self.keep(given).unwrap_or_else(Treated::left_out)
    }

    /// Takes what the guest has of an option.
    ///
    /// # Errors
    /// The reason why it has nothing of it, unless there is more to say than that.
    fn keep(&mut self, given: &Given) -> Result<Treated, GuestReason> {
        let value = given.value.as_deref().unwrap_or_default();
        match given.name.as_str() {
            "machine" | "M" => board::machine(self, value),
            "cpu" => cpu::cpu(self, value),
            "m" => memory::size(self, value),
            "smp" => board::smp(value),
            "numa" => board::numa(self, value),
            "object" => object::object(value),
            "device" | "watchdog" => device::device(self, value),
            "global" => board::global(value),
            "rtc" => board::rtc(value),
            "boot" => board::boot(value),
            "smbios" => board::smbios(value),
            "uuid" => board::uuid(value),
            "fw_cfg" => board::fw_cfg(value),
            "nodefaults" => {
                self.board.has_defaults = false;
                Ok(Treated::kept([]))
            }
            "vga" => board::vga(value),
            "usb" => board::machine_option(self, "usb=on"),
            // The firmware sees it.
            "nographic" => board::machine_option(self, "graphics=off"),
            "no-acpi" => board::machine_option(self, "acpi=off"),
            "no-hpet" => board::machine_option(self, "hpet=off"),
            "no-fd-bootchk" => board::machine_option(self, "fd-bootchk=off"),
            "usbdevice" => board::usbdevice(value),
            "blockdev" => block::blockdev(self, value),
            "drive" => block::drive(self, value),
            "hda" | "hdb" | "hdc" | "hdd" | "cdrom" | "fda" | "fdb" | "sd" | "mtdblock"
            | "pflash" => block::shorthand(self, &given.name),
            "bios" => block::bios(value),
            "netdev" => board::netdev(self, value),
            "net" => board::net(self, value),
            "nic" => board::nic(self, value),
            "chardev" => board::chardev(self, value),
            "serial" => board::serial(self, value),
            "parallel" => board::port("-parallel", value),
            "debugcon" => board::port("-debugcon", value),
            "audiodev" => board::audiodev(value),
            "fsdev" => board::fsdev(value),

            "accel" => board::accel(self, value),
            "enable-kvm" => {
                self.board.accelerator = Some(Accelerator::Kvm);
                Err(GuestReason::Accelerator)
            }
            "icount"
            | "no-kvm"
            | "no-kvm-irqchip"
            | "no-kvm-pit"
            | "no-kvm-pit-reinjection"
            | "one-insn-per-tb"
            | "singlestep"
            | "tb-size"
            | "xen-attach"
            | "xen-domid"
            | "xen-domid-restrict"
            | "win2k-hack" => Err(GuestReason::Accelerator),
            "mem-path" | "mem-prealloc" | "overcommit" | "realtime" => {
                Err(GuestReason::HostMemorySetting)
            }
            "kernel" | "initrd" | "append" | "dtb" | "shim" => Err(GuestReason::GuestKernel),
            "S" | "action" | "compat" | "incoming" | "loadvm" | "no-quit" | "no-reboot"
            | "no-shutdown" | "no-user-config" | "nodefconfig" | "nouserconfig"
            | "only-migratable" | "preconfig" | "seed" | "snapshot" | "watchdog-action" => {
                Err(GuestReason::HowItRuns)
            }
            "D" | "L" | "add-fd" | "async-teardown" | "chroot" | "d" | "daemonize" | "dfilter"
            | "enable-fips" | "fips" | "h" | "help" | "id" | "jitdump" | "msg" | "name"
            | "perfmap" | "pidfile" | "plugin" | "run-with" | "runas" | "sandbox" | "trace"
            | "user" | "version" => Err(GuestReason::HostProcess),
            "gdb" | "mon" | "monitor" | "qmp" | "qmp-pretty" | "qtest" | "qtest-log" | "s" => {
                Err(GuestReason::Monitor)
            }
            "alt-grab" | "ctrl-grab" | "curses" | "display" | "echr" | "full-screen" | "g"
            | "k" | "no-frame" | "portrait" | "rotate" | "sdl" | "spice" | "vnc" => {
                Err(GuestReason::HostDisplay)
            }
            "audio" | "audio-help" => Err(GuestReason::HostAudio),
            "soundhw" => Ok(Treated::left_out(GuestReason::NotPluggedIn)
                .because("QEMU 7.1 has no such option: the device can be given with -device")),
            "iscsi" => Err(GuestReason::HostDisk),
            "tpmdev" => tpm::tpmdev(value),
            "virtfs" => Err(GuestReason::HostFolder),
            "virtioconsole" => {
                let why = "the devices can be given with -device";
                Ok(Treated::left_out(GuestReason::NotPluggedIn).because(why))
            }
            "readconfig" if self.has_config => Ok(Treated::kept([])),
            "readconfig" => {
                let why = "its text is read where it follows the command in the description";
                Ok(Treated::left_out(GuestReason::HostFile).because(why))
            }
            "acpitable" | "option-rom" | "writeconfig" | "dumpdtb" => Err(GuestReason::HostFile),
            "set" | "prom-env" | "semihosting" | "semihosting-config" | "old-param" => {
                Err(GuestReason::UnknownSetting)
            }
            _ => Err(GuestReason::UnknownOption),
        }
    }

    /// Gives a machine with QEMU's default devices null backends for them.
    fn add_defaults(&mut self, options: &[Given]) {
        if !self.board.has_defaults {
            return;
        }
        let given = |names: &[&str]| options.iter().any(|o| names.contains(&o.name.as_str()));
        let mut add = |words: &[&str]| {
            self.board
                .args
                .extend(words.iter().map(|&word| word.to_owned()));
        };
        add(&["-monitor", "none"]);
        if !given(&["parallel"]) {
            add(&["-parallel", "null"]);
        }
        if !given(&["serial"]) {
            add(&["-serial", &format!("chardev:{}", board::SERIAL)]);
            self.board.console = Some(board::SERIAL.to_owned());
        }
        if !given(&["net", "netdev", "nic"]) {
            let hub = self.hub();
            let words =
                ["-netdev", &hub.0, "-net", &format!("nic,netdev={}", hub.1)].map(str::to_owned);
            self.board.args.extend(words);
        }
    }
}

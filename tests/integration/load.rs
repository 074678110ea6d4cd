//! A saved guest and one build: whether it loads, and what would be lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use serde_json::Value;

use migcompat::internals::confinement::in_own_network;
use migcompat::internals::qemu::Build;

use crate::common::{
    build, build_for, changed, migcompat, report, root, stderr, stdout, with_builds, words,
};
use crate::needs::mounted;
use crate::processes::{Fault, faulty};

const LINE: &str = "qemu-system-x86_64 -nodefaults -m 64M";
const AM53C974: &str = "-device am53c974,id=scsi";
const SB16: &str = "-audiodev none,id=sound -device sb16,audiodev=sound";

/// The state of a machine of a suite's build, which never ran.
fn saved(folder: &Path, suite: &str, machine: &str, options: &str) -> String {
    let file = folder.join(format!("{suite}.state"));
    saved_by(&build(&format!("debian:{suite}")), &file, machine, options)
}

/// The line that has a build save a machine to a file.
fn saving(build: &Build, file: &Path, machine: &str, options: &str) -> String {
    format!(
        "printf 'migrate \"exec:cat > {}\"\\nquit\\n' | {} -M {machine} -nodefaults -m 64M {options} -S -display none \
         -monitor stdio",
        file.display(),
        build.shell_prefix()
    )
}

fn saved_by(build: &Build, file: &Path, machine: &str, options: &str) -> String {
    let line = saving(build, file, machine, options);
    let run = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(file.exists(), "{}", stderr(&run));
    file.display().to_string()
}

/// A file with the command line of a guest.
fn described(folder: &Path, options: &str) -> String {
    let file = folder.join("guest");
    fs::write(&file, format!("{LINE} {options}\n")).unwrap();
    file.display().to_string()
}

fn load(args: &[&str]) -> Output {
    with_builds(&[&["load", "--format", "json"], args].concat())
        .output()
        .unwrap()
}

fn only_case(output: &Output) -> Value {
    let report = report(output);
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 1, "{cases:#?}");
    cases[0].clone()
}

/// Boot code of PCI cards is a block of memory: a guest that was saved with it is loaded with it, on a processor that does not
/// run it, too.
#[apply(test)]
#[needs(Builds)]
fn a_state_is_loaded_with_the_boot_code_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let build = "debian:trixie-backports";
    let card = "-device virtio-net-pci,id=net";
    let guest = folder.path().join("guest");
    fs::write(
        &guest,
        format!("qemu-system-aarch64 -M virt-10.0 -cpu cortex-a57 -nodefaults -m 64M {card}\n"),
    )
    .unwrap();
    let guest = guest.display().to_string();
    for (without, has_it) in [("", true), (",romfile=", false)] {
        let options = format!("-cpu cortex-a57 {card}{without}");
        let state = saved_by(&build_for(build, "aarch64"), &file, "virt-10.0", &options);
        let has_block = fs::read(&state).unwrap();
        let has_block = memchr::memmem::find(&has_block, b"virtio-net-pci.rom").is_some();
        assert_eq!(has_block, has_it);
        let output = load(&[&state, build, "--guest", &guest]);
        assert_eq!(only_case(&output)["outcome"], "pass", "{}", stdout(&output));
        fs::remove_file(&file).unwrap();
    }
}

/// An image as libvirt saves it, of a domain.
fn image(domain: &str, stream: &[u8]) -> Vec<u8> {
    let mut image = b"LibvirtQemudSave".to_vec();
    image.extend(2_u32.to_le_bytes());
    image.extend((domain.len() as u32 + 1).to_le_bytes());
    image.resize(92, 0);
    image.extend(domain.bytes());
    image.push(0);
    image.extend(stream);
    image
}

#[apply(test)]
#[needs(Builds)]
fn a_state_without_further_devices_needs_no_description() {
    let folder = tempfile::tempdir().unwrap();
    let state = saved(folder.path(), "trixie", "pc-q35-10.0", "");
    let packed = folder.path().join("packed");
    let stream = fs::read(&state).unwrap();
    fs::write(&packed, zstd::encode_all(&stream[..], 1).unwrap()).unwrap();
    for file in [&*state, &packed.display().to_string()] {
        let output = load(&[file, "debian:trixie-backports"]);
        let case = only_case(&output);
        assert_eq!(output.status.code(), Some(0), "{case:#}");
        assert_eq!(case["outcome"], "pass", "{case:#}");
        assert!(
            case["state_checked"]["sections"].as_u64() > Some(20),
            "{case:#}"
        );
        assert_eq!(case["state_unchecked"], Value::Null, "{case:#}");
        assert_eq!(report(&output)["old"]["kind"], "state");
    }
}

/// How memory is in a state is told by it, and the build is set up for that. One that knows no such way is not judged.
#[apply(test)]
#[needs(Builds)]
fn memory_is_loaded_in_the_way_in_which_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state").display().to_string();
    let (piped, at, behind) = (
        format!("exec:cat > {file}"),
        format!("file:{file}"),
        format!("file:{file},offset=8192"),
    );
    let (old, new, newest) = (
        "debian:bookworm",
        "debian:trixie",
        "debian:trixie-backports",
    );
    // The capability, the build that saves with it, the place, the first byte, who loads it, and who cannot.
    for (capability, by, place, offset, takes, cannot) in [
        ("mapped-ram", new, &at, "0", &[new, newest][..], &[old][..]),
        ("mapped-ram", new, &behind, "8192", &[new], &[]),
        ("compress", old, &piped, "0", &[old], &[new]),
        ("x-ignore-shared", new, &piped, "0", &[old, newest], &[]),
    ] {
        let line = format!(
            "printf 'migrate_set_capability {capability} on\\nmigrate \"{place}\"\\nquit\\n' | {} -M pc-q35-7.2 \
             -nodefaults -m 64M -S -display none -monitor stdio",
            build(by).shell_prefix()
        );
        let run = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(Path::new(&file).exists(), "{}", stderr(&run));
        for build in takes {
            let (case, status, why) = loaded(&[&file, build, "--offset", offset]);
            assert_eq!(case["outcome"], "pass", "{capability}: {why}\n{case:#}");
            assert_eq!(status, Some(0), "{case:#}");
            let sections = case["state_checked"]["sections"].as_u64();
            assert!(sections > Some(20), "{case:#}");
        }
        for build in cannot {
            let (case, status, why) = loaded(&[&file, build, "--offset", offset]);
            assert_eq!(case["outcome"], "skip", "{case:#}");
            assert_eq!(status, Some(125), "{case:#}");
            assert!(why.contains(capability), "{why}");
        }
        fs::remove_file(&file).unwrap();
    }
}

/// Memory that a file of the host backs is in no state that was saved without what is shared: that a build misses the ring of a
/// queue in it says nothing of the build.
#[apply(test)]
#[needs(Builds)]
fn a_state_without_its_memory_is_not_judged_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let (state, memory) = (folder.path().join("state"), folder.path().join("memory"));
    let options = format!(
        "-M pc-q35-7.2,memory-backend=m -object memory-backend-file,id=m,size=64M,share=on,mem-path={} \
         -blockdev null-co,node-name=disk -device virtio-blk-pci,drive=disk",
        memory.display()
    );
    let guest = described(folder.path(), &options);
    let saved = state.display().to_string();
    // The firmware has used the disk at some time.
    for tenths in (0..).step_by(5) {
        let line = format!(
            "(sleep {}; printf 'migrate_set_capability x-ignore-shared on\\nmigrate \"exec:cat > {saved}\"\\nquit\\n') | {} \
             {options} -nodefaults -m 64M -display none -monitor stdio",
            f64::from(tenths) / 10.0,
            build("debian:trixie").shell_prefix(),
        );
        let run = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(state.exists(), "{}", stderr(&run));
        let (case, status, why) = loaded(&[&saved, "debian:trixie", "--guest", &guest]);
        if case["outcome"] == "pass" {
            assert!(tenths < 200, "the firmware does not use its disk");
            continue;
        }
        assert_eq!(case["outcome"], "skip", "{why}\n{case:#}");
        assert_eq!(status, Some(125));
        assert!(why.contains("x-ignore-shared"), "{why}");
        break;
    }
}

/// The machine of a state in an image is that of the domain in front of it, to the size of its memory.
#[apply(test)]
#[needs(Builds)]
fn an_image_of_libvirt_brings_its_guest_along() {
    let folder = tempfile::tempdir().unwrap();
    let domain = |memory: u32| {
        format!(
            "<domain type='qemu'><name>guest</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu><os>\
             <type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os><features><acpi/></features><devices>\
             <emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"
        )
    };
    let state = saved(folder.path(), "trixie", "pc-q35-10.0", "");
    let stream = fs::read(&state).unwrap();
    for (memory, outcome, field) in [(64, "pass", None), (96, "fail", Some("pc.ram"))] {
        let file = folder.path().join("guest.save");
        fs::write(&file, image(&domain(memory), &stream)).unwrap();
        let output = load(&[&file.display().to_string(), "debian:trixie-backports"]);
        let case = only_case(&output);
        assert_eq!(case["outcome"], outcome, "{case:#}");
        assert_eq!(case["cause"]["field"].as_str(), field, "{case:#}");
        assert_eq!(report(&output)["guest"]["answers"][0]["outcome"], outcome);
    }
}

/// Each domain describes the machine that libvirt starts for it: what that one saved is loaded, with all of its devices at their
/// places and all blocks of memory under their names.
#[apply(test)]
#[needs(Builds)]
fn a_domain_is_the_machine_that_libvirt_starts_for_it() {
    const BUILD: &str = "debian:bookworm";
    for (arch, machine, options, elements) in [
        (
            "x86_64",
            "pc-q35-7.2",
            "-cpu Nehalem -m 64M,slots=2,maxmem=1G -object memory-backend-ram,id=ram-node0,size=64M -numa node,memdev=ram-node0 \
             -object memory-backend-ram,id=memdimm0,size=128M -device pc-dimm,id=dimm0,memdev=memdimm0 \
             -object memory-backend-ram,id=shmmem-shmem0,size=4M,share=on -device ivshmem-plain,master=on,id=shmem0,memdev=shmmem-shmem0,bus=pcie.0,addr=0x3 \
             -device vmgenid,guid=3b46d0a1-1b1e-4c35-9a55-3a5ecdd0ad4d -device vmcoreinfo \
             -device pcie-root-port,id=pci.1,chassis=1,port=8,hotplug=off,bus=pcie.0,addr=0x1",
            "<genid>3b46d0a1-1b1e-4c35-9a55-3a5ecdd0ad4d</genid><memory unit='MiB'>192</memory>\
             <maxMemory slots='2' unit='GiB'>1</maxMemory><features><acpi/><vmcoreinfo state='on'/></features>\
             <cpu><model>Nehalem</model><numa><cell id='0' cpus='0' memory='65536'/></numa></cpu><devices>\
             <controller type='pci' index='1' model='pcie-root-port'><target chassis='1' port='0x8' hotplug='off'/>\
             <address type='pci' bus='0' slot='1'/></controller>\
             <memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>\
             <shmem name='s' role='master'><model type='ivshmem-plain'/><size unit='M'>4</size><address type='pci' bus='0' slot='3'/></shmem></devices>",
        ),
        (
            "x86_64",
            "pc-q35-5.0",
            "-cpu Nehalem -numa node,nodeid=0,cpus=0,mem=64",
            "<memory unit='MiB'>64</memory><features><acpi/></features>\
             <cpu><model>Nehalem</model><numa><cell id='0' cpus='0' memory='65536'/></numa></cpu>",
        ),
        (
            "s390x",
            "s390-ccw-virtio-7.2",
            "-device virtio-gpu-ccw,devno=fe.0.0002 -device virtio-balloon-ccw,devno=fe.0.0003 -chardev null,id=c \
             -device sclpconsole,chardev=c",
            "<memory unit='MiB'>64</memory><devices>\
             <console type='pty'><target type='sclp' port='0'/></console>\
             <video><model type='virtio'/><address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0002'/></video>\
             <memballoon model='virtio'><address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0003'/></memballoon></devices>",
        ),
        (
            "ppc64",
            "pseries-7.2,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken",
            "-m 256M -chardev null,id=c -device spapr-vty,chardev=c,reg=0x30001000",
            "<memory unit='MiB'>256</memory>\
             <features><cfpc value='broken'/><sbbc value='broken'/><ibs value='broken'/></features><devices>\
             <serial type='pty'><target type='spapr-vio-serial' port='0'><model name='spapr-vty'/></target>\
             <address type='spapr-vio' reg='0x30001000'/></serial></devices>",
        ),
        (
            "aarch64",
            "virt-7.2,iommu=smmuv3,gic-version=3",
            "-cpu cortex-a57 -device virtio-balloon-pci,bus=pcie.0,addr=0x5",
            "<memory unit='MiB'>64</memory><features><acpi/><gic version='3'/></features>\
             <cpu><model>cortex-a57</model></cpu><devices><iommu model='smmuv3'/>\
             <memballoon model='virtio'><address type='pci' bus='0' slot='5'/></memballoon></devices>",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let guest = folder.path().join("guest.xml");
        let state = saved_by(&build_for(BUILD, arch), &state, machine, options);
        let kind = machine.split(',').next().unwrap();
        let domain = format!(
            "<domain type='qemu'><vcpu>1</vcpu><os><type arch='{arch}' machine='{kind}'>hvm</type></os>{elements}</domain>"
        );
        fs::write(&guest, domain).unwrap();
        let output = load(&[&state, BUILD, "--guest", &guest.display().to_string()]);
        let case = only_case(&output);
        assert_eq!(case["outcome"], "pass", "{arch}: {case:#}");
        assert_eq!(case["state_unchecked"], Value::Null, "{arch}: {case:#}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_refusal_names_the_field_and_the_line_of_the_guest() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-7.2";
    let state = saved(folder.path(), "bookworm", machine, AM53C974);
    let guest = described(folder.path(), &format!("-M {machine} {AM53C974}"));
    let output = load(&[&state, "debian:trixie", "--guest", &guest]);
    let case = only_case(&output);
    assert_eq!(output.status.code(), Some(1), "{case:#}");
    assert_eq!(case["outcome"], "fail");
    assert_eq!(case["cause"]["field"], "esp/drq_state");
    assert_eq!(case["cause"]["rule"], "field-added");
    assert_eq!(case["control"]["new_to_new"], "pass");
    assert_eq!(case["repeated"]["failed"], 3);
    let answer = &report(&output)["guest"]["answers"][0];
    assert_eq!(answer["blamed"][0]["device"], "scsi", "{answer:#}");
    // The line that does it by hand does it.
    let by_hand = case["reproduce"].as_str().unwrap();
    let run = Command::new("sh").args(["-c", by_hand]).output().unwrap();
    assert!(stderr(&run).contains("pciespscsi"), "{}", stderr(&run));
    // The build that wrote it loads it.
    let output = load(&[&state, "debian:bookworm", "--guest", &guest]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[apply(test)]
#[needs(Builds)]
fn what_loads_is_compared_with_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-5.2";
    let state = saved(folder.path(), "trixie", machine, SB16);
    let guest = described(folder.path(), &format!("-M {machine} {SB16}"));
    let output = load(&[&state, "debian:bullseye", "--guest", &guest]);
    let case = only_case(&output);
    assert_eq!(output.status.code(), Some(1), "{case:#}");
    assert_eq!(case["outcome"], "lost");
    assert_eq!(case["state_diff"][0]["section"], "sb16");
    assert_eq!(case["state_diff"][0]["field"], "irq");
}

#[apply(test)]
#[needs(Builds)]
fn without_a_description_the_sections_decide_or_nothing_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let state = saved(folder.path(), "bookworm", "pc-q35-5.2", AM53C974);
    for (build, status, outcome, words) in [
        // Version 2 is too new for any machine of it.
        (
            "debian:bullseye",
            1,
            "fail",
            "has version 2 of the section pciespscsi",
        ),
        // It may load it, where it has such a device.
        (
            "debian:trixie",
            125,
            "skip",
            "describe the guest with --guest",
        ),
    ] {
        let output = load(&[&state, build]);
        let case = only_case(&output);
        assert_eq!(output.status.code(), Some(status), "{case:#}");
        assert_eq!(case["outcome"], outcome, "{case:#}");
        let said = case["cause"]["message"].as_str().unwrap();
        assert!(said.contains(words), "{said}");
    }
    // No dump has the state of a processor, and each build loads it.
    let state = saved(folder.path(), "bookworm", "pc-q35-5.2", "-smp 2");
    let output = load(&[&state, "debian:trixie"]);
    let case = only_case(&output);
    assert_eq!(output.status.code(), Some(125), "{case:#}");
    let said = case["cause"]["message"].as_str().unwrap();
    assert!(said.contains("cpu_common"), "{said}");
    assert!(said.contains("describe the guest with --guest"), "{said}");
}

/// Machine types of several architectures have one name, and the state tells which it is not of.
#[apply(test)]
#[needs(Builds)]
fn a_state_of_another_architecture_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    // Which saved it, of which machine; which is to load it, and what it says.
    let table = [
        "riscv64 | virt -bios none | aarch64 | there is virt of riscv64",
        "loongarch64 | virt | aarch64 | there is virt of riscv64",
        "m68k | virt | aarch64 | there is virt of riscv64",
        "arm | virt | aarch64 | ",
        "i386 | pc | x86_64 | there is pc-i440fx of i386, too",
        "x86_64 | q35 | i386 | there is pc-q35 of x86_64, too",
    ];
    for row in table {
        let [saved, machine, here, said] = *row.split(" | ").collect::<Vec<_>>() else {
            panic!("{row}");
        };
        let build = build_for("debian:trixie", saved);
        let state = saved_by(&build, &folder.path().join(saved), machine, "");
        let output = load(&[&state, "debian:trixie", "--arch", here]);
        let case = only_case(&output);
        if said.is_empty() {
            assert_eq!(case["outcome"], "pass", "{row}: {case:#}");
        } else {
            assert_eq!(output.status.code(), Some(125), "{row}: {case:#}");
            let message = case["cause"]["message"].as_str().unwrap();
            let name =
                format!("cpu of the state is none of {here}: name the architecture with --arch");
            assert!(message.starts_with(&name), "{row}: {message}");
            assert!(message.contains(said), "{row}: {message}");
        }
        let output = load(&[&state, "debian:trixie", "--arch", saved]);
        assert_eq!(only_case(&output)["outcome"], "pass", "{row}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_device_that_the_state_lacks_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-10.0";
    let state = saved(folder.path(), "trixie", machine, "");
    let guest = described(
        folder.path(),
        &format!("-M {machine} -device virtio-rng-pci"),
    );
    let output = load(&[&state, "debian:trixie", "--guest", &guest]);
    let notices = report(&output)["notices"].clone();
    assert_eq!(notices[0]["kind"], "not-in-state", "{notices:#}");
    assert_eq!(notices[0]["subject"], "0000:00:01.0/virtio-rng");
}

#[apply(test)]
#[needs(Builds)]
fn a_build_that_dies_or_hangs_did_not_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-10.0";
    let state = saved(folder.path(), "trixie", machine, "");
    let prefix = build("debian:trixie").shell_prefix();
    for (signal, outcome) in [("SIGSEGV", "crash"), ("SIGSTOP", "hang")] {
        // Once, so that the build does well with itself, and as soon as it says that something arrives.
        let once = folder.path().join(signal);
        let fault = Fault::Signal(signal, 0);
        let struck = faulty(&prefix, "<\"active\"", fault, Some(&once));
        let first = format!("case \"$*\" in *-incoming*) {struck} ;; esac");
        let wrapper = changed(folder.path(), "debian:trixie", &first);
        let args = words!("load {state} {wrapper} -M {machine} --timeout 3 --retries 0");
        let output = with_builds(&[&args[..], &["--format", "json"]].concat())
            .env("TMPDIR", folder.path())
            .output()
            .unwrap();
        let case = only_case(&output);
        assert_eq!(case["outcome"], outcome, "{case:#}");
        assert_eq!(case["control"]["new_to_new"], "pass", "{case:#}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[apply(test)]
#[needs(Builds)]
fn what_is_no_state_is_refused_before_a_build_starts() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    let plain = fs::read(root().join("fixtures/containers/plain.stream.zst")).unwrap();
    let plain = zstd::decode_all(&plain[..]).unwrap();
    for (file, words) in [
        ("/dev/null".to_owned(), "no regular file"),
        (written("text", b"-M q35\n"), "not a migration stream"),
        (written("cut", &plain[..plain.len() / 2]), "the stream ends"),
        (written("empty", b""), "is empty"),
        (folder.path().display().to_string(), "is a folder"),
        (
            folder.path().join("none").display().to_string(),
            "No such file",
        ),
    ] {
        let output = migcompat(&["load", &file, "/no/such/build"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "wanted {words:?} in {said}");
        assert!(said.contains(&file), "{said}");
    }
    // The arguments are in the other order.
    let file = written("saved", &plain);
    let output = migcompat(&["load", "debian:bookworm", &file]);
    assert_eq!(output.status.code(), Some(2));
    let wanted = format!("migcompat load {file} debian:bookworm");
    assert!(stderr(&output).contains(&wanted), "{}", stderr(&output));
    // The machine is none of that build's.
    let state = written("sound", &plain);
    let output = load(&[&state, "debian:bookworm"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("no machine type pc-q35-10.0"));
}

/// Loads a state of this guest and says what became of it, the status and the cause's words.
fn loaded(args: &[&str]) -> (Value, Option<i32>, String) {
    let output = load(args);
    let case = only_case(&output);
    let said = case["cause"]["message"].as_str().unwrap_or_default();
    (case.clone(), output.status.code(), said.to_owned())
}

/// What a build refuses for want of a part that no guest of ours has says nothing of the build.
#[apply(test)]
#[needs(Builds)]
fn a_state_with_more_than_is_kept_of_the_guest_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-7.2";
    let written = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    let devices = written("devices.cfg", b"[device \"s\"]\n  driver = \"am53c974\"\n");
    let screen = written("screen.cfg", b"[device \"s\"]\n  driver = \"VGA\"\n");
    let rom = written("card.rom", &[0; 128 << 10]);
    let user = "-netdev user,id=n -device e1000,netdev=n".to_owned();
    for (options, section, part, added) in [
        (user, "slirp", "-netdev user", Some("-netdev user,id=other")),
        (
            format!("-readconfig {devices}"),
            "0000:00:01.0/pciespscsi",
            "-readconfig",
            None,
        ),
        (format!("-readconfig {screen}"), "ram", "-readconfig", None),
        (
            format!("-device e1000,romfile={rom}"),
            "ram",
            "-device e1000",
            None,
        ),
    ] {
        let state = saved(folder.path(), "bookworm", machine, &options);
        let guest = described(folder.path(), &format!("-M {machine} {options}"));
        let args = [
            &*state,
            "debian:bookworm",
            "--guest",
            &guest,
            "--retries",
            "0",
        ];
        let (case, status, said) = loaded(&args);
        assert_eq!(case["outcome"], "skip", "{options}: {case:#}");
        assert_eq!(status, Some(125), "{options}");
        assert_eq!(case["cause"]["section"], section, "{case:#}");
        assert!(said.contains(part), "wanted {part:?} in {said}");
        if let Some(added) = added {
            let arg = format!("--arg={added}");
            let (case, status, _) = loaded(&[&args[..], &[&arg]].concat());
            assert_eq!(status, Some(0), "{case:#}");
        }
        fs::remove_file(&state).unwrap();
    }
    // A break is one, whatever is left out beside it.
    let state = saved(folder.path(), "bookworm", machine, AM53C974);
    let guest = described(
        folder.path(),
        &format!("-M {machine} -readconfig {screen} {AM53C974}"),
    );
    let (case, status, _) = loaded(&[&state, "debian:trixie", "--guest", &guest]);
    assert_eq!((case["outcome"].as_str(), status), (Some("fail"), Some(1)));
}

/// Returns a state in which a section has another name, also where the state describes itself.
fn renamed(state: &[u8], from: &str, to: &str) -> Vec<u8> {
    let head = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
    let at = memchr::memmem::find(state, b"{\"page_size\"").unwrap();
    let (stream, description) = state.split_at(at);
    let stream = &stream[..at - 4];
    let section = memchr::memmem::find(stream, &head(from)).unwrap();
    let rest = &stream[section + 1 + from.len()..];
    let text = String::from_utf8(description.to_vec()).unwrap();
    let text = text.replace(&format!("\"{from}\""), &format!("\"{to}\""));
    let length = (text.len() as u32).to_be_bytes();
    let parts: [&[u8]; 5] = [
        &stream[..section],
        &head(to),
        rest,
        &length,
        text.as_bytes(),
    ];
    parts.concat()
}

/// Whose a section is that the machine here lacks decides whether its refusal says something of the build.
#[apply(test)]
#[needs(Builds)]
fn a_section_that_the_guest_here_cannot_have_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-7.2";
    let saved = saved(folder.path(), "bookworm", machine, "-device vmcoreinfo");
    let saved = fs::read(saved).unwrap();
    for (section, options, outcome, words) in [
        (
            "kvmclock",
            Some("-enable-kvm"),
            "skip",
            "load it with --accel kvm",
        ),
        ("kvmclock", None, "skip", "load it with --accel kvm"),
        (
            "usb-host",
            Some("-device usb-host,hostbus=1,hostport=1"),
            "skip",
            "is left out: -device usb-host",
        ),
        (
            "usb-host",
            Some("-device vfio-pci,host=01:00.0"),
            "fail",
            "usb-host",
        ),
        (
            "no-such-section",
            Some("-device vfio-pci,host=01:00.0"),
            "fail",
            "no-such-section",
        ),
    ] {
        let state = folder.path().join("state");
        fs::write(&state, renamed(&saved, "vmcoreinfo", section)).unwrap();
        let state = state.display().to_string();
        let guest =
            options.map(|options| described(folder.path(), &format!("-M {machine} {options}")));
        let guest = guest.iter().flat_map(|guest| ["--guest", guest]);
        let args = [
            &*state,
            "debian:bookworm",
            "--accel",
            "tcg",
            "--retries",
            "0",
        ];
        let args: Vec<&str> = args.into_iter().chain(guest).collect();
        let (case, status, said) = loaded(&args);
        assert_eq!(case["outcome"], outcome, "{section} {options:?}: {case:#}");
        assert_eq!(status, Some(if outcome == "skip" { 125 } else { 1 }));
        assert!(said.contains(words), "wanted {words:?} in {said}");
    }
}

/// The registers of a processor depend on what runs it.
#[apply(test)]
#[needs(Builds)]
fn a_processor_counts_only_under_its_own_accelerator() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let machine = "virt-7.2";
    let cpu = "-cpu cortex-a57";
    let state = saved_by(
        &build_for("debian:bookworm", "aarch64"),
        &file,
        machine,
        cpu,
    );
    for (accel, outcome) in [("tcg", "fail"), ("kvm", "skip")] {
        let guest = folder.path().join("guest");
        let line =
            format!("qemu-system-aarch64 -M {machine} -accel {accel} {cpu} -nodefaults -m 64M");
        fs::write(&guest, line).unwrap();
        let guest = guest.display().to_string();
        let args = [
            &*state,
            "debian:trixie",
            "--guest",
            &guest,
            "--retries",
            "0",
        ];
        let (case, _, said) = loaded(&args);
        assert_eq!(case["outcome"], outcome, "{accel}: {case:#}");
        assert_eq!(case["cause"]["section"], "cpu", "{said}");
    }
}

#[apply(test)]
#[needs(Builds, Kvm)]
fn a_state_of_kvm_is_loaded_under_kvm() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-7.2";
    let state = saved(folder.path(), "bookworm", machine, "-accel kvm");
    let guest = described(folder.path(), &format!("-M {machine},accel=kvm"));
    let output = load(&[&state, "debian:bookworm", "--guest", &guest]);
    let case = only_case(&output);
    let used = report(&output)["accelerators"][0].clone();
    // Whether this host's KVM can is its own affair.
    match used["accelerator"].as_str() {
        Some("kvm") => assert_eq!(case["outcome"], "pass", "{case:#}"),
        _ => {
            assert_eq!(case["outcome"], "skip", "{case:#}");
            assert_eq!(used["passed_over"][0]["accelerator"], "kvm", "{used:#}");
        }
    }
}

/// What KVM does of a processor is not what emulation does, and a state of one is changed by the other.
#[apply(test)]
#[needs(Builds, Kvm)]
fn what_another_accelerator_changes_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-7.2";
    let state = saved(folder.path(), "bookworm", machine, "-accel tcg");
    let guest = described(folder.path(), &format!("-M {machine} -accel tcg"));
    let args = words!("{state} debian:bookworm --guest {guest} --accel kvm,tcg");
    let case = only_case(&load(&args));
    // Whether this host's KVM can, and what it changes, is its own affair.
    let outcome = case["outcome"].as_str().unwrap();
    assert!(matches!(outcome, "pass" | "skip"), "{case:#}");
}

/// Saves a guest with a card on an interface of the host. Returns the state and the guest's description.
fn saved_on_an_interface(folder: &Path, queues: &str, card: &str) -> (String, String) {
    let machine = "pc-q35-7.2";
    let netdev = "tap,id=n,ifname=own0,script=no,downscript=no,vnet_hdr=on";
    let options =
        format!("-netdev {netdev}{queues} -device virtio-net-pci,netdev=n,romfile={card}");
    let file = folder.join("state");
    let line = saving(&build("debian:bookworm"), &file, machine, &options);
    let mut command = Command::new("sh");
    in_own_network(&mut command);
    let run = command.args(["-c", &line]).output().unwrap();
    assert!(file.exists(), "{}", stderr(&run));
    let guest = described(folder, &format!("-M {machine} {options}"));
    (file.display().to_string(), guest)
}

/// A card that was on an interface of the host has features and queues that no hub offers.
#[apply(test)]
#[needs(Builds, NetworkNamespace)]
fn a_card_on_an_interface_of_the_host_is_loaded_on_one() {
    for (queues, card) in [("", ""), (",queues=2", ",mq=on,vectors=6")] {
        let folder = tempfile::tempdir().unwrap();
        let (state, guest) = saved_on_an_interface(folder.path(), queues, card);
        let (case, status, _) = loaded(&[&state, "debian:trixie", "--guest", &guest]);
        assert_eq!(case["outcome"], "pass", "{case:#}");
        assert_eq!(status, Some(0));
    }
}

#[apply(test)]
#[needs(Builds, NetworkNamespace, Mount)]
fn where_there_is_no_interface_a_card_that_was_on_one_is_not_judged() {
    let (folder, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (state, guest) = saved_on_an_interface(folder.path(), "", "");
    let args = words!("load {state} debian:bookworm --guest {guest} --retries 0 --format json");
    let load = with_builds(&args);
    let hidden = "mount --bind /dev/null /dev/net/tun && exec \"$@\"";
    let output = mounted(mount.path(), "size=1m", hidden)
        .arg(load.get_program())
        .args(load.get_args())
        .output()
        .unwrap();
    let case = only_case(&output);
    assert_eq!(case["outcome"], "skip", "{case:#}");
    assert_eq!(output.status.code(), Some(125));
    let said = case["cause"]["message"].as_str().unwrap();
    assert!(said.contains("is replaced: -netdev tap"), "{said}");
    let notice = report(&output)["notices"][0].clone();
    assert_eq!(notice["kind"], "offload-not-negotiated", "{notice:#}");
}

/// No firmware is opened: the state says how large it was.
#[apply(test)]
#[needs(Builds)]
fn a_flash_device_is_loaded_with_the_size_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let machine = "pc-q35-10.0";
    let flash = |unit: u32, kib: u32| {
        let file = folder.path().join(format!("{kib}.fd"));
        fs::write(&file, vec![0; (kib << 10) as usize]).unwrap();
        format!(
            "-drive if=pflash,format=raw,unit={unit},file={}",
            file.display()
        )
    };
    let options = format!("{} {}", flash(0, 1024), flash(1, 256));
    let state = saved(folder.path(), "trixie", machine, &options);
    let guest = described(folder.path(), &format!("-M {machine} {options}"));
    let (case, status, _) = loaded(&[&state, "debian:trixie", "--guest", &guest]);
    assert_eq!(case["outcome"], "pass", "{case:#}");
    assert_eq!(status, Some(0));
}

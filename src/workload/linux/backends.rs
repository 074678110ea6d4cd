//! Backends of a guest's devices on the host. Device sets use nothing of the host; a guest that works needs a
//! disk that keeps what is written, and a network that offers what networks of hosts do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::beside;
use crate::qemu::{option_value, settings};

/// The guest writes to no more of a disk than this, in bytes.
const WRITTEN: u64 = 1 << 20;

/// The bytes that a character device keeps of what was written last: a power of two.
const LISTENER: u32 = 4096;

/// The name of the file that sets up a new network interface of the host.
pub(crate) const UP: &str = "up";

/// The address that the host's end of every card has, with the length of its network.
const HOST_ADDRESS: &str = "10.0.2.2/24";
/// One for IPv6, where the host has that, good from the start.
const HOST_LINK_ADDRESS: &str = "fe80::2/64";
/// The address that its card has on both sides of a migration, so that a guest need not find it anew.
const HOST_MAC: &str = "02:00:0a:00:02:02";

/// The network that a guest's cards are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// A hub inside of QEMU. It offers none of the features by which a host takes work off a card, and nobody
    /// answers.
    Hub,
    /// An interface of the host, in a network namespace of the process's own.
    Tap,
    /// The same, with an address, so that the host answers.
    AnsweringTap,
    /// An interface of the host where a user's guest had one, and a hub elsewhere.
    AsDescribed,
}

/// Interfaces of the host that a user's guest had, by the ids of their backends, with the pairs of queues of each.
pub(crate) type Interfaces = BTreeMap<String, u16>;

impl Network {
    /// Returns the arguments of one card's end on the host, and writes the files that they name.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn sample(self, folder: &Path) -> io::Result<Vec<String>> {
        let args = ["-netdev", "hubport,id=sample,hubid=0"].map(str::to_owned);
        prepare(&args, self, folder)?;
        let own = Interfaces::from([("sample".to_owned(), 1)]);
        Ok(of_host(&args, self, &own, folder))
    }

    /// Returns arguments with this network in the place of the hubs that device sets and users' guests have.
    pub(crate) fn connect(
        self,
        args: &[String],
        interfaces: &Interfaces,
        folder: &Path,
    ) -> Vec<String> {
        replace(args, |option, arg, taps| match option {
            "-netdev" => tap(arg, self, interfaces, taps, folder),
            _ => None,
        })
    }

    /// Tells whether a value of `-netdev` is a port of a hub, which another network may stand for.
    pub(crate) fn is_hub(arg: &str) -> bool {
        settings(arg, "type", "hubport").is_some()
    }

    /// Tells whether somebody answers a guest.
    pub(crate) fn answers(self) -> bool {
        self == Network::AnsweringTap
    }
}

/// Returns arguments with backends of the host in the place of those that device sets and users' guests have.
pub(crate) fn of_host(
    args: &[String],
    network: Network,
    interfaces: &Interfaces,
    folder: &Path,
) -> Vec<String> {
    let mut at = 0;
    replace(args, |option, arg, taps| {
        at += 1;
        match option {
            "-blockdev" | "-drive" => Some(NullDisk::read(option, arg, at)?.in_file(folder)),
            "-netdev" => tap(arg, network, interfaces, taps, folder),
            "-chardev" => listener(arg),
            _ => None,
        }
    })
}

/// Replaces values of options: `with` gets the option, its value, and how many networks were replaced before.
fn replace(
    args: &[String],
    mut with: impl FnMut(&str, &str, usize) -> Option<String>,
) -> Vec<String> {
    let mut taps = 0;
    let mut option = "";
    let mut replaced = Vec::with_capacity(args.len());
    for arg in args {
        let with = with(option, arg, taps);
        taps += usize::from(with.is_some() && option == "-netdev");
        replaced.push(with.unwrap_or_else(|| arg.clone()));
        option = arg;
    }
    replaced
}

/// A disk that forgets what is written.
struct NullDisk {
    /// The name of its file without the ending.
    name: String,
    size: u64,
    /// The first settings of a disk in a file that has its place.
    first: String,
    /// The settings that it has, too.
    kept: String,
}

impl NullDisk {
    /// Reads the value of an option, which is the argument of this number.
    fn read(option: &str, arg: &str, number: usize) -> Option<NullDisk> {
        let words: Vec<(&str, &str)> = match option {
            "-blockdev" => settings(arg, "driver", "null-co")?.collect(),
            _ if arg.split(',').any(|word| word == "driver=null-co") => arg
                .split(',')
                .filter_map(|word| word.split_once('='))
                .collect(),
            _ => return None,
        };
        let mut disk = NullDisk {
            name: String::new(),
            size: 1 << 30,
            first: "driver=file".to_owned(),
            kept: String::new(),
        };
        for (key, value) in words {
            match key {
                "size" => disk.size = value.parse().ok()?,
                "driver" | "read-zeroes" => {}
                "node-name" => {
                    value.clone_into(&mut disk.name);
                    disk.first = format!("file,node-name={value}");
                }
                _ => disk.kept += &format!(",{key}={value}"),
            }
        }
        // A drive need not have a name.
        if option == "-drive" {
            disk.name = format!("drive{number}");
        }
        // It becomes that of a file.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        (!disk.name.is_empty() && disk.name.chars().all(plain)).then_some(disk)
    }

    fn file_name(&self) -> String {
        format!("{}.disk", self.name)
    }

    /// Returns the value with a file in its place.
    fn in_file(&self, folder: &Path) -> String {
        let path = folder.join(self.file_name());
        let path = option_value(&path.to_string_lossy());
        // Both sides of a migration have it open; they write one after the other. What is written need not outlive them, and
        // whoever waited for a busy disk of the host as it ends would be taken for a side that hangs.
        format!(
            "{},filename={path},locking=off,cache.no-flush=on{}",
            self.first, self.kept
        )
    }
}

fn tap(
    arg: &str,
    network: Network,
    interfaces: &Interfaces,
    index: usize,
    folder: &Path,
) -> Option<String> {
    let (_, id) = settings(arg, "type", "hubport")?.find(|(key, _)| *key == "id")?;
    let queues = interfaces.get(id);
    let script = match network {
        Network::Hub => return None,
        Network::AsDescribed if queues.is_none() => return None,
        Network::Tap | Network::AsDescribed => "no".to_owned(),
        Network::AnsweringTap => {
            let path = folder.join(UP);
            option_value(&path.to_string_lossy())
        }
    };
    let queues = match queues {
        Some(several @ 2..) => format!(",queues={several}"),
        _ => String::new(),
    };
    Some(format!(
        "tap,id={id},ifname=migcompat{index},script={script},downscript=no,vnet_hdr=on{queues}"
    ))
}

/// Returns a character device that takes what is written, where there is one that nobody opens: a guest's write to the
/// port of a virtio console waits until the host has opened it, which QEMU's null device never does.
fn listener(arg: &str) -> Option<String> {
    let (_, id) = settings(arg, "backend", "null")?.find(|(key, _)| *key == "id")?;
    Some(format!("ringbuf,id={id},size={LISTENER}"))
}

/// Writes the files that the arguments name. Disks are empty.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn prepare(args: &[String], network: Network, folder: &Path) -> io::Result<()> {
    for disk in disks(args) {
        File::create(folder.join(disk.file_name()))?.set_len(disk.size)?;
    }
    if network.answers() {
        use std::os::unix::fs::OpenOptionsExt;
        let text = format!(
            "#!/bin/sh\n\
             ip link set dev \"$1\" address {HOST_MAC} up && ip address add {HOST_ADDRESS} dev \"$1\" || exit\n\
             ip address add {HOST_LINK_ADDRESS} dev \"$1\" nodad 2>/dev/null || :\n"
        );
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o755);
        options.open(folder.join(UP))?.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Copies what a guest has written to its disks.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn copy_disks(args: &[String], from: &Path, to: &Path) -> io::Result<()> {
    let served = beside::disks(args);
    for name in disks(args).map(|disk| disk.file_name()).chain(served) {
        let mut written = Vec::new();
        File::open(from.join(&name))?
            .take(WRITTEN)
            .read_to_end(&mut written)?;
        let mut file = File::options().write(true).open(to.join(&name))?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&written)?;
    }
    Ok(())
}

fn disks(args: &[String]) -> impl Iterator<Item = NullDisk> {
    // Arguments are counted from 1, as in `of_host`.
    args.windows(2)
        .zip(2..)
        .filter_map(|(pair, number)| match pair {
            [option, value] if matches!(&**option, "-blockdev" | "-drive") => {
                NullDisk::read(option, value, number)
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Vec<String> {
        [
            "-netdev",
            "hubport,id=net0-hub,hubid=0",
            "-device",
            "virtio-net-pci,netdev=net0-hub",
            "-blockdev",
            "null-co,node-name=blk0-node,size=65536,read-zeroes=on",
            "-blockdev",
            "null-co,node-name=cd,size=2097152,read-zeroes=on,read-only=on",
            "-netdev",
            "hubport,id=net1-hub,hubid=0",
            "-blockdev",
            "file,node-name=mine,filename=/x",
        ]
        .map(str::to_owned)
        .into()
    }

    #[test]
    fn disks_become_files_and_ports_of_a_hub_interfaces() {
        let of = |network| of_host(&args(), network, &Interfaces::new(), Path::new("/a,b"));
        let hub = of(Network::Hub);
        assert_eq!(hub[1], "hubport,id=net0-hub,hubid=0");
        assert_eq!(
            hub[5],
            "file,node-name=blk0-node,filename=/a,,b/blk0-node.disk,locking=off,cache.no-flush=on"
        );
        assert!(hub[7].ends_with("cd.disk,locking=off,cache.no-flush=on,read-only=on"));
        assert_eq!(hub[11], "file,node-name=mine,filename=/x");
        let tap = of(Network::AnsweringTap);
        assert_eq!(
            tap[1],
            "tap,id=net0-hub,ifname=migcompat0,script=/a,,b/up,downscript=no,vnet_hdr=on"
        );
        assert_eq!(
            of(Network::Tap)[9],
            "tap,id=net1-hub,ifname=migcompat1,script=no,downscript=no,vnet_hdr=on"
        );
        assert_eq!(tap[3], args()[3]);
    }

    #[test]
    fn backends_of_a_users_guest_are_replaced_in_the_same_way() {
        let args = [
            "-blockdev",
            "driver=null-co,node-name=root,size=65536,read-zeroes=on",
            "-netdev",
            "type=hubport,id=hostnet0,hubid=1",
            "-chardev",
            "backend=null,id=charchannel0",
            "-drive",
            "if=virtio,media=disk,driver=null-co,size=131072,read-zeroes=on",
            "-drive",
            "if=ide,media=cdrom",
        ]
        .map(str::to_owned);
        let folder = tempfile::tempdir().unwrap();
        let none = Interfaces::new();
        let of = of_host(&args, Network::Tap, &none, folder.path());
        let file = |name: &str| {
            format!(
                "filename={}/{name},locking=off,cache.no-flush=on",
                folder.path().display()
            )
        };
        assert_eq!(of[1], format!("file,node-name=root,{}", file("root.disk")));
        assert!(of[3].starts_with("tap,id=hostnet0,ifname=migcompat0,"));
        assert_eq!(of[5], "ringbuf,id=charchannel0,size=4096");
        let drive = format!("driver=file,{},if=virtio,media=disk", file("drive8.disk"));
        assert_eq!(of[7], drive);
        assert_eq!(of[9], args[9]);
        prepare(&args, Network::Tap, folder.path()).unwrap();
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert_eq!((size("root.disk"), size("drive8.disk")), (65536, 131_072));
    }

    #[test]
    fn a_guest_has_interfaces_where_it_had_them_with_their_queues() {
        let interfaces = [("net0-hub", 1), ("net1-hub", 4)].map(|(id, n)| (id.to_owned(), n));
        let folder = Path::new("/f");
        for (given, first, second) in [
            (&interfaces[..0], "hubport,", "hubport,"),
            (&interfaces[..1], "vnet_hdr=on", "hubport,"),
            (&interfaces[1..], "hubport,", "vnet_hdr=on,queues=4"),
        ] {
            let given = given.iter().cloned().collect();
            let of = Network::AsDescribed.connect(&args(), &given, folder);
            for (at, part) in [(1, first), (9, second)] {
                assert!(of[at].contains(part), "{given:?}: {}", of[at]);
            }
        }
    }

    /// What sets up an interface ends well on a host without IPv6, and not where there is no address at all.
    #[test]
    fn an_interface_needs_no_ipv6() {
        use std::process::Command;
        let folder = tempfile::tempdir().unwrap();
        prepare(&args(), Network::AnsweringTap, folder.path()).unwrap();
        for (fails, ends_well) in [("nothing", true), ("fe80", true), ("10.0", false)] {
            let ip = format!("ip() {{ case $* in *{fails}*) return 2 ;; esac; }}");
            let script = fs::read_to_string(folder.path().join(UP)).unwrap();
            let script = format!("{ip}\n{script}");
            let run = Command::new("sh")
                .args(["-c", &script, "up", "migcompat0"])
                .status();
            assert_eq!(run.unwrap().success(), ends_well, "{fails}");
        }
    }

    #[test]
    fn somebody_listens_to_what_is_written_to_a_port() {
        assert_eq!(
            listener("null,id=vport0-chr").as_deref(),
            Some("ringbuf,id=vport0-chr,size=4096")
        );
        for arg in ["file,id=a,path=/x", "null", "ringbuf,id=null"] {
            assert!(listener(arg).is_none(), "{arg}");
        }
    }

    #[test]
    fn a_node_that_is_no_file_name_is_left_alone() {
        for arg in [
            "null-co,node-name=../x,size=1",
            "null-co,size=1",
            "null-co,node-name=a,size=big",
            "file,node-name=a",
        ] {
            assert!(NullDisk::read("-blockdev", arg, 1).is_none(), "{arg}");
        }
    }

    #[test]
    fn what_was_written_is_copied_and_the_size_stays() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&from, &to] {
            prepare(&args(), Network::Hub, folder.path()).unwrap();
        }
        fs::write(from.path().join("blk0-node.disk"), [7; 65536]).unwrap();
        copy_disks(&args(), from.path(), to.path()).unwrap();
        let copied = fs::read(to.path().join("blk0-node.disk")).unwrap();
        assert_eq!(copied, [7; 65536]);
        let other = fs::metadata(to.path().join("cd.disk")).unwrap();
        assert_eq!(other.len(), 2_097_152);
    }
}

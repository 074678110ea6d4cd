//! Confinement of a build's processes: they write into the folders of their run alone, reach no network and start no
//! program.
//!
//! Reading and executing stay free, for a program may be anywhere, and so may all that it loads. The rules come into
//! force in the child between fork and exec, which takes no further process.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::model::{Barrier, Confine};
use crate::qemu::namespace::EmptyNetwork;
use crate::qemu::process::before_exec;

/// Devices of the host that a build may write to: they lead nowhere, or are what a guest runs in.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/kvm",
    "/dev/net/tun",
    "/dev/vhost-net",
];
/// The folder of shared memory that has a name, which a guest's memory may be.
const SHARED_MEMORY: &str = "/dev/shm";

/// The confinement that the builds of a run get.
#[derive(Debug, Clone, Default)]
pub struct ConfinePolicy {
    /// The user's wish.
    pub wish: Confine,
    /// Something of the user's own that may need more than a confined process has.
    pub granted: Option<Granted>,
    /// The means of the host that the stream goes by.
    pub channel: Channel,
}

/// The means of the host that a stream goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channel {
    /// None but files of the run.
    #[default]
    Files,
    /// A TCP connection.
    Tcp,
    /// Programs that QEMU starts.
    Programs,
}

/// Something of the user's own that may need more than a confined process has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Granted {
    #[error("the device set {0} is of a trusted folder (--trust)")]
    TrustedSet(String),
    #[error("the option {0} of one side may lead out of the guest")]
    SideOption(String),
}

/// The reason why a build's processes have not all barriers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    #[error("it was not to be (--confine off)")]
    Unwanted,
    #[error("{0}")]
    Granted(Granted),
    #[error("a script of your own started it")]
    Script,
    #[error("it starts only unconfined; confined: {0}")]
    DoesNotStart(String),
    #[error("Landlock cannot be used here: {0}")]
    NoLandlock(String),
    #[error("the stream takes a TCP connection")]
    Loopback,
    #[error("no network namespace can be made here, and Landlock here knows no network: {0}")]
    NoNetworkBarrier(String),
    #[error("the stream goes through programs that QEMU starts")]
    Programs,
    #[error("it starts only without a sandbox of its own (-sandbox); with it: {0}")]
    NoSandbox(String),
}

/// The barriers around the processes of one build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Barriers {
    /// Files are written in the folders of the run alone. All else that Landlock does comes with it.
    files: bool,
    network: Network,
    sandbox: Sandbox,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Network {
    #[default]
    Open,
    NoTcp,
    Empty,
}

/// QEMU's own filter of system calls. Those that set priorities and processors stay free: libraries of graphics make
/// them, and who does what is forbidden is killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sandbox {
    #[default]
    None,
    /// It may start programs, and is nobody else.
    WithPrograms,
    /// It is nobody else, and starts no program.
    WithoutPrograms,
}

/// The means that the host has, found out once.
struct Host {
    /// Files can be protected, or the reason why not.
    files: Result<(), String>,
    /// Where a build may write, whatever its run.
    places: Vec<(PathFd, BitFlags<AccessFs>)>,
    /// TCP can be forbidden.
    tcp: bool,
    /// A namespace with no network, or the reason why there is none; made when first needed.
    network: LazyLock<Result<EmptyNetwork, String>>,
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let write = AccessFs::WriteFile.into();
    let into_file = AccessFs::WriteFile | AccessFs::Truncate;
    let places = DEVICES.iter().map(|device| (*device, into_file));
    let places = places.chain([(SHARED_MEMORY, writing())]);
    Host {
        files: rules(CompatLevel::HardRequirement, write, false)
            .map(drop)
            .map_err(|error| error.to_string()),
        // What is not there need not be allowed.
        places: places
            .filter_map(|(path, access)| Some((PathFd::new(path).ok()?, access)))
            .collect(),
        tcp: rules(CompatLevel::HardRequirement, write, true).is_ok(),
        network: LazyLock::new(|| EmptyNetwork::make().map_err(|error| error.to_string())),
    }
});

/// Every way of writing that there was in Linux 6.2. A device that may be opened may be controlled, too.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_write(ABI::V3)
}

/// Makes rules that forbid writing, and TCP if that is wanted.
fn rules(
    level: CompatLevel,
    writing: BitFlags<AccessFs>,
    forbids_tcp: bool,
) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default().set_compatibility(level);
    rules = rules.handle_access(writing)?;
    if forbids_tcp {
        rules = rules.handle_access(AccessNet::from_all(ABI::V4))?;
    }
    // Where a kernel does not know of them, files are safe even so.
    rules = rules.set_compatibility(CompatLevel::BestEffort);
    rules.scope(Scope::from_all(ABI::V6))?.create()
}

impl Barriers {
    /// Returns the barriers of a build, and why there are not all. `is_script` tells that the program is a script.
    ///
    /// # Errors
    /// All are required, and the host has not all.
    pub(crate) fn of(
        policy: &ConfinePolicy,
        is_script: bool,
    ) -> Result<(Barriers, Option<Lacking>), Lacking> {
        Barriers::on(&HOST, policy, is_script)
    }

    fn on(
        host: &Host,
        policy: &ConfinePolicy,
        is_script: bool,
    ) -> Result<(Barriers, Option<Lacking>), Lacking> {
        let granted = policy.granted.clone().map(Lacking::Granted);
        let script = is_script.then_some(Lacking::Script);
        let unwanted = match policy.wish {
            Confine::Off => Some(Lacking::Unwanted),
            Confine::Auto => granted.or(script),
            Confine::Require => None,
        };
        if unwanted.is_some() {
            return Ok((Barriers::default(), unwanted));
        }
        let no_files = host.files.clone().err().map(Lacking::NoLandlock);
        let (network, no_network) = Network::best(host, policy.channel);
        let (sandbox, programs) = match policy.channel {
            Channel::Programs => (Sandbox::WithPrograms, Some(Lacking::Programs)),
            Channel::Files | Channel::Tcp => (Sandbox::WithoutPrograms, None),
        };
        let barriers = Barriers {
            files: no_files.is_none(),
            network,
            sandbox,
        };
        match (policy.wish, no_files.or(no_network).or(programs)) {
            // A run that goes over the network, or through programs, cannot be without it.
            (Confine::Require, Some(lacking))
                if !matches!(lacking, Lacking::Loopback | Lacking::Programs) =>
            {
                Err(lacking)
            }
            (_, lacking) => Ok((barriers, lacking)),
        }
    }

    /// Returns the same without a sandbox of QEMU's own, if there is one among them.
    pub(crate) fn without_sandbox(self) -> Option<Barriers> {
        let sandbox = Sandbox::None;
        (self.sandbox != sandbox).then_some(Barriers { sandbox, ..self })
    }

    /// Returns the barriers as a report names them.
    pub(crate) fn names(self) -> Vec<Barrier> {
        let files = self.files.then_some(Barrier::Landlock);
        let network = match self.network {
            Network::Open => None,
            Network::NoTcp => Some(Barrier::LandlockTcp),
            Network::Empty => Some(Barrier::NetworkNamespace),
        };
        let sandbox = (self.sandbox != Sandbox::None).then_some(Barrier::Sandbox);
        files.into_iter().chain(network).chain(sandbox).collect()
    }

    /// Returns QEMU's options for them. What has a network of its own sets it up by a program.
    pub(crate) fn options(self, has_own_network: bool) -> &'static [&'static str] {
        match (self.sandbox, has_own_network) {
            (Sandbox::None, _) => &[],
            (Sandbox::WithPrograms, _) | (_, true) => &["-sandbox", "on,elevateprivileges=deny"],
            (Sandbox::WithoutPrograms, false) => {
                &["-sandbox", "on,elevateprivileges=deny,spawn=deny"]
            }
        }
    }

    /// Has a command run behind those that are not QEMU's, which may write into these folders. Its network is let alone
    /// where it gets one of its own.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub(crate) fn around(
        self,
        command: &mut Command,
        folders: &[PathBuf],
        has_own_network: bool,
    ) -> io::Result<()> {
        if let (Network::Empty, Ok(network), false) =
            (self.network, &*HOST.network, has_own_network)
        {
            network.enter(command)?;
        }
        if !self.files {
            return Ok(());
        }
        let forbids_tcp = self.network == Network::NoTcp && !has_own_network;
        let rules = allowing(folders, forbids_tcp).map_err(io::Error::other)?;
        before_exec(command, move || {
            // An error of the library may hold text, which cannot be made here.
            let restricted = rules.try_clone()?.restrict_self();
            restricted.map(drop).map_err(|_| io::Error::last_os_error())
        });
        Ok(())
    }
}

/// Has a command run behind these barriers alone, and write into a folder. Those of QEMU's own are no process's.
pub(crate) fn confine(command: &mut Command, by: &[Barrier], folder: &Path) -> io::Result<()> {
    let has = |barrier| by.contains(&barrier);
    let network = match has(Barrier::NetworkNamespace) {
        true => Network::Empty,
        false if has(Barrier::LandlockTcp) => Network::NoTcp,
        false => Network::Open,
    };
    let barriers = Barriers {
        files: has(Barrier::Landlock),
        network,
        ..Barriers::default()
    };
    barriers.around(command, &[folder.to_owned()], false)
}

/// Makes rules that forbid writing but in these folders and wherever every build may write.
fn allowing(folders: &[PathBuf], forbids_tcp: bool) -> Result<RulesetCreated, RulesetError> {
    let mut allowed = rules(CompatLevel::BestEffort, writing(), forbids_tcp)?;
    for (place, access) in &HOST.places {
        allowed = allowed.add_rule(PathBeneath::new(place, *access))?;
    }
    for folder in folders {
        // One that is not there takes nothing that is written.
        if let Ok(folder) = PathFd::new(folder) {
            allowed = allowed.add_rule(PathBeneath::new(folder, writing()))?;
        }
    }
    Ok(allowed)
}

impl Network {
    /// Returns the best barrier that the host has, and why there is none if there is none.
    fn best(host: &Host, channel: Channel) -> (Network, Option<Lacking>) {
        if channel == Channel::Tcp {
            return (Network::Open, Some(Lacking::Loopback));
        }
        match &*host.network {
            Ok(_) => (Network::Empty, None),
            Err(_) if host.tcp => (Network::NoTcp, None),
            Err(why) => (Network::Open, Some(Lacking::NoNetworkBarrier(why.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_users_own_is_let_alone_unless_all_is_required() {
        let granted = Granted::TrustedSet("a.toml".to_owned());
        let with = |wish, granted: Option<&Granted>| ConfinePolicy {
            wish,
            granted: granted.cloned(),
            channel: Channel::Files,
        };
        let lacking =
            |policy: &ConfinePolicy, is_script| Barriers::of(policy, is_script).map(|of| of.1);
        let off = with(Confine::Off, None);
        assert_eq!(lacking(&off, false), Ok(Some(Lacking::Unwanted)));
        let own = with(Confine::Auto, None);
        assert_eq!(lacking(&own, true), Ok(Some(Lacking::Script)));
        let trusted = with(Confine::Auto, Some(&granted));
        let why = Lacking::Granted(granted.clone());
        assert_eq!(lacking(&trusted, false), Ok(Some(why)));
        let of_host = lacking(&own, false);
        if of_host == Ok(None) {
            for granted in [None, Some(&granted)] {
                let required = with(Confine::Require, granted);
                assert_eq!(lacking(&required, true), Ok(None));
                for (channel, why) in [
                    (Channel::Tcp, Lacking::Loopback),
                    (Channel::Programs, Lacking::Programs),
                ] {
                    let needing = ConfinePolicy {
                        channel,
                        ..required.clone()
                    };
                    assert_eq!(lacking(&needing, true), Ok(Some(why)));
                }
            }
        }
    }

    /// A host without network namespaces.
    fn host(files: Result<(), String>, tcp: bool) -> Host {
        Host {
            files,
            places: Vec::new(),
            tcp,
            network: LazyLock::new(|| Err("no".to_owned())),
        }
    }

    #[test]
    fn a_host_without_means_confines_as_far_as_it_can_and_refuses_more() {
        let with = |wish| ConfinePolicy {
            wish,
            ..ConfinePolicy::default()
        };
        let none = host(Err("old".to_owned()), false);
        let lacking = Lacking::NoLandlock("old".to_owned());
        let (auto, why) = Barriers::on(&none, &with(Confine::Auto), false).unwrap();
        assert_eq!(auto.names(), [Barrier::Sandbox]);
        assert_eq!(why.as_ref(), Some(&lacking));
        let required = Barriers::on(&none, &with(Confine::Require), false);
        assert_eq!(required, Err(lacking));
        // Before TCP could be forbidden, where no namespace is to be had.
        let older = host(Ok(()), false);
        let (barriers, lacking) = Barriers::on(&older, &with(Confine::Auto), false).unwrap();
        assert_eq!(barriers.names(), [Barrier::Landlock, Barrier::Sandbox]);
        assert!(matches!(lacking, Some(Lacking::NoNetworkBarrier(_))));
        assert!(Barriers::on(&older, &with(Confine::Require), false).is_err());
        let newer = host(Ok(()), true);
        let (barriers, lacking) = Barriers::on(&newer, &with(Confine::Require), false).unwrap();
        let all = [Barrier::Landlock, Barrier::LandlockTcp, Barrier::Sandbox];
        assert_eq!((barriers.names(), lacking), (all.to_vec(), None));
    }

    #[test]
    fn a_sandbox_lets_programs_start_that_a_channel_or_a_network_needs() {
        let host = host(Ok(()), true);
        let starts_programs = |channel, has_own_network| {
            let policy = ConfinePolicy {
                channel,
                ..ConfinePolicy::default()
            };
            let (barriers, _) = Barriers::on(&host, &policy, false).unwrap();
            assert!(barriers.without_sandbox().is_some_and(|without| {
                without.options(false).is_empty() && without.without_sandbox().is_none()
            }));
            match barriers.options(has_own_network) {
                ["-sandbox", how] => !how.contains("spawn=deny"),
                other => panic!("{other:?}"),
            }
        };
        assert!(!starts_programs(Channel::Files, false));
        assert!(!starts_programs(Channel::Tcp, false));
        assert!(starts_programs(Channel::Programs, false));
        assert!(starts_programs(Channel::Files, true));
        assert!(Barriers::default().options(false).is_empty());
    }
}

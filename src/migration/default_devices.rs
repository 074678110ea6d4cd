//! The devices that a machine has by default, which guests without them do not show.
//!
//! QEMU adds devices of its own choice to a machine unless `-nodefaults` is given, as it is to the guests here. Which
//! they are may change from release to release: a guest that was started without that option then has another device
//! on each side.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::devices::DeviceSet;
use crate::guest::Board;
use crate::migration::config::{CaseSpec, MigrationConfig, Part, Repeat};
use crate::migration::diagnosis::property_diff::{Difference, How};
use crate::migration::endpoint::buses::{Buses, DeviceCounts};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, RoleArgs};
use crate::migration::leg::save::NewMachine;
use crate::model::Direction;
use crate::qemu::Subject;
use crate::qemu::machine::ProfileCpu;
use crate::qemu::object::Kind;
use crate::qemu::output::devices::DeviceTree;

/// The set's name of a case with the devices that QEMU adds by itself.
pub(crate) const DEFAULTS: &str = "defaults";

/// Devices of a machine that one build has and the other does not.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Differing {
    old: DeviceCounts,
    new: DeviceCounts,
}

impl Differing {
    fn between(old: &DeviceCounts, new: &DeviceCounts) -> Option<Differing> {
        (old != new).then(|| Differing {
            old: old.without(new),
            new: new.without(old),
        })
    }
}

/// Another choice of default devices in each of two builds.
#[derive(Debug, Clone)]
pub(crate) struct OtherDefaults {
    pub difference: Difference,
    /// Set if guests without the default devices differ in another way, or not at all.
    pub is_hidden: bool,
}

/// Returns what differs between the devices that two builds give a machine by default, if anything does. Where it does,
/// both are asked for those that it has in any case, too.
pub(crate) async fn other_defaults(
    config: &MigrationConfig,
    by_default: &Trees,
) -> Option<OtherDefaults> {
    let differing = by_default.differing()?;
    let plain = Trees::plain(config).await.map(|trees| trees.differing());
    Some(OtherDefaults {
        is_hidden: is_hidden(&differing, &plain),
        difference: Difference {
            type_name: config.machine.clone(),
            property: DEVICES.to_owned(),
            how: How::OtherDevices {
                old: differing.old.listed(),
                new: differing.new.listed(),
            },
            kind: Kind::Machine,
            offered_alone: [None; 2],
            is_of_card: false,
        },
    })
}

/// The devices and buses of a machine, as each of two builds makes it.
#[derive(Debug)]
pub(crate) struct Trees {
    old: DeviceTree,
    new: DeviceTree,
}

impl Trees {
    /// Asks both builds for the machine as they make it by themselves.
    ///
    /// # Errors
    /// A build does not start with it, or does not say; in words.
    pub(crate) async fn by_default(config: &MigrationConfig) -> Result<Trees, String> {
        Trees::of(config, &launch_of(&with_defaults(config))).await
    }

    /// Asks both builds for the machine to which nothing is added.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn plain(config: &MigrationConfig) -> Result<Trees, String> {
        Trees::of(config, &launch_of(config)).await
    }

    async fn of(config: &MigrationConfig, launch: &LaunchSpec) -> Result<Trees, String> {
        let tree = |endpoint| Box::pin(tree(endpoint, launch));
        let (old, new) = tokio::try_join!(tree(&config.old), tree(&config.new))?;
        Ok(Trees { old, new })
    }

    /// Returns the buses that both have.
    pub(crate) fn buses(&self) -> Buses {
        Buses::of(&self.old).shared(&Buses::of(&self.new))
    }

    /// Returns the types of the devices that either has.
    pub(crate) fn types(&self) -> BTreeSet<String> {
        let devices = self.old.devices.iter().chain(&self.new.devices);
        devices.map(|device| device.type_name.clone()).collect()
    }

    fn differing(&self) -> Option<Differing> {
        Differing::between(&DeviceCounts::of(&self.old), &DeviceCounts::of(&self.new))
    }
}

/// The name in the place of a property where the machine has other devices.
const DEVICES: &str = "devices";

/// Tells whether guests without the default devices do not show what differs by default.
fn is_hidden(by_default: &Differing, plain: &Result<Option<Differing>, String>) -> bool {
    // A machine that starts only with them shows nothing otherwise.
    plain
        .as_ref()
        .map_or(true, |plain| plain.as_ref() != Some(by_default))
}

/// Returns the devices and buses that a build gives a machine.
async fn tree(endpoint: &Endpoint, launch: &LaunchSpec) -> Result<DeviceTree, String> {
    let ask = async {
        let machine = NewMachine::start(endpoint, launch).await?;
        let printed = machine.printed_tree().await;
        machine.end().await;
        printed
    };
    let printed: String = endpoint.answer(launch, Subject::Tree, [], ask).await?;
    Ok(DeviceTree::parse(&printed))
}

/// Returns the launch of a machine to which nothing is added.
pub(crate) fn launch_of(config: &MigrationConfig) -> LaunchSpec {
    LaunchSpec {
        workload: None,
        ..config.launch(Vec::new())
    }
}

/// Returns the configuration of guests that are started without the options that hide what a build does by itself.
pub(crate) fn with_defaults(config: &MigrationConfig) -> MigrationConfig {
    MigrationConfig {
        board: Some(Arc::new(Board {
            has_defaults: true,
            ..Board::default()
        })),
        profile_cpu: ProfileCpu::LeftOut,
        role_args: RoleArgs::default(),
        running: false,
        linux: None,
        loops: None,
        repeat: Repeat::Times(0),
        capabilities: Vec::new(),
        ..config.clone()
    }
}

/// Returns the cases of a machine as the builds make it by themselves.
pub(crate) fn specs(directions: &[Direction]) -> Vec<CaseSpec> {
    let spec = |&direction: &Direction| CaseSpec {
        set: DeviceSet::union(DEFAULTS, []),
        direction,
        part: Part::Whole,
    };
    directions.iter().map(spec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(types: &[&str]) -> DeviceCounts {
        let lines = types
            .iter()
            .map(|of| format!("    dev: {of}, id \"\"\r\n      gpio-in \"\" 1\r\n"));
        DeviceCounts::of(&DeviceTree::parse(&lines.collect::<String>()))
    }

    #[test]
    fn devices_are_counted_by_their_types() {
        let old = counts(&["VGA", "virtio-mmio", "ARM,bitband-memory"]);
        let new = counts(&["bochs-display", "virtio-mmio", "virtio-mmio", "virtio-mmio"]);
        let found = Differing::between(&old, &new).expect("they differ");
        assert_eq!(found.old.listed(), "ARM,bitband-memory, VGA");
        assert_eq!(found.new.listed(), "bochs-display, 2 virtio-mmio");
        assert_eq!(Differing::between(&old, &old), None);
        // The order is that of the buses.
        let turned = counts(&["virtio-mmio", "ARM,bitband-memory", "VGA"]);
        assert_eq!(Differing::between(&old, &turned), None);
        let fewer = Differing::between(&counts(&["xgmac"]), &counts(&[])).expect("they differ");
        assert_eq!(fewer.new.listed(), "none of these");
    }

    #[test]
    fn what_guests_show_in_any_case_is_not_hidden() {
        let of = |old: &[&str], new: &[&str]| Differing::between(&counts(old), &counts(new));
        let sd = of(&["sd-card"], &["sd-card-spi"]).expect("they differ");
        for (plain, hides) in [
            (Ok(Some(sd.clone())), false),
            (Ok(of(&["sd-card", "a"], &["sd-card-spi", "a"])), false),
            (Ok(of(&["sd-card"], &["sd-card-spi", "b"])), true),
            (Ok(None), true),
            (Err("it does not start".to_owned()), true),
        ] {
            assert_eq!(is_hidden(&sd, &plain), hides, "{plain:?}");
        }
    }
}

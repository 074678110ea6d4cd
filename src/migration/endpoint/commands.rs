//! The monitor commands of a migration, with the options that are used and replies that every version
//! since 5.2 can fill.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use qapi::qmp::{
    cont as Cont, migrate_start_postcopy as StartPostcopy, pmemsave as PmemSave, stop as Stop,
};

use crate::qemu::qmp::{CapabilityState, command};

/// Starts an outgoing migration.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Migrate {
    pub uri: String,
}
command!(Migrate, "migrate", Value);

/// Has a destination that was started with `-incoming defer` listen for the stream.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MigrateIncoming {
    pub uri: String,
    /// `false`, from 9.1 on, keeps the process after a failed load, so that it can be asked why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_on_error: Option<bool>,
}
command!(MigrateIncoming, "migrate-incoming", Value);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryMigrate {}
command!(QueryMigrate, "query-migrate", MigrationReply);

/// The state of a migration. A build that never started one gives nothing at all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct MigrationReply {
    pub status: Option<String>,
    pub error_desc: Option<String>,
    pub total_time: Option<i64>,
    pub downtime: Option<i64>,
    pub setup_time: Option<i64>,
    pub ram: Option<RamReply>,
    /// The addresses on which a destination listens.
    pub socket_address: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct RamReply {
    pub transferred: Option<i64>,
    pub normal: Option<i64>,
    /// Pages of zeroes, of which only the address is sent.
    pub duplicate: Option<i64>,
    /// Passes over memory.
    pub dirty_sync_count: Option<i64>,
}

/// Sets the memory that a guest's balloon leaves it, in bytes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Balloon {
    pub value: u64,
}
command!(Balloon, "balloon", Value);

/// Asks whether the machine runs, and if not, why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryStatus {}
command!(QueryStatus, "query-status", StatusReply);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatusReply {
    pub status: String,
}

/// Asks for memory that is plugged in.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryMemoryDevices {}
command!(
    QueryMemoryDevices,
    "query-memory-devices",
    Vec<MemoryDeviceReply>
);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MemoryDeviceReply {
    pub data: MemoryDeviceData,
}

/// What is asked of memory, whatever its kind. Only a device of which the guest has a part at a time has a largest
/// size.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct MemoryDeviceData {
    /// The path of the object that is its memory.
    pub memdev: String,
    /// The bytes that the guest has of it.
    pub size: u64,
    /// The bytes that the guest can have of it.
    pub max_size: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct SetCapabilities {
    pub capabilities: Vec<CapabilityState>,
}
command!(SetCapabilities, "migrate-set-capabilities", Value);

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetParameters {
    pub downtime_limit: u64,
    pub max_bandwidth: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multifd_channels: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_creds: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_hostname: Option<&'static str>,
}
command!(SetParameters, "migrate-set-parameters", Value);

/// Asks which devices are on the PCI buses.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryPci {}
command!(QueryPci, "query-pci", Vec<PciRootReply>);

/// A root bus.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PciRootReply {
    /// Its number.
    pub bus: i64,
    pub devices: Vec<PciDeviceReply>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PciBusReply {
    pub devices: Vec<PciDeviceReply>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PciDeviceReply {
    pub bus: i64,
    pub slot: i64,
    pub function: i64,
    pub qdev_id: String,
    pub id: PciIdReply,
    pub class_info: PciClassReply,
    /// Set for a bridge.
    pub pci_bridge: PciBusReply,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct PciIdReply {
    pub vendor: u16,
    pub device: u16,
    pub subsystem_vendor: Option<u16>,
    pub subsystem: Option<u16>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PciClassReply {
    pub class: u16,
}

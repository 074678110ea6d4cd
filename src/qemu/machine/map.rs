//! The map of a machine: where a driver finds its buses, and where it may put what is its own.

use serde::Deserialize;

/// A range of addresses: its begin and its length.
pub(crate) type Range = [u64; 2];

/// The map of a machine, a `map` of `device-sets/machines.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Map {
    /// Guest memory that neither firmware nor a device uses before the machine runs.
    pub(crate) ram: Range,
    pub(crate) pci: Option<PciMap>,
    /// The machine's virtio-mmio transports.
    pub(crate) mmio: Option<MmioMap>,
}

/// The root buses of a machine's PCI domain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PciMap {
    pub(crate) config: ConfigSpace,
    /// Memory below 4 GiB that the functions may be given.
    pub(crate) memory: Range,
    /// The address at which a processor has address 0 of the functions' memory.
    #[serde(default)]
    pub(crate) memory_at: u64,
    /// Ports that they may be given.
    pub(crate) ports: Range,
    /// The address in memory of port 0; nothing where a processor has ports.
    pub(crate) ports_at: Option<u64>,
}

/// The way to the configuration of a PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum ConfigSpace {
    /// The ports 0xcf8 and 0xcfc of x86.
    Ports,
    /// PCI Express's window in memory, at the first of these addresses at which there is a bus.
    Ecam(Vec<u64>),
    /// Calls of a pSeries machine's firmware, about the bridge with this number.
    Rtas(u64),
}

/// Transports of virtio in memory, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MmioMap {
    pub(crate) at: u64,
    pub(crate) step: u64,
    pub(crate) count: u64,
}

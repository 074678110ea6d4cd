//! The devices on a machine's PCI buses.

use crate::migration::endpoint::commands::{PciDeviceReply, QueryPci};
use crate::migration::endpoint::vm::Vm;
use crate::qemu::qmp::QmpError;
use crate::workload::linux::PciFunction;

/// A device with an id, and its place.
#[derive(Debug, Clone)]
pub(crate) struct RootDevice {
    /// As sections and kernels name it: `0000:00:05.0`.
    pub address: String,
    pub id: String,
}

impl Vm {
    /// Asks which device with an id is where on the root buses.
    ///
    /// # Errors
    /// The build does not say it: a machine may have no such bus.
    pub(crate) async fn root_devices(&self) -> Result<Vec<RootDevice>, QmpError> {
        let devices = self.pci_devices().await?.into_iter();
        let named = devices.filter(|device| !device.qdev_id.is_empty());
        let placed = named.map(|at| RootDevice {
            address: format!("0000:{:02x}:{:02x}.{:x}", at.bus, at.slot, at.function),
            id: at.qdev_id,
        });
        Ok(placed.collect())
    }

    /// Asks for the functions on all buses, behind bridges too.
    ///
    /// # Errors
    /// The build does not say it: a machine may have no such bus.
    pub(crate) async fn pci_functions(&self) -> Result<PciFunctions, QmpError> {
        let mut functions = PciFunctions::default();
        let mut left = self.pci_devices().await?;
        while let Some(device) = left.pop() {
            let PciDeviceReply { id, .. } = &device;
            let function = PciFunction {
                vendor: id.vendor,
                device: id.device,
                subsystem: id.subsystem_vendor.zip(id.subsystem),
                class: device.class_info.class,
            };
            match device.qdev_id.is_empty() {
                true => functions.of_machine.push(function),
                false => functions.of_set.push(function),
            }
            left.extend(device.pci_bridge.devices);
        }
        Ok(functions)
    }

    async fn pci_devices(&self) -> Result<Vec<PciDeviceReply>, QmpError> {
        let buses = self.execute(QueryPci {}).await?.into_iter();
        Ok(buses.flat_map(|bus| bus.devices).collect())
    }
}

/// The PCI functions of a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct PciFunctions {
    /// Those that it has by itself.
    pub of_machine: Vec<PciFunction>,
    /// Those that were plugged in.
    pub of_set: Vec<PciFunction>,
}

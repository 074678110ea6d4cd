//! The devices on a machine's root PCI buses.

use crate::migration::endpoint::commands::QueryPci;
use crate::migration::endpoint::vm::Vm;
use crate::qemu::qmp::QmpError;

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
        let asked = self.monitored.session.execute(QueryPci {}, self.command);
        let devices = asked.await?.into_iter().flat_map(|bus| bus.devices);
        let named = devices.filter(|device| !device.qdev_id.is_empty());
        let placed = named.map(|at| RootDevice {
            address: format!("0000:{:02x}:{:02x}.{:x}", at.bus, at.slot, at.function),
            id: at.qdev_id,
        });
        Ok(placed.collect())
    }
}

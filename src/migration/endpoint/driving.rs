//! Driving the devices of a machine that was started, in the place of a guest.

use crate::driver::{DriveError, drive};
use crate::migration::endpoint::commands::QueryPci;
use crate::migration::endpoint::seat::Seat;
use crate::migration::endpoint::vm::Vm;
use crate::qemu::qmp::QmpError;
use crate::report::DrivenReport;

impl Vm {
    /// Drives the devices of the machine, once, where a seat was prepared for that.
    ///
    /// # Errors
    /// The build ends, or does not answer.
    pub(crate) async fn drive(&mut self) -> Option<Result<DrivenReport, DriveError>> {
        let Seat { driving, waiting } = self.seat.take()?;
        let work = async {
            let buses = match self.execute(QueryPci {}).await {
                Ok(buses) => buses,
                // A build without PCI has no such command.
                Err(QmpError::Refused { .. }) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            let roots = buses.iter().filter_map(|bus| u8::try_from(bus.bus).ok());
            let roots: Vec<u8> = roots.collect();
            let mut qtest = waiting.connected(self.command).await?;
            drive(&mut qtest, driving.family, driving.map, &roots).await
        };
        Some(work.await)
    }
}

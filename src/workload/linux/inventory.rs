//! The devices that the guest found, and the drivers that took them.

use std::collections::BTreeMap;

use crate::workload::linux::lines::{Attached, Line, VirtioDevice};

/// All that the guest said of itself before its first round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub virtio: Vec<VirtioDevice>,
    pub attached: Vec<Attached>,
    /// Devices and modules by name that it had no module for.
    pub asked: Vec<String>,
    /// The devices that it uses, by kind, once it has said so.
    pub uses: Option<BTreeMap<String, Vec<String>>>,
    /// Errors that the kernel logged while it found the devices.
    pub logged: Vec<String>,
}

impl Inventory {
    /// Takes what a line says of the guest; a line that says something else is left.
    pub(crate) fn take(&mut self, line: &Line) {
        match line {
            Line::Asked(name) => self.asked.push(name.clone()),
            Line::Virtio(device) => self.virtio.push(device.clone()),
            Line::Attached(device) => self.attached.push(device.clone()),
            Line::Uses(uses) => self.uses = Some(uses.clone()),
            Line::LoggedAtBoot(text) => self.logged.push(text.clone()),
            Line::Started | Line::Begun(_) | Line::Beat(_) | Line::Failed(_) | Line::Logged(_) => {}
        }
    }
}

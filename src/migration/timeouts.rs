//! Deadlines of a case.

use std::time::Duration;

/// Deadlines.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// One migration.
    pub leg: Duration,
    /// The longest time from the start of the machine to the guest's first heartbeat, firmware
    /// included; no longer than a migration.
    pub boot: Duration,
    /// The time from one heartbeat to the next.
    pub heartbeat: Duration,
    /// Finding the devices that make a case fail.
    pub culprits: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            leg: Duration::from_secs(60),
            boot: Duration::from_secs(120),
            heartbeat: Duration::from_secs(60),
            culprits: Duration::from_secs(90),
        }
    }
}

//! The CPU of the host, for a guest that is described with it.

use crate::api::error::Error;
use crate::migration::accelerator::{NoAccelerator, take_host_cpu};
use crate::migration::config::MigrationConfig;
use crate::report::{AcceleratorUsed, GuestFile, Notice, NoticeKind};

/// What became of the CPU of the host; nothing where no description asks for it.
#[derive(Debug, Default)]
pub(crate) struct HostCpu {
    is_taken: bool,
    /// Says that guests have another one.
    pub notice: Option<Notice>,
}

impl HostCpu {
    /// Gives guests the CPU of the host where their description asks for it and the accelerator and the builds can.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub(crate) fn give(
        config: &mut MigrationConfig,
        used: &AcceleratorUsed,
    ) -> Result<HostCpu, Error> {
        let taken = take_host_cpu(config, used).map_err(NoAccelerator::from)?;
        let replaced = |why| {
            let hint =
                "--accel auto on the guest's own host may have it, and --cpu MODEL names another";
            NoticeKind::HostCpuReplaced.about(&*config.machines, format!("{why}; {hint}"))
        };
        Ok(HostCpu {
            is_taken: matches!(taken, Some(Ok(()))),
            notice: taken.and_then(Result::err).map(replaced),
        })
    }

    /// Tells whether guests have it.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Corrects what a report says of the guest's description.
    pub(crate) fn correct(&self, guest: &mut GuestFile) {
        if self.is_taken {
            guest.keep_host_cpu();
        }
    }
}

//! The version and the machine types of a build, asked from itself.

use qapi::qmp;

use crate::model::Version;
use crate::qemu::accelerator;
use crate::qemu::process::output;
use crate::qemu::qmp::{HumanCommand, QmpError, QueryMachines, QueryTarget};
use crate::qemu::{Build, BuildInfo, Monitored, QemuError, RunError, block_on};

/// Starts with no machine at all, so that nothing but the program itself can fail.
const NO_MACHINE: [&str; 6] = ["-M", "none", "-S", "-nodefaults", "-display", "none"];

/// Returns the arguments with which a build is started to be asked about itself.
pub(crate) fn to_be_asked() -> impl Iterator<Item = &'static str> {
    NO_MACHINE.into_iter().chain(accelerator::ANY)
}

impl Build {
    /// Starts the build without a machine and asks for its version and machine types; some tenths
    /// of a second.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub fn info(&self) -> Result<BuildInfo, QemuError> {
        self.ask_alone(async |monitored| questions(monitored, self).await)
    }

    /// [`Build::info`], and what [`Build::device_help`] returns, of one process. `None` in the place of the help
    /// where the build does not give it on its monitor.
    ///
    /// # Errors
    /// As of [`Build::info`].
    pub(crate) fn info_with_help(&self) -> Result<(BuildInfo, Option<String>), QemuError> {
        self.ask_alone(async |monitored| {
            let info = questions(monitored, self).await?;
            let command = HumanCommand::new("device_add help");
            let deadline = self.deadlines().command;
            let help = monitored.session.execute(command, deadline).await.ok();
            Ok((info, help.filter(|help| !help.trim().is_empty())))
        })
    }
}

async fn questions(monitored: &Monitored, build: &Build) -> Result<BuildInfo, QmpError> {
    let deadline = build.deadlines().command;
    let session = &monitored.session;
    let version = session.execute(qmp::query_version {}, deadline).await?;
    let part = |number: i64| u32::try_from(number).unwrap_or_default();
    let target = session.execute(QueryTarget {}, deadline).await?;
    let mut machines = session.execute(QueryMachines {}, deadline).await?;
    let kvm = session.execute(qmp::query_kvm {}, deadline).await;
    // The order is that of a hash table.
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(BuildInfo {
        version: Version::new(
            part(version.qemu.major),
            part(version.qemu.minor),
            part(version.qemu.micro),
        ),
        package: version.package,
        target: target.arch,
        machines,
        lacks_tcg: kvm.is_ok_and(|kvm| kvm.enabled),
        program: monitored.program(),
    })
}

impl Build {
    /// Returns the output of `-device help`: the drivers that the build can plug in.
    ///
    /// # Errors
    /// It does not start, or fails.
    pub fn device_help(&self) -> Result<String, RunError> {
        let no_start = |source| RunError::Spawn {
            program: self.label().to_owned(),
            source,
        };
        let mut command = self.plain_command(None).map_err(no_start)?;
        command.args(["-M", "none", "-device", "help"]);
        command.args(accelerator::ANY);
        block_on(output(command, self.deadlines().start))
            .unwrap_or_else(|source| Err(no_start(source)))
            .map(|output| output.stdout)
    }
}

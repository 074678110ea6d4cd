//! The version and the machine types of a build, asked from itself.

use qapi::qmp;

use crate::model::Version;
use crate::qemu::accelerator;
use crate::qemu::identity::RunningProgram;
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
    let program = monitored.program();
    let of_program = program.as_ref().and_then(RunningProgram::target);
    let named = build.arch().into_iter().chain(of_program);
    // The order is that of a hash table.
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(BuildInfo {
        version: Version::new(
            part(version.qemu.major),
            part(version.qemu.minor),
            part(version.qemu.micro),
        ),
        package: version.package,
        target: with_byte_order(target.arch, named),
        machines,
        lacks_tcg: kvm.is_ok_and(|kvm| kvm.enabled),
        program,
    })
}

/// The ends of the names of targets that have the other byte order than the one without them.
const OTHER_ORDER: [&str; 2] = ["el", "eb"];

/// Returns the target of a build by its answer and by the names of its program. Since 11.1 targets that differ in their
/// byte order alone answer alike: mips64el says that it is mips64.
fn with_byte_order<'n>(answer: String, named: impl IntoIterator<Item = &'n str>) -> String {
    let is_other = |name: &&str| {
        let order = name.strip_prefix(answer.as_str());
        order.is_some_and(|order| OTHER_ORDER.contains(&order))
    };
    // People add to the name of a program: qemu-system-mips64el-11.1.
    let is_of_target = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let targets = named.into_iter().map(|name| {
        let end = name.find(|c| !is_of_target(c)).unwrap_or(name.len());
        &name[..end]
    });
    let other = targets.into_iter().find(is_other).map(str::to_owned);
    other.unwrap_or(answer)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_order_of_a_target_is_in_the_name_of_its_program() {
        for (answer, names, target) in [
            ("mips64", &["mips64el"][..], "mips64el"),
            ("mips", &["mipsel"], "mipsel"),
            ("sh4", &["sh4eb"], "sh4eb"),
            // A script of any name, and the program that it starts.
            ("xtensa", &["new", "xtensaeb"], "xtensaeb"),
            ("mips64", &["mips64el-11.1"], "mips64el"),
            ("mips64", &["mips64.el"], "mips64"),
            ("mips64el", &["mips64el"], "mips64el"),
            ("mips64", &["mips64"], "mips64"),
            ("mips", &["mips64el"], "mips"),
            ("mips64", &["mipsel"], "mips64"),
            ("x86_64", &["aarch64"], "x86_64"),
            ("mips", &[], "mips"),
        ] {
            let found = with_byte_order(answer.to_owned(), names.iter().copied());
            assert_eq!(found, target, "{answer} {names:?}");
        }
    }
}

//! The vmstate dump of a machine type.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::process::Stdio;

use crate::qemu::accelerator;
use crate::qemu::machine::Profile;
use crate::qemu::monitor::private_dir;
use crate::qemu::{
    Build, DumpError, Ended, QemuError, Question, Running, Subject, block_on, machine,
};

impl Build {
    /// Has the build write the vmstate dump of a machine type, which describes what every device
    /// type of the build sends in a migration stream; about half a second. A fetched build is asked once.
    ///
    /// # Errors
    /// It fails, crashes, hangs or writes nothing. Output alone, such as a warning about a
    /// deprecated machine type, is not a failure.
    pub fn dump_vmstate(&self, machine: &str) -> Result<Vec<u8>, QemuError> {
        Ok(block_on(self.dump(machine)).unwrap_or_else(|source| Err(self.no_folder(source)))?)
    }

    fn no_folder(&self, source: io::Error) -> DumpError {
        DumpError::Temp {
            label: self.label().to_owned(),
            source,
        }
    }

    /// [`Build::dump_vmstate`] for a caller with a runtime.
    ///
    /// # Errors
    /// As of [`Build::dump_vmstate`].
    pub async fn dump(&self, machine: &str) -> Result<Vec<u8>, DumpError> {
        let profile = machine::profile(machine, self.arch());
        let options = profile.into_iter().flat_map(Profile::dump_args);
        let question = Question {
            subject: Subject::Dump,
            words: std::iter::once(machine)
                .chain(options)
                .map(OsString::from)
                .collect(),
        };
        self.answer(&question, self.write_dump(machine)).await
    }

    async fn write_dump(&self, machine: &str) -> Result<Vec<u8>, DumpError> {
        let dir = private_dir().map_err(|error| self.no_folder(error))?;
        let file = dir.path().join("vmstate.json");
        let confined = self.plain_command(Some(dir.path()));
        let mut command = confined.map_err(|error| self.no_folder(error))?;
        command.args(["-M", machine, "-nodefaults", "-display", "none"]);
        if let Some(profile) = machine::profile(machine, self.arch()) {
            command.args(profile.dump_args());
            if let Some(size) = profile.blank_rom {
                let rom = dir.path().join("rom");
                File::create(&rom)
                    .and_then(|file| file.set_len(size))
                    .map_err(|error| self.no_folder(error))?;
                command.args([OsStr::new("-bios"), rom.as_os_str()]);
            }
        }
        command.args([OsStr::new("-dump-vmstate"), file.as_os_str()]);
        command.args(accelerator::ANY);
        command.command.stdout(Stdio::null());

        let run = |source| DumpError::Run {
            label: self.label().to_owned(),
            machine: machine.to_owned(),
            source,
        };
        let mut process = Running::start(command).map_err(run)?;
        let status = process.wait(self.deadlines().dump).await.map_err(run)?;
        if !status.success() {
            return Err(DumpError::Failed {
                label: self.label().to_owned(),
                machine: machine.to_owned(),
                ended: Ended(status),
                stderr: process.stderr(),
            });
        }
        match fs::read(&file) {
            Ok(dump) if !dump.is_empty() => Ok(dump),
            Ok(_) => Err(self.empty(machine, &process)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.empty(machine, &process))
            }
            Err(error) => Err(self.no_folder(error)),
        }
    }

    fn empty(&self, machine: &str, process: &Running) -> DumpError {
        DumpError::Empty {
            label: self.label().to_owned(),
            machine: machine.to_owned(),
            stderr: process.stderr(),
        }
    }
}

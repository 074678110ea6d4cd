//! A script beside the logs of a case that does the same with nothing but the builds and a shell, to read and
//! to change.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use askama::Template;

use crate::beside::{ByHand, Program};
use crate::migration::diagnosis::reproduce::left_out;
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, quoted};
use crate::migration::result::RunResult;
use crate::model::{joined, visible};
use crate::qemu::quote;
use crate::report::{Case, Change, Outcome};

/// The name of the script in the folder of a case.
const NAME: &str = "reproduce.sh";

/// The end of a line that goes on, and the start of the next.
const LINE: &str = " \\\n        ";

/// A failed case, as it is told to a person with a shell.
#[derive(Template)]
#[template(path = "reproduce.sh", escape = "none")]
pub(crate) struct Script<'c> {
    id: Cow<'c, str>,
    machine: Cow<'c, str>,
    /// The outcome of the run, whatever controls made of it.
    expected: Outcome,
    cause: String,
    /// The outcome where the last build ends by itself, and not by a signal.
    ended: Outcome,
    /// True if the machine runs while it is moved.
    works: bool,
    /// The parts of the case that the script does without.
    without: Vec<String>,
    stages: Vec<Stage>,
    /// True if the builds call the machine type by two names.
    renames: bool,
    lost: Option<Lost>,
    /// The saved guest that the only stage loads, for a shell, and the first byte of it.
    state: Option<(String, u64)>,
}

/// One build that is started.
struct Stage {
    /// Its place on the route.
    at: usize,
    /// The place of the stage before it.
    from: Option<usize>,
    /// True if its guest goes on to another build.
    sends: bool,
    /// The name of its machine type, for a shell, where the build before it calls it otherwise.
    renamed: Option<String>,
    /// True if its machine stays stopped: it never ran, or what it loaded is looked at before it runs.
    stopped: bool,
    build: String,
    /// The programs that its guest needs beside the build.
    beside: Vec<ByHand>,
    program: String,
    /// Its options, each with its values.
    options: Vec<String>,
}

/// The state that did not arrive.
struct Lost {
    /// Arguments of `stream diff` that choose the sections.
    sections: String,
    /// Arguments of `grep` that find the fields in what it prints.
    fields: String,
}

impl<'c> Script<'c> {
    /// A script that moves the guest of a case along a route as far as it came.
    pub(crate) fn moves(
        case: &'c Case,
        result: &RunResult,
        launch: &LaunchSpec,
        route: &[&Endpoint],
        (folder, capabilities): (&Path, &[Capability]),
    ) -> Script<'c> {
        let roles = std::iter::once(Role::First).chain(std::iter::repeat(Role::Destination));
        let stages = route.iter().zip(roles).enumerate();
        let script = Script::of(case, result);
        let stages = stages.map(|(at, (endpoint, role))| {
            let sends = at + 1 < route.len();
            let mut stage = Stage {
                from: at.checked_sub(1),
                sends,
                stopped: launch.workload.is_none() || (script.lost.is_some() && !sends),
                ..Stage::of(endpoint, launch, role, folder, at)
            };
            if launch.workload.is_some() {
                let (id, port) = launch.console();
                let console = format!("-chardev file,id={id},path=\"$work/console{at}\"");
                stage.options.push(console);
                stage.options.extend(options(quoted(&port)));
            }
            stage
        });
        Script {
            without: left_out(launch, capabilities),
            renames: route.iter().any(|endpoint| endpoint.machine.is_some()),
            stages: stages.collect(),
            works: launch.workload.is_some(),
            ..script
        }
    }

    /// A script that has one build load a plain stream, so many bytes from the start of a file.
    pub(crate) fn loads(
        case: &'c Case,
        result: &RunResult,
        launch: &LaunchSpec,
        (endpoint, folder): (&Endpoint, &Path),
        (file, offset): (&Path, u64),
    ) -> Script<'c> {
        Script {
            stages: vec![Stage::of(endpoint, launch, Role::Destination, folder, 0)],
            state: Some((quote(&file.to_string_lossy()), offset + 1)),
            ..Script::of(case, result)
        }
    }

    fn of(case: &'c Case, result: &RunResult) -> Script<'c> {
        let cause = result.cause.as_ref();
        let cause = cause.map_or("no cause is known", |cause| cause.message.as_str());
        Script {
            id: visible(&case.id),
            machine: visible(&case.machine),
            expected: result.outcome,
            cause: joined(cause.lines().map(visible), "\n#   "),
            ended: match result.outcome {
                Outcome::Crash => Outcome::Crash,
                _ => Outcome::Fail,
            },
            works: false,
            without: Vec::new(),
            stages: Vec::new(),
            renames: false,
            lost: Lost::of(result),
            state: None,
        }
    }

    /// Tells whether a guest has a TPM, which the emulator of QEMU's own users stands for.
    fn needs_swtpm(&self) -> bool {
        self.needs_beside(Program::Swtpm)
    }

    /// Tells whether a guest has a vhost-user device, for which this program stands in.
    fn needs_stand_in(&self) -> bool {
        self.needs_beside(Program::Own)
    }

    fn needs_beside(&self, program: Program) -> bool {
        let mut beside = self.stages.iter().flat_map(|stage| &stage.beside);
        beside.any(|by_hand| by_hand.program == program)
    }

    /// Writes the script into the folder of the case.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let path = folder.join(NAME);
        let text = self.render().map_err(io::Error::other)?;
        fs::write(&path, text + "\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Stage {
    fn of(endpoint: &Endpoint, launch: &LaunchSpec, role: Role, folder: &Path, at: usize) -> Stage {
        let mut args = launch.args(endpoint, role, folder);
        let beside = ByHand::take_all(&mut args, "$work", &format!("beside{at}"));
        let mut options = options(quoted(&args));
        options.extend(beside.iter().map(|by_hand| by_hand.option.clone()));
        Stage {
            at,
            beside,
            from: None,
            sends: false,
            renamed: endpoint.machine.as_deref().map(quote),
            stopped: true,
            build: format!(
                "{} ({})",
                visible(endpoint.build.label()),
                endpoint.info.version
            ),
            program: endpoint.build.shell_prefix(),
            options,
        }
    }
}

impl Lost {
    fn of(result: &RunResult) -> Option<Lost> {
        let diffs = &result.state.diffs;
        if result.outcome != Outcome::Lost || diffs.is_empty() {
            return None;
        }
        let mut sections: Vec<String> = Vec::new();
        let mut fields: Vec<String> = Vec::new();
        for diff in diffs {
            sections.push(format!("--section {}", quote(diff.section.as_str())));
            let field = diff.landed_in.as_ref().unwrap_or(&diff.field);
            let kinds = match (diff.change, &diff.landed_in) {
                (Change::Filled, _) => &["layout", "padding of the same size:"][..],
                (_, Some(_)) => &["layout"],
                _ => &["value", "layout"],
            };
            let kinds = kinds.iter().map(|kind| format!("{kind} {field}"));
            fields.extend(kinds.map(|line| format!("-e {}", quote(&line))));
        }
        for words in [&mut sections, &mut fields] {
            words.sort();
            words.dedup();
        }
        Some(Lost {
            sections: sections.join(LINE),
            fields: fields.join(LINE),
        })
    }
}

/// Groups words into options with their values.
fn options(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for word in words {
        match options.last_mut() {
            Some(option) if !word.starts_with('-') => {
                option.push(' ');
                option.push_str(&word);
            }
            _ => options.push(word),
        }
    }
    options
}

//! Collecting what both sides leave of a leg that did not pass.

use crate::migration::diagnosis::cause::Stderr;
use crate::migration::diagnosis::load_trace::Reached;
use crate::migration::endpoint::root_devices::RootDevice;
use crate::migration::endpoint::vm::Vm;
use crate::model::SectionName;

/// The traces that both sides left.
pub(crate) struct Evidence {
    pub stderr: Stderr,
    /// The place that the load had reached.
    pub reached: Reached,
    /// Transcripts and the like, by file name.
    pub files: Vec<(String, String)>,
    /// The devices on the root buses.
    pub devices: Vec<RootDevice>,
}

/// Ends both sides, as far as there is a source, and keeps what they left.
pub(crate) async fn collect(mut source: Option<Vm>, mut destination: Vm) -> Evidence {
    let mut files = Vec::new();
    let mut devices = Vec::new();
    if let Some(source) = &source {
        devices = source.root_devices().await.unwrap_or_default();
    }
    // A source that has done its work is gone.
    if devices.is_empty() {
        devices = destination.root_devices().await.unwrap_or_default();
    }
    if let Some(source) = &mut source {
        end(source, "source", &mut files).await;
    }
    end(&mut destination, "destination", &mut files).await;
    let trace = destination.read_trace();
    let reached = Reached::from_trace(&trace);
    if !trace.is_empty() {
        files.push(("destination.trace".to_owned(), trace));
    }
    let printed = |vm: &Vm| vm.monitored.process.stderr();
    Evidence {
        stderr: Stderr {
            source: source.as_ref().map(printed).unwrap_or_default(),
            destination: printed(&destination),
        },
        reached,
        files,
        devices,
    }
}

/// Ends a side and takes what it leaves.
async fn end(vm: &mut Vm, name: &str, files: &mut Vec<(String, String)>) {
    vm.monitored.process.kill().await;
    files.push((format!("{name}.cmd"), format!("{}\n", vm.command_line)));
    files.push((format!("{name}.qmp"), vm.monitored.session.transcript()));
    files.push((format!("{name}.stderr"), vm.monitored.process.stderr()));
}

impl Evidence {
    /// Returns the id of the device that a section such as `0000:00:05.0/pciespscsi` belongs to.
    pub(crate) fn owner(&self, section: Option<&SectionName>) -> Option<String> {
        owner(&self.devices, section?).map(str::to_owned)
    }
}

/// Returns the id of the device that a section belongs to, by its address.
pub(crate) fn owner<'d>(devices: &'d [RootDevice], section: &SectionName) -> Option<&'d str> {
    let found = devices.iter().find(|device| section.is_at(&device.address));
    found.map(|device| device.id.as_str())
}

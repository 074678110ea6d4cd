//! Notices about firmware that does not belong to a build.

use crate::model::joined;
use crate::qemu::{FirmwareSource, Opened};
use crate::report::{Notice, NoticeKind};

/// Returns a notice for each build that is started with firmware which it does not find by itself.
pub(crate) fn notices<'b>(builds: impl IntoIterator<Item = &'b Opened>) -> Vec<Notice> {
    let builds = builds.into_iter().filter_map(|build| {
        let firmware = build.firmware.as_ref()?;
        let folders = firmware.folders.iter().map(|folder| folder.display());
        let folders = joined(folders, ", ");
        let source = match &firmware.source {
            FirmwareSource::Tree => "the tree that it is in".to_owned(),
            FirmwareSource::OtherBuild(label) | FirmwareSource::Fetched(label) => label.clone(),
        };
        let detail = format!("that of {source} is used, in {folders}");
        let label = build.build.label();
        Some(NoticeKind::OtherFirmware.about(label, detail))
    });
    builds.collect()
}

//! The boot code of the PCI cards of the user's own guest.
//!
//! It is a block of the guest's memory, which both sides need in one size (pci_add_option_rom(), hw/pci/pci.c). On
//! processors that do not run it, it is often not installed, and the guests of our own do without. The user's may have
//! it, and then each build has to.

use std::sync::Arc;

use crate::devices::DeviceSet;
use crate::guest::Board;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
use crate::model::SectionName;
use crate::qemu::output::start::missing_rom;
use crate::qemu::{block_on, machine};
use crate::report::{Notice, NoticeKind};
use crate::stream::Stream;

/// Leaves the boot code out where a build does not find that of the guest's cards, and says so.
pub(crate) fn settle(config: &mut MigrationConfig, guest: &[DeviceSet]) -> Option<Notice> {
    let has_boot_code = config.board.as_ref().is_some_and(|board| board.boot_code);
    if !has_boot_code || machine::runs_boot_code(&config.arch) {
        return None;
    }
    let launch = guest
        .first()
        .map(|set| config.launch(config.compose(set).args))?;
    let missing = |endpoint| Box::pin(missing(endpoint, &launch));
    let both = async { tokio::join!(missing(&config.old), missing(&config.new)) };
    let (old, new) = block_on(both).ok()?;
    let (build, file) = old.or(new)?;
    config.board = config
        .board
        .as_deref()
        .map(|board| with_boot_code(board, false));
    let detail =
        format!("{build} finds no {file}, and whether both have it in one size is not known");
    Some(NoticeKind::NoBootCode.about(&*config.machines, detail))
}

/// Returns the board with or without the boot code of its cards.
pub(crate) fn with_boot_code(board: &Board, boot_code: bool) -> Arc<Board> {
    Arc::new(Board {
        boot_code,
        ..board.clone()
    })
}

/// Tells whether the cards of a guest that was saved had boot code.
pub(crate) fn is_in_state(state: &Stream) -> bool {
    let mut blocks = state.ram.blocks.iter();
    blocks.any(|block| SectionName::new(&block.name).is_of_boot_code())
}

/// Returns the label of a build that does not start for want of a file with boot code, and the file.
async fn missing(endpoint: &Endpoint, launch: &LaunchSpec) -> Option<(String, String)> {
    let folder = launch.folder().ok()?;
    let started = Vm::start(endpoint, launch, Role::First, folder.path(), 0).await;
    let error = started.err()?;
    let file = missing_rom(&error.stderr)?.to_owned();
    Some((endpoint.build.label().to_owned(), file))
}

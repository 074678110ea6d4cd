//! A guest that is being put together, option by option.

use crate::devices::Device;
use crate::guest::Board;
use crate::guest::defined::Defined;

/// A guest that is being put together.
#[derive(Debug)]
pub(super) struct Composer {
    pub arch: Option<String>,
    pub machine: Option<String>,
    pub board: Board,
    pub devices: Vec<Device>,
    pub defined: Defined,
    /// Devices that are left out, by their ids.
    pub lacking: Vec<String>,
    /// The hubs so far, one for each network backend.
    pub hubs: usize,
    /// What a configuration file has is among the options.
    pub has_config: bool,
    /// The bytes of each flash device, where they are known from elsewhere than the description.
    pub flash: FlashSizes,
}

/// The bytes of each of a guest's flash devices, where they are known.
pub(crate) type FlashSizes = [Option<u64>; 2];

impl Composer {
    /// Begins a guest without any option.
    pub(super) fn new(arch: Option<String>, defined: Defined, flash: FlashSizes) -> Composer {
        Composer {
            arch,
            machine: None,
            board: Board {
                has_defaults: true,
                boot_code: true,
                ..Board::default()
            },
            devices: Vec::new(),
            defined,
            lacking: Vec::new(),
            hubs: 0,
            has_config: false,
            flash,
        }
    }

    /// Takes note of the accelerator that the guest has run under: the first of a list, unless one is known already.
    pub(super) fn run_under(&mut self, accelerators: &str) {
        let first = accelerators.split(':').next().unwrap_or_default();
        let known = self.board.accelerator.take();
        self.board.accelerator = known.or_else(|| first.parse().ok());
    }

    /// Returns the definition of one more hub with nothing else on it, and its id.
    pub(super) fn hub(&mut self) -> (String, String) {
        self.hubs += 1;
        let id = format!("migcompat-net{}", self.hubs);
        (format!("hubport,id={id},hubid={}", self.hubs), id)
    }
}

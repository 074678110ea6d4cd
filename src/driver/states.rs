//! The state that each class of device is brought into, a file of data: `device-sets/driven.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::devices::shipped::DRIVEN;
use crate::driver::script::Line;

/// The states that come with the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct States {
    /// States of PCI functions.
    pub pci: Vec<PciState>,
    /// States of what machines have built in, or on a bus where nothing says what is there.
    pub board: Vec<BoardState>,
}

/// A state of certain PCI functions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PciState {
    pub name: String,
    /// Their numbers: `8086:100e`.
    #[serde(default)]
    pub ids: Vec<String>,
    /// The begin of their class: `0106`.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Bytes of memory that each is lent; zeroes.
    #[serde(default)]
    pub ram: u64,
    pub accesses: Vec<Line>,
}

/// A state of machines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoardState {
    pub name: String,
    /// Families of machine types.
    pub machines: Vec<String>,
    #[serde(default)]
    pub ram: u64,
    pub accesses: Vec<Line>,
}

impl PciState {
    /// Tells whether a function of these numbers is brought into it.
    pub(crate) fn is_for(&self, vendor: u16, device: u16, class: u32) -> bool {
        let id = format!("{vendor:04x}:{device:04x}");
        let class = format!("{class:06x}");
        self.ids.contains(&id) || self.classes.iter().any(|of| class.starts_with(of.as_str()))
    }
}

/// Returns the states that come with the program.
pub(crate) fn states() -> &'static States {
    static STATES: LazyLock<States> = LazyLock::new(|| {
        // Not external input: the file is part of the program, and a test reads it.
        toml::from_str(DRIVEN)
            .unwrap_or_else(|error| unreachable!("device-sets/driven.toml: {error}"))
    });
    &STATES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::qemu::machine;

    #[test]
    fn the_shipped_states_are_for_something() {
        let States { pci, board } = states();
        let mut names = BTreeSet::new();
        for state in pci {
            assert!(names.insert(&state.name), "{}", state.name);
            assert!(!state.accesses.is_empty(), "{}", state.name);
            let hex = |text: &str| text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
            let id = |id: &String| {
                let parts = id.split_once(':');
                parts.is_some_and(|(v, d)| v.len() == 4 && d.len() == 4 && hex(v) && hex(d))
            };
            assert!(state.ids.iter().all(id), "{}", state.name);
            let class = |class: &String| (2..=6).contains(&class.len()) && hex(class);
            assert!(state.classes.iter().all(class), "{}", state.name);
            assert!(!state.ids.is_empty() || !state.classes.is_empty());
        }
        for state in board {
            assert!(names.insert(&state.name), "{}", state.name);
            for family in &state.machines {
                let profile = machine::profile(family, None);
                let map = profile.and_then(|profile| profile.map.as_ref());
                assert!(map.is_some(), "{family}: {}", state.name);
            }
        }
    }

    #[test]
    fn a_function_is_found_by_its_numbers_or_its_class() {
        let state: PciState = toml::from_str(
            "name = 'x'\nids = ['8086:2922']\nclasses = ['0106']\naccesses = ['readl bar0']",
        )
        .expect("a state");
        assert!(state.is_for(0x8086, 0x2922, 0x03_0000));
        assert!(state.is_for(0x1b36, 0x0001, 0x01_0601));
        assert!(!state.is_for(0x8086, 0x2923, 0x01_0180));
    }
}

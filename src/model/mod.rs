//! The facts that every module shares: releases, directions, builds, the names of sections and the ids
//! of rules.

mod accelerator;
mod build;
mod case_name;
mod confine;
mod counted;
mod date;
mod direction;
mod exclusion;
mod machine_names;
mod number;
mod pattern;
mod route;
pub(crate) mod rule;
mod section;
mod similar;
mod uri;
mod version;
mod virtio;
mod visible;
mod words;

pub use accelerator::{Accelerator, AcceleratorPreference, BadAccelerator};
pub use build::{BuildKind, BuildRef};
pub use case_name::{BadCaseName, CaseName};
pub use confine::{Barrier, Confine, ConfinedBuild};
pub(crate) use counted::{count, first_few, joined};
pub use date::{BadDate, Date};
pub use direction::{Direction, Side};
pub use exclusion::Exclusion;
pub(crate) use machine_names::short_name;
pub use machine_names::{MachineNames, machine_sides};
pub(crate) use number::c_number;
pub use pattern::Pattern;
pub use route::Route;
pub use rule::Rule;
pub(crate) use section::RAM;
pub use section::SectionName;
pub use similar::nearest;
pub(crate) use uri::uri_path;
pub use version::{BadVersion, Version};
pub use virtio::{VirtioKind, feature_name};
pub(crate) use visible::{
    hidden_line, in_brief, is_hidden, is_plain_json, make_visible, visible, visible_json,
    visible_lines, visible_output,
};
pub(crate) use words::{display_as_serialized, from_word, serialize_as_text};

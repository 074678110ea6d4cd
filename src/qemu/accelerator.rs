//! The options by which a build is told its accelerator.

use crate::model::Accelerator;

/// Takes any accelerator: nothing is to run. QEMU itself goes through the list, so that a build without TCG, or one
/// that nothing but tests can start here, answers and writes its dump too.
pub(crate) const ANY: [&str; 6] = ["-accel", "tcg", "-accel", "kvm", "-accel", "qtest"];

/// Returns the options for this accelerator alone.
pub(crate) fn only(accelerator: Accelerator) -> [String; 2] {
    ["-accel".to_owned(), accelerator.to_string()]
}

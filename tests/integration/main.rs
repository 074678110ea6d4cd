//! The program and the library as a user of either meets them: all in one binary, which links once.
//!
//! A test is a function with `#[apply(test)]`, and with `#[needs(..)]` if it needs something that not
//! every machine has: real builds, an assembler, a kernel that reports page faults. Where that is
//! absent the test is ignored, with its reason, and never passes.

// Nothing is outside a program.
#![allow(unreachable_pub)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test prints what it did"
)]

#[macro_use]
mod harness;
mod common;
mod deadline;
mod needs;
mod processes;

mod accelerators;
mod baseline;
mod bisect;
mod boards;
mod builds;
mod cli;
mod common_cause;
mod confinement;
mod containers;
mod cpu_models;
mod default_devices;
mod dependencies;
mod device_sets;
mod driven;
mod dumps;
mod exclude;
mod fault_matrix;
mod faults;
mod firmware;
mod formats;
mod github;
mod gitlab;
mod guests;
mod history;
mod hostile;
mod in_tree;
mod interruptions;
mod layout;
mod linux;
mod live;
mod load;
mod log;
mod manual;
mod map;
mod merge;
mod new_rule;
mod offline;
mod output_file;
mod own_guests;
mod owners;
mod packages;
mod pages;
mod pipelines;
mod properties;
mod record;
mod releases;
mod rules;
mod self_test;
mod set_up;
mod settings;
mod signals;
mod soak;
mod state;
mod stream;
mod suggestions;
mod survivors;
mod sweep;
mod tpm;
mod verdicts;
mod vhost_user;
mod wire_model;

use std::process::ExitCode;

fn main() -> ExitCode {
    if processes::done_for_a_test() {
        return ExitCode::SUCCESS;
    }
    harness::run()
}

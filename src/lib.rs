//! Tells whether a virtual machine can migrate between two builds of QEMU, and if not, exactly why.
//!
//! A comparison flows downwards through the modules: a build ([`qemu`]) gives a vmstate dump
//! ([`vmstate`]) and sends a migration stream ([`stream`]), two of a kind give findings, the lists
//! ([`rules`]) judge them, and a report ([`report`]) says them. A migration between two builds
//! ([`migration`]) passes its stream by: what the destination holds afterwards is compared with it, and a
//! load that fails is explained by it. Many migrations make a sweep ([`sweep`]).

pub mod api;
mod cleanup;
pub mod cli;
pub mod compare;
pub mod compression;
pub mod culprit;
pub mod devices;
pub mod migration;
pub mod model;
pub mod qemu;
pub mod report;
pub mod rules;
pub mod stream;
pub mod sweep;
pub mod vmstate;
pub mod workload;

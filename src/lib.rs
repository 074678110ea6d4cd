//! Tells whether a virtual machine can migrate between two builds of QEMU, and if not, exactly why.
//!
//! A comparison flows downwards through the modules: a build ([`qemu`]) gives a vmstate dump
//! ([`vmstate`]), two dumps give findings, the lists ([`rules`]) judge them, and a report
//! ([`report`]) says them.

pub mod cli;
pub mod live;
pub mod model;
pub mod qemu;
pub mod report;
pub mod rules;
pub mod stream;
pub mod sweep;
pub mod vmstate;

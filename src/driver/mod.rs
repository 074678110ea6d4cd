//! A driver from outside: it brings the devices of a machine that never runs into the state in which a kernel with
//! drivers has them, by the accesses that a processor would make. They go to a build by QEMU's
//! [qtest protocol](qtest), which works beside emulation and needs no guest.
//!
//! [`drive`] finds the PCI functions of a machine and gives them addresses ([`pci`], [`layout`]), enables their
//! [interrupts], and drives the [`virtio`] devices: all features that are offered are accepted, all queues
//! set up. What a machine has where is data (`map` in `device-sets/machines.toml`), and so is what is done to other
//! devices than virtio's ([`states`], `device-sets/driven.toml`).

mod access;
mod config_space;
mod drive;
mod interrupts;
mod layout;
mod pci;
mod qtest;
mod script;
mod states;
mod virtio;

pub(crate) use drive::drive;
pub(crate) use qtest::{DriveError, Waiting};

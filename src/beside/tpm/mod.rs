//! The TPM of a guest that has one: what QEMU takes for an emulator beside it (`-tpmdev emulator`). It keeps the state that
//! a migration carries and answers a driver that it knows no command, for a guest that is moved needs no more of it.
//!
//! A TPM of a source has a state of its own, and so has that of a destination until it is given the one that was sent: what
//! was not passed on shows in what the destination sends.

mod control;
mod server;

pub(super) use server::serve;

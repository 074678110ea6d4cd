//! A build of QEMU: where it comes from, what it can do, starting it.

//! Tells whether a virtual machine can migrate between two builds of QEMU, and if not, exactly why.
//!
//! [`api`] asks the question: it compares two builds, moves guests between them or does both, and
//! returns a [`report`] with the verdict, the findings and the evidence that is missing. The terms
//! that these use, like directions, builds and rules, are in [`model`].
//!
//! ```
//! use migcompat::api::{Silent, StaticConfig, static_check};
//!
//! let old = "fixtures/dumps/7.2.22/x86_64-q35.json.zst";
//! let new = "fixtures/dumps/10.0.13/x86_64-q35.json.zst";
//! let outcome = static_check(&StaticConfig::new(old, new), &Silent)?;
//! for finding in outcome.report.findings.iter().filter(|f| f.gates(false)) {
//!     println!("{} {}: {}", finding.section, finding.direction, finding.message);
//! }
//! # assert!(outcome.report.findings.iter().any(|f| f.section == "am53c974"));
//! # Ok::<(), migcompat::api::Error>(())
//! ```

#![warn(missing_docs)]

// A comparison flows downwards through the modules: a build (`qemu`) gives a vmstate dump
// (`vmstate`) and sends a migration stream (`stream`), two of a kind give findings (`compare`), the
// lists (`rules`) judge them, and a report contains them. The stream of a migration between two
// builds (`migration`) is read in transit: the state that the destination has afterwards is
// compared with it, and a load that fails is explained by it. Many migrations make a sweep
// (`sweep`). `api` runs all of that, and `cli` calls `api`.
pub mod api;
mod cleanup;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod internals;
pub mod model;
pub mod report;

// The rest is private; tests reach it through `internals`, so that parts of it look public.
#[allow(missing_docs)]
mod compare;
#[allow(missing_docs)]
mod compression;
#[allow(missing_docs)]
mod devices;
#[allow(missing_docs)]
mod driver;
#[allow(missing_docs)]
mod history;
#[allow(missing_docs)]
mod migration;
#[allow(missing_docs)]
mod qemu;
#[allow(missing_docs)]
mod rules;
#[allow(missing_docs)]
mod stream;
#[allow(missing_docs)]
mod vmstate;

mod beside;
mod bisect;
mod culprit;
mod data;
mod guest;
mod input;
mod owners;
mod parallel;
mod sweep;
mod whole_file;
mod workload;

//! The question that a check asks, so that its report is held against none of another question.

use std::hash::Hash;

use xxhash_rust::xxh3::Xxh3;

use crate::api::config::{CheckConfig, Doubts, Memory};
use crate::api::error::Error;
use crate::api::memory::sets_digest;
use crate::api::opened::Opened;
use crate::api::progress::Progress;
use crate::qemu::CacheConfig;
use crate::report::Tool;

/// A check, with what its words mean by now.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The check; its old build and its machine are those that are meant now.
    pub config: CheckConfig,
    /// A hash of all that decides what the check looks at and what it makes of it, but for the new build.
    pub key: String,
    /// The target of both builds.
    pub arch: String,
}

impl Question {
    /// Looks up what a check means.
    ///
    /// # Errors
    /// As for [`check`](crate::api::check): a build does not start, or has no such machine.
    pub(crate) fn of(config: &CheckConfig, progress: &dyn Progress) -> Result<Question, Error> {
        let asked = config.machine.as_deref();
        let opened = Opened::new(&config.builds, asked, &config.guests, progress)?;
        let old = &opened.pair.old;
        let mut config = config.clone();
        old.build.label().clone_into(&mut config.builds.old);
        config.machine = Some(opened.machines.to_string());
        // All counts that is not taken out here, so that no option can be forgotten.
        let mut counts = config.clone();
        counts.builds.new.clear();
        counts.builds.cache = CacheConfig::default();
        counts.doubts = Doubts::default();
        counts.guests.jobs = None;
        counts.guests.logs = None;
        counts.memory = Memory::default();
        let sets = sets_digest(&config.guests.device_sets);
        let (version, program) = (old.info.version, old.fingerprint());
        let mut all = Xxh3::new();
        (counts, version, program, sets, Tool::this()).hash(&mut all);
        let key = format!("{:012x}", all.digest() >> 16);
        let arch = opened.pair.arch().to_owned();
        Ok(Question { config, key, arch })
    }
}

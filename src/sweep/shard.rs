//! A sweep spread over several runs: the cases of each part.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::report::ShardRef;

/// Most shards of a run, which is more than any has cases to share out.
const MOST: u32 = 1 << 16;

/// Part `index` of `of`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: NonZeroU32,
    of: NonZeroU32,
}

/// A text that names no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadShard {
    /// It is not two numbers with a slash.
    #[error("{0:?} is not a shard; write K/N, for instance 1/4 for the first of four")]
    Form(String),
    /// The index is 0.
    #[error("shards are counted from 1: the first of {of} is 1/{of}")]
    Zero {
        /// The number of shards.
        of: u32,
    },
    /// The index is above the number of shards.
    #[error("there is no shard {index} of {of}; the last one is {of}/{of}")]
    Beyond {
        /// The index.
        index: u32,
        /// The number of shards.
        of: u32,
    },
    /// There are more shards than a run has cases.
    #[error("a run is split into {MOST} shards at most")]
    TooMany,
    /// The number of shards is 0.
    #[error("a run cannot be split into zero shards")]
    None,
}

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let form = || BadShard::Form(text.to_owned());
        let (index, of) = text.split_once('/').ok_or_else(form)?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| form());
        Shard::new(number(index)?, number(of)?)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl Shard {
    /// Returns one of the shards of a run.
    ///
    /// # Errors
    /// A run has no such shard.
    pub fn new(index: u32, of: u32) -> Result<Shard, BadShard> {
        let Some(all) = NonZeroU32::new(of) else {
            return Err(BadShard::None);
        };
        match NonZeroU32::new(index) {
            None => Err(BadShard::Zero { of }),
            Some(_) if of > MOST => Err(BadShard::TooMany),
            Some(_) if index > of => Err(BadShard::Beyond { index, of }),
            Some(index) => Ok(Shard { index, of: all }),
        }
    }

    /// Returns the number of the part, counted from 1.
    pub fn index(self) -> u32 {
        self.index.get()
    }

    /// Tells whether the cases of this name belong to this shard. It depends on the name alone: a device
    /// that comes or goes moves no other one.
    pub fn includes(self, name: &str) -> bool {
        xxh3_64(name.as_bytes()) % u64::from(self.of.get()) == u64::from(self.index.get() - 1)
    }

    /// Returns the shard as its report names it. `ids` are those of all cases of the whole run, in any order;
    /// `options` are those that influence the results, as one would type them.
    pub fn reference(
        self,
        ids: impl IntoIterator<Item = impl ToString>,
        options: impl IntoIterator<Item = String>,
    ) -> ShardRef {
        let mut ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let mut options: Vec<String> = options.into_iter().collect();
        ids.sort_unstable();
        options.sort_unstable();
        let mut digest = Xxh3::new();
        for word in ids.iter().chain(&options) {
            digest.update(word.as_bytes());
            // So that `a` and `bc` are not `ab` and `c`.
            digest.update(&[0]);
        }
        ShardRef {
            index: self.index.get(),
            of: self.of.get(),
            plan: format!("{:016x}", digest.digest()),
            options,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(text: &str) -> Shard {
        text.parse().unwrap()
    }

    fn ids(count: usize) -> Vec<String> {
        (0..count)
            .map(|n| format!("q35/device-{n}/unix/forward/paused"))
            .collect()
    }

    #[test]
    fn a_shard_is_written_k_of_n() {
        for text in ["1/1", "1/4", "4/4", "17/1000"] {
            assert_eq!(shard(text).to_string(), text);
        }
        let refused = |text: &str| text.parse::<Shard>().unwrap_err().to_string();
        for text in ["3", "a/b", "-1/4"] {
            let message = "is not a shard; write K/N, for instance 1/4 for the first of four";
            assert_eq!(refused(text), format!("{text:?} {message}"));
        }
        for (text, message) in [
            ("0/4", "shards are counted from 1: the first of 4 is 1/4"),
            ("5/4", "there is no shard 5 of 4; the last one is 4/4"),
            ("0/0", "a run cannot be split into zero shards"),
            ("1/4294967295", "a run is split into 65536 shards at most"),
        ] {
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn every_case_is_in_one_shard_and_shards_are_of_like_size() {
        let ids = ids(800);
        for of in [1, 2, 3, 4, 7] {
            let sizes: Vec<usize> = (1..=of)
                .map(|index| {
                    let shard = shard(&format!("{index}/{of}"));
                    ids.iter().filter(|id| shard.includes(id)).count()
                })
                .collect();
            assert_eq!(sizes.iter().sum::<usize>(), ids.len(), "{of}: {sizes:?}");
            let fair = ids.len() / of;
            for size in &sizes {
                assert!(size.abs_diff(fair) * 4 <= fair, "{of}: {sizes:?}");
            }
        }
    }

    /// The shard of a case never changes: runners of one pipeline need not be of one day.
    #[test]
    fn the_assignment_is_the_same_for_ever() {
        let of_three = |id: &str| (1..=3).find(|index| shard(&format!("{index}/3")).includes(id));
        for (id, index) in [
            ("q35/e1000e/unix/forward/paused", 1),
            ("q35/e1000e/unix/backward/paused", 2),
            ("q35/am53c974/unix/forward/paused", 1),
            ("virt/virtio-net-pci/unix/forward", 3),
        ] {
            assert_eq!(of_three(id), Some(index), "{id}");
        }
    }

    #[test]
    fn a_plan_is_known_by_all_it_was_to_do() {
        let plan = |ids: &[&str], options: &[&str]| {
            shard("1/2")
                .reference(ids.iter().copied(), options.iter().map(|o| (*o).to_owned()))
                .plan
        };
        let one = plan(&["a", "bc"], &["--paused"]);
        assert_eq!(one, plan(&["bc", "a"], &["--paused"]));
        assert_ne!(one, plan(&["ab", "c"], &["--paused"]));
        assert_ne!(one, plan(&["a", "bc"], &[]));
        assert_ne!(one, plan(&["a"], &["--paused"]));
    }
}

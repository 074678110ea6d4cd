//! Everything that a map is held against: an earlier map, pair by pair, and what else outlives a run.

use crate::api::config::Memory;
use crate::api::error::{Error, Problem};
use crate::api::memory::Recalled;
use crate::model::BuildRef;
use crate::report::map::Map;
use crate::report::read::{Input, read_map};
use crate::report::{Gate, Report};

/// The memory of a map.
pub(crate) struct Past<'m> {
    memory: &'m Memory,
    /// The earlier map, and the name of its file.
    baseline: Option<(String, Map)>,
}

impl Past<'_> {
    /// Reads the earlier map.
    ///
    /// # Errors
    /// The file is no map, or new breaks alone are to count and there is none.
    pub(crate) fn read(memory: &Memory) -> Result<Past<'_>, Error> {
        let file = memory.baseline.as_ref();
        if file.is_none() && memory.gate == Gate::New {
            return Err(Problem::NoBaseline.into());
        }
        let baseline =
            file.map(|file| Ok::<_, Error>((file.display().to_string(), read_map(file)?)));
        Ok(Past {
            memory,
            baseline: baseline.transpose()?,
        })
    }

    /// Returns what a pair is held against. What an earlier map does not have is new in all of its parts.
    ///
    /// # Errors
    /// As for [`Recalled::read`].
    pub(crate) fn of_pair(&self, old: &BuildRef, new: &BuildRef) -> Result<Recalled, Error> {
        let input = self.baseline.as_ref().map(|(origin, map)| {
            let pair = map.pair_of(old, new);
            let nothing = || Report::new(old.clone(), new.clone(), None);
            Input {
                origin: origin.clone(),
                report: pair.map_or_else(nothing, |pair| pair.report.clone()),
            }
        });
        Recalled::beside(self.memory, input)
    }
}

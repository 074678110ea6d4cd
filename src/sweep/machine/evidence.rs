//! Collecting what was sent from one build to the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::culprit::Item;
use crate::migration::coverage::Observed;
use crate::model::Direction;
use crate::stream::Stream;
use crate::sweep::machine::run::Run;
use crate::sweep::pairing::{Half, Pairing};

/// The sections and streams that the guests of a machine sent from one build to the other. Controls
/// do not contribute.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub observed: Vec<Observed>,
    pub pairing: Pairing,
    /// The virtio devices that both builds set up alike, as far as guests were asked.
    pub asked: BTreeSet<Item>,
}

impl Evidence {
    /// Takes what these items sent in a guest with so many, to be compared with what the other build sends of
    /// the same devices. A pack that failed waits for its parts.
    pub(crate) fn add(
        &mut self,
        direction: Direction,
        items: &[Item],
        in_guest: usize,
        types: BTreeSet<String>,
        run: &Run,
        stream: Option<&Arc<Stream>>,
    ) {
        self.observed.push(Observed {
            sections: run.sent.iter().cloned().collect(),
            direction,
            passed: run.passed(),
            types,
        });
        if let Some(stream) = stream.filter(|_| run.passed() || in_guest <= 1) {
            let half = Half {
                direction,
                stream: Arc::clone(stream),
                passed: run.passed(),
                not_whole: Arc::clone(&run.not_whole),
                in_guest,
            };
            self.pairing.keep(items, half);
        }
    }
}

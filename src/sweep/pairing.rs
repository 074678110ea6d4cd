//! The streams that both builds sent of the same devices, brought together: the packs may differ on
//! the way back.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::culprit::Item;
use crate::model::Direction;
use crate::report::Finding;
use crate::stream::{Section, Stream};

/// The streams that both builds sent of one and the same guest.
#[derive(Debug)]
pub(crate) struct Sent<'s> {
    pub old: &'s Stream,
    pub new: &'s Stream,
    /// The ways on which the guest came through.
    survived: &'s [Half],
}

impl Sent<'_> {
    /// Tells whether a guest came through with the section that a finding is about, as it was sent.
    pub(crate) fn has_survived(&self, finding: &Finding) -> bool {
        let section = finding.path.first();
        self.survived.iter().any(|half| {
            half.direction == finding.direction
                && !section.is_some_and(|section| half.not_whole.contains(section))
        })
    }
}

/// One of the two streams of a guest, as its direction's source sent it.
#[derive(Debug, Clone)]
pub(crate) struct Half {
    pub direction: Direction,
    pub stream: Arc<Stream>,
    pub passed: bool,
    /// The vmsd names of the sections that the destination did not load as they were sent.
    pub not_whole: Arc<BTreeSet<String>>,
    /// The number of device types in the guest.
    pub in_guest: usize,
}

/// The streams of a machine's guests.
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    /// Streams of an item, or of none, that the other build has not sent yet.
    lone: BTreeMap<Option<Item>, Half>,
    /// Pairs of streams that were not handed out yet.
    complete: Vec<(Half, Half)>,
}

impl Pairing {
    /// Takes the stream of these items; that of the bare machine has none.
    pub(crate) fn keep(&mut self, items: &[Item], half: Half) {
        let keys = match items {
            [] => vec![None],
            items => items.iter().copied().map(Some).collect(),
        };
        let other = keys.first().and_then(|key| self.lone.get(key));
        match other.filter(|other| other.direction != half.direction) {
            Some(other) => self.complete.push((half, other.clone())),
            None => {
                let halves = keys.into_iter().map(|key| (key, half.clone()));
                self.lone.extend(halves);
            }
        }
    }

    /// Returns the stream that the other direction's source sent with this item, maybe among others.
    pub(crate) fn across(&self, item: Item, direction: Direction) -> Option<Arc<Stream>> {
        let half = self.lone.get(&Some(item));
        half.filter(|half| half.direction != direction)
            .map(|half| Arc::clone(&half.stream))
    }

    /// Hands out the streams of the guests that both builds have sent by now, each once.
    pub(crate) fn take_complete(&mut self, mut take: impl FnMut(Sent)) {
        let bare = self.lone.get(&None).map(|bare| Arc::clone(&bare.stream));
        let sections = bare.iter().flat_map(|bare| &bare.sections);
        let board: BTreeSet<&str> = sections.map(|section| section.name.vmsd_name()).collect();
        for (one, other) in self.complete.drain(..) {
            let survived = [&one, &other].into_iter().filter(|half| half.passed);
            let survived: Vec<Half> = survived.cloned().collect();
            // One of the guests may have had more in it, and a board that is made for more.
            let devices = |fewer: &Stream| Arc::new(of_devices(fewer, &board));
            let (ours, theirs) = match one.in_guest.cmp(&other.in_guest) {
                Ordering::Equal => (one.stream, other.stream),
                Ordering::Less => {
                    let ours = devices(&one.stream);
                    let theirs = beside(&other.stream, &ours);
                    (ours, Arc::new(theirs))
                }
                Ordering::Greater => {
                    let theirs = devices(&other.stream);
                    (Arc::new(beside(&one.stream, &theirs)), theirs)
                }
            };
            let (old, new) = one.direction.source_destination(&*ours, &*theirs);
            take(Sent {
                old,
                new,
                survived: &survived,
            });
        }
    }
}

/// Returns a stream without the sections that the bare board has.
fn of_devices(stream: &Stream, board: &BTreeSet<&str>) -> Stream {
    let mut stream = stream.clone();
    let devices = |section: &Section| !board.contains(section.name.vmsd_name());
    stream.sections.retain(devices);
    stream
}

/// Returns the sections of a stream that another one of fewer devices has, too, named as there: without
/// the place of their devices, the names distinguish them, and the lengths those of one name: a controller with something
/// plugged into it sends more.
pub(crate) fn beside(more: &Stream, fewer: &Stream) -> Stream {
    let mut sections = more.sections.clone();
    let mut found = Vec::new();
    for wanted in &fewer.sections {
        let like = |section: &Section| {
            section.name.vmsd_name() == wanted.name.vmsd_name()
                && section.instance_id == wanted.instance_id
        };
        let alike = sections
            .iter()
            .enumerate()
            .filter(|(_, section)| like(section));
        let nearest = alike.min_by_key(|(_, section)| section.size.abs_diff(wanted.size));
        if let Some((at, _)) = nearest {
            let section = sections.remove(at);
            found.push(Section {
                name: wanted.name.clone(),
                ..section
            });
        }
    }
    Stream {
        sections: found,
        ..more.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;
    use crate::stream::testing::{fields, hand_made, section};

    fn stream(names: &[&'static str]) -> Arc<Stream> {
        let made = names
            .iter()
            .map(|&name| section(name, 1, &fields(1, "n:1")));
        Arc::new(hand_made(&made.collect::<Vec<_>>()))
    }

    fn half(direction: Direction, stream: Arc<Stream>, in_guest: usize) -> Half {
        Half {
            direction,
            stream,
            passed: direction == Direction::Forward,
            not_whole: Arc::default(),
            in_guest,
        }
    }

    fn directions(sent: &Sent) -> Vec<Direction> {
        sent.survived.iter().map(|half| half.direction).collect()
    }

    /// What the destination did not get as it was sent says nothing of whether it loads.
    #[test]
    fn a_section_that_did_not_arrive_as_it_was_sent_has_not_come_through() {
        let board = stream(&["board", "cpu"]);
        let mut pairing = Pairing::default();
        let there = Half {
            not_whole: Arc::new(BTreeSet::from(["cpu".to_owned()])),
            ..half(Direction::Forward, Arc::clone(&board), 0)
        };
        pairing.keep(&[], there);
        pairing.keep(&[], half(Direction::Backward, board, 0));
        let finding = |section: &str, direction: &str| {
            testing::finding(json!({
                "rule": "fields-swapped", "level": "error", "direction": direction, "section": section,
                "path": [section, "field"], "evidence": "stream",
            }))
        };
        let mut count = 0;
        pairing.take_complete(|sent| {
            for (section, direction, survived) in [
                ("board", "forward", true),
                ("cpu", "forward", false),
                ("board", "backward", false),
            ] {
                let found = sent.has_survived(&finding(section, direction));
                assert_eq!(found, survived, "{section} {direction}");
            }
            count += 1;
        });
        assert_eq!(count, 1);
    }

    #[test]
    fn a_pack_that_shrank_on_the_way_back_is_compared_with_what_it_was() {
        let there = stream(&[
            "board",
            "0000:00:01.0/a",
            "0000:00:02.0/b",
            "0000:00:03.0/c",
        ]);
        let back = stream(&["board", "0000:00:01.0/b", "0000:00:02.0/c"]);
        let mut pairing = Pairing::default();
        let bare = half(Direction::Forward, stream(&["board"]), 1);
        pairing.keep(&[], bare);
        pairing.keep(&[0, 1, 2], half(Direction::Forward, there, 3));
        assert!(pairing.across(1, Direction::Backward).is_some());
        assert!(pairing.across(1, Direction::Forward).is_none());
        pairing.keep(&[1, 2], half(Direction::Backward, back, 2));
        let names = |stream: &Stream| -> Vec<String> {
            stream.sections.iter().map(|s| s.name.to_string()).collect()
        };
        let mut count = 0;
        pairing.take_complete(|sent| {
            assert_eq!(names(sent.old), ["0000:00:01.0/b", "0000:00:02.0/c"]);
            assert_eq!(names(sent.old), names(sent.new));
            assert_eq!(directions(&sent), [Direction::Forward]);
            count += 1;
        });
        assert_eq!(count, 1);
        pairing.take_complete(|_| panic!("once is enough"));
    }

    /// A device that fails by itself may be through before the way back, where it is in a pack, has come to its end.
    #[test]
    fn a_pack_is_compared_with_fewer_devices_whichever_comes_first() {
        use Direction::{Backward, Forward};
        let pack = || stream(&["board", "0000:00:01.0/a", "0000:00:02.0/b"]);
        let alone = || stream(&["board", "0000:00:01.0/b"]);
        let first = || stream(&["board", "0000:00:01.0/a"]);
        for (halves, name) in [
            ([half(Forward, alone(), 1), half(Backward, pack(), 2)], "b"),
            ([half(Backward, pack(), 2), half(Forward, alone(), 1)], "b"),
            ([half(Backward, first(), 1), half(Forward, pack(), 2)], "a"),
        ] {
            let mut pairing = Pairing::default();
            pairing.keep(&[], half(Forward, stream(&["board"]), 0));
            for half in halves {
                // That of the pack is looked for by its first item.
                let items = match (half.in_guest, name) {
                    (1, _) => vec![1],
                    (_, "b") => vec![1, 0],
                    _ => vec![1, 2],
                };
                pairing.keep(&items, half);
            }
            let mut count = 0;
            pairing.take_complete(|sent| {
                for stream in [sent.old, sent.new] {
                    let names = stream.sections.iter().map(|s| s.name.to_string());
                    let expected = format!("0000:00:01.0/{name}");
                    assert_eq!(names.collect::<Vec<_>>(), [expected]);
                }
                count += 1;
            });
            assert_eq!(count, 1);
        }
    }

    #[test]
    fn of_several_sections_of_one_name_that_of_the_nearest_length_is_meant() {
        let more = stream(&["0000:00:01.0/a", "0000:00:02.0/a", "0000:00:03.0/a"]);
        let mut more = Arc::unwrap_or_clone(more);
        for (section, size) in more.sections.iter_mut().zip([90, 70, 71]) {
            section.size = size;
        }
        let mut fewer = Stream {
            sections: more.sections[..1].to_vec(),
            ..more.clone()
        };
        for (size, nearest) in [(72, 71), (100, 90), (1, 70)] {
            fewer.sections[0].size = size;
            let [found] = &beside(&more, &fewer).sections[..] else {
                panic!("one of them");
            };
            assert_eq!(found.size, nearest, "{size}");
        }
    }
}

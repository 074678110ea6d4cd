//! Known issues about the values in a stream.

use serde::Deserialize;

use crate::model::{Accelerator, Direction, MachineNames, Pattern};
use crate::rules::known_issues::{Holds, Place, Renamed, Scope};

/// A field that may have another value on the destination without harm.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volatile {
    /// The vmsd name of the description that the fields stand in, subsections included.
    pub description: String,
    pub fields: Vec<Pattern>,
    /// The bytes of the field that may differ, first and last ones, where it is not all of them.
    #[serde(default)]
    pub bytes: Vec<[usize; 2]>,
    /// The difference that is meant, where it is not any.
    pub run: Option<Run>,
    /// The number of bytes by which the field may be longer or shorter, where it is its length that differs.
    pub resized: Option<usize>,
    /// The length that was sent, where only that one is meant.
    pub sent_length: Option<usize>,
    /// Targets whose guests are meant, where it is not all of them: each has a `cpu` of its own.
    #[serde(default)]
    pub arch: Vec<String>,
    /// Machines that are meant, where it is not all of them.
    #[serde(default)]
    pub machines: MachineNames,
    /// The accelerator of the guests that are meant, where it is not any.
    pub accelerator: Option<Accelerator>,
    pub reason: String,
    /// The file and function of QEMU that shows it.
    pub source: String,
    #[serde(skip)]
    pub place: Place,
}

/// A number of equal bytes that all become another byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub count: usize,
    pub sent: u8,
    pub held: u8,
}

impl Volatile {
    /// Tells whether no difference can be one that is meant.
    pub(super) fn fits_nothing(&self) -> bool {
        self.bytes.iter().any(|[first, last]| first > last)
            || self
                .run
                .is_some_and(|run| run.count == 0 || run.sent == run.held)
            || self.resized == Some(0)
    }

    fn names(&self, description: &str, field: &str) -> bool {
        self.description == description && Pattern::any(&self.fields, field)
    }

    fn covers(&self, description: &str, field: &str, sent: &[u8], actual: Option<&[u8]>) -> bool {
        self.names(description, field)
            && self.sent_length.is_none_or(|length| length == sent.len())
            && ((self.bytes.is_empty() && self.run.is_none() && self.resized.is_none())
                || actual.is_some_and(|actual| self.fits(sent, actual)))
    }

    fn fits(&self, sent: &[u8], actual: &[u8]) -> bool {
        // A length that is meant was made up for before: see `resizes`.
        if self.resized.is_some() || sent.len() != actual.len() {
            return false;
        }
        let bytes = sent.iter().zip(actual).enumerate();
        let different: Vec<(usize, u8, u8)> = bytes
            .filter(|(_, (a, b))| a != b)
            .map(|(at, (&a, &b))| (at, a, b))
            .collect();
        let within = |at: usize| {
            self.bytes
                .iter()
                .any(|&[from, to]| (from..=to).contains(&at))
        };
        let may_differ = |at: usize| self.bytes.is_empty() || within(at);
        let runs = |run: Run| {
            let mut bytes = different.iter().map(|&(_, sent, held)| (sent, held));
            different.len() == run.count && bytes.all(|both| both == (run.sent, run.held))
        };
        different.iter().all(|&(at, ..)| may_differ(at)) && self.run.is_none_or(runs)
    }
}

/// The names of fields, for a guest that goes from one build to the other. It is not tied to the
/// lists: many cases at once use it.
#[derive(Debug, Clone, Default)]
pub struct StateNames {
    /// Description, name on the sending side, name on the receiving side.
    renamed: Vec<(Option<String>, String, String)>,
    volatile: Vec<Volatile>,
    accelerator: Accelerator,
}

impl StateNames {
    /// Sets the accelerator of the guests; without it they are emulated.
    pub(crate) fn set_accelerator(&mut self, accelerator: Accelerator) {
        self.accelerator = accelerator;
    }

    fn volatile_here(&self) -> impl Iterator<Item = &Volatile> {
        let here = |entry: &&Volatile| entry.accelerator.is_none_or(|of| of == self.accelerator);
        self.volatile.iter().filter(here)
    }

    /// Tells whether in this description two names are one field.
    pub fn same(&self, description: &str, sent: &str, actual: &str) -> bool {
        self.renamed.iter().any(|(of, a, b)| {
            a == sent && b == actual && of.as_deref().is_none_or(|name| name == description)
        })
    }

    /// Returns by how many bytes the field is known to be longer or shorter on the destination, with the same
    /// meaning. Whether nothing else of it differs is for the comparison to see.
    pub fn resizes<'n>(
        &'n self,
        description: &'n str,
        field: &'n str,
    ) -> impl Iterator<Item = usize> + 'n {
        let entries = self.volatile_here();
        let entries = entries.filter(move |entry| entry.names(description, field));
        entries.filter_map(|entry| entry.resized)
    }

    /// Returns why the field may differ in this way.
    pub fn volatile(
        &self,
        description: &str,
        field: &str,
        sent: &[u8],
        actual: Option<&[u8]>,
    ) -> Option<&str> {
        let mut entries = self.volatile_here();
        let entry = entries.find(|entry| entry.covers(description, field, sent, actual));
        entry.map(|entry| entry.reason.as_str())
    }
}

impl Scope<'_> {
    /// Returns the names as a leg in this direction meets them, of a guest for this target. Where that or the
    /// machine is not known, an entry is taken to hold.
    pub fn state_names(&self, direction: Direction, arch: Option<&str>) -> StateNames {
        let here = |entry: &&Volatile| {
            let target = entry.arch.is_empty()
                || arch.is_none_or(|arch| entry.arch.iter().any(|name| name == arch));
            let machine = entry.machines.is_empty()
                || self.machine.is_none()
                || entry.machines.include(self.machine);
            target && machine
        };
        let mut renamed = Vec::new();
        for entry in &self.lists.renames {
            if entry.what == Renamed::Section {
                continue;
            }
            let mut add = |old: &String, new: &String| {
                let (sent, actual) = direction.source_destination(old.clone(), new.clone());
                renamed.push((entry.description.clone(), sent, actual));
            };
            let holds = Holds::of(entry.by, self.old, self.new);
            if matches!(holds, Holds::InOrder | Holds::Perhaps) {
                add(&entry.old, &entry.new);
            }
            if matches!(holds, Holds::Swapped | Holds::Perhaps) {
                add(&entry.new, &entry.old);
            }
        }
        StateNames {
            renamed,
            volatile: self.lists.volatile.iter().filter(here).cloned().collect(),
            accelerator: Accelerator::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::known_issues::load::tests::lists;

    const RTC: &str = r#"
[[volatile]]
description = "rtc"
fields = ["cmos", "next_*"]
bytes = [[0, 1], [3, 3]]
reason = "the clock goes on"
source = "rtc.c"

[[volatile]]
description = "net"
fields = ["state"]
run = { count = 2, sent = 0, held = 255 }
reason = "all VLANs pass"
source = "net.c"
"#;

    #[test]
    fn a_volatile_field_is_so_in_its_own_way_alone() {
        let known = lists(RTC).unwrap();
        let names = StateNames {
            renamed: Vec::new(),
            volatile: known.volatile,
            accelerator: Accelerator::default(),
        };
        type Row<'r> = (&'r str, &'r str, &'r [u8], Option<&'r [u8]>, bool);
        let cases: [Row; 9] = [
            ("rtc", "cmos", &[1, 2, 3, 4], Some(&[9, 2, 3, 4]), true),
            ("rtc", "cmos", &[1, 2, 3, 4], Some(&[1, 9, 3, 9]), true),
            ("rtc", "cmos", &[1, 2, 3, 4], Some(&[1, 2, 9, 4]), false),
            ("rtc", "cmos", &[1, 2, 3, 4], Some(&[9, 2, 3]), false),
            ("rtc", "cmos", &[1, 2, 3, 4], None, false),
            // The first byte of any field of the entry may differ.
            ("rtc", "next_alarm", &[1], Some(&[2]), true),
            ("cmos", "cmos", &[1], Some(&[2]), false),
            ("net", "state", &[7, 0, 0, 7], Some(&[7, 255, 255, 7]), true),
            ("net", "state", &[0, 0, 7], Some(&[255, 255, 8]), false),
        ];
        for (description, field, sent, actual, expected) in cases {
            let found = names.volatile(description, field, sent, actual);
            let what = format!("{description} {field} {actual:?}");
            assert_eq!(found.is_some(), expected, "{what}");
        }
        let refused = lists("[[volatile]]\ndescription='x'\nfields=['*']\nreason='y'\nsource='z'");
        assert!(refused.unwrap_err().to_string().contains("own.toml:1"));
        let refused =
            lists(&RTC.replace("source = \"net.c\"", "source = \"net.c\"\narch = [\"x86\"]"));
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains("own.toml:9: there is no target `x86`"),
            "{message}"
        );
    }

    #[test]
    fn a_volatile_field_is_so_where_its_entry_says() {
        let entry = |scope: &str| {
            format!(
                "[[volatile]]\ndescription='cpu'\nfields=['msr']\nreason='x'\nsource='y'\n{scope}"
            )
        };
        let (ppc64, pseries) = ("arch=['ppc64']", "machines=['pseries']");
        let neither = "arch=['ppc64']\nmachines=['virt']";
        // Scope of the entry, target and machine of the guest.
        for (scope, arch, machine, holds) in [
            ("", "x86_64", "pc-q35-7.2", true),
            (ppc64, "ppc64", "pseries-7.2", true),
            (ppc64, "x86_64", "pc-q35-7.2", false),
            (ppc64, "", "", true),
            (pseries, "ppc64", "pseries-7.2", true),
            (pseries, "ppc64", "powernv9", false),
            (pseries, "ppc64", "", true),
            (neither, "ppc64", "pseries", false),
        ] {
            let [arch, machine] =
                [arch, machine].map(|text| Some(text).filter(|of| !of.is_empty()));
            let lists = lists(&entry(scope)).unwrap();
            let of = Scope::of(&lists, None, None, machine);
            let names = of.state_names(Direction::Forward, arch);
            let found = names.volatile("cpu", "msr", &[1], Some(&[2]));
            assert_eq!(found.is_some(), holds, "{scope} {arch:?} {machine:?}");
        }
        let lists = lists(&entry("accelerator='kvm'")).unwrap();
        let of = Scope::of(&lists, None, None, None);
        let mut names = of.state_names(Direction::Forward, None);
        let holds = |names: &StateNames| names.volatile("cpu", "msr", &[1], Some(&[2])).is_some();
        assert!(!holds(&names));
        names.set_accelerator(Accelerator::Kvm);
        assert!(holds(&names));
    }
}

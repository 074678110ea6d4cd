//! One thing on the wire.

use crate::compare::layout::Layout;
use crate::compare::layout::interner::{Id, Interner, Place, ROOT};

/// One thing on the wire.
#[derive(Debug)]
pub(crate) struct Item<'d> {
    /// The place in the structures around it, for people.
    pub place: Id,
    /// The same regardless of how C structures group it: `core.itr` and `core` › `itr`
    /// are one path. That of an element's field begins in the element.
    pub path: Id,
    /// The last part of [`Item::path`].
    pub leaf: Id,
    pub name: &'d str,
    /// The innermost description around it.
    pub description: &'d str,
    /// Bytes of one element: in the memory of a build that was dumped, on the wire of one that sent it.
    pub size: u64,
    pub size_is: SizeIs,
    /// The number of elements, `None` where there is one or nothing says how many.
    pub num: Option<u64>,
    /// Its own build states the number, one included.
    pub counted: bool,
    /// A run-time test of the field or of a structure around it decides.
    pub conditional: bool,
    /// The version gates let it through.
    pub present: bool,
    pub gate: i64,
    /// The number of elements is not known: the dump prints none, here or for a structure around it.
    pub loose: bool,
    pub kind: Kind<'d>,
}

#[derive(Debug)]
pub(crate) enum Kind<'d> {
    Field,
    /// `VMSTATE_UNUSED`: bytes without a meaning.
    Padding,
    /// An array of structures, of which the state has the number where none is given.
    Array(Vec<Item<'d>>),
    /// The place where the description's subsections follow.
    Subsection(Layout<'d>),
}

/// The place where a size was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SizeIs {
    InMemory,
    OnTheWire,
}

/// In-memory size of a `QEMUTimer`, which is 8 bytes on the wire (`include/qemu/timer.h`,
/// `vmstate_info_timer`). No buffer in QEMU 5.2 to 11.1 has this size.
const TIMER_SIZE: u64 = 48;

/// Returns the bytes on the wire of a field that takes so many in memory, as far as these show.
pub(super) fn on_wire(in_memory: u64) -> u64 {
    match in_memory {
        TIMER_SIZE => 8,
        other => other,
    }
}

/// Tells whether an integer may have so many bytes.
pub(super) fn fits_integer(size: u64) -> bool {
    matches!(size, 1 | 2 | 4 | 8)
}

impl<'d> Item<'d> {
    /// Returns the place where a subsection of a description follows.
    pub(super) fn subsection(
        interner: &mut Interner<'d>,
        layout: Layout<'d>,
        description: &'d str,
        around: Option<Id>,
    ) -> Item<'d> {
        let name = layout.name();
        let place = interner.place(Place::open(around, name));
        let (path, leaf) = interner.path(ROOT, name);
        Item {
            place,
            path,
            leaf,
            name,
            description,
            size: 0,
            size_is: SizeIs::OnTheWire,
            num: None,
            counted: false,
            conditional: true,
            present: true,
            gate: 0,
            loose: false,
            kind: Kind::Subsection(layout),
        }
    }
}

impl Item<'_> {
    /// Tells whether its number of elements is what the other build states, for want of a statement of its own.
    pub(crate) fn is_number_borrowed(&self) -> bool {
        self.num.is_some() && !self.counted
    }

    pub(crate) fn is_padding(&self) -> bool {
        matches!(self.kind, Kind::Padding)
    }

    pub(crate) fn is_subsection(&self) -> bool {
        matches!(self.kind, Kind::Subsection(_))
    }

    /// Tells whether the dump says nothing of its width: variable buffers, bitmaps and most custom kinds.
    pub(crate) fn is_opaque(&self) -> bool {
        self.size == 0 && matches!(self.kind, Kind::Field)
    }

    /// Tells whether it is a single integer as far as the dump shows.
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.kind, Kind::Field) && fits_integer(self.size)
    }

    /// Tells whether it has the size of a timer that is embedded in its device's state.
    pub(crate) fn is_timer(&self) -> bool {
        self.size == TIMER_SIZE && self.size_is == SizeIs::InMemory
    }

    /// Returns what one element of an array of structures is made of.
    pub(crate) fn elements(&self) -> &[Self] {
        match &self.kind {
            Kind::Array(inner) => inner,
            _ => &[],
        }
    }

    /// Returns the bytes on the wire when it is sent, as far as the dump shows. A loose count is
    /// taken as one.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::Array(inner) => {
                let element: u64 = inner
                    .iter()
                    .filter(|item| item.present && !item.conditional)
                    .map(Item::bytes)
                    .fold(0, u64::saturating_add);
                element.saturating_mul(self.num.unwrap_or(1))
            }
            Kind::Subsection(_) => 0,
            Kind::Field if self.size_is == SizeIs::InMemory => {
                on_wire(self.size).saturating_mul(self.num.unwrap_or(1))
            }
            _ => self.size.saturating_mul(self.num.unwrap_or(1)),
        }
    }

    /// Tells whether it is an array of structures of which nothing is known to be sent always.
    pub(crate) fn is_hollow(&self) -> bool {
        matches!(self.kind, Kind::Array(_)) && self.bytes() == 0
    }

    /// Tells whether it is always sent.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.present && !self.conditional && !self.is_subsection() && !self.is_hollow()
    }

    /// Tells whether it is always sent and something of it is on the wire.
    pub(crate) fn is_certain(&self) -> bool {
        self.is_unconditional() && !self.is_opaque()
    }

    /// Adds the bytes of each part of it that is sent when a test says so. `times` is how often the whole is sent.
    pub(crate) fn tested_bytes(&self, times: u64, parts: &mut Vec<u64>) {
        if self.is_subsection() || !self.present {
            return;
        }
        if self.conditional {
            parts.push(self.bytes().saturating_mul(times));
        } else if let Kind::Array(inner) = &self.kind {
            let times = times.saturating_mul(self.num.unwrap_or(1));
            inner
                .iter()
                .for_each(|item| item.tested_bytes(times, parts));
        }
    }
}

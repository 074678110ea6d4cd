//! A field in words.

use crate::compare::layouts::Leaf;
use crate::stream::tree::Leaf as Held;

impl Leaf<'_> {
    /// Name, type and size.
    pub(crate) fn shape(&self) -> String {
        let size = match self.bytes.len() {
            1 => "1 byte".to_owned(),
            n => format!("{n} bytes"),
        };
        format!("{} ({}, {size})", self.label, self.type_name)
    }

    pub(crate) fn with_value(&self) -> String {
        format!("{} = {}", self.shape(), self.value())
    }

    pub(crate) fn value(&self) -> String {
        match self.kind.leaf(self.bytes) {
            _ if self.count != 1 => hex(self.bytes),
            Held::Bool(value) => value.to_string(),
            Held::Signed(value) => value.to_string(),
            Held::Unsigned(value) => format!("0x{value:x}"),
            Held::Float(value) => value.to_string(),
            Held::Text(value) => format!("{value:?}"),
            Held::Null => "null".to_owned(),
            Held::Bytes(bytes) => hex(bytes),
        }
    }
}

/// The first bytes, which are enough to know them by.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = bytes
        .iter()
        .take(SHOWN)
        .map(|b| format!("{b:02x}"))
        .collect();
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}

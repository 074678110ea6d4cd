//! Names with wildcards, for the lists, the device sets and options.

use std::fmt;

use serde::Deserialize;
use wildmatch::WildMatch;

/// A name in which `*` stands for any text and `?` for any one character. It fits a whole name, and
/// nothing escapes a wildcard: no name in QEMU has one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "String")]
pub struct Pattern(WildMatch);

impl Pattern {
    /// Tells whether the pattern fits the name.
    pub fn fits(&self, name: &str) -> bool {
        self.0.matches(name)
    }

    /// Tells whether the pattern is `*`, which fits every name.
    pub fn fits_all(&self) -> bool {
        self.0.pattern_chars() == ['*']
    }

    /// Tells whether one of the patterns fits the name.
    pub fn any(patterns: &[Pattern], name: &str) -> bool {
        patterns.iter().any(|pattern| pattern.fits(name))
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Pattern {
        Pattern(WildMatch::new(text))
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Pattern {
        Pattern::from(text.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, fits) in [
            ("e1000", "e1000", true),
            ("e1000", "e1000e", false),
            ("e1000*", "e1000", true),
            ("e1000*", "e1000e", true),
            ("e1000*", "ne1000", false),
            ("next_*", "next_alarm", true),
            ("next_*", "next", false),
            ("virtio-*-pci", "virtio-net-pci", true),
            ("virtio-*-pci", "virtio-net-pci-transitional", false),
            ("aspeed.*", "aspeed.gpio", true),
            ("aspeed.*", "aspeed-gpio", false),
            ("*", "", true),
            ("*", "any", true),
            ("", "", true),
            ("", "any", false),
            ("*scsi*", "virtio-scsi-pci", true),
            ("*/e1000e", "0000:00:02.0/e1000e", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "acb", false),
            ("i82559?", "i82559a", true),
            ("i82559?", "i82559", false),
            ("i82559?", "i82559er", false),
            ("é*", "état", true),
        ] {
            assert_eq!(Pattern::from(pattern).fits(name), fits, "{pattern} {name}");
        }
        for (pattern, all) in [
            ("*", true),
            ("**", true),
            ("?*", false),
            ("a*", false),
            ("", false),
        ] {
            assert_eq!(Pattern::from(pattern).fits_all(), all, "{pattern}");
        }
        let some = [Pattern::from("a*"), Pattern::from("b")];
        assert!(Pattern::any(&some, "b") && !Pattern::any(&some, "c") && !Pattern::any(&[], ""));
    }
}

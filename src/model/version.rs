//! QEMU releases.

use std::fmt;
use std::str::FromStr;

use crate::model::serialize_as_text;

/// A QEMU release as `query-version` and the packages name it, for instance 7.2.22.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number; 0 in a name that has none.
    pub micro: u32,
}

impl Version {
    /// The release of these numbers.
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Version {
            major,
            minor,
            micro,
        }
    }

    /// Returns the release, of which micro is 0, that was the last one when this version was made. A build of what is
    /// to be the next release has 50 or more as its third number: 10.1.50 is made after 10.1, and 10.1.92 is a candidate
    /// for 10.2.
    #[must_use]
    pub const fn last_release(self) -> Version {
        const IN_DEVELOPMENT: u32 = 50;
        let (major, minor) = match (self.major, self.minor) {
            (major, minor) if self.micro >= IN_DEVELOPMENT => (major, minor),
            (0, 0) => (0, 0),
            (3, 0) => (2, 12),
            (4, 0) => (3, 1),
            // Since 4.0 there are three releases a year, and a year has a number.
            (major, 0) => (major - 1, 2),
            (major, minor) => (major, minor - 1),
        };
        Version::new(major, minor, 0)
    }

    /// Returns the series of releases that it is of: `7.2`.
    pub(crate) fn series(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Tells whether this is the release or a point release of it, or of an older one.
    #[must_use]
    pub const fn is_of_or_before(self, release: Version) -> bool {
        self.major < release.major || self.major == release.major && self.minor <= release.minor
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A text that is no QEMU release number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a QEMU version like 7.2 or 10.0.3")]
pub struct BadVersion(pub String);

impl FromStr for Version {
    type Err = BadVersion;

    /// Reads `7.2`, `7.2.22` or `v10.0.3`; what follows the numbers (`-rc1`, `+ds-1`) is ignored.
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let digits = text.strip_prefix('v').unwrap_or(text);
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(digits.len());
        let mut parts = digits[..end].trim_end_matches('.').split('.');
        let mut next = |required: bool| match parts.next() {
            Some(part) => part.parse().map_err(|_| bad()),
            None if required => Err(bad()),
            None => Ok(0),
        };
        Ok(Version::new(next(true)?, next(true)?, next(false)?))
    }
}

serialize_as_text!(Version);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_form_qemu_prints() {
        let read = |text: &str| text.parse::<Version>().map(|v| v.to_string());
        for (text, version) in [
            ("7.2", "7.2.0"),
            ("7.2.22", "7.2.22"),
            ("v10.0.0-rc1", "10.0.0"),
            ("5.2+dfsg-11+deb11u3", "5.2.0"),
            ("11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)", "11.1.3"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(version), "{text}");
        }
        for text in ["", "7", "seven", "7.x", "99999999999.1", "7..2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_point_release_sorts_numerically() {
        assert!(Version::new(7, 2, 9) < Version::new(7, 2, 22));
        assert!(Version::new(9, 2, 0) < Version::new(10, 0, 0));
    }

    #[test]
    fn the_last_release_is_the_one_that_a_version_was_made_after() {
        for (version, last) in [
            ("10.1.50", "10.1.0"),
            ("10.1.93", "10.1.0"),
            ("10.2.0", "10.1.0"),
            ("10.0.13", "9.2.0"),
            ("11.0.50", "11.0.0"),
            ("5.0.0", "4.2.0"),
            ("4.0.0", "3.1.0"),
            ("3.0.0", "2.12.0"),
        ] {
            let read = |text: &str| text.parse::<Version>().unwrap();
            assert_eq!(read(version).last_release(), read(last), "{version}");
        }
        let last = Version::new(10, 1, 50).last_release();
        assert!(Version::new(10, 1, 3).is_of_or_before(last));
        assert!(Version::new(7, 2, 22).is_of_or_before(last));
        assert!(!Version::new(10, 2, 0).is_of_or_before(last));
    }
}

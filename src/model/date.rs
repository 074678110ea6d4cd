//! Days of the calendar.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use crate::model::serialize_as_text;

/// A day of the calendar, in UTC: `2027-03-31`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// A text that is no day of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date like 2027-03-31")]
pub struct BadDate(pub String);

impl Date {
    /// Returns the day of a moment after 1970.
    pub fn of(moment: SystemTime) -> Date {
        let text = humantime::format_rfc3339_seconds(moment).to_string();
        let day = text.get(.."0000-00-00".len()).unwrap_or_default();
        day.parse().unwrap_or_default()
    }

    /// Returns the day of this moment.
    pub fn today() -> Date {
        Date::of(SystemTime::now())
    }

    /// Returns the moment at which the day begins.
    pub fn begins(self) -> SystemTime {
        let midnight = humantime::parse_rfc3339(&format!("{self}T00:00:00Z"));
        midnight.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Date, BadDate> {
        let bad = || BadDate(text.to_owned());
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits);
            let part = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            part.and_then(|part| part.parse::<u16>().ok())
        };
        let (year, month, day) = (number(4), number(2), number(2));
        let (Some(year), Some(month), Some(day), None) = (year, month, day, parts.next()) else {
            return Err(bad());
        };
        // The calendar is the library's.
        humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).map_err(|_| bad())?;
        Ok(Date {
            year,
            month: u8::try_from(month).map_err(|_| bad())?,
            day: u8::try_from(day).map_err(|_| bad())?,
        })
    }
}

serialize_as_text!(Date);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_of_the_calendar_are_dates_and_they_sort() {
        let read = |text: &str| text.parse::<Date>().map(|date| date.to_string());
        for text in ["2027-03-31", "2028-02-29", "1999-12-01"] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "2027",
            "2027-3-31",
            "2027-02-30",
            "2027-13-01",
            "2027-02-29",
            "2027-03-31T00:00",
            "+027-03-31",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let date = |text: &str| text.parse::<Date>().expect("a date");
        assert!(date("2026-12-31") < date("2027-01-01"));
        assert_eq!(Date::of(date("2026-12-31").begins()), date("2026-12-31"));
        assert!(Date::today() > date("2025-01-01"));
    }
}

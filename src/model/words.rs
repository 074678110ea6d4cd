//! One word for a value in reports, messages, options and files: the one that serde has.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, IntoDeserializer};

/// Formats enums as they are serialised.
macro_rules! display_as_serialized {
    ($($of:ty),+) => {$(
        impl std::fmt::Display for $of {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }
    )+};
}

/// Serialises types as they are formatted, and reads them as they are parsed.
macro_rules! serialize_as_text {
    ($($of:ty),+) => {$(
        impl serde::Serialize for $of {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $of {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

pub(crate) use {display_as_serialized, serialize_as_text};

/// Returns the variant of an enum that is serialised as this word.
pub(crate) fn from_word<T: DeserializeOwned>(word: &str) -> Option<T> {
    T::deserialize(IntoDeserializer::<Error>::into_deserializer(word)).ok()
}

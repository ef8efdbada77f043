//! Names as types: a name that breaks its grammar cannot be constructed.

use serde::{Deserialize, Serialize};

/// The name of a KafkaCluster resource (RFC 1123 subdomain).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(std::sync::Arc<str>);

/// A Kafka topic's name (Kafka's `Topic.validate`: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(std::sync::Arc<str>);

/// The name of a proxy (its node's name).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyName(std::sync::Arc<str>);

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {rule}")]
pub struct NameError {
    /// Which kind of name was asked for.
    pub what: &'static str,
    /// The text as given, cut to 300 bytes.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn dns_subdomain(what: &'static str, value: &str) -> Result<(), NameError> {
    let ok = !value.is_empty()
        && value.len() <= 253
        && value.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    if ok { Ok(()) } else { Err(error(what, value, "lower-case letters, digits, '-' and '.', at most 253")) }
}

fn kafka_topic(what: &'static str, value: &str) -> Result<(), NameError> {
    let ok = !value.is_empty()
        && value.len() <= 249
        && value != "."
        && value != ".."
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok {
        Ok(())
    } else {
        Err(error(what, value, "1 to 249 ASCII letters, digits, '.', '_' and '-', not '.' or '..'"))
    }
}

fn error(what: &'static str, value: &str, rule: &'static str) -> NameError {
    NameError { what, value: value.chars().take(100).collect(), rule }
}

macro_rules! name {
    ($type:ident, $what:literal, $check:ident) => {
        impl $type {
            /// Checks the grammar and makes the name.
            pub fn new(value: &str) -> Result<Self, NameError> {
                $check($what, value)?;
                Ok(Self(value.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(&value)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(ClusterName, "cluster name", dns_subdomain);
name!(TopicName, "topic name", kafka_topic);
name!(ProxyName, "proxy name", dns_subdomain);

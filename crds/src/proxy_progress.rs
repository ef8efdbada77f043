//! The part of a status that counts proxies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many proxies have applied what an object asks for.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProgress {
    /// Proxies that should: live ones and those lost a moment ago.
    pub desired: i32,
    /// Proxies that have.
    pub programmed: i32,
    /// Proxies that refused the document.
    pub rejected: i32,
    /// Proxies that still serve an older document.
    pub stale: i32,
    /// The same in short. Example: `7/7`.
    pub summary: String,
}

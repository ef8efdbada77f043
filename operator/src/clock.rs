//! The one place that reads the wall clock, so that everything else can be handed the time.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;

/// Milliseconds since the Unix epoch; 0 for a clock before it.
pub fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Now, in whole seconds: what the API server keeps of a time.
pub fn now() -> Timestamp {
    Timestamp::from_second(now_millis() / 1000).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Now, to the millisecond: for events.
pub fn precise_now() -> Timestamp {
    Timestamp::from_millisecond(now_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

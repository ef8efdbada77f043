//! The versions that are offered to clients: an explicit table. A key that is not in it is not offered and not forwarded.

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// The API.
    pub key: ApiKey,
    /// Its name.
    pub name: &'static str,
    /// The lowest version that works.
    pub min: i16,
    /// The lowest version that is told to clients (differs for Produce only).
    pub advertised_min: i16,
    /// The highest version.
    pub max: i16,
    /// Why not higher; empty if `max` is the highest there is.
    pub cap: &'static str,
}

/// A range of versions of one API, as a broker states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// API key.
    pub key: i16,
    /// Lowest.
    pub min: i16,
    /// Highest.
    pub max: i16,
}

/// `transaction.version` is never shown higher: above it, clients leave out `AddPartitionsToTxn`.
pub const TRANSACTION_VERSION_CAP: i16 = 1;

/// The whole table, by key. Produce is told from 0 on: without that, librdkafka turns compression off; a request below its
/// real minimum is refused like any other.
pub const OFFERED: &[Offered] = &[
    Offered {
        advertised_min: 0,
        ..line(
            ApiKey::Produce,
            "Produce",
            3,
            11,
            "12 joins a partition to its transaction before the batch is checked, and 3.9 closes the connection on it",
        )
    },
    line(ApiKey::Fetch, "Fetch", 4, 12, "13 names topics by id, and ids differ between clusters"),
    line(ApiKey::ListOffsets, "ListOffsets", 1, 9, "10 waits for remote storage, which a chain does not know"),
    line(ApiKey::Metadata, "Metadata", 0, 12, "13 lets one broker's error make clients bootstrap again"),
    line(ApiKey::OffsetCommit, "OffsetCommit", 2, 9, "10 names topics by id, and ids differ between clusters"),
    line(ApiKey::OffsetFetch, "OffsetFetch", 1, 9, "10 names topics by id, and ids differ between clusters"),
    line(
        ApiKey::FindCoordinator,
        "FindCoordinator",
        0,
        5,
        "6 finds coordinators of share groups, which are not offered",
    ),
    line(ApiKey::JoinGroup, "JoinGroup", 0, 9, ""),
    line(ApiKey::Heartbeat, "Heartbeat", 0, 4, ""),
    line(ApiKey::LeaveGroup, "LeaveGroup", 0, 5, ""),
    line(ApiKey::SyncGroup, "SyncGroup", 0, 5, ""),
    line(ApiKey::ApiVersions, "ApiVersions", 0, 4, ""),
    line(ApiKey::CreateTopics, "CreateTopics", 2, 7, ""),
    line(ApiKey::DeleteTopics, "DeleteTopics", 1, 6, ""),
    line(ApiKey::InitProducerId, "InitProducerId", 0, 4, "5 belongs to transaction.version 2"),
    line(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 2, 4, ""),
    line(ApiKey::AddPartitionsToTxn, "AddPartitionsToTxn", 0, 3, "4 is for brokers only"),
    line(ApiKey::AddOffsetsToTxn, "AddOffsetsToTxn", 0, 3, "4 belongs to transaction.version 2"),
    line(ApiKey::EndTxn, "EndTxn", 0, 3, "4 belongs to transaction.version 2"),
    line(ApiKey::TxnOffsetCommit, "TxnOffsetCommit", 0, 3, "4 belongs to transaction.version 2"),
    line(ApiKey::DescribeCluster, "DescribeCluster", 0, 1, "2 shows fenced brokers, which have no virtual address"),
];

const fn line(key: ApiKey, name: &'static str, min: i16, max: i16, cap: &'static str) -> Offered {
    Offered { key, name, min, advertised_min: min, max, cap }
}

/// The line of `key`.
pub fn offered(key: i16) -> Option<&'static Offered> {
    OFFERED.iter().find(|line| line.key as i16 == key)
}

/// Whether requests of `key` and `version` are accepted at all.
pub fn is_offered(key: i16, version: i16) -> bool {
    offered(key).is_some_and(|line| (line.min..=line.max).contains(&version))
}

/// Whether the body of `key` and `version` has compact lengths and tagged fields.
pub fn flexible(key: i16, version: i16) -> bool {
    request_header_version(key, version) == Some(2)
}

/// Version of the request header, 0 to 2; `None` for a key that is not known.
pub fn request_header_version(key: i16, version: i16) -> Option<i16> {
    Some(ApiKey::try_from(key).ok()?.request_header_version(version))
}

/// Version of the answer header, 0 or 1 (ApiVersions: always 0); `None` for a key that is not known.
pub fn answer_header_version(key: i16, version: i16) -> Option<i16> {
    Some(ApiKey::try_from(key).ok()?.response_header_version(version))
}

/// The ranges in a broker's ApiVersions answer.
pub fn ranges(answer: &ApiVersionsResponse) -> Vec<Range> {
    answer.api_keys.iter().map(|api| Range { key: api.api_key, min: api.min_version, max: api.max_version }).collect()
}

/// The table cut down to what every broker offers: `brokers` yields each broker's ranges. An API that one broker lacks,
/// or offers no common version of, is left out. With no brokers: the whole table.
pub fn intersect<'a>(brokers: impl IntoIterator<Item = &'a [Range]>) -> Vec<Range> {
    let whole = OFFERED.iter().map(|line| Range { key: line.key as i16, min: line.min, max: line.max }).collect();
    brokers.into_iter().fold(whole, |common: Vec<Range>, broker| {
        common.into_iter().filter_map(|range| overlap(range, broker)).collect()
    })
}

fn overlap(range: Range, broker: &[Range]) -> Option<Range> {
    let theirs = broker.iter().find(|theirs| theirs.key == range.key)?;
    let (min, max) = (range.min.max(theirs.min), range.max.min(theirs.max));
    (min <= max).then_some(Range { key: range.key, min, max })
}

/// The ApiVersions answer to clients: `offered` (from [`intersect`]) with the advertised minima, error `error_code`, and
/// the finalized features `(name, level)` under `features_epoch`, capped. A feature of level 0 is left out: clients before
/// ApiVersions 4 fail on it. With an error code, leave the features empty: version 0 has no place for them.
pub fn api_versions_answer(
    offered: &[Range],
    error_code: i16,
    features: &[(&str, i16)],
    features_epoch: i64,
) -> ApiVersionsResponse {
    let keys = offered.iter().map(|range| {
        let min = self::offered(range.key).map_or(range.min, |line| match line.advertised_min {
            lower if lower < line.min => lower,
            _ => range.min,
        });
        ApiVersion::default().with_api_key(range.key).with_min_version(min).with_max_version(range.max)
    });
    let shown: Vec<(StrBytes, i16)> = features
        .iter()
        .map(|&(name, level)| match name {
            "transaction.version" => (name, level.min(TRANSACTION_VERSION_CAP)),
            _ => (name, level),
        })
        .filter(|&(_, level)| level > 0)
        .map(|(name, level)| (StrBytes::from_string(name.to_owned()), level))
        .collect();
    let supported = |(name, level): &(StrBytes, i16)| {
        SupportedFeatureKey::default().with_name(name.clone()).with_min_version(1).with_max_version(*level)
    };
    let finalized = |(name, level): &(StrBytes, i16)| {
        FinalizedFeatureKey::default()
            .with_name(name.clone())
            .with_min_version_level(*level)
            .with_max_version_level(*level)
    };
    ApiVersionsResponse::default()
        .with_error_code(error_code)
        .with_api_keys(keys.collect())
        .with_supported_features(shown.iter().map(supported).collect())
        .with_finalized_features(shown.iter().map(finalized).collect())
        .with_finalized_features_epoch(features_epoch)
}

/// The highest version of `key` that both a broker (`ranges`) and this crate's decoder know, up to `max`.
pub fn highest_common(key: ApiKey, ranges: &[Range], max: i16) -> Option<i16> {
    let broker = ranges.iter().find(|range| range.key == key as i16)?;
    let known = key.valid_versions();
    let highest = broker.max.min(known.max).min(max);
    (highest >= broker.min.max(known.min)).then_some(highest)
}

#[cfg(test)]
mod tests;

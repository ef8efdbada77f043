//! What a broker offers.

use kafka_protocol::messages::ApiVersionsResponse;

/// What a broker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// (api key, lowest version, highest version), sorted by key.
    pub apis: Vec<(i16, i16, i16)>,
    /// Finalized features of the cluster: (name, level), e.g. `("metadata.version", 29)`.
    pub features: Vec<(String, i16)>,
    /// Epoch of the finalized features, -1 if the broker does not know it.
    pub features_epoch: i64,
    /// Features that the broker's software knows: (name, lowest, highest).
    pub supported_features: Vec<(String, i16, i16)>,
}

impl Offered {
    pub(super) fn from_answer(answer: &ApiVersionsResponse) -> Self {
        let mut apis: Vec<_> =
            answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        apis.sort_unstable();
        apis.dedup_by_key(|&mut (key, _, _)| key);
        let features = answer.finalized_features.iter().map(|f| (f.name.to_string(), f.max_version_level)).collect();
        let supported_features =
            answer.supported_features.iter().map(|f| (f.name.to_string(), f.min_version, f.max_version)).collect();
        Self { apis, features, features_epoch: answer.finalized_features_epoch, supported_features }
    }

    /// The range of versions offered of an API.
    pub fn api(&self, api_key: i16) -> Option<(i16, i16)> {
        let at = self.apis.binary_search_by_key(&api_key, |&(key, _, _)| key).ok()?;
        self.apis.get(at).map(|&(_, low, high)| (low, high))
    }

    /// The level of a finalized feature.
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.iter().find(|(feature, _)| feature == name).map(|&(_, level)| level)
    }
}

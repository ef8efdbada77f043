//! The cluster itself: its id, brokers, controller and version.

use crate::client::{Broker, CallError, Client, Target};

const DESCRIBE_QUORUM: i16 = 55;

/// A cluster as its metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// The live brokers.
    pub brokers: Vec<Broker>,
    /// The controller as shown to clients (in `KRaft` any live broker), `None` if there is none.
    pub controller: Option<i32>,
    /// Whether it is in `KRaft` mode: a `metadata.version` is finalized, or a broker offers `DescribeQuorum`.
    pub kraft: bool,
    /// The finalized `metadata.version`, if any.
    pub metadata_version: Option<i16>,
    /// The finalized `transaction.version`, 0 if none.
    pub transaction_version: i16,
    /// The Kafka release of the broker that was asked, for people: `"3.9"` or `"4.2 or newer"`, say.
    pub version_hint: Option<String>,
}

/// Looks at the cluster, through any broker.
pub async fn view(client: &Client) -> Result<ClusterView, CallError> {
    let metadata = client.metadata(Some(&[]), false).await?;
    let offered = client.api_versions(&Target::Any).await?;
    let cluster_id = metadata
        .cluster_id
        .as_ref()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| CallError::nonsense("Metadata", "it has no cluster id"))?;
    let metadata_version = offered.feature("metadata.version");
    let software = offered.supported_features.iter().find(|(name, _, _)| name == "metadata.version");
    Ok(ClusterView {
        cluster_id: cluster_id.to_string(),
        brokers: client.brokers().await?,
        controller: Some(metadata.controller_id.0).filter(|&id| id >= 0),
        kraft: metadata_version.is_some() || offered.api(DESCRIBE_QUORUM).is_some(),
        metadata_version,
        transaction_version: offered.feature("transaction.version").unwrap_or(0),
        version_hint: software.and_then(|&(_, _, newest)| release(newest)).map(str::to_owned),
    })
}

/// The release that brought a metadata version.
fn release(metadata_version: i16) -> Option<&'static str> {
    Some(match metadata_version {
        ..=0 => return None,
        1..=7 => "3.3 or older",
        8 => "3.4",
        9..=11 => "3.5",
        12..=14 => "3.6",
        15..=19 => "3.7",
        20 => "3.8",
        21 => "3.9",
        22..=25 => "4.0",
        26..=27 => "4.1",
        28.. => "4.2 or newer",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(release(21), Some("3.9"));
        assert_eq!(release(25), Some("4.0"));
        assert_eq!(release(0), None);
        assert_eq!(release(i16::MAX), Some("4.2 or newer"));
    }
}

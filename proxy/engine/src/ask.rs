//! Asks: facts that a decision needs and that take I/O. The session says which requests to send where, all physical; the
//! control side sends them and hands back what came. What the answers mean is decided here, not there.

use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeProducersRequest, DescribeProducersResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use sluice_mesh::model::ClusterIndex;

/// A question, answered by [`Reply`].
#[derive(Debug)]
pub enum Ask {
    /// Send all these (concurrently); the reply has one result each, in order.
    Calls(Vec<Call>),
    /// Refresh what is known of all clusters' topics and brokers (single flight), then reply.
    Refresh,
}

/// One physical request.
#[derive(Debug)]
pub struct Call {
    /// The cluster to ask.
    pub cluster: ClusterIndex,
    /// Which of its brokers.
    pub to: Target,
    /// The request. The control side picks the newest version that both sides know and that the request's fields allow.
    pub request: Request,
    /// Time limit, milliseconds.
    pub timeout_millis: u64,
}

/// Which broker of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Any live one.
    Any,
    /// The one with this id.
    Broker(i32),
    /// The leader of a partition as last seen.
    Leader {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// The controller (in `KRaft` any broker forwards).
    Controller,
}

/// The reply to an [`Ask`].
#[derive(Debug)]
pub enum Reply {
    /// One result per call.
    Calls(Vec<Result<Response, CallFailed>>),
    /// The views are fresh: the next `World` has them.
    Refreshed,
}

/// A call had no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer from the broker: {0}")]
pub struct CallFailed(pub String);

macro_rules! calls {
    ($($api:ident, $request:ident, $response:ident;)*) => {
        /// A physical request that the control side can send.
        #[derive(Debug, Clone)]
        pub enum Request {
            $(#[doc = concat!("Kafka's ", stringify!($api), ".")] $api($request),)*
        }

        /// The answer to the [`Request`] of the same name.
        #[derive(Debug, Clone)]
        pub enum Response {
            $(#[doc = concat!("Kafka's ", stringify!($api), ".")] $api($response),)*
        }
    };
}

calls! {
    CreateTopics, CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse;
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResponse;
    DescribeProducers, DescribeProducersRequest, DescribeProducersResponse;
    FindCoordinator, FindCoordinatorRequest, FindCoordinatorResponse;
    ListOffsets, ListOffsetsRequest, ListOffsetsResponse;
    Metadata, MetadataRequest, MetadataResponse;
    OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
}

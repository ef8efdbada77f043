//! A small typed Kafka client: one multiplexed connection per broker, no retry of its own. Which version of a request is
//! sent is decided here; what an answer means is the caller's business.

mod address_book;
mod connection;
mod decode;
mod error;
mod offered;
mod pool;
#[cfg(test)]
mod tests;
mod version;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::error_code::ErrorCode;
use address_book::AddressBook;
use connection::Connection;
use pool::Pool;

pub use address_book::Broker;
pub use error::{Blame, CallError};
pub use offered::Offered;

/// Which broker a request goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any that can be reached: the only target for which another server is tried when one cannot be reached.
    Any,
    /// The one with this id.
    Broker(i32),
    /// The active controller as metadata shows it (in `KRaft` any broker, which forwards).
    Controller,
    /// The leader of a partition as last seen; see [`Client::forget`].
    Leader {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// The coordinator of a consumer group, looked up at each call.
    Group(String),
    /// The coordinator of a transactional id, looked up at each call.
    Transaction(String),
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Shown to brokers in each request's header.
    pub client_id: String,
    /// Time limit for one connect.
    pub connect_timeout: Duration,
    /// Time limit for one answer; a request that is unanswered for that long costs the connection.
    pub request_timeout: Duration,
    /// Larger answers are refused, and with them the connection.
    pub max_response_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            client_id: "sluice".into(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            max_response_bytes: 64 << 20,
        }
    }
}

/// The client of one Kafka cluster. A clone is a handle on the same connections; they close with the last one.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    bootstrap: Vec<String>,
    options: ClientOptions,
    book: Mutex<AddressBook>,
    pool: Pool,
}

impl Client {
    /// A client for the cluster behind these `host:port` addresses. Connects to nobody yet; must be used inside a tokio runtime.
    pub fn new(bootstrap: Vec<String>, options: ClientOptions) -> Self {
        let pool = Pool::new(options.clone());
        Self { inner: Arc::new(Inner { bootstrap, options, book: Mutex::default(), pool }) }
    }

    /// A client of the same cluster with connections of its own. A broker answers one request per connection at a time:
    /// long polls belong on their own.
    #[must_use]
    pub fn separate(&self) -> Self {
        Self::new(self.inner.bootstrap.clone(), self.inner.options.clone())
    }

    /// Sends a request and waits for the answer, in the highest version that the broker, this client and the request's fields
    /// allow. Produce is capped at 11 (later ones add partitions to transactions), Fetch at 12, `OffsetCommit` and `OffsetFetch`
    /// at 9 (later ones name topics by id). A Produce with acks=0 has no answer: never send one.
    pub async fn call<R: Request>(&self, to: &Target, request: R) -> Result<R::Response, CallError> {
        self.call_within(to, request, i16::MAX, self.inner.options.request_timeout).await
    }

    /// [`Client::call`] with a cap on the version (the built-in caps hold as well).
    pub async fn call_at<R: Request>(
        &self,
        to: &Target,
        request: R,
        max_version: i16,
    ) -> Result<R::Response, CallError> {
        self.call_within(to, request, max_version, self.inner.options.request_timeout).await
    }

    /// [`Client::call_at`] with a time limit of its own for the answer (connecting has its own).
    pub async fn call_within<R: Request>(
        &self,
        to: &Target,
        request: R,
        max_version: i16,
        timeout: Duration,
    ) -> Result<R::Response, CallError> {
        let (connection, address) = Box::pin(self.connection(to)).await?;
        let result = connection.call(request, max_version, timeout).await;
        if let Err(error) = &result
            && error.blame() == Blame::Network
        {
            self.inner.pool.blame(&address).await;
            self.forget(to);
        }
        result
    }

    /// Metadata from any broker: of all topics (`None`) or of these. Refreshes the client's address book and leaders.
    pub async fn metadata(
        &self,
        topics: Option<&[String]>,
        allow_auto_create: bool,
    ) -> Result<MetadataResponse, CallError> {
        let request = metadata_request(topics, allow_auto_create);
        // Not through `call_within`: finding a broker may itself need metadata.
        let (connection, address) = self.any().await?;
        let result = connection.call(request, i16::MAX, self.inner.options.request_timeout).await;
        if result.as_ref().is_err_and(|error| error.blame() == Blame::Network) {
            self.inner.pool.blame(&address).await;
        }
        let answer = result?;
        if answer.error_code != 0 {
            return Err(CallError::refused("Metadata", answer.error_code, None));
        }
        self.book().learn(&answer, topics.is_some());
        self.inner.pool.retain(&self.known_addresses());
        Ok(answer)
    }

    /// Metadata as one broker sees it. Does not touch the address book: the broker may be behind.
    pub async fn metadata_from(&self, broker: i32, topics: Option<&[String]>) -> Result<MetadataResponse, CallError> {
        let answer = self.call(&Target::Broker(broker), metadata_request(topics, false)).await?;
        match answer.error_code {
            0 => Ok(answer),
            code => Err(CallError::refused(format!("Metadata from broker {broker}"), code, None)),
        }
    }

    /// The brokers as last seen; asks if none has been seen yet. [`Client::metadata`] looks again.
    pub async fn brokers(&self) -> Result<Vec<Broker>, CallError> {
        let known = self.book().brokers();
        if !known.is_empty() {
            return Ok(known);
        }
        self.metadata(Some(&[]), false).await?;
        Ok(self.book().brokers())
    }

    /// The leader of a partition and its epoch as last seen; asks if none is known.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<(i32, i32), CallError> {
        if let Some(leader) = self.book().leader(topic, partition) {
            return Ok(leader);
        }
        let answer = self.metadata(Some(&[topic.to_owned()]), false).await?;
        if let Some(leader) = self.book().leader(topic, partition) {
            return Ok(leader);
        }
        let code =
            answer.topics.first().map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |found| match found.error_code {
                0 => found.partitions.iter().find(|p| p.partition_index == partition).map_or(
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    |p| {
                        if p.error_code == 0 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode(p.error_code) }
                    },
                ),
                code => ErrorCode(code),
            });
        Err(CallError::NoLeader { topic: topic.to_owned(), partition, code })
    }

    /// Forgets what is cached for a target, so that the next call looks again: after `NOT_LEADER_OR_FOLLOWER`, say.
    pub fn forget(&self, to: &Target) {
        let mut book = self.book();
        match to {
            Target::Leader { topic, partition } => book.forget_leader(topic, *partition),
            Target::Controller => book.forget_controller(),
            Target::Broker(_) => book.suspect(),
            // Nothing is cached for these.
            Target::Any | Target::Group(_) | Target::Transaction(_) => {}
        }
    }

    /// What a broker offers, as it said when the connection to it was made.
    pub async fn api_versions(&self, to: &Target) -> Result<Offered, CallError> {
        let (connection, _) = Box::pin(self.connection(to)).await?;
        Ok(connection.offered().clone())
    }

    /// The options it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    fn book(&self) -> MutexGuard<'_, AddressBook> {
        // Nothing panics under the lock; a poisoned one is still whole.
        self.inner.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_addresses(&self) -> Vec<String> {
        let mut known = self.inner.bootstrap.clone();
        known.extend(self.book().brokers().iter().map(Broker::address));
        known
    }

    async fn connection(&self, to: &Target) -> Result<(Arc<Connection>, String), CallError> {
        match to {
            Target::Any => self.any().await,
            Target::Broker(id) => self.broker(*id).await,
            Target::Controller => {
                let known = self.book().controller();
                let id = if let Some(id) = known {
                    id
                } else {
                    self.metadata(Some(&[]), false).await?;
                    let controller = self.book().controller();
                    controller.ok_or_else(|| CallError::nonsense("Metadata", "the cluster has no controller now"))?
                };
                self.broker(id).await.inspect_err(|_| self.book().forget_controller())
            }
            Target::Leader { topic, partition } => {
                let (leader, _) = self.leader(topic, *partition).await?;
                self.broker(leader).await.inspect_err(|_| self.book().forget_leader(topic, *partition))
            }
            Target::Group(group) => self.coordinator(0, group).await,
            Target::Transaction(id) => self.coordinator(1, id).await,
        }
    }

    async fn at(&self, address: String) -> Result<(Arc<Connection>, String), CallError> {
        let connection = self.inner.pool.get(&address).await?;
        Ok((connection, address))
    }

    /// The first server that can be reached: those connected to before, then those without failures.
    async fn any(&self) -> Result<(Arc<Connection>, String), CallError> {
        let mut last = None;
        for address in self.inner.pool.by_health(self.known_addresses()) {
            match self.at(address).await {
                Ok(found) => return Ok(found),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| CallError::Unreachable { reason: "no bootstrap server is given".to_owned() }))
    }

    async fn broker(&self, id: i32) -> Result<(Arc<Connection>, String), CallError> {
        let suspect = self.book().take_suspicion();
        let mut address = self.book().broker(id).map(Broker::address);
        if address.is_none() || suspect {
            match self.metadata(Some(&[]), false).await {
                Ok(_) => address = self.book().broker(id).map(Broker::address),
                Err(error) if address.is_none() => return Err(error),
                // The old address is better than none.
                Err(_) => {}
            }
        }
        let address = address.ok_or(CallError::UnknownBroker(id))?;
        self.at(address).await.inspect_err(|_| self.book().suspect())
    }

    /// The coordinator of a group (0) or transactional id (1).
    async fn coordinator(&self, key_type: i8, key: &str) -> Result<(Arc<Connection>, String), CallError> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(key_type)
            .with_coordinator_keys(vec![StrBytes::from_string(key.to_owned())]);
        let (connection, _) = self.any().await?;
        let answer = connection.call(request, i16::MAX, self.inner.options.request_timeout).await?;
        let what = || format!("FindCoordinator for {key:?}");
        let found = answer.coordinators.first().ok_or_else(|| CallError::nonsense(what(), "it names none"))?;
        if found.error_code != 0 {
            return Err(CallError::refused(what(), found.error_code, found.error_message.as_deref()));
        }
        let port = u16::try_from(found.port).ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| CallError::nonsense(what(), format!("port {}", found.port)))?;
        self.at(format!("{}:{port}", found.host.as_str())).await
    }
}

fn metadata_request(topics: Option<&[String]>, allow_auto_create: bool) -> MetadataRequest {
    let topics = topics.map(|names| {
        let topic = |name: &String| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
        };
        names.iter().map(topic).collect()
    });
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(allow_auto_create)
}

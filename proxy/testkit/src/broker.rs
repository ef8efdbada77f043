//! A broker that does what a script says, request by request, the misbehaviour of real and of hostile ones included.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::{client, frame};

/// One request as the broker saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Number of its connection, from 0.
    pub connection: usize,
    /// API key.
    pub key: i16,
    /// API version.
    pub version: i16,
    /// Correlation id.
    pub correlation: i32,
    /// Client id.
    pub client_id: Option<String>,
    /// What follows the header.
    pub body: Bytes,
    /// The whole frame without its length.
    pub frame: Bytes,
}

impl Seen {
    /// The request is an `R`.
    pub fn is<R: Request>(&self) -> bool {
        self.key == R::KEY
    }

    /// The request's body. Panics if it is not an `R`, or does not decode.
    pub fn decode<R: Request>(&self) -> R {
        assert_eq!(self.key, R::KEY, "another API than the script expects");
        frame::decode_request(&self.body, self.version).expect("the request decodes")
    }

    /// Answer with this body.
    pub fn answer<R: Request>(&self, response: &R::Response) -> Action {
        Action::Answer(frame::response_body::<R>(response, self.version))
    }

    /// The answer as a whole frame, for actions that mutilate it.
    pub fn answer_frame<R: Request>(&self, response: &R::Response) -> Bytes {
        frame::response::<R>(self.correlation, response, self.version)
    }
}

/// What the broker does with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Answer with this body; length and header come from the request.
    Answer(Bytes),
    /// Send these very bytes: a frame with another correlation id, half a frame, garbage.
    Send(Bytes),
    /// Send these very bytes, then close.
    SendAndClose(Bytes),
    /// Wait, then go on. Later requests of the connection wait too, as at a real broker.
    Delay(Duration, Box<Action>),
    /// Say nothing, as for acks=0.
    Silent,
    /// Close the connection.
    Close,
}

impl Action {
    /// The action, later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self::Delay(wait, Box::new(self))
    }
}

/// The script: from a request to an action.
pub type Script = dyn Fn(&Seen) -> Action + Send + Sync;

/// A broker on a port of 127.0.0.1. Dropping it closes everything.
#[derive(Debug)]
pub struct ScriptedBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
    connections: watch::Sender<usize>,
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ScriptedBroker {
    /// Starts on a free port.
    pub async fn start(script: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script).await
    }

    /// Starts on this address.
    pub async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Seen) -> Action + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            count: watch::Sender::new(0),
            connections: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::new(script), Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, of all connections, in the order of their arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All requests so far of this API.
    pub fn seen_of<R: Request>(&self) -> Vec<R> {
        self.seen().iter().filter(|seen| seen.is::<R>()).map(Seen::decode).collect()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Waits until this many requests have come; `false` if they have not within the time.
    pub async fn wait_for(&self, requests: usize, within: Duration) -> bool {
        let mut count = self.shared.count.subscribe();
        tokio::time::timeout(within, count.wait_for(|count| *count >= requests)).await.is_ok_and(|found| found.is_ok())
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        shared.connections.send_modify(|count| *count += 1);
        let (script, shared) = (Arc::clone(&script), Arc::clone(&shared));
        connections.spawn(async move {
            // A connection that breaks is what scripts are about: the client side of the test sees it.
            let _ = serve(stream, number, &*script, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, connection: usize, script: &Script, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(frame) = client::read_frame(&mut stream).await? {
        let Some((header, body)) = frame::split_request(&frame) else {
            return Ok(());
        };
        let seen = Seen {
            connection,
            key: header.request_api_key,
            version: header.request_api_version,
            correlation: header.correlation_id,
            client_id: header.client_id.as_ref().map(ToString::to_string),
            body,
            frame,
        };
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        shared.count.send_modify(|count| *count += 1);
        if !act(&mut stream, &seen, script(&seen)).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// `false`: close the connection.
async fn act(stream: &mut TcpStream, seen: &Seen, mut action: Action) -> io::Result<bool> {
    while let Action::Delay(wait, then) = action {
        tokio::time::sleep(wait).await;
        action = *then;
    }
    match action {
        Action::Answer(body) => {
            let mut answer = BytesMut::new();
            answer.put_i32(seen.correlation);
            // A flexible header has a count of tagged fields: none.
            if frame::response_header_version(seen.key, seen.version) > 0 {
                answer.put_u8(0);
            }
            answer.put(body);
            stream.write_all(&frame::framed(&answer)).await?;
            Ok(true)
        }
        Action::Send(bytes) => stream.write_all(&bytes).await.map(|()| true),
        Action::SendAndClose(bytes) => stream.write_all(&bytes).await.map(|()| false),
        Action::Silent | Action::Delay(..) => Ok(true),
        Action::Close => Ok(false),
    }
}

#[cfg(test)]
mod tests;

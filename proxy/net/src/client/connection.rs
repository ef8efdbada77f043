//! One connection to one broker: requests go out in order, answers come back in order, and a peer that breaks either is left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::error::CallError;
use super::{ClientOptions, Offered, decode, version};

/// So many requests may be under way on one connection; the next one waits.
const MAX_IN_FLIGHT: usize = 64;
/// An answer grows by at most so much before its bytes are really there.
const READ_STEP: usize = 64 << 10;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// A request that waits for its answer.
struct Waiting {
    correlation: i32,
    since: Instant,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
    /// Freed with the answer, also when nobody waits for it any more: late answers count as under way.
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    next_correlation: i32,
    closed: Option<CallError>,
}

struct Shared {
    address: String,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is over: everybody who waits learns why.
    fn fail(&self, error: &CallError) {
        let waiting = {
            let mut state = self.state();
            if state.closed.is_none() {
                state.closed = Some(error.clone());
            }
            std::mem::take(&mut state.waiting)
        };
        for one in waiting {
            let _ = one.answer.send(Err(error.clone()));
        }
    }

    fn closed(&self, reason: impl Into<String>) -> CallError {
        CallError::Closed { address: self.address.clone(), reason: reason.into() }
    }

    fn protocol(&self, detail: impl Into<String>) -> CallError {
        CallError::Protocol { address: self.address.clone(), detail: detail.into() }
    }
}

/// A connection whose versions are known.
pub(super) struct Connection {
    shared: Arc<Shared>,
    frames: mpsc::Sender<Bytes>,
    in_flight: Arc<Semaphore>,
    task: tokio::task::AbortHandle,
    client_id: StrBytes,
    request_timeout: Duration,
    offered: Offered,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Takes over a fresh stream and asks the peer for its versions.
    pub(super) async fn start<S>(stream: S, address: String, options: &ClientOptions) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let shared = Arc::new(Shared { address, state: Mutex::default() });
        let (frames, queue) = mpsc::channel(MAX_IN_FLIGHT);
        let task = tokio::spawn(run(stream, Arc::clone(&shared), queue, options.max_response_bytes));
        let mut connection = Self {
            shared,
            frames,
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            task: task.abort_handle(),
            client_id: StrBytes::from_string(options.client_id.clone()),
            request_timeout: options.request_timeout,
            offered: Offered::default(),
        };
        connection.offered = connection.negotiate().await?;
        Ok(connection)
    }

    pub(super) fn offered(&self) -> &Offered {
        &self.offered
    }

    pub(super) fn is_open(&self) -> bool {
        self.shared.state().closed.is_none() && !self.frames.is_closed()
    }

    /// Sends a request in the highest version that all sides and its fields allow, and waits for the answer.
    pub(super) async fn call<R: Request>(
        &self,
        request: R,
        max_version: i16,
        timeout: Duration,
    ) -> Result<R::Response, CallError> {
        let (low, high) = version::common(&self.offered.apis, R::KEY, R::VERSIONS, max_version)
            .ok_or_else(|| CallError::Unsupported { address: self.shared.address.clone(), api_key: R::KEY })?;
        let (frame, version) = self.encode_newest(&request, low, high)?;
        // The answer's size bounds nothing of the request; free it before waiting.
        drop(request);
        let (correlation, answer) = self.exchange(frame, timeout).await?;
        decode::answer::<R::Response>(R::KEY, version, correlation, answer)
            .map_err(|detail| self.shared.protocol(format!("answer to API key {} v{version}: {detail}", R::KEY)))
    }

    async fn negotiate(&self) -> Result<Offered, CallError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("sluice"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        for version in [3, 0] {
            let request = if version == 0 { ApiVersionsRequest::default() } else { request.clone() };
            let frame = self.encode(&request, version)?;
            let (correlation, answer) = self.exchange(frame, self.request_timeout).await?;
            // The error code comes first in every version; a refused version is answered in version 0.
            let code = answer.get(4..6).map(|b| i16::from_be_bytes([b[0], b[1]]));
            if code == Some(UNSUPPORTED_VERSION) && version != 0 {
                continue;
            }
            let answer: ApiVersionsResponse = decode::answer(API_VERSIONS, version, correlation, answer)
                .map_err(|detail| self.shared.protocol(format!("answer to ApiVersions v{version}: {detail}")))?;
            if answer.error_code != 0 {
                return Err(CallError::refused("ApiVersions", answer.error_code, None));
            }
            return Ok(Offered::from_answer(&answer));
        }
        Err(CallError::Unsupported { address: self.shared.address.clone(), api_key: API_VERSIONS })
    }

    fn encode_newest<R: Request>(&self, request: &R, low: i16, high: i16) -> Result<(BytesMut, i16), CallError> {
        let mut first_problem = None;
        for version in (low..=high).rev() {
            match self.encode(request, version) {
                Ok(frame) => return Ok((frame, version)),
                Err(error) => first_problem.get_or_insert(error),
            };
        }
        Err(first_problem
            .unwrap_or_else(|| CallError::Encode { api_key: R::KEY, detail: "no version is left".to_owned() }))
    }

    /// A frame with correlation id 0.
    fn encode<R: Request>(&self, request: &R, version: i16) -> Result<BytesMut, CallError> {
        let encode = || -> Result<BytesMut, String> {
            let header_version = R::header_version(version);
            let header = RequestHeader::default()
                .with_request_api_key(R::KEY)
                .with_request_api_version(version)
                .with_client_id(Some(self.client_id.clone()));
            let mut frame = BytesMut::new();
            frame.extend_from_slice(&[0; 4]);
            header.encode(&mut frame, header_version).map_err(|error| error.to_string())?;
            request.encode(&mut frame, version).map_err(|error| error.to_string())?;
            let length = i32::try_from(frame.len() - 4).map_err(|_| "larger than 2 GiB".to_owned())?;
            frame[..4].copy_from_slice(&length.to_be_bytes());
            Ok(frame)
        };
        encode().map_err(|detail| CallError::Encode { api_key: R::KEY, detail })
    }

    /// Sends a frame and waits for its answer: all after the length, so the correlation id comes first.
    async fn exchange(&self, frame: BytesMut, timeout: Duration) -> Result<(i32, Bytes), CallError> {
        let timed_out = || CallError::TimedOut { address: self.shared.address.clone(), after: timeout };
        let deadline = Instant::now() + timeout;
        let permit = tokio::time::timeout_at(deadline, Arc::clone(&self.in_flight).acquire_owned())
            .await
            .map_err(|_| self.out_of_patience(timeout, timed_out()))?
            .map_err(|_| self.shared.closed("closed"))?;
        let (correlation, receiver) = self.send(frame, permit)?;
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => answer.map(|answer| (correlation, answer)),
            Ok(Err(_)) => Err(self.shared.closed("the client shut down")),
            Err(_) => Err(self.out_of_patience(timeout, timed_out())),
        }
    }

    fn send(
        &self,
        mut frame: BytesMut,
        permit: OwnedSemaphorePermit,
    ) -> Result<(i32, oneshot::Receiver<Result<Bytes, CallError>>), CallError> {
        let (answer, receiver) = oneshot::channel();
        // Under one lock, so that the order of the queue is the order of the wire.
        let mut state = self.shared.state();
        if let Some(error) = &state.closed {
            // Nothing of this request was sent.
            return Err(CallError::Unreachable { reason: error.to_string() });
        }
        let correlation = state.next_correlation;
        frame[8..12].copy_from_slice(&correlation.to_be_bytes());
        // There is room for as many frames as there are permits.
        self.frames
            .try_send(frame.freeze())
            .map_err(|_| CallError::Unreachable { reason: format!("{} has just closed", self.shared.address) })?;
        state.next_correlation = correlation.wrapping_add(1);
        state.waiting.push_back(Waiting { correlation, since: Instant::now(), answer, _permit: permit });
        Ok((correlation, receiver))
    }

    /// A call was given up. Its answer may still come and is then swallowed; but a peer that has owed one for the whole
    /// request timeout is left.
    fn out_of_patience(&self, timeout: Duration, error: CallError) -> CallError {
        let oldest = self.shared.state().waiting.front().map(|waiting| waiting.since.elapsed());
        if timeout >= self.request_timeout || oldest.is_some_and(|age| age >= self.request_timeout) {
            self.shared.fail(&self.shared.closed("it owed an answer for too long"));
            self.task.abort();
        }
        error
    }
}

/// Moves bytes both ways until either side is over.
async fn run<S: AsyncRead + AsyncWrite>(
    stream: S,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Bytes>,
    max_response_bytes: usize,
) {
    let (reader, writer) = tokio::io::split(stream);
    let error = tokio::select! {
        error = read_answers(reader, &shared, max_response_bytes) => error,
        error = write_frames(writer, &shared, queue) => error,
    };
    tracing::debug!(address = %shared.address, %error, "connection over");
    shared.fail(&error);
}

async fn write_frames<W: AsyncWrite + Unpin>(
    mut writer: W,
    shared: &Shared,
    mut queue: mpsc::Receiver<Bytes>,
) -> CallError {
    while let Some(frame) = queue.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            return shared.closed(error.to_string());
        }
    }
    shared.closed("the client shut down")
}

async fn read_answers<R: AsyncRead + Unpin>(mut reader: R, shared: &Shared, max: usize) -> CallError {
    loop {
        let frame = match read_frame(&mut reader, shared, max).await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        let Some(correlation) = frame.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes)) else {
            return shared.protocol("an answer without a correlation id");
        };
        let waiting = shared.state().waiting.pop_front();
        match waiting {
            Some(waiting) if waiting.correlation == correlation => {
                // Nobody listens any more when the caller gave up.
                let _ = waiting.answer.send(Ok(frame));
            }
            Some(waiting) => {
                let error =
                    shared.protocol(format!("correlation id {correlation} came, {} was next", waiting.correlation));
                let _ = waiting.answer.send(Err(error.clone()));
                return error;
            }
            None => return shared.protocol("an answer that nobody asked for"),
        }
    }
}

/// One frame without its length.
async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, shared: &Shared, max: usize) -> Result<Bytes, CallError> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => shared.closed("end of stream"),
        _ => shared.closed(error.to_string()),
    };
    let length = reader.read_i32().await.map_err(io)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (4..=max).contains(length))
        .ok_or_else(|| shared.protocol(format!("an answer of {length} bytes, 4 to {max} are allowed")))?;
    let mut frame = BytesMut::new();
    while frame.len() < length {
        // Room is made for what comes next, never for what is only announced.
        let step = (length - frame.len()).min(READ_STEP);
        frame.reserve(step);
        let missing = u64::try_from(length - frame.len()).unwrap_or(0);
        let read = (&mut *reader).take(missing).read_buf(&mut frame).await.map_err(io)?;
        if read == 0 {
            return Err(shared.closed("end of stream inside an answer"));
        }
    }
    Ok(frame.freeze())
}

//! A client that sends exactly the bytes that a test wants, and reads frames one by one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::frame;

/// How long [`RawClient::call`] waits.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    correlation: i32,
}

impl RawClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0 })
    }

    /// Sends these very bytes: a whole frame, a part of one, or garbage.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and returns its correlation id.
    pub async fn send_request<R: Request>(&mut self, request: &R, version: i16) -> io::Result<i32> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = frame::request(self.correlation, request, version);
        self.send(&frame).await?;
        Ok(self.correlation)
    }

    /// The next frame, without its length. `None` when the other side has closed between two frames.
    pub async fn read_frame(&mut self, within: Duration) -> io::Result<Option<Bytes>> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no frame in time");
        timeout(within, read_frame(&mut self.stream)).await.map_err(|_| late())?
    }

    /// The next frame as the answer to request `R`: its correlation id and body.
    pub async fn read_response<R: Request>(
        &mut self,
        version: i16,
        within: Duration,
    ) -> io::Result<(i32, R::Response)> {
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed instead of an answer");
        let frame = self.read_frame(within).await?.ok_or_else(closed)?;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the answer does not decode");
        frame::decode_response::<R>(&frame, version).ok_or_else(broken)
    }

    /// Sends a request and waits for its answer, which must be the next one.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        let sent = self.send_request(request, version).await?;
        let (correlation, response) = self.read_response::<R>(version, CALL_TIMEOUT).await?;
        if correlation == sent {
            Ok(response)
        } else {
            let text = format!("answer {correlation} came for request {sent}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }

    /// The other side closes (or resets) within this time, without another byte.
    pub async fn is_closed_within(&mut self, within: Duration) -> bool {
        let mut byte = [0];
        matches!(timeout(within, self.stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    /// Sends no more; answers can still be read.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The socket, for what this type does not offer.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// One frame without its length; `None` at the end of the stream.
pub(crate) async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > frame::MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no frame is that long"));
    }
    // Grows with what comes, not with what is declared.
    let mut frame = BytesMut::new();
    while frame.len() < length {
        let mut rest = stream.take((length - frame.len()) as u64);
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

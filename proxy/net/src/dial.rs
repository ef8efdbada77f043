//! The one place where a stream to a broker is opened, with its socket options.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Why a broker could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name did not resolve, or nothing accepted: is the broker up, and the address right?
    #[error("cannot connect to {address}: {source}; is the broker up and the address right?")]
    Refused {
        /// `host:port`.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// No connection within the time.
    #[error("no connection to {address} within {after:?}; is the network open?")]
    TimedOut {
        /// `host:port`.
        address: String,
        /// The time limit.
        after: Duration,
    },
}

/// Opens a plaintext stream: NODELAY on, keepalive on.
pub async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, DialError> {
    let address = || format!("{host}:{port}");
    let stream = tokio::time::timeout(timeout, TcpStream::connect((host, port)))
        .await
        .map_err(|_| DialError::TimedOut { address: address(), after: timeout })?
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|source| DialError::Refused { address: address(), source })?;
    keep_alive(&stream);
    Ok(stream)
}

/// [`connect`], with the options of the leg between a proxy and its broker: reno as congestion control where the kernel
/// has it. On loopback nothing is lost and nothing is congested; reno is the cheapest per segment.
pub async fn connect_broker_leg(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, DialError> {
    let stream = connect(host, port, timeout).await?;
    broker_leg(&stream);
    Ok(stream)
}

/// TCP keepalive, best effort: a peer whose machine vanished is noticed after about half a minute instead of never.
pub fn keep_alive(stream: &TcpStream) {
    let settings =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&settings) {
        tracing::debug!(%error, "no TCP keepalive");
    }
}

/// Options of the leg between a proxy and its broker, best effort; see [`connect_broker_leg`].
pub fn broker_leg(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_congestion(b"reno") {
        tracing::debug!(%error, "no reno on the broker leg");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

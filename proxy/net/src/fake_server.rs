//! A tiny server for tests: reads requests and answers as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as the server sees it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    /// Requests on this connection before it.
    pub(crate) nth: usize,
    pub(crate) port: u16,
    /// All after the length.
    pub(crate) frame: Vec<u8>,
}

pub(crate) enum Reply {
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// These bytes, then the end.
    Last(Vec<u8>),
    /// These bytes after a while; requests behind it wait.
    Late(Duration, Vec<u8>),
    /// Nothing, ever.
    Never,
}

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) accepted: Arc<AtomicUsize>,
}

pub(crate) async fn server(reply: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let reply = Arc::new(reply);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let reply = Arc::clone(&reply);
            tokio::spawn(async move { drop(serve(stream, port, &*reply).await) });
        }
    });
    Server { address: format!("127.0.0.1:{port}"), accepted }
}

pub(crate) async fn serve(
    mut stream: TcpStream,
    port: u16,
    reply: &(impl Fn(Asked) -> Reply + ?Sized),
) -> std::io::Result<()> {
    for nth in 0.. {
        let length = usize::try_from(stream.read_i32().await?).unwrap();
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await?;
        let i16_at = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let correlation = i32::from_be_bytes(frame[4..8].try_into().unwrap());
        let (key, version) = (i16_at(0), i16_at(2));
        match reply(Asked { key, version, correlation, nth, port, frame }) {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
            Reply::Last(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Late(after, bytes) => {
                tokio::time::sleep(after).await;
                stream.write_all(&bytes).await?;
            }
            Reply::Never => {}
        }
    }
    Ok(())
}

/// A whole answer frame.
pub(crate) fn frame<R: Encodable + HeaderVersion>(answer: &R, version: i16, correlation: i32) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_i32(correlation);
    if R::header_version(version) >= 1 {
        body.put_u8(0);
    }
    answer.encode(&mut body, version).unwrap();
    let mut frame = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

//! One upstream of a client connection: not dialled, being dialled, open or lost. A lost one stays lost; who owns it
//! decides what that means.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sluice_net::dial::DialError;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::outlet::Outlet;
use crate::scratch::{Pool, Spill};

/// A connection in the making.
pub(super) type Dialling = Pin<Box<dyn Future<Output = Result<TcpStream, DialError>>>>;

/// Where a leg is in its life.
pub(super) enum State {
    /// Not needed yet.
    Undialled,
    /// On its way.
    Dialling(Dialling),
    /// Open. `mute`: the peer takes nothing more, but what it said before may still be read.
    Open { stream: TcpStream, mute: bool },
    /// Over.
    Lost,
}

/// One upstream.
pub(super) struct Leg {
    pub(super) state: State,
    pub(super) out: Outlet,
    /// Read, but not the session's turn yet.
    pub(super) rest: Spill,
}

/// What [`Leg::poll`] found.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing new.
    None,
    /// Bytes have left, or the connection is there now.
    Moved,
    /// The dial failed.
    DialFailed(DialError),
}

impl Leg {
    pub(super) fn new() -> Self {
        Self { state: State::Undialled, out: Outlet::default(), rest: Spill::default() }
    }

    pub(super) fn is_undialled(&self) -> bool {
        matches!(self.state, State::Undialled)
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Finishes the dial, moves what is stuck.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, pool: &Pool) -> Progress {
        let mut progress = Progress::None;
        if let State::Dialling(dial) = &mut self.state {
            match dial.as_mut().poll(cx) {
                Poll::Pending => return Progress::None,
                Poll::Ready(Ok(stream)) => {
                    self.state = State::Open { stream, mute: false };
                    progress = Progress::Moved;
                }
                Poll::Ready(Err(error)) => {
                    self.lose(pool);
                    return Progress::DialFailed(error);
                }
            }
        }
        if let State::Open { stream, mute } = &mut self.state
            && !self.out.is_clear()
        {
            if *mute {
                self.out.drop_all(pool);
                return Progress::Moved;
            }
            match self.out.poll_clear(cx, stream, pool) {
                Poll::Pending => {}
                Poll::Ready(Ok(_)) => return Progress::Moved,
                Poll::Ready(Err(_)) => {
                    *mute = true;
                    self.out.drop_all(pool);
                    return Progress::Moved;
                }
            }
        }
        progress
    }

    /// Adds bytes; small ones leave with [`Leg::flush`].
    pub(super) fn push(&mut self, cx: &mut Context<'_>, gather: &mut Vec<u8>, pool: &Pool, piece: &[u8]) {
        match &mut self.state {
            State::Lost | State::Open { mute: true, .. } => {}
            State::Undialled | State::Dialling(_) => {
                // Cannot fail without a stream.
                let _ = self.out.push(cx, None, gather, pool, piece);
            }
            State::Open { stream, mute } => {
                *mute = self.out.push(cx, Some(stream), gather, pool, piece).is_err();
            }
        }
    }

    /// Writes what [`Leg::push`] gathered.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, gather: &mut Vec<u8>, pool: &Pool) {
        match &mut self.state {
            State::Lost | State::Open { mute: true, .. } => gather.clear(),
            State::Undialled | State::Dialling(_) => {
                let _ = self.out.flush(cx, None, gather, pool);
            }
            State::Open { stream, mute } => *mute = self.out.flush(cx, Some(stream), gather, pool).is_err(),
        }
    }

    /// Reads. `Ok(0)` is the end of the stream; pending while not open.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Open { stream, .. } => poll_read(cx, stream, into),
            State::Lost => Poll::Ready(Ok(0)),
            State::Undialled | State::Dialling(_) => Poll::Pending,
        }
    }

    /// The connection is over.
    pub(super) fn lose(&mut self, pool: &Pool) {
        self.state = State::Lost;
        self.out.drop_all(pool);
        self.rest.clear(pool);
    }
}

/// One read of up to `into.len()` bytes.
pub(super) fn poll_read(cx: &mut Context<'_>, stream: &mut TcpStream, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
    }
}

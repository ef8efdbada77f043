//! One way out of a connection: written directly while the socket takes it, spilled when it does not. While a spill is
//! not empty its owner reads nothing that would add to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::scratch::{GATHER_PIECE, Pool, SCRATCH, Spill};

/// One way out.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    stuck: Spill,
}

impl Outlet {
    /// All that was pushed has gone to the socket.
    pub(super) fn is_clear(&self) -> bool {
        self.stuck.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Moves what is stuck. Returns how much went.
    pub(super) fn poll_clear(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        pool: &Pool,
    ) -> Poll<io::Result<usize>> {
        let mut moved = 0;
        while !self.stuck.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, self.stuck.bytes()) {
                Poll::Ready(Ok(n)) => {
                    self.stuck.advance(pool, n);
                    moved += n;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if moved > 0 => return Poll::Ready(Ok(moved)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(moved))
    }

    /// Adds a piece. Small ones wait in `gather` for [`Outlet::flush`]; a large one goes out with what was gathered, in
    /// one write. Without a stream (not connected yet) all is spilled.
    pub(super) fn push(
        &mut self,
        cx: &mut Context<'_>,
        stream: Option<&mut TcpStream>,
        gather: &mut Vec<u8>,
        pool: &Pool,
        piece: &[u8],
    ) -> io::Result<()> {
        if piece.len() <= GATHER_PIECE && gather.len() + piece.len() <= SCRATCH {
            gather.extend_from_slice(piece);
            return Ok(());
        }
        let result = self.write(cx, stream, gather, piece, pool);
        gather.clear();
        result
    }

    /// Writes what was gathered.
    pub(super) fn flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: Option<&mut TcpStream>,
        gather: &mut Vec<u8>,
        pool: &Pool,
    ) -> io::Result<()> {
        if gather.is_empty() {
            return Ok(());
        }
        let result = self.write(cx, stream, gather, &[], pool);
        gather.clear();
        result
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        stream: Option<&mut TcpStream>,
        mut head: &[u8],
        mut tail: &[u8],
        pool: &Pool,
    ) -> io::Result<()> {
        if let Some(stream) = stream.filter(|_| self.stuck.is_empty()) {
            while !(head.is_empty() && tail.is_empty()) {
                match write_both(cx, stream, head, tail) {
                    Poll::Ready(Ok(n)) => {
                        let of_head = n.min(head.len());
                        head = &head[of_head..];
                        tail = &tail[n - of_head..];
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        self.stuck.push(pool, head);
        self.stuck.push(pool, tail);
        Ok(())
    }

    /// Nobody will take it any more.
    pub(super) fn drop_all(&mut self, pool: &Pool) {
        self.stuck.clear(pool);
    }
}

fn write_both(cx: &mut Context<'_>, stream: &mut TcpStream, head: &[u8], tail: &[u8]) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    let n = if tail.is_empty() {
        ready!(stream.poll_write(cx, head))?
    } else if head.is_empty() {
        ready!(stream.poll_write(cx, tail))?
    } else {
        ready!(stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(tail)]))?
    };
    if n == 0 { Poll::Ready(Err(io::ErrorKind::WriteZero.into())) } else { Poll::Ready(Ok(n)) }
}

//! Where a connection is: in a head, in a body, in a request that is worked on, or answered. Told by the bytes that pass and the calls that are made;
//! a request costs a few stores and reads no clock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::http::Client;

/// A clock of looks: as coarse as they are.
#[derive(Debug, Default)]
pub(super) struct Coarse(AtomicU64);

impl Coarse {
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The phases, in the low two bits; above them, since which look.
const HEAD: u64 = 0;
const REQUEST: u64 = 1;
const ANSWERED: u64 = 2;
const BODY: u64 = 3;

/// One connection as its listener sees it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Whose it is.
    pub(super) client: Client,
    coarse: Arc<Coarse>,
    phase: AtomicU64,
    end: CancellationToken,
    ended: AtomicBool,
}

impl Connection {
    /// A connection from which a head is awaited.
    pub(super) fn new(client: Client, coarse: Arc<Coarse>) -> Self {
        let phase = AtomicU64::new(coarse.now() << 2 | HEAD);
        Self { client, coarse, phase, end: CancellationToken::new(), ended: AtomicBool::new(false) }
    }

    fn enter(&self, phase: u64) {
        self.phase.store(self.coarse.now() << 2 | phase, Ordering::Relaxed);
    }

    fn phase(&self) -> (u64, u64) {
        let phase = self.phase.load(Ordering::Relaxed);
        (phase & 3, phase >> 2)
    }

    /// A head is complete; its body, made to tell when it is too.
    pub(super) fn begins(self: &Arc<Self>, body: Incoming) -> Body {
        if body.is_end_stream() {
            self.enter(REQUEST);
            return Body::new(body);
        }
        self.enter(BODY);
        Body::new(Arriving { body, connection: Arc::clone(self) })
    }

    /// A request has its answer, which may still be on its way.
    pub(super) fn answers(&self) {
        self.enter(ANSWERED);
    }

    /// Bytes came: after an answer they are the next head's. Those that follow do not prolong it.
    fn reads(&self) {
        if self.phase().0 == ANSWERED {
            self.enter(HEAD);
        }
    }

    /// Bytes went: an answer that is taken slowly is not idle.
    fn writes(&self) {
        if self.phase().0 == ANSWERED {
            self.enter(ANSWERED);
        }
    }

    /// Since when we wait for nothing but the client; none while we have work for it.
    pub(super) fn waits(&self) -> Option<u64> {
        let (phase, since) = self.phase();
        (phase != REQUEST).then_some(since)
    }

    /// Why it has to end, if it must; limits in looks.
    pub(super) fn overdue(&self, head: u64, idle: u64) -> Option<&'static str> {
        let (phase, since) = self.phase();
        let lasts = self.coarse.now().saturating_sub(since);
        match phase {
            HEAD if lasts > head => Some("slow"),
            ANSWERED if lasts > idle => Some("idle"),
            _ => None,
        }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// Whether it was told to end.
    pub(super) fn shall_end(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Waits until it shall end.
    pub(super) async fn told_to_end(&self) {
        self.end.cancelled().await;
    }

    /// Whether it has ended.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Tells the end when it is dropped, however that comes.
    pub(super) fn tell_the_end(self: &Arc<Self>) -> Ended {
        Ended(Arc::clone(self))
    }
}

/// Marks a connection as ended.
pub(super) struct Ended(Arc<Connection>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// A body that tells when it is complete.
struct Arriving {
    body: Incoming,
    connection: Arc<Connection>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || (frame.is_ready() && self.body.is_end_stream()) {
            self.connection.enter(REQUEST);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells what passes.
pub(super) struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.connection.reads();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_ready() {
            self.connection.writes();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.connection.writes();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

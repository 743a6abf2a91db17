//! Where a connection is: in a head, in a body, in a request that is worked on, or answered. Told
//! by the bytes that pass and the calls that are made; a request costs a few stores and reads no
//! clock.

mod intake;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::http::ClientIp;
use intake::ConnectionBytes;
pub(super) use intake::Intake;

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

/// Most that is read at once of a request that has begun...
const READ: usize = 4096;
/// ...and of one that begins: less than the 8 KiB that hyper asks for, which it doubles for whoever
/// fills them, and does not halve again before it was read from twice.
const FIRST: usize = 8191;
/// How long, and for how many bytes, we read on after an answer to something that was not read
/// whole. A proxy sends what it has begun, a megabyte of an address at most.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 8 << 20;

/// One connection as its listener sees it.
pub(super) struct Connection {
    /// Whose it is.
    pub(super) client: ClientIp,
    /// Which it is, of all listeners.
    pub(super) number: u64,
    /// What it holds of the budget.
    held: ConnectionBytes,
    intake: Arc<Intake>,
    coarse: Arc<Coarse>,
    phase: AtomicU64,
    /// Whether the last answer came before its request was read whole.
    early: AtomicBool,
    /// Whether anything was read of it.
    begun: AtomicBool,
    end: CancellationToken,
    ended: AtomicBool,
}

impl Connection {
    /// A connection from which a head is awaited.
    pub(super) fn new(client: ClientIp, coarse: Arc<Coarse>, intake: Arc<Intake>) -> Self {
        Self {
            client,
            number: intake.number(),
            held: ConnectionBytes::default(),
            intake,
            phase: AtomicU64::new(coarse.now() << 2 | HEAD),
            coarse,
            early: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            end: CancellationToken::new(),
            ended: AtomicBool::new(false),
        }
    }

    fn enter(&self, phase: u64) {
        self.phase
            .store(self.coarse.now() << 2 | phase, Ordering::Relaxed);
    }

    fn phase(&self) -> (u64, u64) {
        let phase = self.phase.load(Ordering::Relaxed);
        (phase & 3, phase >> 2)
    }

    /// A head is complete; its body, made to tell when it is too.
    pub(super) fn begins(self: &Arc<Self>, body: Incoming) -> Body {
        self.early.store(false, Ordering::Relaxed);
        if body.is_end_stream() {
            self.enter(REQUEST);
            self.came_whole();
            return Body::new(body);
        }
        self.enter(BODY);
        Body::new(Arriving {
            body,
            connection: Arc::clone(self),
        })
    }

    /// A request has its answer, which may still be on its way.
    pub(super) fn answers(self: &Arc<Self>) {
        self.early.store(self.phase().0 == BODY, Ordering::Relaxed);
        self.enter(ANSWERED);
        self.came_whole();
    }

    /// Bytes came: after an answer they are the next head's. Those that follow do not prolong it.
    fn reads(self: &Arc<Self>, bytes: usize) {
        let phase = self.phase().0;
        self.begun.store(true, Ordering::Relaxed);
        if phase == ANSWERED {
            self.enter(HEAD);
        }
        self.holds(bytes as u64, phase != BODY);
    }

    /// Bytes of an answer went, or did not; one that is taken slowly is not idle.
    fn writes(self: &Arc<Self>, written: &Poll<std::io::Result<usize>>, of: usize) {
        if written.is_pending() {
            self.left_unsent(of as u64);
            return;
        }
        self.left_unsent(0);
        if self.phase().0 == ANSWERED {
            self.enter(ANSWERED);
        }
    }

    /// Since when we wait for nothing but the client; none while we have work for it.
    pub(super) fn waits(&self) -> Option<u64> {
        let (phase, since) = self.phase();
        (phase != REQUEST).then_some(since)
    }

    /// Whether it has waited for its client for so many looks; never while we have work for it.
    pub(super) fn waited(&self, looks: u64) -> bool {
        self.waits()
            .is_some_and(|since| self.coarse.now().saturating_sub(since) >= looks)
    }

    /// Whether it was opened less than so many looks ago and nothing was read of it: its first
    /// request may be on its way.
    pub(super) fn is_fresh(&self, looks: u64) -> bool {
        !self.begun.load(Ordering::Relaxed) && !self.waited(looks)
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

    /// Whether the last answer came before its request was read whole.
    pub(super) fn left_unread(&self) -> bool {
        self.early.load(Ordering::Relaxed)
    }

    /// Whether its client may still be sending what will not be read.
    fn leaves_unread(&self) -> bool {
        self.held.some() || self.left_unread()
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
    pub(super) fn tell_the_end(self: &Arc<Self>) -> ConnectionGuard {
        ConnectionGuard(Arc::clone(self))
    }
}

/// Marks a connection as ended.
pub(super) struct ConnectionGuard(Arc<Connection>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
        self.0.gives_back();
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
            self.connection.came_whole();
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
    lingers: Option<Lingers>,
}

/// What is read on after the last answer.
struct Lingers {
    until: Pin<Box<Sleep>>,
    read: usize,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            lingers: None,
        }
    }

    /// Reads on until the client has nothing more to say. The kernel resets a connection that is
    /// closed with something unread, and a reset takes away the answer that was not read yet: a
    /// proxy would see a failure instead of a refusal, and one that fails open would let the
    /// request pass.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingers = self.lingers.get_or_insert_with(|| Lingers {
            until: Box::pin(sleep(LINGER)),
            read: 0,
        });
        let mut buffer = [0; READ];
        while lingers.read < LINGER_BYTES && lingers.until.as_mut().poll(cx).is_pending() {
            let mut part = ReadBuf::new(&mut buffer);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part));
            if read.is_err() || part.filled().is_empty() {
                break;
            }
            lingers.read += part.filled().len();
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.connection.may_read(cx) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let most = if self.connection.held.some() {
            READ
        } else {
            FIRST
        };
        let read = if buf.remaining() > most {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
            let some = part.filled().len();
            buf.advance(some);
            read
        } else {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        };
        let some = buf.filled().len() - before;
        if some > 0 {
            self.connection.reads(some);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.writes(&written, buf.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        let all = || bufs.iter().map(|part| part.len()).sum();
        self.connection
            .writes(&written, if written.is_pending() { all() } else { 0 });
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.connection.leaves_unread() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

//! The way out of what is said on stderr or stdout: a queue of lines and a thread that writes them.
//!
//! Whoever says something waits for nothing and hears of no error: a pipe that nobody reads, a
//! reader that is gone, a full disk cost lines, which are counted, and nothing else. Knows no
//! format.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Most text that waits, bytes: some thousand lines, a few seconds of a busy service. As much again
/// is being written.
const WAITING: usize = 1024 * 1024;
/// Pause before a stream that is full, and does not wait itself, is tried again.
const FULL: Duration = Duration::from_millis(20);

/// Pause after each write, so that what is said meanwhile shares the next one: a thread that is
/// woken for every line of a busy service costs more than the lines do. What is said after a
/// silence is written at once.
const GATHER: Duration = Duration::from_millis(2);

/// A stream that is written by a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something waits, or nothing does any more.
    changed: Condvar,
    lost: AtomicU64,
    /// What the stream said when it took something no more, since that was asked for last.
    error: Mutex<Option<io::Error>>,
    /// When a line was lost last, milliseconds from 1; 0: never.
    lost_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    text: Vec<u8>,
    writing: bool,
}

impl Sink {
    /// Starts the thread. `elapsed` is asked when a line is lost. `recovered` is called by the
    /// thread when lines come through again, with how many did not; what it says goes the same way.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        elapsed: fn() -> Duration,
        recovered: impl Fn(u64) + Send + 'static,
    ) -> Self {
        let sink = Self(Arc::default());
        let worker = sink.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        // Without a thread the queue fills up and everything is counted as lost: still no reason to
        // end.
        let _ = thread.spawn(move || worker.work(out, elapsed, recovered));
        sink
    }

    /// Takes whole lines, or counts them as lost when there is no room.
    pub(super) fn offer(&self, lines: &[u8], elapsed: fn() -> Duration) {
        {
            let mut queue = self.queue();
            if queue.text.len() + lines.len() <= WAITING {
                let first = queue.text.is_empty();
                queue.text.extend_from_slice(lines);
                drop(queue);
                if first {
                    self.0.changed.notify_all();
                }
                return;
            }
        }
        self.count_lost(lines, elapsed);
    }

    /// Waits until everything was written, or for this long; answers whether nothing waits any
    /// more.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let busy = |queue: &mut Queue| queue.writing || !queue.text.is_empty();
        let mut queue = self.queue();
        let waited = self.0.changed.wait_while_for(&mut queue, busy, limit);
        !waited.timed_out()
    }

    /// Why the stream took something no more, if that has happened since this was asked last.
    pub(super) fn error(&self) -> Option<io::Error> {
        self.0.error.lock().take()
    }

    /// Lines that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// When the last one was lost, by the clock that was handed over.
    pub(super) fn lost_at(&self) -> Option<Duration> {
        self.0
            .lost_at
            .load(Ordering::Relaxed)
            .checked_sub(1)
            .map(Duration::from_millis)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock()
    }

    fn count_lost(&self, text: &[u8], elapsed: fn() -> Duration) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count().max(1);
        let at = u64::try_from(elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.0.lost_at.store(at, Ordering::Relaxed);
        self.0.lost.fetch_add(lines as u64, Ordering::Relaxed);
    }

    fn work(&self, mut out: impl Write, elapsed: fn() -> Duration, recovered: impl Fn(u64)) {
        let (mut batch, mut torn, mut told) = (Vec::new(), false, 0);
        loop {
            self.next(&mut batch);
            let (written, error) = write(&mut out, &batch, &mut torn);
            if error.is_some() {
                *self.0.error.lock() = error;
            }
            if let Some(rest) = batch.get(written..).filter(|rest| !rest.is_empty()) {
                self.count_lost(rest, elapsed);
                continue;
            }
            std::thread::sleep(GATHER);
            let lost = self.lost();
            if lost > told {
                recovered(lost - told);
                // That line may have found no room itself: then it is said later.
                told = if self.lost() == lost { lost } else { told };
            }
        }
    }

    /// Waits for lines and takes all there are.
    fn next(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut queue = self.queue();
        if queue.text.is_empty() {
            queue.writing = false;
            self.0.changed.notify_all();
        }
        self.0
            .changed
            .wait_while(&mut queue, |queue| queue.text.is_empty());
        queue.writing = true;
        std::mem::swap(&mut queue.text, batch);
    }
}

/// Writes what can be written; answers how much that was, and why it was not all. `torn`: the last
/// line that came out lacks its end.
fn write(out: &mut impl Write, text: &[u8], torn: &mut bool) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        let lead: &[u8] = if *torn && written == 0 { b"\n" } else { b"" };
        match out.write(if lead.is_empty() { rest } else { lead }) {
            Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
            Ok(_) if !lead.is_empty() => *torn = false,
            Ok(some) => {
                written += some;
                *torn = text.get(written - 1) != Some(&b'\n');
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL),
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn now() -> Duration {
        Duration::from_secs(7)
    }

    /// A stream that writes, or does not, as it is told; and tells what came out.
    struct Told(Receiver<io::Result<usize>>, Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let some = self.0.recv().unwrap_or(Ok(usize::MAX))?.min(text.len());
            let _ = self.1.send(text[..some].to_vec());
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_that_takes_nothing_costs_lines_and_nobody_waits_for_it() {
        let (say, told) = channel();
        let (out, came) = channel();
        let (recovered, again) = channel();
        let sink = Sink::start(Told(told, out), now, move |lost| {
            recovered.send(lost).unwrap()
        });
        sink.offer(b"first\n", now);
        let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
        // Nobody reads: what is offered beyond the queue is lost at once. As much again may be on
        // its way already.
        for _ in 0..3000 {
            sink.offer(&line, now);
        }
        let lost = sink.lost();
        assert!((3000 - 2 * 1024..=3000 - 1023).contains(&lost), "{lost}");
        assert_eq!(sink.lost_at(), Some(now()));
        assert!(!sink.flush(Duration::from_millis(1)));
        // It is read again: everything that waited comes, and how much is missing is told once.
        drop(say);
        assert!(sink.flush(LONG));
        let text: Vec<u8> = came.try_iter().flatten().collect();
        assert_eq!(
            text.iter().filter(|byte| **byte == b'\n').count() as u64,
            3001 - lost
        );
        assert_eq!(again.try_iter().collect::<Vec<_>>(), [lost]);
    }

    #[test]
    fn what_is_said_in_a_storm_shares_few_writes() {
        let (say, told) = channel();
        let (out, came) = channel();
        drop(say);
        let sink = Sink::start(Told(told, out), now, |_| {});
        (0..1000).for_each(|_| sink.offer(b"line\n", now));
        assert!(sink.flush(LONG));
        let writes: Vec<Vec<u8>> = came.try_iter().collect();
        assert_eq!(writes.concat(), b"line\n".repeat(1000));
        assert!(writes.len() < 100, "{}", writes.len());
    }

    #[test]
    fn an_error_loses_the_lines_it_met_and_the_next_one_begins_anew() {
        let (say, told) = channel();
        let (out, came) = channel();
        let sink = Sink::start(Told(told, out), now, |_| {});
        say.send(Ok(3)).unwrap();
        say.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        sink.offer(b"first\nsecond\n", now);
        sink.flush(LONG);
        assert_eq!(sink.lost(), 2, "of the first only a part came out");
        assert_eq!(
            sink.error().map(|error| error.kind()),
            Some(io::ErrorKind::BrokenPipe)
        );
        drop(say);
        sink.offer(b"third\n", now);
        sink.flush(LONG);
        let text: Vec<u8> = came.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(text).unwrap(), "fir\nthird\n");
        assert_eq!(sink.lost(), 2);
        assert!(sink.error().is_none());
    }
}

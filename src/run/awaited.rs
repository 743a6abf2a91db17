//! What a start waits for, where that may never answer: a disk or a network that is gone. Nobody
//! can break such a call off; so it is said, and a signal ends the process as long as nothing of
//! ours listens.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::config::files::PATIENCE;

/// Pause between saying it and saying it again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60);

/// Somebody waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Awaited(Option<Sender<()>>);

impl Awaited {
    /// The same for what every client of ours reads once.
    pub(super) fn on_certificates() -> Self {
        Self::on("the system's certificates: SSL_CERT_FILE, SSL_CERT_DIR")
    }

    /// Says after five seconds what is waited for.
    pub(super) fn on(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::saying(PATIENCE, REMINDER_INTERVAL, move || {
            tracing::warn!(%what, "the start waits for it, and it does not answer: is its disk or network gone?");
        })
    }

    /// Calls `say` when that much has passed, and again after each `again`.
    fn saying(patience: Duration, again: Duration, say: impl Fn() + Send + 'static) -> Self {
        let (done, waits) = channel();
        let body = move || {
            let mut pause = patience;
            while waits.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                say();
                pause = again;
            }
        };
        // Without a thread nothing is said, and nothing else changes.
        Self(
            thread::Builder::new()
                .name("waiting".to_owned())
                .spawn(body)
                .ok()
                .map(|_| done),
        )
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_does_not_answer_is_said_until_it_does() {
        let (say, said) = channel();
        let waiting = Awaited::saying(Duration::ZERO, Duration::ZERO, move || {
            say.send(()).unwrap_or_default()
        });
        for _ in 0..3 {
            assert_eq!(said.recv_timeout(LONG), Ok(()));
        }
        drop(waiting);
        // Its thread ends, and with it whoever could say more.
        while said.recv_timeout(LONG) != Err(RecvTimeoutError::Disconnected) {}
        let (say, said) = channel();
        drop(Awaited::saying(LONG, LONG, move || {
            say.send(()).unwrap_or_default()
        }));
        assert_eq!(
            said.recv_timeout(LONG),
            Err(RecvTimeoutError::Disconnected),
            "nothing is said of what answers"
        );
    }
}

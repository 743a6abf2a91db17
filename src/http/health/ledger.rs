//! Whether the ledger answers: asked by whoever looks at `/health`, and regularly for those that must not wait for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::App;
use crate::ports::{Clock, Ledger};

/// How long one look waits for the ledger.
const LIMIT: Duration = Duration::from_secs(1);
/// Pause between two looks that nobody asked for.
const EVERY: Duration = Duration::from_secs(5);
/// How long a look counts: those of two rounds may be late.
const COUNTS: Duration = Duration::from_secs(15);

/// What is told at most once a minute, whoever looks.
pub(super) const LEDGER: &str = "ledger";

/// The last look at the ledger: when, by the clock that nobody sets, and whether it answered.
#[derive(Debug, Default)]
pub struct LedgerLook(Mutex<Option<(Duration, bool)>>);

impl LedgerLook {
    /// Looks now.
    /// `due`: whether a failure may be told, since anybody may have us look.
    pub(super) async fn fresh(&self, ledger: &dyn Ledger, clock: &dyn Clock, due: impl Fn() -> bool) -> bool {
        let answer = timeout(LIMIT, ledger.check()).await;
        if let Ok(Err(error)) = &answer
            && due()
        {
            tracing::warn!(%error, "the ledger does not answer");
        }
        let fine = matches!(answer, Ok(Ok(())));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock.elapsed(), fine));
        fine
    }

    /// Whether it answered last; not, if that is too long ago to be known.
    pub(super) fn last(&self, now: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|(at, fine)| fine && now.saturating_sub(at) < COUNTS)
    }
}

/// Looks at the ledger again and again, for `/metrics`.
pub async fn watch_ledger(app: Arc<App>, stop: CancellationToken) {
    let Some(ledger) = &app.ledger else { return stop.cancelled().await };
    loop {
        app.ledger_look.fresh(ledger.as_ref(), app.clock.as_ref(), || app.strangers.due(LEDGER)).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;
    use std::time::Duration;

    use super::LedgerLook;

    #[test]
    fn a_look_counts_for_fifteen_seconds_and_what_was_never_seen_is_not_there() {
        let look = LedgerLook::default();
        assert!(!look.last(Duration::ZERO));
        let seen =
            |fine| *look.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Duration::from_secs(100), fine));
        seen(true);
        assert!(look.last(Duration::from_secs(114)) && !look.last(Duration::from_secs(115)));
        seen(false);
        assert!(!look.last(Duration::from_secs(100)));
    }
}

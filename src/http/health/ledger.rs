//! Whether the ledger answers: asked by whoever looks at `/health`, and regularly for those that
//! must not wait for it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::text;
use crate::http::App;
use crate::ports::{Clock, Ledger, LedgerError};

/// How long one look waits for the ledger.
const LIMIT: Duration = Duration::from_secs(1);
/// Pause between two looks that nobody asked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a look counts: those of two rounds may be late.
const COUNTS: Duration = Duration::from_secs(15);

/// What is told at most once a minute, whoever looks.
pub(super) const LEDGER: &str = "ledger";

/// What is shown of why it does not answer, characters.
const WHY: usize = 160;

/// The last look at the ledger: when, by the clock that nobody sets, and why it did not answer, if
/// it did not.
#[derive(Debug, Default)]
pub struct LedgerLook(Mutex<Option<(Duration, Result<(), String>)>>);

impl LedgerLook {
    /// Looks now.
    /// `due`: whether a failure may be told, since anybody may have us look.
    pub(super) async fn fresh(
        &self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
        due: impl Fn() -> bool,
    ) -> Result<(), String> {
        let answer = timeout(LIMIT, ledger.check()).await;
        if let Ok(Err(error)) = &answer
            && due()
        {
            tracing::warn!(%error, "the ledger does not answer");
        }
        let found = match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(LedgerError::Unavailable(why))) => {
                Err(text::cut(text::shown(&why).into_owned(), WHY))
            }
            Ok(Err(error)) => Err(text::cut(error.to_string(), WHY)),
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        };
        *self.0.lock() = Some((clock.elapsed(), found.clone()));
        found
    }

    /// Whether it answered last, or why not; not, if that is too long ago to be known.
    pub(super) fn last(&self, now: Duration) -> Result<(), String> {
        let last = self.0.lock().clone();
        let last = last.filter(|(at, _)| now.saturating_sub(*at) < COUNTS);
        last.map_or_else(
            || Err("not looked at for a while".to_owned()),
            |(_, found)| found,
        )
    }
}

/// Looks at the ledger again and again, for `/metrics`.
pub async fn watch_ledger(app: App, stop: CancellationToken) {
    let Some(ledger) = &app.record.ledger else {
        return stop.cancelled().await;
    };
    loop {
        let _found = app
            .record
            .ledger_look
            .fresh(ledger.as_ref(), app.core.clock.as_ref(), || {
                app.doors.strangers.due(LEDGER)
            })
            .await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(CHECK_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LedgerLook;

    #[test]
    fn a_look_counts_for_fifteen_seconds_and_what_was_never_seen_is_not_there() {
        let look = LedgerLook::default();
        assert!(look.last(Duration::ZERO).is_err());
        let seen = |found| *look.0.lock() = Some((Duration::from_secs(100), found));
        seen(Ok(()));
        assert!(
            look.last(Duration::from_secs(114)).is_ok()
                && look.last(Duration::from_secs(115)).is_err()
        );
        seen(Err("full".to_owned()));
        assert_eq!(look.last(Duration::from_secs(100)), Err("full".to_owned()));
    }
}

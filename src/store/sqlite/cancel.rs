//! Somebody who asks the ledger and may leave before it answers: then the query is not begun, or
//! broken off.
//!
//! Knows connections; nothing of what is asked.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle};

/// Whoever waits; leaving drops it.
#[derive(Default)]
pub(super) struct CancelGuard(CancellableQuery);

/// The query's side.
#[derive(Clone, Default)]
pub(super) struct CancellableQuery(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    left: bool,
    /// What breaks the query off; there only while it runs, so that it never hits the next one on
    /// the connection.
    running: Option<InterruptHandle>,
}

impl CancelGuard {
    pub(super) fn asked(&self) -> CancellableQuery {
        self.0.clone()
    }
}

impl CancellableQuery {
    /// Runs a query for as long as somebody waits.
    pub(super) fn run<T>(
        &self,
        conn: &Connection,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut state = self.0.lock();
        if state.left {
            return Err(rusqlite::Error::QueryReturnedNoRows); // nobody hears it
        }
        state.running = Some(conn.get_interrupt_handle());
        drop(state);
        let found = query(conn);
        self.0.lock().running = None;
        found
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.left = true;
        if let Some(running) = &state.running {
            running.interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0";

    #[test]
    fn a_query_ends_when_nobody_waits_for_it() -> rusqlite::Result<()> {
        let conn = Connection::open_in_memory()?;
        let asking = CancelGuard::default();
        let asked = asking.asked();
        std::thread::scope(|scope| {
            let query = scope.spawn(|| {
                let conn = Connection::open_in_memory()?;
                asked.run(&conn, |conn| {
                    conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))
                })
            });
            while asked.0.lock().running.is_none() {
                std::thread::yield_now();
            }
            // An interrupt that comes before the first step of a statement is lost; the next one is
            // not.
            drop(asking);
            while !query.is_finished() {
                if let Some(running) = &asked.0.lock().running {
                    running.interrupt();
                }
                std::thread::yield_now();
            }
            assert!(query.join().is_ok_and(|found| found.is_err()));
        });
        assert!(asked.run(&conn, |_| Ok(())).is_err(), "and is not begun");
        Ok(())
    }
}

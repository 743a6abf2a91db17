//! Connections that only read, a few of them: a long page of the past must not keep a command's
//! `Idempotency-Key` waiting.
//!
//! Blocks; whoever is async asks from a thread that may. Knows nothing of what is asked.

use std::path::Path;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::read;

/// How many. Reads are short and come from memory; past the machine's cores more would only wait
/// for each other.
const READERS: usize = 4;

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: Vec<Connection>,
    lent: usize,
    closed: bool,
}

/// A connection that goes back when it is dropped, also by a panic.
struct Lent<'a> {
    pool: &'a Pool,
    conn: Option<Connection>,
}

impl Pool {
    /// Opens them all, so that none has to be opened on a bad day.
    pub(super) fn open(dir: &Path) -> rusqlite::Result<Self> {
        let free = (0..READERS)
            .map(|_| read::connect(dir))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self {
            state: Mutex::new(State {
                free,
                lent: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// Asks over one of them, once one is free; answers nothing after [`Pool::close`].
    pub(super) fn ask<T>(&self, query: impl FnOnce(&Connection) -> T) -> Option<T> {
        let none_is_free = |state: &mut State| state.free.is_empty() && !state.closed;
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, none_is_free);
        let conn = state.free.pop();
        state.lent += usize::from(conn.is_some());
        drop(state);
        let lent = Lent { pool: self, conn };
        lent.conn.as_ref().map(query)
    }

    /// Closes them all, those that are lent as soon as they come back; returns when none is left.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.free.clear();
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| state.lent > 0);
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let mut state = self.pool.state.lock();
        state.lent -= 1;
        // After a close it is closed right here, before anybody is told.
        if state.closed {
            drop(conn)
        } else {
            state.free.push(conn)
        }
        self.pool.changed.notify_all();
    }
}

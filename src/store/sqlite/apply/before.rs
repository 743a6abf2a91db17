//! Whether a change was here before: by the id of its command, or by its client's key. Then it does
//! nothing, and is answered what was answered first.
//!
//! No key keeps anything from closing, and none opens a second time. Writes nothing but what a
//! client was told.

use rusqlite::{Connection, OptionalExtension};

use super::holds::ExistingHolds;
use super::{ApplyError, holds};
use crate::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use crate::domain::hold::ask_for_more;
use crate::domain::level::Level;
use crate::store::sqlite::rows;

/// What is answered to a change that was here before.
pub(super) fn before(
    conn: &Connection,
    change: &Change,
    standing: &ExistingHolds,
) -> Result<Option<Receipt>, ApplyError> {
    let key = change
        .answer
        .as_ref()
        .and_then(|answer| answer.key.as_ref());
    let is_known = change
        .once
        .as_ref()
        .map(|once| rows::knows_command(conn, once))
        .transpose()?
        .unwrap_or_default();
    // Nor for a note of its command that stands here without it.
    let is_known = is_known
        && !change
            .takes()
            .any(|taken| taken.hold.is_kill() && standing.is_new(taken));
    let first = first(conn, change, key, is_known)?;
    // Its client has heard this already: it was told before we answered.
    let told = change
        .answer
        .as_ref()
        .filter(|answer| is_known && answer.told && answer.sent.is_some());
    if let Some(told) = told {
        rows::told(conn, told)?;
    }
    // The same key for another request is a mistake of its client: what was answered then is no
    // answer to this one. What opens is not done for it, unless its client was answered long ago;
    // all else is.
    let is_other = first.as_ref().is_some_and(|first| {
        first.key.as_ref().map(|key| &key.digest) != key.map(|key| &key.digest)
    });
    let is_answered = change
        .answer
        .as_ref()
        .is_some_and(|answer| answer.sent.is_some());
    if is_other && !is_known && !is_answered && opens(conn, change)? {
        return Err(ApplyError::OtherRequest);
    }
    let first = first.filter(|_| !is_other);
    if !is_known && (first.is_none() || is_answered) {
        // What its client was answered by its own words is recorded by its own entry: it was in
        // force by then.
        return Ok(None);
    }
    let first = first.map(|first| CommandResponse {
        replayed: !is_known,
        ..first
    });
    let answer = told.cloned().or(first).or_else(|| change.answer.clone());
    let mut over = Vec::new();
    for epoch in &change.holds_ended {
        over.extend(
            holds::has_ended(conn, epoch)?
                .unwrap_or_default()
                .then(|| epoch.clone()),
        );
    }
    let receipt = Receipt {
        repeated: true,
        answer,
        over,
        ..Receipt::default()
    };
    Ok(Some(standing.told(receipt)))
}

/// What the client's key was answered before, where that is an answer to this change.
fn first(
    conn: &Connection,
    change: &Change,
    key: Option<&ClientKey>,
    is_known: bool,
) -> Result<Option<CommandResponse>, ApplyError> {
    let Some(first) = key
        .map(|key| rows::answered(conn, key))
        .transpose()?
        .flatten()
    else {
        return Ok(None);
    };
    // One that has expired, and has not been forgotten yet, is the client's to use again.
    let at = change.answer.as_ref().map(|answer| answer.at);
    let counts = first.key.as_ref().map(|key| key.expires_at) > at;
    // What closes is left out for no key's sake: the stop or the level that was answered under it
    // may be over since. Nor is what only says which stop holds: another one than it was answered
    // then.
    let own = change.answer.as_ref().and_then(CommandResponse::kill);
    // Somebody else may have brought this very kill: then what is kept is its own answer.
    let is_own = is_known && own.is_some();
    let answers = counts && first.kill() == own && (is_own || !closes(conn, change)?);
    Ok(answers.then_some(first))
}

/// Whether a change takes a hold that asks for more than those it ends, or declares a level that is
/// safer than the one there is.
fn closes(conn: &Connection, change: &Change) -> Result<bool, ApplyError> {
    let ended = holds::ending(conn, change)?;
    let ended: Vec<_> = ended.iter().collect();
    Ok(ask_for_more(change.takes(), &ended)
        || declares_one(conn, change, |declared, stored| declared > stored)?)
}

/// Whether a change ends a hold that asks for more than those it takes, or that is not known to be
/// in force here; or declares a level that is less safe than the one there is.
fn opens(conn: &Connection, change: &Change) -> Result<bool, ApplyError> {
    let ended = holds::ending(conn, change)?;
    let taken: Vec<_> = change.takes().collect();
    Ok(change.opens_elsewhere
        || ended.len() < change.holds_ended.len()
        || ask_for_more(&ended, &taken)
        || declares_one(conn, change, |declared, stored| declared < stored)?)
}

/// Whether one of the levels that a change declares is so to the one there is. A throttle that was
/// never declared stands still.
fn declares_one(
    conn: &Connection,
    change: &Change,
    so: impl Fn(f64, f64) -> bool,
) -> rusqlite::Result<bool> {
    for row in &change.throttles {
        let stored = "SELECT declared FROM system_throttle WHERE name = ?1";
        let stored = conn
            .prepare_cached(stored)?
            .query_row([row.name.as_str()], |row| row.get(0))
            .optional()?;
        if so(
            row.declared.fraction(),
            stored.unwrap_or(Level::STOP.fraction()),
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}

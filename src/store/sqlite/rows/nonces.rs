//! What was here before: clients' keys with what was answered under them, and commands by their
//! ids.
//!
//! Keeps and finds them; whether a change is done for one is `apply`'s.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::{json, time};
use crate::domain::audit::{ClientKey, CommandResponse};

/// What a client's key was answered; one that has expired may still be here. What was kept without
/// its caller counts for the same request alone, and a refusal that was kept not at all: versions
/// before this one kept both.
pub(in crate::store) fn answered(
    conn: &Connection,
    key: &ClientKey,
) -> rusqlite::Result<Option<CommandResponse>> {
    let text: Option<String> = conn
        .prepare_cached(
            "SELECT answer FROM used_nonces WHERE kind = 'client' AND livemode = 0 AND id = ?1
                 AND (account = ?2 OR (account = '' AND digest = ?3)) ORDER BY account = ''",
        )?
        .query_row(params![key.key, owner(key), key.digest], |row| row.get(0))
        .optional()?;
    let read = |text: String| {
        serde_json::from_str(&text)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into()))
    };
    text.map(read)
        .transpose()
        .map(|found: Option<CommandResponse>| found.filter(CommandResponse::is_success))
}

/// Whose a client's key is, as a row names it: no path holds a space.
fn owner(key: &ClientKey) -> String {
    if key.caller.is_empty() {
        String::new()
    } else {
        format!("{} {}", key.route, key.caller)
    }
}

/// What a client was told before the ledger knew that the command had entered it: a retry hears the
/// same, unless the same request was done again since.
pub(in crate::store::sqlite) fn told(
    conn: &Connection,
    answer: &CommandResponse,
) -> rusqlite::Result<()> {
    let Some(key) = &answer.key else {
        return Ok(());
    };
    let kept = CommandResponse {
        told: false,
        ..answer.clone()
    };
    conn.prepare_cached(
        "UPDATE used_nonces SET answer = ?4
         WHERE kind = 'client' AND livemode = 0 AND account = ?1 AND id = ?2 AND digest = ?3
             AND used_at <= ?5",
    )?
    .execute(params![
        owner(key),
        key.key,
        key.digest,
        json(&kept)?,
        time(kept.at)
    ])?;
    Ok(())
}

/// Whether a command was here before.
pub(in crate::store::sqlite) fn knows_command(
    conn: &Connection,
    once: &str,
) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM used_nonces WHERE kind = 'command' AND livemode = 0 AND account = '' AND id = ?1",
    )?
    .exists([once])
}

/// Remembers that a command was here, for ever: nobody knows how old a journal can get.
pub(in crate::store::sqlite) fn keep_command(
    conn: &Connection,
    once: &str,
    at: Option<&str>,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at) VALUES ('command', 0, '', ?1, '', ?2)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![once, at.unwrap_or_default()])?;
    Ok(())
}

/// The answer with the number of its audit entry; kept, if the client gave a key, in the place of
/// one that has expired, or that the same request got before it was done again: a retry hears of
/// what holds now.
pub(in crate::store::sqlite) fn keep_answer(
    conn: &Connection,
    answer: &CommandResponse,
    audit: Option<i64>,
) -> rusqlite::Result<CommandResponse> {
    let mut kept = answer.clone();
    // What was said to be pending had no number when it was said, and a retry hears the same.
    let pending = kept
        .body
        .get("audit")
        .is_some_and(|audit| audit == "pending");
    if let Some(seq) = audit.filter(|_| !pending) {
        kept.set("audit_id", seq);
    }
    kept.write();
    kept.told = false; // a journal's alone
    if let Some(key) = kept.key.as_ref().filter(|_| kept.is_success()) {
        conn.prepare_cached(
            "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at, expires_at, answer)
             VALUES ('client', 0, ?6, ?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET digest = excluded.digest, used_at = excluded.used_at,
                 expires_at = excluded.expires_at, answer = excluded.answer
             WHERE used_nonces.expires_at <= excluded.used_at OR used_nonces.digest = excluded.digest",
        )?
        .execute(params![
            key.key,
            key.digest,
            time(kept.at),
            time(key.expires_at),
            json(&kept)?,
            owner(key)
        ])?;
    }
    Ok(kept)
}

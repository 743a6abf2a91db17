//! A kill and its end as a client sends them, made and taken back before anybody asks for one:
//! preparing their statements takes longer than running them, and whoever stops first shall not be
//! the one who waits for it.
//!
//! Nothing of it is ever committed.

use jiff::Timestamp;
use rusqlite::Connection;

use super::group::{Group, run_sql};
use super::write_op::WriteOp;
use super::{apply, unavailable};
use crate::domain::audit::{
    AuditAction, AuditDraft, Change, ClientKey, CommandRecord, CommandResponse,
};
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::domain::throttle::ThrottleName;
use crate::ports::LedgerError;

/// What every name of it begins with.
const NAME: &str = "rehearsal";

/// Makes them and takes them back. The connection has no transaction open.
///
/// # Errors
/// If the ledger cannot be written; that is for whoever sends something to hear.
pub(super) fn run(conn: &Connection) -> Result<(), LedgerError> {
    run_sql(conn, "BEGIN IMMEDIATE").map_err(unavailable)?;
    let group = Group::new(conn);
    let made = changes()
        .into_iter()
        .try_for_each(|change| apply_one(&group, change));
    run_sql(conn, "ROLLBACK").map_err(unavailable)?;
    made
}

fn apply_one(group: &Group<'_>, change: Change) -> Result<(), LedgerError> {
    apply::apply(group, &WriteOp::Commit(Box::new(change)))
        .map(drop)
        .map_err(LedgerError::from)
}

fn changes() -> [Change; 2] {
    let at = Timestamp::UNIX_EPOCH;
    let epoch = Epoch(NAME.to_owned());
    let change = |action: AuditAction| {
        let text = NAME.to_owned();
        let (caller, route, key, digest) = (text.clone(), text.clone(), text.clone(), text);
        let key = Some(ClientKey {
            caller,
            route,
            key: format!("{key}-{}", action.as_str()),
            digest,
            expires_at: at,
        });
        let answer = CommandResponse {
            key,
            ..CommandResponse::new(200, serde_json::Map::new(), at)
        };
        Change::of(CommandRecord {
            once: format!("{NAME}-{}", action.as_str()),
            audit: AuditDraft::new(at, NAME, action),
            answer,
        })
    };
    // No throttle has this name: rows of 10,000 would be written to be taken back.
    let nobody = ThrottleName::in_namespace(NAME, NAME);
    let (reason, operator) = (NAME.to_owned(), NAME.to_owned());
    let hold = Hold {
        epoch: epoch.clone(),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason,
        operator,
        taken_at: at,
    };
    [
        Change {
            holds_taken: vec![ScopedHold {
                scope: Scope::One(nobody),
                hold,
            }],
            ..change(AuditAction::Kill)
        },
        Change {
            holds_ended: vec![epoch],
            ..change(AuditAction::Revive)
        },
    ]
}

#[cfg(test)]
mod tests {
    use crate::store::SqliteLedger;

    #[test]
    fn it_can_be_made_and_leaves_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (_ledger, writer, _) = SqliteLedger::open_without_threads(folder.path())?;
        for _ in 0..2 {
            let before = writer.conn.total_changes();
            super::run(&writer.conn)?;
            assert!(
                writer.conn.total_changes() > before,
                "what is taken back counts, too"
            );
            assert!(writer.conn.is_autocommit());
            for table in [
                "audit_log",
                "holds",
                "used_nonces",
                "system_throttle",
                "outbox",
            ] {
                let rows =
                    writer
                        .conn
                        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                            row.get::<_, i64>(0)
                        })?;
                assert_eq!(rows, 0, "{table}");
            }
        }
        Ok(())
    }
}

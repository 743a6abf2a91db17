//! An entry of the audit log, as far as the accounts read it.

use rusqlite::Row;

use crate::domain::audit::AuditAction;

/// One entry, as far as holds go.
pub(super) struct LogEntry {
    pub(super) seq: i64,
    pub(super) format: i64,
    pub(super) at: String,
    pub(super) action: AuditAction,
    pub(super) throttle: String,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) reason: String,
    pub(super) taken: String,
    pub(super) ended: String,
    pub(super) declares: String,
}

impl LogEntry {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        // Somebody's edit need not be text; what it is instead makes no sense either.
        let text = |column| {
            row.get_ref(column)
                .map(|value| value.as_str().unwrap_or("?").to_owned())
        };
        Ok(Self {
            seq: row.get(0)?,
            format: row.get(1)?,
            at: text(2)?,
            action: AuditAction::of_word(&text(3)?),
            throttle: text(4)?,
            before: text(5)?,
            after: text(6)?,
            reason: text(7)?,
            taken: text(8)?,
            ended: text(9)?,
            declares: text(10)?,
        })
    }
}

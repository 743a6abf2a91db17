//! The verifier against somebody who edits the file, and the triggers against somebody who tries.

use std::path::Path;

use echo_phoenix::domain::audit::Change;
use echo_phoenix::domain::chain_head::ChainHead;
use echo_phoenix::domain::hold::{Scope, Source};
use echo_phoenix::domain::payment::Storing;
use echo_phoenix::ports::{Ledger, LedgerError, LedgerUpkeep};
use echo_phoenix::store::{LEDGER_FILE, SqliteLedger, Verified, VerifyError};
use rusqlite::Connection;
use tempfile::TempDir;

use super::values::*;

const TABLES: [&str; 3] = ["audit_log", "evidence_ledger", "reconciliation_log"];

fn verify(
    dir: &Path,
    exported: &[ChainHead],
    progress: &mut dyn FnMut(&str, i64, i64),
) -> Result<Verified, VerifyError> {
    echo_phoenix::store::verify(&dir.join(LEDGER_FILE), exported, progress)
}

/// Every append-only table there is, as the schema itself has them: those that refuse to be
/// updated.
fn append_only(dir: &Path) -> Vec<String> {
    let conn = Connection::open(dir.join(LEDGER_FILE)).unwrap();
    let mut tables = conn
        .prepare("SELECT tbl_name FROM sqlite_schema WHERE name LIKE '%_no_update' ORDER BY 1")
        .unwrap();
    tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Five rows in each chained table.
async fn filled() -> (TempDir, Vec<ChainHead>) {
    let dir = TempDir::new().unwrap();
    let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
    for i in 0..5 {
        let mut change = drifting(&format!("d{i}"), i);
        change.evidence = Some(event(&format!("evt_{i}")));
        ledger.commit(change).await.unwrap();
    }
    let heads = ledger.heads().await.unwrap();
    ledger.close();
    (dir, heads)
}

/// Edits the file as somebody would who knows SQL: the triggers go first, and come back last, where
/// there still is a table.
fn edit(dir: &Path, sql: &str) {
    let conn = Connection::open(dir.join(LEDGER_FILE)).unwrap();
    let mut triggers = conn
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap();
    let triggers = triggers
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let triggers: Vec<(String, String)> = triggers.map(Result::unwrap).collect();
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    conn.execute_batch(sql)
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    for (_, sql) in &triggers {
        let _ = conn.execute_batch(sql);
    }
}

fn found(dir: &Path, exported: &[ChainHead]) -> String {
    match verify(dir, exported, &mut |_, _, _| ()) {
        Err(VerifyError::Bad(text)) => text,
        other => panic!("expected a bad row, got {other:?}"),
    }
}

async fn tampered(sql: &str) -> String {
    let (dir, _) = filled().await;
    edit(dir.path(), sql);
    found(dir.path(), &[])
}

#[tokio::test]
async fn a_whole_ledger_verifies() {
    let (dir, heads) = filled().await;
    let mut heard = Vec::new();
    let progress = &mut |table: &str, done, total| heard.push((table.to_owned(), done, total));
    let verified = verify(dir.path(), &heads, progress).unwrap();
    assert_eq!(
        verified,
        Verified {
            heads: heads.clone()
        }
    );
    assert_eq!(
        heads
            .iter()
            .map(|head| (head.table, head.seq))
            .collect::<Vec<_>>(),
        TABLES.map(|table| (table, 5))
    );
    assert_eq!(heard, TABLES.map(|table| (table.to_owned(), 5, 5)));
}

#[tokio::test]
async fn an_empty_ledger_verifies_and_no_ledger_does_not() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(
        verify(dir.path(), &[], &mut |_, _, _| ()),
        Err(VerifyError::Unreadable(_))
    ));
    SqliteLedger::open(dir.path()).unwrap().0.close();
    let empty = TABLES.map(|table| ChainHead {
        table,
        seq: 0,
        hash: "0".repeat(64),
    });
    assert_eq!(
        verify(dir.path(), &empty, &mut |_, _, _| ()).unwrap().heads,
        empty
    );
}

#[tokio::test]
async fn verifying_works_while_the_service_writes() {
    let dir = TempDir::new().unwrap();
    let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
    ledger.commit(entry("a")).await.unwrap();
    let heads = ledger.heads().await.unwrap();
    for i in 0..20 {
        ledger.commit(drifting("d", i)).await.unwrap();
        verify(dir.path(), &heads, &mut |_, _, _| ()).unwrap();
    }
}

/// Every column there is, as the schema itself lists them: a column that the chain forgot fails
/// here.
#[tokio::test]
async fn an_edit_of_any_column_is_named() {
    let (any, _) = filled().await;
    let tables = append_only(any.path());
    assert_eq!(
        tables, TABLES,
        "a table that is append-only is chained, and its rows are made here"
    );
    for table in TABLES {
        let (template, _) = filled().await;
        let conn = Connection::open(template.path().join(LEDGER_FILE)).unwrap();
        let mut columns = conn
            .prepare("SELECT name, type FROM pragma_table_info(?1)")
            .unwrap();
        let columns: Vec<(String, String)> = columns
            .query_map([table], |row| row.try_into())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(columns.len() > 10);
        for (column, kind) in columns {
            let value = match kind.as_str() {
                "INTEGER" if column == "seq" => "99".to_owned(),
                "INTEGER" => format!("COALESCE({column}, 0) + 1"),
                "BLOB" => "x'00'".to_owned(),
                _ => format!("COALESCE({column}, '') || 'x'"),
            };
            let dir = TempDir::new().unwrap();
            std::fs::copy(
                template.path().join(LEDGER_FILE),
                dir.path().join(LEDGER_FILE),
            )
            .unwrap();
            edit(
                dir.path(),
                &format!("UPDATE {table} SET {column} = {value} WHERE seq = 3"),
            );
            let text = found(dir.path(), &[]);
            assert!(
                text.starts_with(&format!("{table}: row 3 ")),
                "{column}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn an_edit_that_looks_alike_is_named() {
    let null = tampered("UPDATE reconciliation_log SET error = NULL WHERE seq = 2").await;
    assert!(
        null.starts_with("reconciliation_log: row 2 was edited"),
        "{null}"
    );
    let empty = tampered(
        "UPDATE evidence_ledger SET raw = CAST(CAST(raw AS TEXT) || ' ' AS BLOB) WHERE seq = 5",
    )
    .await;
    assert!(
        empty.starts_with("evidence_ledger: row 5 was edited"),
        "{empty}"
    );
    let moved =
        tampered("UPDATE audit_log SET before = before || after, after = '' WHERE seq = 1").await;
    assert!(moved.starts_with("audit_log: row 1 was edited"), "{moved}");
    let broken = tampered("UPDATE audit_log SET reason = CAST(x'ff' AS TEXT) WHERE seq = 4").await;
    assert!(
        broken.starts_with("audit_log: row 4 was edited"),
        "{broken}"
    );
}

#[tokio::test]
async fn a_removed_row_is_named() {
    for table in TABLES {
        for row in [1, 3] {
            let text = tampered(&format!("DELETE FROM {table} WHERE seq = {row}")).await;
            assert!(
                text.starts_with(&format!("{table}: row {row} is missing")),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_removed_row_whose_followers_moved_up_is_named() {
    for table in TABLES {
        let sql = format!(
            "DELETE FROM {table} WHERE seq = 3; UPDATE {table} SET seq = seq - 1 WHERE seq > 3"
        );
        let text = tampered(&sql).await;
        assert!(
            text.starts_with(&format!("{table}: row 3 does not follow row 2")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn swapped_rows_are_named() {
    for table in TABLES {
        let swap = |a: i64, b: i64| {
            format!(
                "UPDATE {table} SET seq = -1 WHERE seq = {a}; UPDATE {table} SET seq = {a} WHERE seq = {b};
                 UPDATE {table} SET seq = {b} WHERE seq = -1"
            )
        };
        for (a, b) in [(2, 3), (2, 5)] {
            let text = tampered(&swap(a, b)).await;
            assert!(
                text.starts_with(&format!("{table}: row {a} stands in the wrong place")),
                "{text}"
            );
            assert!(text.contains("swapped"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_broken_link_is_named() {
    for table in TABLES {
        let text = tampered(&format!(
            "UPDATE {table} SET prev_hash = hash WHERE seq = 1"
        ))
        .await;
        assert!(text.starts_with(&format!("{table}: row 1 ")), "{text}");
        let text = tampered(&format!(
            "UPDATE {table} SET prev_hash = '{}' WHERE seq = 4",
            "ab".repeat(32)
        ))
        .await;
        assert!(
            text.starts_with(&format!("{table}: row 4 does not follow row 3")),
            "{text}"
        );
        assert!(text.contains("broken link"), "{text}");
    }
}

#[tokio::test]
async fn a_cut_tail_is_told_from_an_exported_head() {
    for table in TABLES {
        let (dir, heads) = filled().await;
        edit(dir.path(), &format!("DELETE FROM {table} WHERE seq > 3"));
        if table == "evidence_ledger" {
            assert!(
                found(dir.path(), &[]).starts_with("used_nonces: event evt_3"),
                "its nonces are still there"
            );
        } else {
            verify(dir.path(), &[], &mut |_, _, _| ())
                .expect("without a head there is nothing to tell it by");
        }
        let text = found(dir.path(), &heads);
        assert!(
            text.starts_with(&format!("{table}: row 4 is missing")) && text.contains("cut off"),
            "{text}"
        );
        let others: Vec<_> = heads
            .iter()
            .filter(|head| head.table != table)
            .cloned()
            .collect();
        if table != "evidence_ledger" {
            verify(dir.path(), &others, &mut |_, _, _| ())
                .expect("the other tables' heads are where they were");
        }
    }
}

#[tokio::test]
async fn a_guard_that_was_taken_off_or_changed_is_named() {
    for table in TABLES {
        for what in ["no_update", "no_delete", "no_gap"] {
            let (dir, _) = filled().await;
            let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
            conn.execute_batch(&format!("DROP TRIGGER {table}_{what}"))
                .unwrap();
            let said = found(dir.path(), &[]);
            assert!(
                said.starts_with(&format!("{table}: the trigger {table}_{what}"))
                    && said.contains("is gone"),
                "{said}"
            );
            let event = if what == "no_update" {
                "UPDATE"
            } else if what == "no_delete" {
                "DELETE"
            } else {
                "INSERT"
            };
            conn.execute_batch(&format!(
                "CREATE TRIGGER {table}_{what} BEFORE {event} ON {table} BEGIN SELECT 1; END"
            ))
            .unwrap();
            let said = found(dir.path(), &[]);
            assert!(said.contains("was changed"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_table_of_another_shape_is_named() {
    let added = tampered("ALTER TABLE audit_log ADD COLUMN approved TEXT").await;
    assert!(
        added.starts_with("audit_log: the column approved is none of ours"),
        "{added}"
    );
    let gone = tampered("ALTER TABLE reconciliation_log DROP COLUMN error").await;
    assert!(
        gone.starts_with("reconciliation_log: the column error is gone"),
        "{gone}"
    );
    let none = tampered("DROP TABLE evidence_ledger").await;
    assert!(
        none.starts_with("evidence_ledger: the table is gone"),
        "{none}"
    );
}

#[tokio::test]
async fn a_rewritten_log_is_told_from_an_exported_head() {
    let (dir, heads) = filled().await;
    let forged = TempDir::new().unwrap();
    let (ledger, _) = SqliteLedger::open(forged.path()).unwrap();
    for _ in 0..8 {
        ledger.commit(entry("nothing_happened")).await.unwrap();
    }
    ledger.close();
    verify(forged.path(), &[], &mut |_, _, _| ()).expect("a chain of its own");
    let text = found(forged.path(), &heads[..1]);
    assert!(
        text.starts_with("audit_log: row 5 has hash") && text.contains("rewritten"),
        "{text}"
    );
    // An older head still fits a log that only grew.
    let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
    ledger.commit(entry("later")).await.unwrap();
    verify(dir.path(), &heads, &mut |_, _, _| ()).unwrap();
}

/// One that leaves a row out without an error would have an event answered and stored nowhere.
#[tokio::test]
async fn a_foreign_trigger_or_view_is_named_and_what_it_leaves_out_is_an_error() {
    for (table, body) in [
        (
            "evidence_ledger",
            "BEGIN DELETE FROM used_nonces WHERE kind = 'event'; SELECT RAISE(IGNORE); END",
        ),
        ("audit_log", "BEGIN SELECT RAISE(IGNORE); END"),
        ("reconciliation_log", "BEGIN SELECT RAISE(IGNORE); END"),
        ("holds", "BEGIN SELECT RAISE(IGNORE); END"),
    ] {
        let (dir, _) = filled().await;
        let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
        conn.execute_batch(&format!("CREATE TRIGGER x BEFORE INSERT ON {table} {body}"))
            .unwrap();
        let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
        let mut change = drifting("swallowed", 1);
        change.evidence = Some(event("evt_swallowed"));
        change.holds_taken = vec![kill("swallowed")];
        let refused = ledger.commit(change.clone()).await;
        assert!(
            matches!(refused, Err(LedgerError::Unavailable(_))),
            "{table}: {refused:?}"
        );
        ledger.close();
        if table != "evidence_ledger" {
            assert_eq!(
                found(dir.path(), &[]),
                format!("{table}: the trigger x is none of ours")
            );
        }
        conn.execute_batch("DROP TRIGGER x").unwrap();
        let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
        assert_eq!(
            ledger.commit(change).await.unwrap().evidence,
            Some(Storing::Stored),
            "{table}"
        );
        ledger.close();
        assert!(
            verify(dir.path(), &[], &mut |_, _, _| ()).is_ok(),
            "{table}"
        );
        conn.execute_batch("CREATE VIEW y AS SELECT 1").unwrap();
        assert_eq!(found(dir.path(), &[]), "y: the view is none of ours");
    }
}

#[tokio::test]
async fn triggers_refuse_to_change_what_is_append_only() {
    let (dir, heads) = filled().await;
    let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    let refused = |sql: &str| {
        let error = conn.execute(sql, []).expect_err(sql).to_string();
        assert!(
            !error.contains("syntax") && !error.contains("no such"),
            "{sql}: {error}"
        );
    };
    for table in TABLES {
        refused(&format!("UPDATE {table} SET hash = hash"));
        refused(&format!("UPDATE {table} SET seq = 9 WHERE seq = 5"));
        refused(&format!("DELETE FROM {table} WHERE seq = 5"));
        refused(&format!("DELETE FROM {table}"));
        // Replacing deletes without asking the DELETE trigger.
        refused(&format!(
            "INSERT OR REPLACE INTO {table} SELECT * FROM {table} WHERE seq = 5"
        ));
    }
    refused(
        "INSERT OR REPLACE INTO evidence_ledger SELECT 6, format, livemode, account, event_id, kind, created,
             object_id, 1, currency, raw, digest, signature, received_at, prev_hash, hash
         FROM evidence_ledger WHERE seq = 2",
    );
    verify(dir.path(), &heads, &mut |_, _, _| ()).unwrap();
    conn.execute(
        "INSERT INTO holds (epoch, scope, hold, ended) VALUES ('e', '', '{}', 1)",
        [],
    )
    .unwrap();
    refused("DELETE FROM holds");
    refused("UPDATE holds SET ended = 0");
}

#[tokio::test]
async fn a_nonce_without_its_event_and_an_event_without_its_nonce_are_named() {
    let stray = "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at)
                 VALUES ('event', 1, '', 'evt_new', '00', '')";
    assert_eq!(
        tampered(stray).await,
        "used_nonces: event evt_new was never stored"
    );
    let gone = tampered("DELETE FROM used_nonces WHERE kind = 'event' AND id = 'evt_2'").await;
    assert_eq!(
        gone,
        "evidence_ledger: row 3 (evt_2) has no row in used_nonces"
    );
    let other = tampered("UPDATE used_nonces SET digest = '00' WHERE id = 'evt_2'").await;
    assert_eq!(
        other,
        "used_nonces: the row of event evt_2 does not say what the event meant"
    );
}

#[tokio::test]
async fn whether_an_event_is_here_is_the_evidence_s_to_say() {
    let (dir, _) = filled().await;
    edit(
        dir.path(),
        "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at) VALUES ('event', 1, '', 'evt_new', '00', '');
         DELETE FROM used_nonces WHERE kind = 'event' AND id = 'evt_2'",
    );
    let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
    let storing = |id: &str| Change {
        evidence: Some(event(id)),
        ..Change::default()
    };
    let found = async |id: &str| ledger.commit(storing(id)).await.unwrap().evidence.unwrap();
    assert_eq!(
        found("evt_new").await,
        Storing::Stored,
        "a stray nonce swallows no event"
    );
    assert_eq!(found("evt_new").await, Storing::Duplicate);
    assert_eq!(
        found("evt_2").await,
        Storing::Duplicate,
        "nor does a lost one keep it out for ever"
    );
}

#[tokio::test]
async fn a_page_that_is_damaged_is_named() {
    let (dir, _) = filled().await;
    let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    // An index that lacks rows: every stored value is as it was, and a look-up by it finds nothing.
    conn.execute_batch(
        "CREATE TABLE x (a TEXT); CREATE INDEX evidence_ledger_odd ON x (a); PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET tbl_name = 'evidence_ledger',
             sql = 'CREATE INDEX evidence_ledger_odd ON evidence_ledger (kind)' WHERE name = 'evidence_ledger_odd'",
    )
    .unwrap();
    drop(conn);
    let said = found(dir.path(), &[]);
    assert!(said.starts_with("the file is damaged: "), "{said}");
}

#[test]
fn what_a_row_says_of_itself_is_shown_as_people_can_see_it() {
    let bad = VerifyError::Bad(
        "stripe_events: row 1 evt_1\nthe ledger is as written\u{1b}[2J".to_owned(),
    );
    assert!(!bad.to_string().chars().any(char::is_control), "{bad}");
}

#[tokio::test]
async fn a_row_that_lets_a_hold_end_before_it_came_swallows_no_kill() {
    let (dir, _) = filled().await;
    edit(
        dir.path(),
        "INSERT INTO holds (epoch, scope, hold, ended) VALUES ('k', '', NULL, 1)",
    );
    assert_eq!(
        found(dir.path(), &[]),
        "holds: row 1 (k) was ended, and no audit entry ends it"
    );
    let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
    let kill = || Change {
        holds_taken: vec![hold("k", Scope::All, Source::Rest)],
        ..Change::of(record("kill"))
    };
    let receipt = ledger.commit(kill()).await.unwrap();
    assert_eq!(
        (receipt.over, receipt.known),
        (Vec::new(), Vec::new()),
        "it is the log that says what has ended"
    );
    ledger.close();
    let (ledger, opened) = SqliteLedger::open_and_account(dir.path()).unwrap();
    assert_eq!(
        opened
            .stored
            .holds
            .iter()
            .map(|held| held.hold.epoch.0.as_str())
            .collect::<Vec<_>>(),
        ["k"]
    );
    assert_eq!(opened.accounts.unaccounted.len(), 1);
    // Its end is in the log then, and it takes no hold again.
    let end = Change {
        holds_ended: vec![epoch("k")],
        ..Change::of(record("revive"))
    };
    ledger.commit(end).await.unwrap();
    assert_eq!(ledger.commit(kill()).await.unwrap().over, [epoch("k")]);
}

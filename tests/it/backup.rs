//! `echo-phoenix backup`, the real binary: while eight writers write, over what is there, and
//! killed in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use echo_phoenix::ports::{Ledger, LedgerUpkeep};
use echo_phoenix::store::{LEDGER_FILE, SqliteLedger};
use rusqlite::Connection;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::ledger_suite::values::entry;
use crate::support::{Echo, KEY, http, program, run};

fn backup(data: &Path, file: &Path) -> Output {
    Command::new(program())
        .arg("backup")
        .arg(file)
        .arg("--data-dir")
        .arg(data)
        .output()
        .unwrap()
}

fn verify_file(file: &Path) -> Output {
    Command::new(program())
        .args(["verify", "--file"])
        .arg(file)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Number and hash of the audit log's head, as printed.
fn head(printed: &str) -> (i64, String) {
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("head "))
        .unwrap_or_else(|| panic!("{printed}"));
    let (seq, hash) = line.split_once(':').unwrap();
    (seq.parse().unwrap(), hash.to_owned())
}

/// What lies in a folder, but for folders.
fn files(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = all
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;

/// Eight that write until they are stopped, and how often each of them did.
fn writers(
    echo: &Arc<Echo>,
    stop: &Arc<AtomicBool>,
    acknowledged: &Arc<AtomicI64>,
) -> Vec<JoinHandle<i32>> {
    (0..8)
        .map(|writer| {
            let (echo, stop, acknowledged) =
                (Arc::clone(echo), Arc::clone(stop), Arc::clone(acknowledged));
            tokio::spawn(async move {
                let client = http();
                let mut written = 0;
                while !stop.load(Ordering::SeqCst) {
                    // Half of them grow the audit log, half of them another table.
                    let (path, body) = if writer % 2 == 0 {
                        ("/kill", KILL)
                    } else {
                        ("/observe", r#"{"source":"w"}"#)
                    };
                    let answer = client
                        .post(echo.url(path))
                        .header("x-api-key", KEY)
                        .body(body)
                        .send()
                        .await
                        .unwrap();
                    assert!(answer.status().is_success());
                    let answer: Value = answer.json().await.unwrap();
                    acknowledged.fetch_max(
                        answer["audit_id"].as_i64().unwrap_or_default(),
                        Ordering::SeqCst,
                    );
                    written += 1;
                }
                written
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_while_eight_writers_write_is_of_one_moment_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    // So large that the copy takes many steps, between which the writers write.
    let data = large(folder.path(), 600).await;
    let variables = [
        ("ECHO_DATA_DIR", data.display().to_string()),
        ("RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
    ];
    let echo = Arc::new(Echo::start("serve", &variables, folder.path()).await);
    let (stop, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicI64::new(0)),
    );
    let writers = writers(&echo, &stop, &acknowledged);
    let mut last = 0;
    for round in 0..5 {
        let file = folder.path().join(format!("backup-{round}.db"));
        // Each has something new to copy.
        crate::support::eventually("writers write", Duration::from_secs(20), async || {
            (acknowledged.load(Ordering::SeqCst) > last + 8).then_some(())
        })
        .await;
        let before = acknowledged.load(Ordering::SeqCst);
        let (from, to) = (data.clone(), file.clone());
        let made = tokio::task::spawn_blocking(move || backup(&from, &to))
            .await
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let printed = text(&made.stdout);
        let (seq, hash) = head(&printed);
        assert!(
            seq >= before,
            "what was acknowledged before the backup began is in it: {seq} < {before}"
        );
        assert!(seq > last);
        last = seq;
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let verified = verify_file(&file);
        assert_eq!(
            (verified.status.code(), text(&verified.stdout)),
            (Some(0), printed)
        );
        // The ledger that went on is the one that was copied.
        run(Command::new(program())
            .args(["verify", "--head", &format!("{seq}:{hash}"), "--data-dir"])
            .arg(&data));
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    assert!(
        files(folder.path())
            .iter()
            .all(|name| !name.contains(".part")),
        "{:?}",
        files(folder.path())
    );
    restored(&folder.path().join("backup-4.db"), folder.path(), last).await;
}

/// A service starts from a backup and goes on where it was.
async fn restored(file: &Path, folder: &Path, last: i64) {
    let data = folder.join("restored");
    fs::create_dir(&data).unwrap();
    fs::copy(file, data.join(LEDGER_FILE)).unwrap();
    let echo = Echo::start(
        "serve",
        &[("ECHO_DATA_DIR", data.display().to_string())],
        folder,
    )
    .await;
    assert_eq!(
        echo.verdict("default").await,
        (403, "kill".to_owned()),
        "the kill is in the backup"
    );
    let request = http().post(echo.url("/revive")).header("x-api-key", KEY);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "revived", "{answer}");
    // The loop may have recorded its own words meanwhile.
    assert!(answer["audit_id"].as_i64().unwrap() > last, "{answer}");
    run(Command::new(program())
        .args(["verify", "--data-dir"])
        .arg(&data));
}

/// A ledger with so much in it that copying takes a while.
async fn large(folder: &Path, rows: i64) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let (ledger, _) = SqliteLedger::open(&data).unwrap();
    ledger.commit(entry("control")).await.unwrap();
    ledger.close();
    let conn = Connection::open(data.join(LEDGER_FILE)).unwrap();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO system_state (at, source, throttle, state)
         SELECT '2026-01-14', 'test', 'default', hex(randomblob(16384)) FROM n"
    );
    conn.execute(&sql, []).unwrap();
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_leaves_no_file_that_passes_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = large(folder.path(), 2000).await;
    let file = folder.path().join("backup.db");
    // Somebody else's, which no backup touches.
    let strangers = folder.path().join("backup.db.part");
    fs::write(&strangers, "mine").unwrap();
    let begun = || {
        let names = files(folder.path()).into_iter();
        let mut parts = names.filter(|name| name.ends_with(".part") && name != "backup.db.part");
        parts.any(|name| fs::metadata(folder.path().join(name)).map_or(0, |part| part.len()) > 0)
    };
    let mut in_the_middle = 0;
    for round in 0..12_u64 {
        let mut command = Command::new(program());
        command
            .arg("backup")
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // From the moment the copy begins, a little later each time.
        let began = std::time::Instant::now();
        while !begun() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(round * 6));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        if file.exists() {
            assert_eq!(
                verify_file(&file).status.code(),
                Some(0),
                "what bears the name is whole"
            );
            fs::remove_file(&file).unwrap();
        } else {
            assert!(!ended.success());
            in_the_middle += 1;
        }
    }
    assert!(
        in_the_middle >= 3,
        "only {in_the_middle} were killed in the middle: make the ledger larger"
    );
    // What they left does not stand in the way.
    let made = backup(&data, &file);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(verify_file(&file).stdout, made.stdout);
    assert_eq!(files(folder.path()), ["backup.db", "backup.db.part"]);
    assert_eq!(fs::read(&strangers).unwrap(), b"mine");
    let count = |file: &Path| -> i64 {
        Connection::open(file)
            .unwrap()
            .query_row("SELECT COUNT(*) FROM system_state", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((count(&file), count(&data.join(LEDGER_FILE))), (2000, 2000));
}

/// A half copy, even without the journal that says it is half, is no ledger to `verify`.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_copy_verifies_under_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = large(folder.path(), 500).await;
    let half = folder.path().join("half.db");
    let whole = fs::read(data.join(LEDGER_FILE)).unwrap();
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.path().join("empty.db"), []).unwrap();
    assert_eq!(
        verify_file(&folder.path().join("empty.db")).status.code(),
        Some(1)
    );
    // The audit log lies in the first half: only the backup's own proof looks at all of a file.
    let copied = folder.path().join("copied");
    fs::create_dir(&copied).unwrap();
    fs::copy(&half, copied.join(LEDGER_FILE)).unwrap();
    let made = backup(&copied, &folder.path().join("of-half.db"));
    assert_eq!(made.status.code(), Some(1), "{}", text(&made.stderr));
    assert_eq!(files(folder.path()), ["empty.db", "half.db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_overwrites_nothing_and_keeps_no_copy_of_a_ledger_that_was_edited() {
    let folder = tempfile::tempdir().unwrap();
    let data = large(folder.path(), 1).await;
    let file = folder.path().join("mine.txt");
    fs::write(&file, "mine").unwrap();
    let refused = backup(&data, &file);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("not overwritten"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    assert_eq!(backup(&data, &dangling).status.code(), Some(1));
    let nowhere = backup(&data, &folder.path().join("no-folder/backup.db"));
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        text(&nowhere.stderr).contains("no-folder"),
        "{}",
        text(&nowhere.stderr)
    );
    let nothing = backup(&folder.path().join("no-data"), &folder.path().join("x.db"));
    assert_eq!(nothing.status.code(), Some(1));

    // A second name of a backup, as a crash between its two last steps leaves it.
    let kept = folder.path().join("kept.db");
    assert!(backup(&data, &kept).status.success());
    fs::hard_link(
        &kept,
        folder
            .path()
            .join(format!("again.db.{}.part", "0f".repeat(16))),
    )
    .unwrap();
    let whole = fs::read(&kept).unwrap();
    assert!(
        backup(&data, &folder.path().join("again.db"))
            .status
            .success()
    );
    assert_eq!(
        fs::read(&kept).unwrap(),
        whole,
        "the older backup is untouched"
    );

    let conn = Connection::open(data.join(LEDGER_FILE)).unwrap();
    conn.execute_batch(
        "DROP TRIGGER audit_log_no_update; UPDATE audit_log SET reason = 'nothing' WHERE seq = 1",
    )
    .unwrap();
    drop(conn);
    let edited = backup(&data, &folder.path().join("edited.db"));
    assert_eq!(edited.status.code(), Some(1));
    assert!(
        text(&edited.stderr).contains("audit_log: row 1 was edited"),
        "{}",
        text(&edited.stderr)
    );
    assert_eq!(files(folder.path()), ["again.db", "kept.db", "mine.txt"]);
}

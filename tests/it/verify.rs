//! `echo-phoenix verify`, the real binary: what it prints, what it finds, and heads that were
//! exported by a running service.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use echo_phoenix::config::files::patiently;
use echo_phoenix::ports::{Ledger, LedgerUpkeep};
use echo_phoenix::store::{LEDGER_FILE, SqliteLedger, VerifyError};
use rusqlite::Connection;

use crate::ledger_suite::values::{drifting, event};
use crate::support::{Echo, KEY, eventually, http, prepared, program, run};

const TABLES: [&str; 3] = ["audit_log", "evidence_ledger", "reconciliation_log"];

async fn filled(data: &Path) {
    let (ledger, _) = SqliteLedger::open(data).unwrap();
    for i in 0..5 {
        let mut change = drifting(&format!("d{i}"), i);
        change.evidence = Some(event(&format!("evt_{i}")));
        ledger.commit(change).await.unwrap();
    }
    ledger.close();
}

fn verify(data: &Path, arguments: &[&str]) -> Output {
    Command::new(program())
        .args(["verify", "--data-dir"])
        .arg(data)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `verify` printed of each table, as `--head` takes it.
fn heads(printed: &str) -> Vec<String> {
    printed
        .lines()
        .map(|line| match line.split_once(' ').unwrap() {
            ("head", head) => format!("audit_log={head}"),
            (table, head) => format!("{table}={}", head.strip_prefix("head ").unwrap()),
        })
        .collect()
}

#[tokio::test]
async fn heads_are_printed_as_they_are_asked_for() {
    let data = tempfile::tempdir().unwrap();
    filled(data.path()).await;
    let done = verify(data.path(), &[]);
    let printed = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let lines: Vec<_> = printed.lines().collect();
    assert!(
        lines[0].starts_with("head 5:") && lines[0].len() == "head 5:".len() + 64,
        "{printed}"
    );
    assert!(
        lines[1].starts_with("evidence_ledger head 5:")
            && lines[2].starts_with("reconciliation_log head 5:")
    );
    assert_eq!(lines.len(), 3);
    assert!(
        !text(&done.stderr).contains('\r'),
        "no progress but on a terminal: {}",
        text(&done.stderr)
    );

    let all = heads(&printed);
    let given: Vec<_> = all.iter().flat_map(|head| ["--head", head]).collect();
    assert_eq!(verify(data.path(), &given).stdout, done.stdout);
    let documented = lines[0].strip_prefix("head ").unwrap();
    assert_eq!(
        verify(data.path(), &["--head", documented]).status.code(),
        Some(0)
    );
    let file = data.path().join(LEDGER_FILE);
    let by_file = Command::new(program())
        .args(["verify", "--file"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(by_file.stdout, done.stdout);
}

#[tokio::test]
async fn a_cut_tail_of_any_table_is_found_by_its_exported_head_alone() {
    for table in TABLES {
        let data = tempfile::tempdir().unwrap();
        filled(data.path()).await;
        let all = heads(&text(&verify(data.path(), &[]).stdout));
        let own = all.iter().find(|head| head.starts_with(table)).unwrap();
        let conn = Connection::open(data.path().join(LEDGER_FILE)).unwrap();
        let name = format!("{table}_no_delete");
        let guard = "SELECT sql FROM sqlite_schema WHERE name = ?1";
        let guard: String = conn.query_row(guard, [&name], |row| row.get(0)).unwrap();
        conn.execute_batch(&format!(
            "DROP TRIGGER {name}; DELETE FROM {table} WHERE seq = 5; {guard}"
        ))
        .unwrap();
        // Without a head nothing tells, but for evidence: its nonces are still there.
        assert_eq!(
            verify(data.path(), &[]).status.code(),
            Some(i32::from(table == "evidence_ledger"))
        );
        let cut = verify(data.path(), &["--head", own]);
        assert_eq!(cut.status.code(), Some(1));
        assert!(
            cut.stdout.is_empty(),
            "no head is printed of a ledger that is bad"
        );
        let said = text(&cut.stderr);
        assert!(
            said.contains(&format!("{table}: row 5 is missing")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_first_bad_row_is_named() {
    let data = tempfile::tempdir().unwrap();
    filled(data.path()).await;
    let conn = Connection::open(data.path().join(LEDGER_FILE)).unwrap();
    conn.execute_batch(
        "DROP TRIGGER evidence_ledger_no_update; UPDATE evidence_ledger SET amount = amount + 1 WHERE seq IN (2, 4)",
    )
    .unwrap();
    let done = verify(data.path(), &[]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        said.contains("evidence_ledger: row 2 was edited") && !said.contains("row 4"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_no_head_is_a_matter_of_usage() {
    let data = tempfile::tempdir().unwrap();
    filled(data.path()).await;
    let hash = "ab".repeat(32);
    for wrong in [
        "5",
        "5:abc",
        &format!("outbox=5:{hash}"),
        &format!("x:{hash}"),
    ] {
        let done = verify(data.path(), &["--head", wrong]);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{wrong}: {said}");
        assert!(
            said.contains("TABLE=SEQ:HASH") && said.contains("evidence_ledger"),
            "{said}"
        );
    }
    let nothing = verify(&data.path().join("nowhere"), &[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        text(&nothing.stderr).contains("nowhere"),
        "{}",
        text(&nothing.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_all_tables_leave_the_machine_by_log_and_metric() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    filled(&data).await;
    let echo = Echo::start(
        "serve",
        &[("ECHO_DATA_DIR", data.display().to_string())],
        folder.path(),
    )
    .await;
    let all = heads(&text(&verify(&data, &[]).stdout));
    let metrics = eventually("heads are exported", Duration::from_secs(10), async || {
        let answer = http()
            .get(echo.url("/metrics"))
            .header("x-api-key", KEY)
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        answer.contains("echo_ledger_head_hash48").then_some(answer)
    })
    .await;
    for head in &all {
        let (table, rest) = head.split_once('=').unwrap();
        let (seq, hash) = rest.split_once(':').unwrap();
        let first = u64::from_str_radix(&hash[..12], 16).unwrap();
        for line in [
            format!("echo_ledger_head_seq{{table=\"{table}\"}} {seq}\n"),
            format!("echo_ledger_head_hash48{{table=\"{table}\"}} {first}\n"),
        ] {
            assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
        }
    }
    let said = echo.process.said();
    let line = said
        .lines()
        .find(|line| line.contains("ledger heads"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains(&all.join(" ")),
        "one line bears all heads, as `--head` takes them: {line}"
    );
}

/// The alerts of docs/on-call.md, by Prometheus' own tester: they fire for what they are for, and
/// for nothing else.
#[test]
fn the_documented_alerts_tell_growth_from_tampering() {
    let page = std::fs::read_to_string("docs/on-call.md").unwrap();
    let yaml = page
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let indented: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("rules.yml"),
        format!("groups:\n- name: ledger\n  rules:\n{indented}"),
    )
    .unwrap();
    let cases = [
        ("it grows", "5 6 6 9 9", "11 22 22 33 33", ""),
        (
            "it is rewritten",
            "5 6 6 6 6",
            "11 22 22 33 33",
            "EchoLedgerRewritten",
        ),
        (
            "it is cut",
            "5 6 6 4 4",
            "11 22 22 7 7",
            "EchoLedgerWentBack",
        ),
    ];
    for (what, seq, hash, fires) in cases {
        let expected = |name: &str| {
            if name == fires {
                "[{exp_labels: {table: audit_log}}]"
            } else {
                "[]"
            }
        };
        let test = format!(
            "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n\
             \x20 - {{series: 'echo_ledger_head_seq{{table=\"audit_log\"}}', values: '{seq}'}}\n\
             \x20 - {{series: 'echo_ledger_head_hash48{{table=\"audit_log\"}}', values: '{hash}'}}\n\
             \x20 alert_rule_test:\n\
             \x20 - {{eval_time: 4m, alertname: EchoLedgerWentBack, exp_alerts: {}}}\n\
             \x20 - {{eval_time: 4m, alertname: EchoLedgerRewritten, exp_alerts: {}}}\n",
            expected("EchoLedgerWentBack"),
            expected("EchoLedgerRewritten"),
        );
        std::fs::write(folder.path().join("test.yml"), test).unwrap();
        let mut promtool = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/promtool"));
        let done = promtool
            .args(["test", "rules", "test.yml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{what}: {}{}",
            text(&done.stdout),
            text(&done.stderr)
        );
    }
}

/// Each series with its values while all is well, and while the alert is to fire.
type Alert = (
    &'static [(&'static str, &'static str, &'static str)],
    &'static str,
    &'static str,
);

/// Series, the alert, and its labels.
const ALERTS: &[Alert] = &[
    (
        &[("echo_health{status=\"healthy\"}", "1 1", "0 0")],
        "EchoNotHealthy",
        "status: healthy",
    ),
    (
        &[
            ("echo_webhook_events_total", "0 90", "0 90"),
            ("echo_webhook_events_rejected", "0 4", "0 5"),
        ],
        "EchoWebhooksRefused",
        "",
    ),
    (
        &[("echo_kill_path_ok{via=\"listener\"}", "1 1", "0 0")],
        "EchoKillPathBroken",
        "via: listener",
    ),
    (
        &[(
            "echo_kill_path_age_seconds{via=\"listener\"}",
            "60 60",
            "181 181",
        )],
        "EchoKillPathUnproven",
        "via: listener",
    ),
    (
        &[("echo_commands_owed{kept=\"memory\"}", "0 0", "1 1")],
        "EchoCommandsInMemory",
        "kept: memory",
    ),
    (
        &[("echo_enforced{throttle=\"default\"}", "1 1", "0 0")],
        "EchoNotEnforced",
        "throttle: default",
    ),
    (
        &[("echo_gate_unknown_total{door=\"nginx\"}", "0 0", "0 3")],
        "EchoUnknownThrottle",
        "door: nginx",
    ),
];

#[test]
fn the_documented_alerts_of_the_brake_fire() {
    let page = std::fs::read_to_string("docs/on-call.md").unwrap();
    let yaml = page
        .split("```yaml\n")
        .nth(2)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let indented: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("rules.yml"),
        format!("groups:\n- name: brake\n  rules:\n{indented}"),
    )
    .unwrap();
    for (series, alert, labels) in ALERTS {
        for fires in [false, true] {
            let expected = if fires {
                format!("[{{exp_labels: {{{labels}}}}}]")
            } else {
                "[]".to_owned()
            };
            let inputs: String = series
                .iter()
                .map(|(name, calm, wrong)| {
                    format!(
                        "  - {{series: '{name}', values: '{}'}}\n",
                        if fires { wrong } else { calm }
                    )
                })
                .collect();
            let test = format!(
                "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n{inputs}\
                 \x20 alert_rule_test:\n\x20 - {{eval_time: 1m, alertname: {alert}, exp_alerts: {expected}}}\n"
            );
            std::fs::write(folder.path().join("test.yml"), test).unwrap();
            let mut promtool = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/promtool"));
            let done = promtool
                .args(["test", "rules", "test.yml"])
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(
                done.status.success(),
                "{alert} {fires}: {}{}",
                text(&done.stdout),
                text(&done.stderr)
            );
        }
    }
}

/// A pipe that somebody puts where a ledger was, or beside it, is never waited for: neither by a
/// look at what the file is that could not be read, nor by what SQLite reads besides.
#[tokio::test]
async fn a_pipe_in_place_of_a_ledger_or_beside_it_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    filled(&data).await;
    let pipe = folder.path().join("pipe");
    let make = |path: &Path| drop(run(Command::new("mkfifo").arg(path)));
    make(&pipe);
    for code in [rusqlite::ffi::SQLITE_NOTADB, rusqlite::ffi::SQLITE_CANTOPEN] {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let (error, file) = (VerifyError::from(error), pipe.clone());
        let looks = patiently(move || error.looks(&file)).unwrap();
        assert_eq!(
            looks.as_deref(),
            Some("it is no regular file but a pipe, a socket or a device"),
            "{code}"
        );
    }
    for beside in ["ledger.db-wal", "ledger.db-journal"] {
        let _ = std::fs::remove_file(data.join(beside));
        make(&data.join(beside));
        for command in [&["verify"][..], &["backup", "new.db"]] {
            let mut asked = Command::new(program());
            asked
                .args(command)
                .arg("--data-dir")
                .arg(&data)
                .current_dir(folder.path())
                .stderr(Stdio::piped());
            let mut child = asked.spawn().unwrap();
            eventually("it ends", Duration::from_secs(20), async || {
                child.try_wait().unwrap()
            })
            .await;
            let said = text(&child.wait_with_output().unwrap().stderr);
            assert!(
                said.contains(&format!("{beside}: it is no regular file")),
                "{command:?} {said}"
            );
        }
        std::fs::remove_file(data.join(beside)).unwrap();
    }
}

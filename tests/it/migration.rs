//! A ledger file of an older version is brought forward with all it holds; one of a newer version
//! is left alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use crate::data_folders::left_behind;
use crate::support::{Echo, KEY, http, program, run};

/// What versions 2 and 3 added, taken back.
const BACK_TO_1: &str = "
ALTER TABLE system_throttle DROP COLUMN source;
ALTER TABLE system_throttle DROP COLUMN killed;
ALTER TABLE system_throttle DROP COLUMN epoch;
ALTER TABLE system_throttle DROP COLUMN spec;
DROP INDEX used_nonces_expire;
ALTER TABLE used_nonces DROP COLUMN answer;
ALTER TABLE outbox_versions DROP COLUMN dropped;
PRAGMA user_version = 1;
";

async fn start(data: &Path) -> Echo {
    let variables = [
        ("ECHO_API_KEY", KEY.to_owned()),
        ("ECHO_DATA_DIR", data.display().to_string()),
    ];
    Echo::start("serve", &variables, data.parent().unwrap()).await
}

#[tokio::test]
async fn a_file_of_version_1_keeps_its_kill_and_its_chain() {
    // Its rows are of format 1, as those of version 1 were.
    let (_folder, data) = left_behind("settled");

    // The ledger alone, as an older version left it.
    for beside in ["journal", "last-state"] {
        std::fs::remove_file(data.join(beside)).unwrap();
    }
    let file = data.join("ledger.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch(BACK_TO_1)
        .unwrap();

    let mut echo = start(&data).await;
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    let revived = http()
        .post(echo.url("/revive"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    assert_eq!(revived.status().as_u16(), 200);
    assert!(echo.process.terminate().success());
    let said = run(Command::new(program())
        .arg("verify")
        .arg("--data-dir")
        .arg(&data));
    assert!(said.contains("head "), "{said}");

    Connection::open(&file)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    let mut newer = Command::new(program());
    newer
        .arg("serve")
        .arg("--data-dir")
        .arg(&data)
        .env("ECHO_API_KEY", KEY)
        .env("ECHO_LISTEN", "127.0.0.1:0");
    let refused = newer.output().unwrap();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("99"),
        "{refused:?}"
    );
}

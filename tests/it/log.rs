//! Nobody waits for the log, and nothing ends because of it: a stderr that nobody reads, whose
//! reader is gone, that is full or slow. The command line likewise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Echo, KEY, eventually, http, program};

const KILL: &str = r#"{"reason":"nobody listens","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
const SOON: Duration = Duration::from_secs(10);
/// Two loaded cores, and a build that is not optimised.
const LATER: Duration = Duration::from_secs(60);

/// A file that takes nothing, as one on a full disk.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// The writing end of a pipe whose reader is gone.
fn gone() -> std::io::PipeWriter {
    pipe().unwrap().1
}

/// Both ends of a pipe that nobody reads and that is full: whoever writes to it waits.
fn stuck() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    (reader, writer)
}

/// How a process ends by itself; it is ended if it does not.
async fn ends(command: &mut Command) -> Option<i32> {
    let mut child = command.spawn().unwrap();
    let began = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if began.elapsed() > LATER {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A file `.env` that is warned of in three ways.
fn warned_of(folder: &Path) {
    let file = folder.join(".env");
    std::fs::write(
        &file,
        "AIRTABLE_API_KEY=patNobodyUsesIt\nECHO_URL\nKUBECONFIG=/nowhere\n",
    )
    .unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
}

async fn metric(echo: &Echo, name: &str) -> f64 {
    let text = http()
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or(f64::NAN)
}

async fn lost(echo: &Echo) -> f64 {
    metric(echo, "echo_log_lines_dropped_total ").await
}

async fn health(echo: &Echo) -> Value {
    http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// Requests of which each writes a long line at level debug.
async fn talk(echo: &Echo, count: usize) {
    let id = "i".repeat(128);
    let request = format!(
        "GET /{} HTTP/1.1\r\nhost: localhost\r\nrequest-id: {id}\r\n\r\n",
        "x".repeat(200)
    );
    let (mut read, mut write) = TcpStream::connect(echo.address).await.unwrap().into_split();
    let mut left = count;
    while left > 0 {
        let some = left.min(50);
        write
            .write_all(request.repeat(some).as_bytes())
            .await
            .unwrap();
        let mut answers = Vec::new();
        while answers
            .windows(9)
            .filter(|text| text == b"HTTP/1.1 ")
            .count()
            < some
        {
            let more = timeout(LATER, read.read_buf(&mut answers))
                .await
                .expect("it answers though nobody reads its log");
            assert!(more.unwrap() > 0, "it closed the connection");
        }
        left -= some;
    }
}

/// What matters most, all of it.
async fn all_is_served(echo: &Echo) {
    assert_eq!(
        http()
            .get(echo.url("/livez"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    echo.verdict("default").await;
    let kill = http()
        .post(echo.url("/kill"))
        .header("x-api-key", KEY)
        .body(KILL);
    assert_eq!(kill.send().await.unwrap().status(), 200);
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    let revive = http().post(echo.url("/revive")).header("x-api-key", KEY);
    assert_eq!(revive.send().await.unwrap().status(), 200);
}

/// Reads a pipe to its end, all of it or a little at a time.
fn drain(mut reader: PipeReader, some: usize, pause: Duration) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&heard);
    thread::spawn(move || {
        let mut buffer = vec![0; some];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..read]);
            thread::sleep(pause);
        }
    });
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_nothing_up_and_what_it_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    let mut echo =
        Echo::saying_to(writer, &[("ECHO_LOG", "debug".to_owned())], folder.path()).await;
    // The pipe, then the queue, then lines are lost.
    eventually("lines are lost", LATER, async || {
        talk(&echo, 1000).await;
        (lost(&echo).await > 100.0).then_some(())
    })
    .await;
    all_is_served(&echo).await;
    let told = health(&echo).await;
    assert_eq!(told["status"], "degraded", "{told}");
    assert!(
        told["checks"]["log"]
            .as_str()
            .unwrap()
            .contains("of its lines were lost"),
        "{told}"
    );
    // It is read again: what waited comes, and how much is missing.
    let heard = drain(reader, 1 << 16, Duration::ZERO);
    let line = eventually("the log says what it lost", SOON, async || {
        http().get(echo.url("/livez")).send().await.unwrap();
        let text = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
        text.lines()
            .find(|line| line.contains("lines of the log were lost"))
            .map(str::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(line["fields"]["lines"].as_u64().unwrap() > 100, "{line}");
    let text = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "every line is whole"
    );
    assert!(echo.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_log_is_stuck_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    // Full before it begins: not even its first line finds room, nor what is said before there is a
    // log.
    let (reader, writer) = stuck();
    warned_of(folder.path());
    let mut echo = Echo::saying_to(writer, &[], folder.path()).await;
    all_is_served(&echo).await;
    let began = std::time::Instant::now();
    assert!(echo.process.terminate().success());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_is_gone_or_whose_disk_is_full_ends_nothing() {
    for stderr in [Stdio::from(gone()), Stdio::from(full())] {
        let folder = tempfile::tempdir().unwrap();
        let mut echo = Echo::saying_to(stderr, &[], folder.path()).await;
        for _ in 0..3 {
            all_is_served(&echo).await;
        }
        let told = health(&echo).await;
        assert_eq!(told["status"], "degraded", "{told}");
        assert!(lost(&echo).await > 5.0);
        assert!(echo.process.terminate().success());
    }
    // One that reads for a while.
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    let mut echo = Echo::saying_to(writer, &[], folder.path()).await;
    assert_eq!(health(&echo).await["checks"]["log"], "ok");
    drop(reader);
    all_is_served(&echo).await;
    eventually("it is told", SOON, async || {
        (health(&echo).await["checks"]["log"] != "ok").then_some(()) //
    })
    .await;
    all_is_served(&echo).await;
    assert!(echo.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_the_log_slows_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    let heard = drain(reader, 1000, Duration::from_millis(500));
    let echo = Echo::saying_to(writer, &[("ECHO_LOG", "debug".to_owned())], folder.path()).await;
    // The pipe is full from here on: 2 kB a second are read.
    talk(&echo, 400).await;
    let began = std::time::Instant::now();
    for _ in 0..50 {
        talk(&echo, 4).await;
        echo.verdict("default").await;
    }
    // At the reader's pace these 200 lines alone would take a minute.
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    assert!(!heard.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_start_says_so_by_its_exit_code_whatever_its_stderr_is() {
    let folder = tempfile::tempdir().unwrap();
    let start = |variable: &str, value: &str, stderr: Stdio| {
        let mut command = Command::new(program());
        command
            .arg("serve")
            .env_clear()
            .current_dir(folder.path())
            .env(variable, value);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .status()
            .unwrap()
            .code()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for stderr in [|| Stdio::from(gone()), || Stdio::from(full())] {
        assert_eq!(start("RATE_LIMIT_PER_MINUTE", "none", stderr()), Some(2));
        assert_eq!(start("ECHO_STORE", "postgres://x", stderr()), Some(2));
        assert_eq!(start("ECHO_LISTEN", &taken, stderr()), Some(1));
    }
}

/// A command of a person, heard by nobody; its exit code.
fn unheard(echo: &Echo, folder: &Path, arguments: &[&str], out: Stdio, err: Stdio) -> Option<i32> {
    let mut command = Command::new(program());
    command.args(arguments).env_clear().current_dir(folder);
    command
        .env("ECHO_URL", echo.url(""))
        .env("ECHO_API_KEY", KEY)
        .env("ECHO_DATA_DIR", folder.join("data"));
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .unwrap()
        .code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_exits_with_its_own_code_whether_or_not_somebody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let who = ["--operator", "dana", "--reason", "nobody listens"];
    let kill = [["kill", "--confirm", "CONFIRM_KILL"].as_slice(), &who].concat();
    let wrong_word = [["kill", "--confirm", "yes"].as_slice(), &who].concat();
    let no_throttle = [
        ["kill", "--confirm", "CONFIRM_KILL", "--throttle", "nope"].as_slice(),
        &who,
    ]
    .concat();
    let revive = [["revive"].as_slice(), &who].concat();
    let nowhere = ["status", "--url", "http://127.0.0.1:1"].as_slice();
    let cases: [(&[&str], i32); 8] = [
        (&kill, 0),
        (&[kill.as_slice(), &["-o", "json"]].concat(), 0),
        (&revive, 0),
        (&wrong_word, 2),
        (&no_throttle, 1),
        (&["kill"], 2),
        (nowhere, 1),
        (&["backup", "copy"], 0),
    ];
    for (ends, name) in [(0, "gone"), (1, "full")] {
        let end = || {
            if ends == 0 {
                Stdio::from(gone())
            } else {
                Stdio::from(full())
            }
        };
        for (arguments, code) in &cases {
            let _ = std::fs::remove_file(folder.path().join("copy"));
            let found = unheard(&echo, folder.path(), arguments, end(), end());
            assert_eq!(found, Some(*code), "{arguments:?} {name}");
        }
        // Who only reads is done when nobody reads on.
        for arguments in [
            ["status"].as_slice(),
            &["verify"],
            &["plan"],
            &["crd"],
            &["openapi"],
        ] {
            let found = unheard(&echo, folder.path(), arguments, end(), end());
            assert_eq!(found, Some(ends), "{arguments:?} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_done_and_ends_though_its_output_is_stuck_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    warned_of(folder.path());
    let who = ["--operator", "dana", "--reason", "nobody reads"];
    let kill = [["kill", "--confirm", "CONFIRM_KILL"].as_slice(), &who].concat();
    let revive = [["revive"].as_slice(), &who].concat();
    let set = [["set", "1"].as_slice(), &who].concat();
    let no_throttle = [kill.as_slice(), &["--throttle", "nope"]].concat();
    let nobody = ["status", "--url", "http://127.0.0.1:1"];
    let orders: [(&[&str], i32, Option<&str>); 8] = [
        (&kill, 0, Some("kill")),
        (&no_throttle, 1, None),
        (&["kill", "--no-such-flag"], 2, None),
        (&["kill"], 2, None),
        (&nobody, 1, None),
        (&["serve"], 2, None),
        (&revive, 0, None),
        (&set, 0, Some("target")),
    ];
    for (arguments, code, verdict) in orders {
        let (_reader, writer) = stuck();
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env_clear()
            .current_dir(folder.path())
            .stdin(Stdio::null());
        command
            .env("ECHO_URL", echo.url(""))
            .env("ECHO_API_KEY", KEY)
            .env("ECHO_DATA_DIR", folder.path().join("data"));
        // For `serve`: a wrong value, which is all that it looks at.
        command.env("RATE_LIMIT_PER_MINUTE", "none");
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let began = std::time::Instant::now();
        assert_eq!(ends(&mut command).await, Some(code), "{arguments:?}");
        println!("{arguments:?}: {:?}", began.elapsed());
        if let Some(verdict) = verdict {
            assert_eq!(echo.verdict("default").await.1, verdict, "{arguments:?}");
        }
    }
}

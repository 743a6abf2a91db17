//! What a service keeps is its owner's alone, whatever the umask and whatever an earlier version
//! left; and what is not is not trusted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use echo_phoenix::store::{SqliteLedger, StateFile};
use serde_json::Value;

use crate::support::{Echo, KEY, eventually, http, program, run};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A service started under this umask.
async fn serve(umask: &str, variables: &[(&str, String)], folder: &Path) -> Echo {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &format!("umask {umask}; exec \"$0\" serve")])
        .arg(program());
    Echo::launch(command, "serve", variables, folder).await
}

/// The files of a data folder whose mode is another than this.
fn others(data: &Path) -> Vec<String> {
    let all = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let wrong = all.filter(|path| path.is_file() && mode(path) != 0o600);
    wrong
        .map(|path| format!("{} {:o}", path.display(), mode(&path)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_their_owners_alone_whatever_the_umask() {
    for umask in ["0000", "0022", "0277"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let echo = serve(umask, &[("ECHO_API_KEY", String::new())], folder.path()).await;
        let key = fs::read_to_string(data.join("api-key")).unwrap();
        let kill = r#"{"reason":"r","operator":"o","confirmation":"CONFIRM_KILL"}"#;
        let killed = http()
            .post(echo.url("/kill"))
            .header("x-api-key", key)
            .body(kill)
            .send()
            .await
            .unwrap();
        assert_eq!(killed.status(), 200);
        for name in [
            "ledger.db",
            "ledger.db-wal",
            "ledger.db-shm",
            "journal",
            "last-state",
            "lock",
            "installation",
        ] {
            eventually(
                &format!("{name} is there"),
                Duration::from_secs(10),
                async || data.join(name).exists().then_some(()),
            )
            .await;
        }
        assert_eq!(
            (others(&data), mode(&data)),
            (Vec::new(), 0o700),
            "umask {umask}"
        );
        assert_eq!(check(&echo).await, None);
    }
}

/// What `/health` says of the folder.
async fn check(echo: &Echo) -> Option<String> {
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "healthy", "{health}");
    health["checks"]["data_folder"].as_str().map(str::to_owned)
}

/// A link in place of a file of ours is told and left, whether or not it leads anywhere.
async fn a_link_stays(mut echo: Echo, folder: &Path) {
    let data = folder.join("data");
    for there in [true, false] {
        echo.process.kill_9();
        let theirs = folder.join("theirs");
        fs::remove_file(data.join("last-state")).unwrap();
        if there {
            fs::write(&theirs, "theirs").unwrap();
        } else {
            fs::remove_file(&theirs).unwrap();
        }
        symlink(&theirs, data.join("last-state")).unwrap();
        echo = Echo::start("serve", &[], folder).await;
        let health: Value = http()
            .get(echo.url("/health"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert!(
            health["checks"]["record"]
                .as_str()
                .unwrap()
                .contains("last-state is a link"),
            "{health}"
        );
        assert!(
            data.join("last-state").is_symlink(),
            "left for whoever laid it to explain"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_could_read_is_taken_from_them_and_an_open_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut echo = Echo::start("serve", &[], folder.path()).await;
    echo.process.kill_9();
    let ours: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // A secret that others could read is not taken back but not used: tests/it/callers.rs.
    ours.iter()
        .filter(|path| !path.ends_with("gate-secret"))
        .for_each(|path| set(path, 0o644));
    let strangers = data.join("notes.txt");
    fs::write(&strangers, "mine").unwrap();
    set(&strangers, 0o644);
    set(&data, 0o755);
    let echo = Echo::start("serve", &[], folder.path()).await;
    assert_eq!(
        others(&data),
        [format!("{} 644", strangers.display())],
        "what is not ours is left alone"
    );
    let said = echo.process.said();
    assert!(
        said.contains("others could read it") && said.contains("open to others (mode 0755)"),
        "{said}"
    );
    assert_eq!(
        check(&echo).await.as_deref(),
        Some("open to others (mode 0755): chmod 700 it")
    );
    let mut status = Command::new(program());
    status
        .arg("status")
        .env_clear()
        .current_dir("/")
        .env("ECHO_URL", echo.url(""))
        .env("ECHO_API_KEY", KEY);
    let told = run(&mut status);
    assert!(told.contains("open to others (mode 0755)"), "{told}");
    // It tells how it is now, not how it was at the start.
    for (mode, wanted) in [
        (0o700, None),
        (0o750, Some("open to others (mode 0750): chmod 700 it")),
    ] {
        set(&data, mode);
        eventually(
            "it is looked at again",
            Duration::from_secs(30),
            async || (check(&echo).await.as_deref() == wanted).then_some(()),
        )
        .await;
    }
    set(&data, 0o700);
    a_link_stays(echo, folder.path()).await;
}

/// A service without a configured key, which has to end by itself.
fn refused(folder: &Path) -> Output {
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(program())
        .arg("serve")
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null());
    command
        .env("PATH", "/usr/bin:/bin")
        .env("ECHO_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_others_could_have_made_or_read_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let none = [("ECHO_API_KEY", String::new())];
    drop(Echo::start("serve", &none, folder.path()).await);
    let file = data.join("api-key");
    let made = fs::read_to_string(&file).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "planted-0123456789abcdef0123456789ab").unwrap();
    set(&elsewhere, 0o600);
    let plant = |how: &str| {
        fs::remove_file(&file).unwrap();
        match how {
            "link" => symlink(&elsewhere, &file).unwrap(),
            "dangling link" => symlink(folder.path().join("nowhere"), &file).unwrap(),
            "pipe" => drop(run(Command::new("mkfifo").args(["-m", "600"]).arg(&file))),
            mode => {
                fs::write(&file, &made).unwrap();
                set(&file, u32::from_str_radix(mode, 8).unwrap());
            }
        }
    };
    for (how, told) in [
        ("link", "it is a link"),
        ("dangling link", "it is a link"),
        ("pipe", "no regular file"),
        ("666", "mode 0666"),
        ("640", "mode 0640"),
    ] {
        plant(how);
        let done = refused(folder.path());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{how}: {said}");
        for word in ["ECHO_API_KEY", "api-key", told, "Remove it"] {
            assert!(said.contains(word), "{how} does not say {word}: {said}");
        }
        // Nor does the command line send it anywhere.
        let mut status = Command::new(program());
        status
            .arg("status")
            .env_clear()
            .current_dir(folder.path())
            .env("ECHO_LISTEN", "127.0.0.1:9");
        let said = String::from_utf8_lossy(&status.output().unwrap().stderr).into_owned();
        assert!(
            said.contains("is not used") && said.contains(told),
            "{how}: {said}"
        );
    }
    assert!(
        !folder.path().join("nowhere").exists(),
        "nothing was made where the link leads"
    );
    plant("600");
    let echo = Echo::start("serve", &none, folder.path()).await;
    let answer = http()
        .get(echo.url("/v1/throttles"))
        .header("x-api-key", made.trim())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_where_a_link_leads() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "theirs").unwrap();
    for name in ["installation", "installation.part"] {
        symlink(&theirs, data.join(name)).unwrap();
    }
    let echo = Echo::start("serve", &[], folder.path()).await;
    assert!(
        echo.process
            .said()
            .contains("the id of this installation cannot be kept"),
        "{}",
        echo.process.said()
    );
    drop(echo);
    fs::remove_file(data.join("installation")).unwrap();
    drop(Echo::start("serve", &[], folder.path()).await);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    assert_eq!(mode(&data.join("installation")), 0o600);
    fs::remove_file(data.join("lock")).unwrap();
    symlink(&theirs, data.join("lock")).unwrap();
    let done = refused(folder.path());
    assert_eq!(
        done.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
}

#[test]
fn a_link_in_the_place_of_a_file_of_the_record_is_not_followed() {
    for (name, there) in [
        ("last-state", true),
        ("last-state", false),
        ("ledger.db", true),
        ("ledger.db", false),
    ] {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = other.path().join("theirs");
        if there {
            fs::write(&theirs, "").unwrap();
        }
        symlink(&theirs, data.path().join(name)).unwrap();
        let opened = match name {
            "last-state" => StateFile::open(data.path()).is_ok(),
            _ => SqliteLedger::open(data.path()).is_ok(),
        };
        assert!(!opened, "{name}, there: {there}");
        let left = fs::metadata(&theirs).ok().map(|found| found.len());
        assert_eq!(left, there.then_some(0), "{name}, there: {there}");
    }
}

//! What the log and the metrics tell of commands, of holds at a start, of a manifest's troubles,
//! and of verdicts that are asked of a throttle that nobody declared.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, free_port, http, program};

const SOON: Duration = Duration::from_secs(20);

async fn post(echo: &Echo, path: &str, body: &Value) -> Value {
    let request = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body.to_string());
    let answer = request.send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{path}: {}",
        answer.text().await.unwrap()
    );
    answer.json().await.unwrap()
}

/// The fields of each line with this message.
fn lines(echo: &Echo, message: &str) -> Vec<Value> {
    let all = echo.process.said();
    let parsed = all
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed
        .map(|line| line["fields"].clone())
        .filter(|fields| fields["message"] == message)
        .collect()
}

async fn line(echo: &Echo, message: &str) -> Value {
    eventually(message, SOON, async || lines(echo, message).pop()).await
}

fn is(line: &Value, fields: &[(&str, Value)]) {
    for (field, value) in fields {
        assert_eq!(&line[*field], value, "{field} of {line}");
    }
}

async fn a_level_is_told(echo: &Echo) {
    let level = json!({ "target_throttle": 0.25, "operator": "eve", "reason": "fraud wave" });
    post(echo, "/control", &level).await;
    let declared = line(echo, "a level was declared").await;
    is(
        &declared,
        &[
            ("throttle", json!("default")),
            ("level", json!(0.25)),
            ("operator", json!("eve")),
        ],
    );
    is(
        &declared,
        &[
            ("reason", json!("fraud wave")),
            ("actor", json!("ECHO_API_KEY")),
        ],
    );
}

async fn an_end_is_told(echo: &Echo, epoch: Value) {
    post(
        echo,
        "/revive",
        &json!({ "operator": "kim", "reason": "fixed" }),
    )
    .await;
    let ended = line(echo, "revived: a hold ended").await;
    is(
        &ended,
        &[
            ("throttle", json!("default")),
            ("epoch", epoch),
            ("operator", json!("kim")),
        ],
    );
    is(
        &ended,
        &[
            ("reason", json!("fixed")),
            ("taken_by", json!("dana")),
            ("taken_for", json!("double charges")),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_the_holds_of_a_start_are_lines_with_who_why_which_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = Echo::start("serve", &[], folder.path()).await;
    a_level_is_told(&echo).await;

    let kill =
        json!({ "reason": "double charges", "operator": "dana", "confirmation": "CONFIRM_KILL" });
    let epoch = post(&echo, "/kill", &kill).await["epoch"].clone();
    let killed = line(&echo, "killed").await;
    is(
        &killed,
        &[
            ("throttle", json!("all")),
            ("epoch", epoch.clone()),
            ("operator", json!("dana")),
        ],
    );
    is(
        &killed,
        &[
            ("reason", json!("double charges")),
            ("actor", json!("ECHO_API_KEY")),
        ],
    );
    post(&echo, "/kill", &kill).await;
    assert_eq!(lines(&echo, "killed").len(), 1, "one kill, one line");

    assert!(lines(&echo, "a kill is in force").is_empty());
    echo.process.kill_9();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let holds = line(&echo, "a kill is in force").await;
    is(
        &holds,
        &[
            ("throttle", json!("default")),
            ("epoch", epoch.clone()),
            ("operator", json!("dana")),
        ],
    );
    is(
        &holds,
        &[
            ("reason", json!("double charges")),
            ("source", json!("rest")),
        ],
    );

    an_end_is_told(&echo, epoch).await;
}

fn manifest(level: &str, more: &str) -> String {
    format!(
        "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: checkout}}\n\
         spec:\n  throttlePercent: {level}\n{more}"
    )
}

/// Puts a manifest in place whole.
fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("part"), text).unwrap();
    std::fs::rename(folder.join("part"), folder.join("echo.yaml")).unwrap();
}

/// It leaves the file and comes back: a warning, and no second one that names nothing.
async fn leaves_and_comes_back(echo: &Echo, folder: &Path) {
    write(
        folder,
        &manifest("30", "").replace("name: checkout", "name: other"),
    );
    let left = "no longer in the manifest: they keep their last state";
    is(&line(echo, left).await, &[("throttles", json!("checkout"))]);
    let both = format!(
        "{}---\n{}",
        manifest("30", ""),
        manifest("30", "").replace("name: checkout", "name: other")
    );
    write(folder, &both);
    line(
        echo,
        "every throttle that had left the manifest is back in it",
    )
    .await;
    line(echo, "the manifest's kill ended: the file has it no more").await;
    assert_eq!(lines(echo, left).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifests_troubles_are_told_once_and_so_is_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    let write = |text: &str| write(folder.path(), text);
    write(&manifest("25", ""));
    let variables = [("ECHO_MANIFEST", file.display().to_string())];
    let mut echo = Echo::start("serve", &variables, folder.path()).await;
    is(
        &line(&echo, "declared by the manifest").await,
        &[("throttle", json!("checkout")), ("level", json!(0.25))],
    );

    write(&manifest("25%", ""));
    let broken = line(
        &echo,
        "the manifest cannot be used; the last good state stays",
    )
    .await;
    assert!(
        broken["trouble"]
            .as_str()
            .unwrap()
            .contains("got the text `25%`; for 25 percent write 25"),
        "{broken}"
    );
    write(&manifest(
        "30",
        "  kill: {reason: audit, operator: eve, confirmation: CONFIRM_KILL}\n",
    ));
    line(&echo, "the manifest can be used again").await;
    let kill = line(&echo, "a kill is in force").await;
    is(
        &kill,
        &[
            ("throttle", json!("checkout")),
            ("source", json!("manifest")),
            ("operator", json!("eve")),
        ],
    );

    leaves_and_comes_back(&echo, folder.path()).await;

    // A level that a person holds on top of it is told at the next start.
    let level = json!({ "throttle": "checkout", "target_throttle": 0.6, "operator": "kim", "reason": "fraud wave" });
    post(&echo, "/control", &level).await;
    let lower = json!({ "throttle": "other", "target_throttle": 0.1 });
    post(&echo, "/control", &lower).await;
    let asked = line(
        &echo,
        "a lower level was asked for than the manifest or spec declares, which stays",
    )
    .await;
    is(&asked, &[("level", json!(0.1)), ("stays", json!(0.3))]);
    echo.process.kill_9();
    let echo = Echo::start("serve", &variables, folder.path()).await;
    let held = line(&echo, "a level is held on top of what is declared").await;
    is(
        &held,
        &[
            ("throttle", json!("checkout")),
            ("level", json!(0.6)),
            ("operator", json!("kim")),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_with_a_broken_manifest_names_no_good_state_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("echo.yaml"), manifest("0.25", "")).unwrap();
    let mut serve = Command::new(program());
    serve
        .args([
            "serve",
            "--manifest",
            "echo.yaml",
            "--listen",
            "127.0.0.1:0",
        ])
        .env_clear()
        .stdin(Stdio::null());
    let refused = serve.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the manifest cannot be used") && !said.contains("the last good state stays"),
        "{said}"
    );
    assert!(said.contains("got 0.25; for 25 percent write 25"), "{said}");
}

/// The value of one series.
async fn counted(echo: &Echo, door: &str) -> Option<f64> {
    let answer = http()
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    let series = format!("echo_gate_unknown_total{{door=\"{door}\"}} ");
    let text = answer.text().await.unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_asks_for_a_throttle_nobody_declared_is_told_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let gate = format!("127.0.0.1:{}", free_port());
    let echo = Echo::start(
        "serve",
        &[("ECHO_GATE_LISTEN", gate.clone())],
        folder.path(),
    )
    .await;
    assert_eq!(
        counted(&echo, "nginx").await,
        Some(0.0),
        "a series that begins at 1 hides its first event"
    );
    for _ in 0..3 {
        let answer = http()
            .get(format!("http://{gate}/authz/nginx/defualt"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["echo-reason"], "unknown");
    }
    post(&echo, "/v1/decide", &json!({ "throttle": "chekout" })).await;
    let message = "verdicts are asked of a throttle that nobody declared, and all are refused: a typo in the proxy, or here?";
    eventually("both are told", SOON, async || {
        (lines(&echo, message).len() == 2).then_some(())
    })
    .await;
    let told = lines(&echo, message);
    is(
        &told[0],
        &[
            ("throttle", json!("defualt")),
            ("door", json!("nginx")),
            ("count", json!(1)),
        ],
    );
    is(
        &told[1],
        &[("throttle", json!("chekout")), ("door", json!("decide"))],
    );
    assert_eq!(
        (
            counted(&echo, "nginx").await,
            counted(&echo, "decide").await
        ),
        (Some(3.0), Some(1.0))
    );
}

#[test]
fn a_plan_says_which_keys_to_other_sites_are_not_here() {
    let folder = tempfile::tempdir().unwrap();
    let remote =
        "  targets:\n    - remote: {url: 'https://b.example', apiKeyEnv: ECHO_REMOTE_KEY_B}\n";
    std::fs::write(folder.path().join("m.yaml"), manifest("25", remote)).unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let plan = |folder: &Path, key: Option<&str>| {
        let mut plan = Command::new(program());
        plan.args(["plan", "-f", "m.yaml"])
            .env_clear()
            .current_dir(folder)
            .env("ECHO_URL", &url);
        let done = plan
            .envs(key.map(|key| ("ECHO_REMOTE_KEY_B", key)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(0));
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let said = plan(folder.path(), None);
    assert!(
        said.contains("Note: checkout, remote https://b.example: ECHO_REMOTE_KEY_B is not set"),
        "{said}"
    );
    assert!(said.contains("`serve` refuses this file"), "{said}");
    assert!(!plan(folder.path(), Some("k-0123456789")).contains("Note:"));
}

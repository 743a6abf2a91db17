//! `plan`: what it says is what a service then does; and what it says of files that are wrong and
//! services that are gone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ask, command, err, out};
use crate::support::{Echo, eventually, free_port, run};

const BEFORE: &str = "
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: default}
spec: {throttlePercent: 20}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: checkout}
spec: {throttlePercent: 40, ramp: {maxPercentPerSecond: 100}}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: refunds}
spec: {throttlePercent: 0, kill: {reason: audit, operator: eve, confirmation: CONFIRM_KILL}}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: old}
spec: {throttlePercent: 5}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: search}
spec: {throttlePercent: 0, targets: [{gate: {key: {header: x-tenant}, allow: [{path: /status}]}}]}
";

const AFTER: &str = "
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: default}
spec: {throttlePercent: 50}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: checkout}
spec: {throttlePercent: 10, ramp: {maxPercentPerSecond: 100}}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: refunds}
spec: {throttlePercent: 0, ramp: {maxPercentPerSecond: 100}}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: payouts}
spec:
  throttlePercent: 30
  kill: {reason: fraud wave, operator: dana, confirmation: CONFIRM_KILL}
  targets: [{gate: {key: {header: x-tenant}, allow: [{method: GET, path: /status}]}}]
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: search}
spec:
  mode: Observe
  throttlePercent: 0
  signals: {source: prometheus, latencyMs: {calm: 100, full: 400}}
  targets: [{gate: {key: {header: x-user}}}]
";

fn json(done: &Output) -> Value {
    assert_eq!(done.status.code(), Some(0), "{}", err(done));
    serde_json::from_str(&out(done)).unwrap()
}

fn of<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let all = plan["throttles"].as_array().unwrap();
    all.iter()
        .find(|one| one["throttle"] == name)
        .unwrap_or_else(|| panic!("{name} is not in {plan}"))
}

fn steps(plan: &Value, name: &str) -> String {
    let steps = of(plan, name)["steps"].as_array().unwrap().clone();
    steps
        .iter()
        .map(|step| step.as_str().unwrap().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Steps that are planned, by throttle.
const SAID: [(&str, &str); 12] = [
    (
        "default",
        "declared 20 % → 50 %\ncloses from 20 % to 50 % at once",
    ),
    (
        "checkout",
        "declared 40 % → 10 %\nopens from 40 % towards 10 %",
    ),
    ("checkout", "with nothing measured at 100 %/s, in 1 s"),
    ("refunds", "ramp.maxPercentPerSecond 2 → 100"),
    ("refunds", "the file's kill ends (audit)"),
    ("search", "mode Enforce → Observe"),
    (
        "search",
        "signals none → {\"source\":\"prometheus\",\"latencyMs\":{\"calm\":100,\"full\":400}}",
    ),
    ("search", "gate.key.header x-tenant → x-user"),
    ("search", "gate.allow [{\"path\":\"/status\"}] → none"),
    (
        "payouts",
        "starts at 30 % refused\ntarget gate, callers told apart by x-tenant, 1 allow rule(s)",
    ),
    ("payouts", "KILLED at once by dana: fraud wave"),
    ("old", "is not in the file: it keeps the state it has"),
];

fn planned(folder: &Path, url: &str, file: &str) -> Value {
    json(&ask(folder, url, &["plan", "-o", "json", "-f", file]))
}

/// What is planned for each throttle.
fn says_what_comes(told: &Value, url: &str) {
    assert_eq!(
        (&told["compared"], &told["url"]),
        (&json!(true), &json!(url))
    );
    let names = ["default", "checkout", "refunds", "payouts", "old", "search"];
    let changes = names.map(|name| of(told, name)["change"].clone());
    assert_eq!(
        changes,
        ["change", "change", "change", "create", "none", "change"].map(Value::from),
        "{told}"
    );
    for (name, said) in SAID {
        assert!(
            steps(told, name).contains(said),
            "{name}: {said} is not in\n{}",
            steps(told, name)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_says_is_what_the_service_does_then() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, next) = (
        folder.path().join("manifest.yaml"),
        folder.path().join("next.yaml"),
    );
    fs::write(&manifest, BEFORE).unwrap();
    fs::write(&next, AFTER).unwrap();
    let echo = Echo::start(
        "serve",
        &[("ECHO_MANIFEST", manifest.display().to_string())],
        folder.path(),
    )
    .await;
    let url = echo.url("");
    let plan = |file: &str| planned(folder.path(), &url, file);
    eventually(
        "the service is as its manifest declares",
        Duration::from_secs(20),
        async || {
            let plan = plan("manifest.yaml");
            let all = plan["throttles"].as_array().unwrap().clone();
            let in_force = all.iter().all(|one| !one["in_force_percent"].is_null());
            (in_force && all.iter().all(|one| one["change"] == "none")).then_some(())
        },
    )
    .await;
    assert!(
        steps(&plan("manifest.yaml"), "refunds")
            .contains("stays killed by eve, in the manifest file: audit")
    );
    let idle = json(&ask(folder.path(), &url, &["plan", "-o", "json"]));
    assert_eq!(
        (&of(&idle, "default")["change"], &idle["file"]),
        (&json!("none"), &Value::Null),
        "{idle}"
    );

    says_what_comes(&plan("next.yaml"), &url);
    let text = out(&ask(folder.path(), &url, &["plan", "-f", "next.yaml"]));
    assert!(
        text.starts_with("1 new, 4 to change, 1 as they are\n") && text.contains("\n+ payouts\n"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&manifest).unwrap(), BEFORE);
    assert_eq!(
        plan("manifest.yaml")["throttles"].as_array().unwrap().len(),
        5,
        "a plan makes nothing"
    );

    fs::copy(&next, &manifest).unwrap();
    eventually("the service did it", Duration::from_secs(30), async || {
        let now = plan("next.yaml");
        let there = ["default", "checkout", "refunds", "search"]
            .iter()
            .all(|name| {
                let one = of(&now, name);
                one["change"] == "none"
                    && one["in_force_percent"].as_f64() == one["next_percent"].as_f64()
            });
        (there && steps(&now, "payouts").contains("stays killed by dana")).then_some(())
    })
    .await;
    assert_eq!(echo.verdict("payouts").await, (403, "kill".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_does_next_is_told_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let url = echo.url("");
    let killed = ask(folder.path(), &url, &super::KILL);
    assert!(killed.status.success());
    let plan = eventually(
        "the loop has seen the kill",
        Duration::from_secs(10),
        async || {
            let plan = json(&ask(folder.path(), &url, &["plan", "-o", "json"]));
            steps(&plan, "default")
                .contains("stays killed by dana, over the API: double charges")
                .then_some(plan)
        },
    )
    .await;
    assert_eq!(
        (&of(&plan, "default")["change"], &plan["url"]),
        (&json!("none"), &json!(url))
    );
    // A service that takes no manifest is told so.
    fs::write(folder.path().join("m.yaml"), BEFORE).unwrap();
    let file = ask(folder.path(), &url, &["plan", "-f", "m.yaml"]);
    assert!(
        err(&file).contains("takes no manifest yet"),
        "{}",
        err(&file)
    );
    let locked_out = command(folder.path(), &url, &["plan", "-f", "m.yaml"])
        .env("ECHO_API_KEY", "no")
        .output()
        .unwrap();
    assert_eq!(
        (locked_out.status.code(), out(&locked_out).as_str()),
        (Some(1), "")
    );
}

fn a_wrong_one_by_field(folder: &Path, url: &str) {
    let wrong = AFTER
        .replace("throttlePercent: 10", "throttlePercent: 110")
        .replace("x-tenant", "x tenant");
    fs::write(folder.join("wrong.yaml"), &wrong).unwrap();
    let refused = ask(folder, url, &["plan", "-f", "wrong.yaml"]);
    assert_eq!(
        (refused.status.code(), out(&refused).as_str()),
        (Some(2), "")
    );
    for mistake in [
        "document 2: spec.throttlePercent",
        "document 4: spec.targets[0].gate.key.header",
    ] {
        assert!(
            err(&refused).contains(mistake),
            "{mistake} is not in\n{}",
            err(&refused)
        );
    }
    // The same words as the service's own.
    let serve = command(
        folder,
        url,
        &[
            "serve",
            "--manifest",
            "wrong.yaml",
            "--listen",
            "127.0.0.1:0",
        ],
    );
    let serve = { serve }.output().unwrap();
    assert_eq!(serve.status.code(), Some(2));
    assert!(
        err(&serve).contains("document 2: spec.throttlePercent"),
        "{}",
        err(&serve)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_a_file_is_told_alone_and_a_wrong_one_by_field() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.yaml"), AFTER).unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let alone = json(&ask(
        folder.path(),
        &url,
        &["plan", "-o", "json", "-f", "m.yaml"],
    ));
    assert_eq!(
        (&alone["compared"], &alone["url"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        (
            &of(&alone, "default")["change"],
            &of(&alone, "default")["next_percent"]
        ),
        (&json!("unknown"), &json!(50))
    );
    let text = ask(folder.path(), &url, &["plan", "-f", "m.yaml"]);
    assert!(
        err(&text).contains("Not compared") && err(&text).contains(&url),
        "{}",
        err(&text)
    );
    let nothing = ask(folder.path(), &url, &["plan"]);
    assert_eq!(
        (nothing.status.code(), out(&nothing).as_str()),
        (Some(1), "")
    );

    a_wrong_one_by_field(folder.path(), &url);
    let missing = ask(folder.path(), &url, &["plan", "-f", "missing.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(err(&missing).contains("missing.yaml"), "{}", err(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_as_a_file_is_refused_at_once_and_stdin_is_a_dash() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    run(Command::new("mkfifo").arg(folder.path().join("pipe.yaml")));
    let mut plan = command(folder.path(), &url, &["plan", "-f", "pipe.yaml"]);
    let mut child = plan
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it ends", Duration::from_secs(20), async || {
        child.try_wait().unwrap()
    })
    .await;
    let refused = child.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        err(&refused).contains("pipe.yaml: it is no regular file"),
        "{}",
        err(&refused)
    );
    fs::write(folder.path().join("m.yaml"), AFTER).unwrap();
    let mut plan = command(folder.path(), &url, &["plan", "-o", "json", "-f", "-"]);
    let piped = plan
        .stdin(fs::File::open(folder.path().join("m.yaml")).unwrap())
        .output()
        .unwrap();
    assert_eq!(of(&json(&piped), "default")["next_percent"], 50);
    let mut plan = command(folder.path(), &url, &["plan", "-f", "-"]);
    let endless = plan
        .stdin(fs::File::open("/dev/zero").unwrap())
        .output()
        .unwrap();
    assert!(
        endless.status.code() == Some(2) && err(&endless).contains("at most 16777216"),
        "{}",
        err(&endless)
    );
}

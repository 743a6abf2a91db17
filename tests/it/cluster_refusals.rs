//! An API server that refuses the override of a kill for good: the kill holds where it was sent,
//! everybody is told that it is no more than that, and nobody else's revival waits for it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Installed, PATIENCE, shop};
use crate::support::{Echo, KEY, eventually, http};

/// Denies overrides in one namespace, with 422.
fn denial(name: &str, namespace: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {{apiGroups: [echo-phoenix.dev], apiVersions: ['*'], operations: [CREATE], resources: [echooverrides]}}
  matchConditions:
  - {{name: here, expression: \"request.namespace == '{namespace}'\"}}
  validations:
  - {{expression: 'false', message: no overrides in this namespace}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"
    )
}

async fn post(echo: &Echo, path: &str, body: &Value) -> (u16, Value) {
    let answer = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .json(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(echo: &Echo, path: &str) -> Value {
    let answer = http()
        .get(echo.url(path))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

fn kill(throttle: &str) -> Value {
    json!({ "throttle": throttle, "reason": "double charges", "operator": "dana", "confirmation": "CONFIRM_KILL" })
}

/// Waits until the API server would take an override there, or would not.
async fn takes(cluster: &Cluster, folder: &Path, namespace: &str, expected: bool) {
    let file = folder.join("override.yaml");
    std::fs::write(&file, crate::support::cluster::kill(namespace)).unwrap();
    eventually(
        &format!("overrides are taken: {expected}"),
        PATIENCE,
        async || {
            let mut command = cluster.command(&["create", "--dry-run=server", "-f"]);
            (command.arg(&file).output().unwrap().status.success() == expected).then_some(())
        },
    )
    .await;
}

/// Waits until the operator answers this for a throttle.
async fn verdict(operator: &Echo, throttle: &str, expected: (u16, &str)) {
    eventually(
        &format!("{throttle} answers {expected:?}"),
        PATIENCE,
        async || {
            let (status, reason) = operator.verdict(throttle).await;
            ((status, reason.as_str()) == expected).then_some(())
        },
    )
    .await;
}

/// The kill that is refused for good holds where it was sent, and everybody is told so.
async fn killed_here_alone(operator: &Echo, gate: &Echo, throttle: &str) -> Value {
    let (status, killed) = post(operator, "/kill", &kill(throttle)).await;
    assert_eq!(
        (status, &killed["audit"], &killed["durable"]),
        (200, &json!("recorded"), &json!(false)),
        "{killed}"
    );
    let warning = killed["warning"].as_str().unwrap();
    assert!(
        warning.contains("this process alone")
            && warning.contains("no overrides in this namespace"),
        "{killed}"
    );
    assert_eq!(operator.verdict(throttle).await, (403, "kill".to_owned()));
    eventually(
        "the loop goes by it, and other gates by the loop's level",
        PATIENCE,
        async || (gate.verdict(throttle).await.0 != 200).then_some(()),
    )
    .await;
    let told = get(operator, "/v1/commands").await["items"][0].clone();
    assert_eq!(
        (&told["outcome"], &told["operator"]),
        (&json!("refused"), &json!("dana")),
        "{told}"
    );
    let health = get(operator, "/health").await;
    assert_eq!(health["checks"]["ledger"], "ok", "nothing waits for it");
    assert!(
        health["checks"]["kills"]
            .as_str()
            .unwrap()
            .starts_with("1 kill(s) are known to this process alone"),
        "{health}"
    );
    assert_eq!(health["status"], "degraded", "{health}");
    killed
}

/// Another's kill is made, and ends.
async fn killed_and_revived(operator: &Echo, throttles: &[String; 2]) {
    let (status, answer) = post(operator, "/kill", &kill(&throttles[1])).await;
    assert_eq!(
        (status, &answer["durable"]),
        (200, &json!(true)),
        "{answer}"
    );
    let (status, answer) = post(operator, "/revive", &json!({ "throttle": throttles[1] })).await;
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("revived")),
        "{answer}"
    );
    verdict(operator, &throttles[1], (200, "none")).await;
    assert_eq!(
        operator.verdict(&throttles[0]).await,
        (403, "kill".to_owned()),
        "it stays until a person ends it"
    );
}

/// Sent again it is the kill that was, and everybody's by now.
async fn the_same_kill(operator: &Echo, throttle: &str, killed: &Value) {
    let (_, again) = post(operator, "/kill", &kill(throttle)).await;
    let told = ["epoch", "already_killed", "audit", "durable"].map(|name| again[name].clone());
    assert_eq!(
        told,
        [
            killed["epoch"].clone(),
            json!(true),
            json!("recorded"),
            json!(true)
        ],
        "{again}"
    );
}

/// Why it was refused stays on record.
async fn reason_is_on_record(operator: &Echo, throttle: &str) {
    let page = get(
        operator,
        &format!("/v1/audit?action=kill&throttle={throttle}"),
    )
    .await;
    let reasons: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["reason"].clone())
        .collect();
    assert!(
        reasons
            .last()
            .unwrap()
            .as_str()
            .unwrap()
            .contains("no overrides in this namespace"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_is_refused_for_good_is_named_and_keeps_nobody_from_reviving() {
    let (cluster, _turn) = Cluster::turn().await;
    let installed = Installed::into(&cluster);
    let operator = installed.operator("op", &[]).await;
    let gate = installed.gate("gate-1").await;
    let (here, other) = (cluster.namespace("shop"), cluster.namespace("shop"));
    let throttles = [&here, &other].map(|namespace| format!("{namespace}.checkout"));
    for (namespace, throttle) in [&here, &other].into_iter().zip(&throttles) {
        cluster.feed("apply", &shop(namespace)).unwrap();
        verdict(&operator, throttle, (200, "none")).await;
        eventually("the gate admits", PATIENCE, async || {
            (gate.verdict(throttle).await.0 == 200).then_some(())
        })
        .await;
    }
    let policy = here.clone();
    cluster.feed("create", &denial(&policy, &here)).unwrap();
    takes(&cluster, installed.folder.path(), &here, false).await;

    let killed = killed_here_alone(&operator, &gate, &throttles[0]).await;

    killed_and_revived(&operator, &throttles).await;

    // Once it is let in it is everybody's, sent again or not, and the same kill.
    cluster.kubectl(&[
        "delete",
        "validatingadmissionpolicybinding,validatingadmissionpolicy",
        &policy,
    ]);
    takes(&cluster, installed.folder.path(), &here, true).await;
    eventually("the gate hears of it", PATIENCE, async || {
        (gate.verdict(&throttles[0]).await == (403, "kill".to_owned())).then_some(())
    })
    .await;
    the_same_kill(&operator, &throttles[0], &killed).await;
    let (status, revived) = post(&operator, "/revive", &json!({})).await;
    assert_eq!(
        (status, &revived["ended"]),
        (200, &json!([killed["epoch"]])),
        "{revived}"
    );
    verdict(&operator, &throttles[0], (200, "none")).await;
    eventually("the gate admits", PATIENCE, async || {
        (gate.verdict(&throttles[0]).await.0 == 200).then_some(())
    })
    .await;
    reason_is_on_record(&operator, &throttles[0]).await;
    for namespace in [here, other] {
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    }
}

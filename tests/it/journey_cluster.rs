//! Journeys 2 and 3 on a real API server, under the chart's roles: a kill by `kubectl create` stops
//! the gates and the workload and Git cannot undo it; a hand that scales is named, corrected and
//! written down, to Airtable too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::airtable_emulator::{BASE, Emulator, Limits, TOKEN};
use crate::python;
use crate::support::cluster::{Cluster, Installed, PATIENCE, kill, shop};
use crate::support::{Echo, KEY, eventually, http, program, run};

/// Waits until the gate says so about the shop.
async fn verdict(gate: &Echo, namespace: &str, expected: (u16, &str)) {
    let throttle = format!("{namespace}.checkout");
    eventually(
        &format!("{throttle} answers {expected:?}"),
        PATIENCE,
        async || {
            let (status, reason) = gate.verdict(&throttle).await;
            ((status, reason.as_str()) == expected).then_some(())
        },
    )
    .await;
}

fn replicas(cluster: &Cluster, namespace: &str) -> i64 {
    cluster.json(&["get", "deployment", "checkout", "-n", namespace])["spec"]["replicas"]
        .as_i64()
        .unwrap()
}

async fn replicas_become(cluster: &Cluster, namespace: &str, expected: i64) {
    eventually(
        &format!("replicas become {expected}"),
        PATIENCE,
        async || (replicas(cluster, namespace) == expected).then_some(()),
    )
    .await;
}

fn wait(cluster: &Cluster, namespace: &str, condition: &str) {
    let condition = format!("--for=condition={condition}");
    cluster.kubectl(&[
        "wait",
        "-n",
        namespace,
        &condition,
        "echothrottle/checkout",
        "--timeout=30s",
    ]);
}

fn drifts(installed: &Installed) -> Vec<(String, String, String, String, String)> {
    let ledger = Connection::open(installed.folder.path().join("op/ledger.db")).unwrap();
    let columns = "who_manager || '/' || who_operation || '/' || who_subresource, desired, actual, side, action";
    let mut query = ledger
        .prepare(&format!(
            "SELECT {columns} FROM reconciliation_log ORDER BY seq"
        ))
        .unwrap();
    let rows = query
        .query_map([], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// The mirror's table as a real client of Airtable reads it.
fn airtable_rows(emulator: &Emulator) -> Vec<Value> {
    let printed = python::run(
        "airtable_check.py",
        &["read", emulator.url(), TOKEN, BASE, "reconciliation_log"],
        "",
    );
    serde_json::from_str(&printed).unwrap()
}

/// An Airtable that is set up, and the variables by which it is reached.
async fn mirrored() -> (Emulator, [(&'static str, String); 3]) {
    let emulator = Emulator::start(Limits {
        per_second: 1000,
        lockout: Duration::from_secs(1),
    })
    .await;
    let airtable = [
        ("AIRTABLE_API_KEY", TOKEN.to_owned()),
        ("AIRTABLE_BASE_ID", BASE.to_owned()),
        ("AIRTABLE_API_BASE", emulator.url().to_owned()),
    ];
    let mut setup = std::process::Command::new(program());
    run(setup
        .arg("setup-airtable")
        .env_clear()
        .envs(airtable.iter().map(|(name, value)| (*name, value))));
    (emulator, airtable)
}

/// A hand that scales is undone and named once, in the record and in Airtable.
async fn scaled_by_hand(
    cluster: &Cluster,
    installed: &Installed,
    emulator: &Emulator,
    namespace: &str,
) {
    assert_eq!(drifts(installed), [], "no work of ours is drift");
    cluster.kubectl(&[
        "scale",
        "-n",
        namespace,
        "deployment/checkout",
        "--replicas=2",
    ]);
    let named = ("kubectl/Update/scale", "0", "2", "riskier", "corrected");
    let found = eventually("one drift record", PATIENCE, async || {
        Some(drifts(installed)).filter(|d| !d.is_empty())
    })
    .await;
    let as_text: Vec<_> = found
        .iter()
        .map(|(a, b, c, d, e)| (a.as_str(), b.as_str(), c.as_str(), d.as_str(), e.as_str()))
        .collect();
    assert_eq!(as_text, [named]);
    replicas_become(cluster, namespace, 0).await;
    wait(cluster, namespace, "Enforced");
    wait(cluster, namespace, "Drifted=False");
    let row = eventually(
        "the drift is in Airtable",
        Duration::from_secs(15),
        async || airtable_rows(emulator).pop(),
    )
    .await;
    assert_eq!(row["who_manager"], "kubectl");
    assert_eq!(
        (&row["desired"], &row["actual"], &row["action"]),
        (&json!("0"), &json!("2"), &json!("corrected"))
    );
    assert_eq!(
        drifts(installed).len(),
        1,
        "one record, however often it is looked at"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_by_kubectl_bites_everywhere_and_a_hand_that_scales_is_named() {
    let (cluster, _turn) = Cluster::turn().await;
    let installed = Installed::into(&cluster);
    let (emulator, airtable) = mirrored().await;
    let mut operator = installed.operator("op", &airtable).await;
    let mut gate = installed.gate("gate-1").await;
    let shop_namespace = cluster.namespace("shop");
    let namespace = shop_namespace.as_str();

    // Journey 2: declared, in force, read back.
    cluster.feed("apply", &shop(namespace)).unwrap();
    wait(&cluster, namespace, "Ready");
    verdict(&gate, namespace, (200, "none")).await;
    cluster.feed("create", &kill(namespace)).unwrap();
    verdict(&gate, namespace, (403, "kill")).await;
    verdict(&operator, namespace, (403, "kill")).await;
    replicas_become(&cluster, namespace, 0).await;
    wait(&cluster, namespace, "Killed");
    gate_lease_obeys(&cluster, &installed, namespace).await;
    wait(&cluster, namespace, "Enforced");
    git_changes_nothing(&cluster, &gate, namespace).await;

    // Journey 3: somebody scales by hand.
    scaled_by_hand(&cluster, &installed, &emulator, namespace).await;

    // The person ends what the person began: replicas first, then the gate opens, by the ramp,
    // since requests are waiting.
    cluster.kubectl(&["delete", "echooverride", "stop", "-n", namespace]);
    eventually("the gate ramps", PATIENCE, async || {
        let percent = "jsonpath={.status.effective.throttlePercent}";
        let level: i64 = cluster
            .kubectl(&["get", "et", "checkout", "-n", namespace, "-o", percent])
            .parse()
            .unwrap();
        assert!(
            level == 100 || replicas(&cluster, namespace) == 3,
            "the gate opened before the workload was back"
        );
        (0 < level && level < 100).then_some(())
    })
    .await;
    verdict(&gate, namespace, (200, "none")).await;
    wait(&cluster, namespace, "Ready");

    assert!(gate.process.terminate().success() && operator.process.terminate().success());
    run(std::process::Command::new(program())
        .args(["verify", "--data-dir"])
        .arg(installed.folder.path().join("op")));
    for role in ["operator", "gate"] {
        assert_eq!(
            cluster.forbidden(&installed.user(role)),
            Vec::<String>::new(),
            "{role} asked what it may not"
        );
    }
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
}

/// The gate's own Lease says which kill it obeys.
async fn gate_lease_obeys(cluster: &Cluster, installed: &Installed, namespace: &str) {
    let uid = cluster.kubectl(&[
        "get",
        "echooverride",
        "stop",
        "-n",
        namespace,
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    eventually("the gate's lease names the kill", PATIENCE, async || {
        let lease = cluster.json(&[
            "get",
            "lease",
            "echo-phoenix-gate-gate-1",
            "-n",
            &installed.namespace,
        ]);
        let word = lease["metadata"]["annotations"]["echo-phoenix.dev/obeys"]
            .as_str()?
            .to_owned();
        let word: Value = serde_json::from_str(&word).unwrap();
        (word["newestHold"] == uid.as_str()).then_some(())
    })
    .await;
}

/// A re-apply of what Git has: the gate never opens, and the workload stays stopped.
async fn git_changes_nothing(cluster: &Cluster, gate: &Echo, namespace: &str) {
    let throttle = shop(namespace).split_once("---\n").unwrap().1.to_owned();
    cluster.feed("apply", &throttle).unwrap();
    let throttle_id = format!("{namespace}.checkout");
    for _ in 0..50 {
        assert_eq!(gate.verdict(&throttle_id).await, (403, "kill".to_owned()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(replicas(cluster, namespace), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_remembered_outlives_a_power_cut_and_an_edited_note() {
    let (cluster, _turn) = Cluster::turn().await;
    let installed = Installed::into(&cluster);
    let mut operator = installed.operator("op", &[]).await;
    let shop_namespace = cluster.namespace("shop");
    let namespace = shop_namespace.as_str();
    cluster.feed("apply", &shop(namespace)).unwrap();
    wait(&cluster, namespace, "Ready");
    cluster.feed("create", &kill(namespace)).unwrap();
    replicas_become(&cluster, namespace, 0).await;
    wait(&cluster, namespace, "Enforced");

    operator.process.kill_9();
    let note = "echo-phoenix.dev/replicas-before=99";
    cluster.kubectl(&[
        "annotate",
        "deployment",
        "checkout",
        "-n",
        namespace,
        note,
        "--overwrite",
    ]);
    let operator = installed.operator("op", &[]).await;
    assert_eq!(
        operator.verdict(&format!("{namespace}.checkout")).await.0,
        403,
        "the first answer denies"
    );

    // Git puts its replicas back: corrected, and still 3 is what is remembered.
    cluster.feed("apply", &shop(namespace)).unwrap();
    eventually("the re-apply is a drift", PATIENCE, async || {
        (drifts(&installed).len() == 1).then_some(())
    })
    .await;
    assert_eq!(drifts(&installed)[0].0, "kubectl-client-side-apply/Update/");
    replicas_become(&cluster, namespace, 0).await;
    cluster.kubectl(&["delete", "echooverride", "stop", "-n", namespace]);
    replicas_become(&cluster, namespace, 3).await;
    verdict(&operator, namespace, (200, "none")).await;
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_definition_lifts_nothing_and_leadership_moves_on() {
    let cluster = Cluster::own();
    let installed = Installed::into(&cluster);
    let mut first = installed.operator("op", &[]).await;
    let second = installed.operator("op-2", &[]).await;
    let gate = installed.gate("gate-1").await;
    let shop_namespace = cluster.namespace("shop");
    let namespace = shop_namespace.as_str();
    cluster.feed("apply", &shop(namespace)).unwrap();
    wait(&cluster, namespace, "Ready");

    // A kill of everything over REST is an object that every gate sees.
    let order = json!({ "reason": "drill", "operator": "dana", "confirmation": "CONFIRM_KILL" });
    let answer = http()
        .post(first.url("/kill"))
        .header("x-api-key", KEY)
        .json(&order)
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["killed"], &answer["audit"]),
        (&json!(true), &json!("recorded"))
    );
    verdict(&gate, namespace, (403, "kill")).await;
    replicas_become(&cluster, namespace, 0).await;
    wait(&cluster, namespace, "Enforced");

    assert!(
        first.process.terminate().success(),
        "the leader leaves and gives its lease up"
    );
    eventually("the second leads", PATIENCE, async || {
        let lease = cluster.json(&[
            "get",
            "lease",
            "echo-phoenix-operator",
            "-n",
            &installed.namespace,
        ]);
        (lease["spec"]["holderIdentity"] == "op-2").then_some(())
    })
    .await;

    cluster.kubectl(&["delete", "crd", "clusterechooverrides.echo-phoenix.dev"]);
    let orphaned = "jsonpath={.status.holds[0].state}";
    eventually("the hold is orphaned", PATIENCE, async || {
        let state = cluster.kubectl(&["get", "et", "checkout", "-n", namespace, "-o", orphaned]);
        (state == "Orphaned").then_some(())
    })
    .await;
    verdict(&gate, namespace, (403, "kill")).await;
    assert_eq!(replicas(&cluster, namespace), 0);

    let revived = http()
        .post(second.url("/revive"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    let revived: Value = revived.json().await.unwrap();
    assert_eq!(
        (&revived["status"], &revived["ended"][0]),
        (&json!("revived"), &answer["epoch"])
    );
    replicas_become(&cluster, namespace, 3).await;
    verdict(&gate, namespace, (200, "none")).await;
}

//! What is told to be in force between two passes, over the doors: no clock moves, so no pass comes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::doors;
use crate::life::Life;
use crate::manifest::Manifest;
use crate::outside::Outside;
use crate::site::Site;

/// A stop may begin and end between two passes: what the last one found is no longer so.
#[tokio::test(start_paused = true)]
async fn nothing_is_told_to_be_more_open_than_the_gate_is() {
    let (outside, manifest) = (Arc::new(Outside::new()), Arc::new(Manifest::new()));
    outside.starts();
    manifest.starts();
    let life = Life::start(&outside, &manifest, &Arc::new(Site::new()), false)
        .await
        .unwrap();
    let percent = async || -> Value {
        let told = doors::read(&life.routes, "/v1/throttles/default").await;
        told["effective"]["throttlePercent"].clone()
    };
    let enforced = async || -> Value {
        let told = doors::read(&life.routes, "/v1/throttles/default").await;
        let conditions = told["conditions"].as_array().unwrap();
        let is = |one: &&Value| one["type"] == "Enforced";
        conditions.iter().find(is).unwrap()["status"].clone()
    };
    let post = async |path: &str, body: Value| {
        let told = doors::ask(&life.routes, path, path, None, body.to_string()).await;
        assert_eq!(told.status, 200, "{path}: {}", told.body);
    };
    post("/control", json!({ "target_throttle": 0.0 })).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(
        (percent().await, enforced().await),
        (json!(0), json!("True"))
    );

    let kill = json!({ "reason": "r", "operator": "o", "confirmation": "CONFIRM_KILL" });
    post("/kill", kill).await;
    assert_eq!(enforced().await, "False", "no pass has read it back yet");
    post("/revive", json!({})).await;
    assert!(life.standing("default").unwrap().holds.is_empty());
    assert_eq!(percent().await, 100, "it opens from a full stop");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(percent().await, 0);
}

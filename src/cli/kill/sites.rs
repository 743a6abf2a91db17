//! Other sites after a kill: the answer does not wait for them, so they are looked at for a few
//! seconds before the kill is said to lack them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{ApiClient, KillSummary, ThrottleList};

/// Pause between two looks, and how many there are: five seconds, two calls of the service to
/// another site.
const PAUSE: Duration = Duration::from_millis(500);
const LOOKS: usize = 10;

/// Looks until every other site of a kill was read back as stopped, or time is up; puts into the
/// answer what was seen.
pub(super) async fn read_back(client: &ApiClient, answer: &mut Value, killed: &mut KillSummary) {
    for _ in 0..LOOKS {
        if killed
            .targets
            .iter()
            .all(|one| one.enforced || !one.target.starts_with("remote/"))
        {
            return;
        }
        sleep(PAUSE).await;
        let Ok(found) = client.get("/v1/throttles").await else {
            continue;
        };
        let Ok(found) = client.typed::<ThrottleList>("/v1/throttles", &found) else {
            return;
        };
        for (index, one) in killed.targets.iter_mut().enumerate() {
            let throttle = found
                .items
                .iter()
                .find(|throttle| throttle.name == one.throttle);
            let site = throttle.and_then(|throttle| {
                throttle
                    .status
                    .remotes
                    .iter()
                    .find(|s| s.target == one.target)
            });
            let seen = site.and_then(|site| site.observed.as_ref());
            if seen.is_some_and(|seen| seen.killed && !seen.ours.is_empty()) {
                one.enforced = true;
                answer["targets"][index]["enforced"] = json!(true);
            }
        }
    }
}

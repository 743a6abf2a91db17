//! Two other sites that obey a service, while its disks hang and one of the sites is silent: a kill
//! waits for none of them. Four of the eight ways in every run.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::known::{Became, Known};
use super::load::{Sender, patient};
use super::standing::{Place, revived};
use super::{ANSWERED, BOTH, Files, JOURNAL, LEDGER, full};
use crate::support::{Echo, KEY, eventually, run};

const HANGS: Duration = Duration::from_secs(12);
/// Where another site is told only once a disk or a silent site was waited for, that takes longer.
const TOLD: Duration = Duration::from_secs(4);
const BACK: Duration = Duration::from_secs(40);

/// A throttle `default` that two sites obey.
fn manifest(sites: &[&Echo]) -> String {
    let remote = |site: &&Echo| {
        format!(
            "    - remote: {{url: '{}', apiKeyEnv: ECHO_REMOTE_KEY_OTHER}}\n",
            site.url("")
        )
    };
    let remotes: String = sites.iter().map(remote).collect();
    format!(
        "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: default}}\nspec:\n  \
         throttlePercent: 0\n  targets:\n    - gate: {{}}\n{remotes}"
    )
}

fn signal(site: &Echo, what: &str) {
    run(Command::new("kill").args([what, &site.process.pid().to_string()]));
}

async fn is_killed(sender: &Sender, url: &str) -> Option<bool> {
    let answer = sender
        .client
        .get(url)
        .timeout(Duration::from_millis(500))
        .send()
        .await
        .ok()?;
    Some(answer.headers()["echo-reason"] == "kill")
}

/// How long after `began` this one was killed.
async fn killed_after(sender: &Sender, site: &str, began: Instant) -> Duration {
    let url = format!("{site}/authz/nginx/default");
    let killed = async || is_killed(sender, &url).await?.then(|| began.elapsed());
    eventually(&format!("{url} is killed"), BACK, killed).await
}

async fn one(
    place: &Place,
    sender: &Sender,
    sites: &[Echo; 2],
    files: Option<Files>,
    silent: bool,
) {
    let [near, far] = sites;
    if let Some(files) = files {
        place.disk.stall(files.parts, HANGS);
    }
    if silent {
        signal(far, "-STOP");
    }
    let when = format!(
        "hangs: {}, a site is silent: {silent}",
        files.map_or("nothing", |files| files.name)
    );
    let (own, began) = (sender.clone(), Instant::now());
    let answered = tokio::spawn(async move {
        let (became, said) = own.kill(None).await;
        (became, said, began.elapsed())
    });
    let (url, near_url) = (place.url(), near.url(""));
    let (gate, there) = tokio::join!(
        killed_after(sender, &url, began),
        killed_after(sender, &near_url, began)
    );
    let (became, said, answered) = answered.await.unwrap();
    println!(
        "{when}: the gate after {gate:?}, another site after {there:?}, answered after {answered:?}"
    );
    assert_eq!(became, Became::Done, "{when}: {said}");
    assert!(answered <= ANSWERED, "{when}: answered after {answered:?}");
    // Before the answer, where that waits for a disk.
    let limit = answered.max(Duration::from_secs(1));
    assert!(
        gate < limit,
        "{when}: the gate after {gate:?}, the answer after {answered:?}"
    );
    assert!(there <= TOLD, "{when}: another site after {there:?}");

    place.disk.flow();
    if silent {
        signal(far, "-CONT");
    }
    killed_after(sender, &far.url(""), began).await;
    revived(sender).await;
    for site in sites {
        let url = site.url("/authz/nginx/default");
        let open = async || (is_killed(sender, &url).await == Some(false)).then_some(());
        eventually(&format!("{when}: the end follows"), BACK, open).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_is_at_the_gate_answered_and_at_another_site_whatever_hangs() {
    let mut place = Place::new();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let sites = [
        Echo::start("serve", &[], folders[0].path()).await,
        Echo::start("serve", &[], folders[1].path()).await,
    ];
    let file = place.folder.path().join("echo.yaml");
    std::fs::write(&file, manifest(&sites.each_ref())).unwrap();
    place.more = vec![
        ("ECHO_MANIFEST", file.display().to_string()),
        ("ECHO_REMOTE_KEY_OTHER", KEY.to_owned()),
    ];
    place.rise().await;
    let known = Arc::new(Known::new(0));
    let sender = Sender {
        known,
        url: place.url(),
        calm: place.url(),
        client: patient(),
    };
    eventually("both sites are read back", BACK, async || {
        let throttle = sender.get("/v1/throttles/default").await;
        let all = throttle["conditions"].as_array()?.clone();
        all.iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
            .then_some(())
    })
    .await;
    let all = [None, Some(LEDGER), Some(JOURNAL), Some(BOTH)].into_iter();
    let all: Vec<_> = all
        .flat_map(|files| [false, true].map(|silent| (files, silent)))
        .collect();
    let some = [
        (Some(LEDGER), false),
        (Some(JOURNAL), true),
        (Some(BOTH), false),
        (Some(BOTH), true),
    ];
    for (files, silent) in if full() { all } else { some.to_vec() } {
        one(&place, &sender, &sites, files, silent).await;
    }
    sender.known.is_sound("sites");
    place.restarts(&sender, "sites").await;
}

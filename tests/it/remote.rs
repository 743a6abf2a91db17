//! A site that another one obeys: two real services, and impostors. Level, kill and end follow;
//! what is the other site's own is spared; neither side's death makes anybody forget whose a kill
//! is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "impostors are tasks of the test")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use echo_phoenix::config::{HostArgs, RemoteKeys};
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::target::{RemoteSpec, TargetSpec};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Desired, Target};
use echo_phoenix::run::clock::SystemClock;
use echo_phoenix::store::SqliteLedger;
use echo_phoenix::targets::remote::Remotes;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Echo, KEY, eventually, free_port, http, program};

const SOON: Duration = Duration::from_secs(30);
const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
/// The variable that has the key to the other site.
const VARIABLE: &str = "ECHO_REMOTE_KEY_OTHER";

/// A service with a folder and a port that stay its own when it is started again.
struct Site {
    folder: TempDir,
    port: u16,
    variables: Vec<(&'static str, String)>,
    echo: Option<Echo>,
}

impl Site {
    async fn start(variables: Vec<(&'static str, String)>, folder: TempDir) -> Self {
        let mut site = Self {
            folder,
            port: free_port(),
            variables,
            echo: None,
        };
        site.rise().await;
        site
    }

    /// The other site: a service with nothing but its throttle `default`.
    async fn other() -> Self {
        Self::start(Vec::new(), tempfile::tempdir().unwrap()).await
    }

    /// A site whose manifest has this text.
    async fn home(text: &str) -> Self {
        Self::home_with(text, KEY).await
    }

    /// The same with another key to the other sites.
    async fn home_with(text: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("echo.yaml");
        std::fs::write(&file, text).unwrap();
        let variables = vec![
            ("ECHO_MANIFEST", file.display().to_string()),
            (VARIABLE, key.to_owned()),
        ];
        Self::start(variables, folder).await
    }

    async fn rise(&mut self) {
        let listen = ("ECHO_LISTEN", format!("127.0.0.1:{}", self.port));
        let variables: Vec<_> = self.variables.iter().cloned().chain([listen]).collect();
        self.echo = Some(Echo::start("serve", &variables, self.folder.path()).await);
    }

    /// As a power cut would.
    fn fall(&mut self) {
        self.echo.take().unwrap().process.kill_9();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = http()
            .request(method, format!("{}{path}", self.url()))
            .header("x-api-key", KEY);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(Method::POST, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn throttle(&self, name: &str) -> Value {
        self.ask(Method::GET, &format!("/v1/throttles/{name}"), "")
            .await
            .1
    }

    async fn reason(&self, throttle: &str) -> String {
        self.echo.as_ref().unwrap().verdict(throttle).await.1
    }

    async fn is(&self, what: &str, throttle: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        eventually(what, SOON, async || {
            let now = self.throttle(throttle).await;
            last = now.clone();
            wanted(&now).then_some(now)
        })
        .await
    }

    async fn control(&self, throttle: &str, target: f64) -> Value {
        let calm = json!({
            "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 0, "requests_per_minute": 0,
            "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.0, "susceptibility": 1.0,
        });
        let body =
            json!({ "throttle": throttle, "target_throttle": target, "current_state": calm });
        self.post("/control", &body.to_string()).await
    }

    /// `echo-phoenix kill`: its exit code, and whether it says that the kill is whole.
    fn kill_by_cli(&self) -> (Option<i32>, bool) {
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("ECHO_URL", self.url())
            .env("ECHO_API_KEY", KEY)
            .current_dir(self.folder.path());
        command.args([
            "kill",
            "--reason",
            "double charges",
            "--operator",
            "dana",
            "--confirm",
            "CONFIRM_KILL",
        ]);
        let done = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.contains("remote/http://127.0.0.1:"), "{said}");
        (done.status.code(), !said.contains("NOT STOPPED YET"))
    }

    async fn rows(&self, path: &str) -> Vec<Value> {
        self.ask(Method::GET, path, "").await.1["items"]
            .as_array()
            .unwrap()
            .clone()
    }
}

/// A throttle `shop` with these targets.
fn shop(percent: i32, targets: &[String]) -> String {
    let targets: String = targets
        .iter()
        .map(|target| format!("    - remote: {{{target}}}\n"))
        .collect();
    format!(
        "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: shop}}\nspec:\n  \
         throttlePercent: {percent}\n  ramp: {{maxPercentPerSecond: 100}}\n  targets:\n    - gate: {{}}\n{targets}"
    )
}

fn remote(url: &str) -> String {
    format!("url: '{url}', apiKeyEnv: {VARIABLE}")
}

fn condition<'a>(throttle: &'a Value, kind: &str) -> &'a Value {
    let all = throttle["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    all.iter()
        .find(|one| one["type"] == kind)
        .unwrap_or(&Value::Null)
}

fn is_true(throttle: &Value, kind: &str) -> bool {
    condition(throttle, kind)["status"] == "True"
}

fn operators(throttle: &Value) -> Vec<String> {
    let holds = throttle["holds"].as_array().cloned().unwrap_or_default();
    holds
        .iter()
        .map(|hold| hold["operator"].as_str().unwrap().to_owned())
        .collect()
}

fn declares(percent: i64) -> impl Fn(&Value) -> bool {
    move |throttle| throttle["declared"]["throttlePercent"] == percent
}

fn sent_from_shop(operator: &str) -> bool {
    operator.starts_with("echo-phoenix 01") && operator.ends_with("/shop")
}

/// A kill follows, and counts as whole once it was read back.
async fn kill_follows(home: &Site, other: &Site, target: &str) {
    let killed = home.post("/kill", KILL).await;
    let told =
        |enforced: bool| json!({ "throttle": "shop", "target": target, "enforced": enforced });
    assert_eq!(
        killed["targets"][1],
        told(false),
        "nobody has read it back yet: {killed}"
    );
    assert_eq!(home.reason("shop").await, "kill");
    let there = other
        .is("the kill follows", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    assert!(sent_from_shop(&operators(&there)[0]), "{there}");
    assert_eq!(there["holds"][0]["reason"], "double charges (dana)");
    assert_eq!(other.reason("default").await, "kill");
    home.is("it is read back", "shop", |shop| is_true(shop, "Enforced"))
        .await;
    assert_eq!(home.post("/kill", KILL).await["targets"][1], told(true));

    assert_eq!(
        home.kill_by_cli(),
        (Some(0), true),
        "whole, once it was read back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn level_kill_and_end_follow_and_the_other_sites_own_kill_is_spared() {
    let other = Site::other().await;
    let home = Site::home(&shop(25, &[remote(&other.url())])).await;
    let target = format!("remote/{}/default", other.url());
    other.is("it declares 25 %", "default", declares(25)).await;
    let calm = home
        .is("all is read back", "shop", |shop| is_true(shop, "Ready"))
        .await;
    assert_eq!(calm["remotes"][0]["target"], target.as_str());
    assert_eq!(
        calm["remotes"][0]["acknowledged"],
        json!({ "throttlePercent": 25, "killed": false })
    );
    home.control("shop", 0.8).await;
    other
        .is("what people tighten follows", "default", declares(80))
        .await;
    home.control("shop", 0.0).await;
    other.is("and back", "default", declares(25)).await;

    kill_follows(&home, &other, &target).await;

    // Somebody stops the other site too: a kill of their own, which the first one's end spares.
    let own = other.post("/kill", &KILL.replace("dana", "eve")).await;
    home.post("/revive", "").await;
    let there = other
        .is("ours has ended there", "default", |there| {
            operators(there) == ["eve"]
        })
        .await;
    assert_eq!(there["holds"][0]["epoch"], own["epoch"]);
    let shop = home.is("that is told", "shop", |shop| {
        condition(shop, "Enforced")["message"]
            .as_str()
            .is_some_and(|words| words.contains("killed there by eve"))
    });
    assert!(!is_true(&shop.await, "Ready"));
    eventually("home opens all the same", SOON, async || {
        (home.reason("shop").await != "kill").then_some(())
    })
    .await;
    assert_eq!(other.reason("default").await, "kill");
    other.post("/revive", "").await;
    home.is("all is well again", "shop", |shop| is_true(shop, "Ready"))
        .await;
    let actions: Vec<_> = home.rows("/v1/audit?limit=200").await;
    let count = |action: &str| {
        actions
            .iter()
            .filter(|entry| entry["action"] == action)
            .count()
    };
    assert_eq!(
        count("remote"),
        count("remote_intent"),
        "each intent has its outcome"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_kill_is_outlives_the_death_of_either_side() {
    let mut other = Site::other().await;
    let mut home = Site::home(&shop(0, &[remote(&other.url())])).await;
    home.is("all is read back", "shop", |shop| is_true(shop, "Ready"))
        .await;
    home.post("/kill", KILL).await;
    let there = other
        .is("the kill follows", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    let epoch = there["holds"][0]["epoch"].clone();
    home.fall();
    other.fall();
    other.rise().await;
    assert_eq!(other.reason("default").await, "kill");
    home.rise().await;
    home.is("it is read back", "shop", |shop| is_true(shop, "Enforced"))
        .await;
    let there = other.throttle("default").await;
    assert_eq!(
        (operators(&there).len(), &there["holds"][0]["epoch"]),
        (1, &epoch),
        "still the one kill: {there}"
    );
    assert_eq!(
        home.rows("/v1/drift").await,
        Vec::<Value>::new(),
        "a restart is no drift"
    );
    home.fall();
    home.rise().await;
    home.post("/revive", "").await;
    other
        .is("the end follows", "default", |there| {
            operators(there).is_empty()
        })
        .await;
    home.is("all is well again", "shop", |shop| is_true(shop, "Ready"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_file_follows_and_ends_with_the_file() {
    let other = Site::other().await;
    let text = shop(0, &[remote(&other.url())]);
    let home = Site::home(&format!(
        "{text}  kill: {{reason: fire, operator: dana, confirmation: CONFIRM_KILL}}\n"
    ))
    .await;
    let there = other
        .is("the kill follows", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    assert_eq!(there["holds"][0]["reason"], "fire (dana)");
    home.is("it is read back", "shop", |shop| is_true(shop, "Enforced"))
        .await;
    std::fs::write(home.folder.path().join("echo.yaml"), text).unwrap();
    other
        .is("the end follows", "default", |there| {
            operators(there).is_empty() && declares(0)(there)
        })
        .await;
    home.is("all is well", "shop", |shop| is_true(shop, "Ready"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_lost_its_id_leaves_closed_what_it_closed() {
    let other = Site::other().await;
    let mut home = Site::home(&shop(0, &[remote(&other.url())])).await;
    home.is("all is read back", "shop", |shop| is_true(shop, "Ready"))
        .await;
    home.post("/kill", KILL).await;
    let before = other
        .is("the kill follows", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    home.fall();
    // Half a file, as no power cut leaves it.
    std::fs::write(
        home.folder.path().join("data/installation"),
        "01ARZ3NDEKTSV4RRFF",
    )
    .unwrap();
    home.rise().await;
    let there = other
        .is("it is killed by whom it is now", "default", |there| {
            operators(there).len() == 2
        })
        .await;
    assert!(
        operators(&there)
            .iter()
            .all(|operator| sent_from_shop(operator)),
        "{there}"
    );
    home.post("/revive", "").await;
    let there = other
        .is("that one has ended", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    assert_eq!(
        there["holds"][0]["epoch"], before["holds"][0]["epoch"],
        "the old one is nobody's to end from here"
    );
    let told = home.is("that is told", "shop", |shop| {
        condition(shop, "Enforced")["message"]
            .as_str()
            .is_some_and(|words| words.contains("killed there by"))
    });
    told.await;
    other.post("/revive", "").await;
    home.is("all is well again", "shop", |shop| is_true(shop, "Ready"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_down_delays_nothing_and_catches_up() {
    let mut other = Site::other().await;
    let home = Site::home(&shop(0, &[remote(&other.url())])).await;
    home.is("all is read back", "shop", |shop| is_true(shop, "Ready"))
        .await;
    other.fall();
    home.is("that is told", "shop", |shop| is_true(shop, "Stalled"))
        .await;
    assert_eq!(
        home.kill_by_cli(),
        (Some(1), false),
        "not whole: one site is away"
    );
    assert_eq!(home.reason("shop").await, "kill");
    let shop = home
        .is("it is still told", "shop", |shop| is_true(shop, "Killed"))
        .await;
    let told = condition(&shop, "Stalled")["message"].as_str().unwrap();
    assert!(
        told.contains("cannot be reached") && !is_true(&shop, "Enforced"),
        "{shop}"
    );
    other.rise().await;
    other
        .is("the kill caught up", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    home.is("it is read back", "shop", |shop| is_true(shop, "Enforced"))
        .await;

    // It is away while the kill ends here: home opens by itself, and the end catches up too.
    other.fall();
    home.is("that is told", "shop", |shop| is_true(shop, "Stalled"))
        .await;
    home.post("/revive", "").await;
    eventually("home opens", SOON, async || {
        (home.reason("shop").await == "none").then_some(())
    })
    .await;
    other.rise().await;
    other
        .is("the end caught up", "default", |there| {
            operators(there).is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_ends_behind_our_back_is_made_again_and_is_a_drift() {
    let other = Site::other().await;
    let home = Site::home(&shop(0, &[remote(&other.url())])).await;
    home.is("all is read back", "shop", |shop| is_true(shop, "Ready"))
        .await;
    home.post("/kill", KILL).await;
    let there = other
        .is("the kill follows", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    let first = there["holds"][0]["epoch"].clone();
    home.is("it is read back", "shop", |shop| is_true(shop, "Enforced"))
        .await;
    other.post("/revive", "").await;
    let again = other
        .is("it is killed again", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    assert_ne!(
        again["holds"][0]["epoch"], first,
        "another kill, not the answer to the old one"
    );
    let drift = eventually("the drift is recorded", SOON, async || {
        home.rows("/v1/drift").await.first().cloned()
    })
    .await;
    let seen = ["field", "actual", "side", "action"]
        .map(|member| drift[member].as_str().unwrap().to_owned());
    assert_eq!(
        seen,
        ["killed", "running", "riskier", "corrected"],
        "{drift}"
    );
    assert_eq!(drift["target"], format!("remote/{}/default", other.url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_held_there_is_told_and_not_fought_over() {
    let manifest = |percent: i32| shop(percent, &[]).replace("shop", "default");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    std::fs::write(&file, manifest(40)).unwrap();
    let other = Site::start(vec![("ECHO_MANIFEST", file.display().to_string())], folder).await;
    let home = Site::home(&shop(25, &[remote(&other.url())])).await;
    let shop = home.is("it is told", "shop", |shop| {
        condition(shop, "Enforced")["message"]
            .as_str()
            .is_some_and(|words| words.contains("held there by manifest"))
    });
    assert_eq!(shop.await["remotes"][0]["observed"]["declaredPercent"], 40);
    let drift = eventually("the drift is recorded", SOON, async || {
        let rows = home.rows("/v1/drift").await;
        rows.into_iter().find(|row| row["action"] == "failed")
    })
    .await;
    assert_eq!(
        (&drift["field"], &drift["side"]),
        (&json!("declared"), &json!("safer")),
        "{drift}"
    );
    assert_eq!(
        (&drift["desired"], &drift["actual"]),
        (&json!("0.25"), &json!("0.4"))
    );
    assert_eq!(
        home.throttle("shop").await["effective"]["throttlePercent"],
        25,
        "home goes its own way"
    );
    home.control("shop", 0.6).await;
    other
        .is("a new level waits for no old one", "default", declares(60))
        .await;
    home.control("shop", 0.0).await;
    std::fs::write(&file, manifest(10)).unwrap();
    other
        .is("its file lets it follow", "default", declares(25))
        .await;
    home.is("all is read back", "shop", |shop| is_true(shop, "Ready"))
        .await;
}

/// A server that answers every request alike.
async fn impostor(
    answer: impl Fn() -> axum::response::Response + Clone + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().fallback(move || std::future::ready(answer()));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

/// Whether this is said of one of the shop's sites.
fn wanted(shop: &Value, index: usize, words: &str) -> bool {
    shop["targets"][index + 1]["error"]
        .as_str()
        .is_some_and(|error| error.contains(words))
}

/// A key that another site does not know: told by its variable, in the log and in health.
async fn a_wrong_key_is_told(other: &Site) {
    let wrong = "wrong-key-0123456789";
    let home = Site::home_with(&shop(25, &[remote(&other.url())]), wrong).await;
    let told = home
        .is("the key is told", "shop", |shop| wanted(shop, 0, "403"))
        .await;
    let error = told["targets"][1]["error"].as_str().unwrap();
    assert!(error.contains(VARIABLE), "{error}");
    let said = home.echo.as_ref().unwrap().process.said();
    assert!(
        !said.contains(wrong) && !told.to_string().contains(wrong),
        "the key is told to nobody"
    );
    // Long before a kill needs it: in the log, and where monitors look.
    assert!(said.contains("another site cannot be read"), "{said}");
    let health: Value = http()
        .get(format!("{}/health", home.url()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "degraded");
    let words = health["checks"]["targets"].as_str().unwrap();
    assert!(
        words.starts_with("shop: a target cannot be read") && !words.contains("127.0.0.1"),
        "{health}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_echo_phoenix_or_knows_no_such_key_is_told_by_name() {
    let other = Site::other().await;
    let there = other.url();
    let redirects = impostor(move || {
        let to = format!("{there}/v1/throttles/default");
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
    })
    .await;
    let garbage = impostor(|| "<html>welcome</html>".into_response()).await;
    let empty = impostor(|| "{}".into_response()).await;
    let other_json = impostor(|| r#"{"name":"default"}"#.into_response()).await;
    let endless = impostor(|| vec![b' '; 3 << 20].into_response()).await;
    let cases = [
        (redirects, "it redirects to"),
        (
            garbage,
            "what no Echo Phoenix answers: `<html>welcome</html>`",
        ),
        (empty, "what no Echo Phoenix answers: `{}`"),
        (other_json, "it does not say what it has declared"),
        (endless, "it answers more than 1048576 bytes"),
    ];
    let mut targets: Vec<_> = cases.iter().map(|(url, _)| remote(url)).collect();
    targets.push(format!("{}, throttle: nobody", remote(&other.url())));
    let home = Site::home(&shop(25, &targets)).await;
    home.is("each is told", "shop", |shop| {
        cases
            .iter()
            .enumerate()
            .all(|(index, (_, words))| wanted(shop, index, words))
            && wanted(shop, cases.len(), "there is no throttle `nobody`")
    })
    .await;
    home.post("/kill", KILL).await;
    assert_eq!(home.reason("shop").await, "kill");
    assert!(
        operators(&other.throttle("default").await).is_empty(),
        "the key went nowhere it was not meant to go"
    );

    a_wrong_key_is_told(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_two_roles_is_all_that_has_to_be_set_up_there() {
    let key = "sites-key-0123456789abc";
    let keys = vec![(
        "ECHO_API_KEYS",
        format!("site-a:breaker:{key},site-a:operator:{key}"),
    )];
    let other = Site::start(keys, tempfile::tempdir().unwrap()).await;
    let home = Site::home_with(&shop(25, &[remote(&other.url())]), key).await;
    home.is("the level is set there", "shop", |shop| {
        is_true(shop, "Ready")
    })
    .await;
    home.post("/kill", KILL).await;
    let stopped = async || (other.reason("default").await == "kill").then_some(());
    eventually(
        "it is stopped there",
        std::time::Duration::from_secs(20),
        stopped,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_kill_is_told_with_the_role_it_lacks() {
    let key = "operators-key-0123456789";
    let keys = vec![("ECHO_API_KEYS", format!("site-a:operator:{key}"))];
    let other = Site::start(keys, tempfile::tempdir().unwrap()).await;
    let home = Site::home_with(&shop(25, &[remote(&other.url())]), key).await;
    home.is("the level is its to set", "shop", |shop| {
        is_true(shop, "Ready")
    })
    .await;
    home.post("/kill", KILL).await;
    assert_eq!(home.reason("shop").await, "kill");
    let told = home.is("that is told", "shop", |shop| {
        shop["targets"][1]["error"]
            .as_str()
            .is_some_and(|error| error.contains("403") && error.contains("breaker"))
    });
    assert!(!is_true(&told.await, "Enforced"));
    assert_ne!(other.reason("default").await, "kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_silent_sites_hold_up_neither_each_other_nor_what_is_here() {
    // They take connections and never answer.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let other = Site::other().await;
    let mut text = shop(0, &[remote(&other.url())]);
    for (number, listener) in silent.iter().enumerate() {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let name = format!("metadata: {{name: silent-{number}}}");
        text += &format!(
            "---\n{}",
            shop(0, &[remote(&url)]).replace("metadata: {name: shop}", &name)
        );
    }
    let home = Site::home(&text).await;
    home.is("the one that answers is read back", "shop", |shop| {
        is_true(shop, "Ready")
    })
    .await;
    for number in 0..silent.len() {
        let name = format!("silent-{number}");
        home.is("silence is told", &name, |one| {
            one["targets"][1]["error"]
                .as_str()
                .is_some_and(|error| error.contains("no answer within 2 s"))
        })
        .await;
        assert_eq!(
            home.reason(&name).await,
            "none",
            "its gate is open all the same"
        );
    }
    home.post("/kill", KILL).await;
    for name in ["shop", "silent-0", "silent-19"] {
        assert_eq!(home.reason(name).await, "kill", "{name}");
    }
    other
        .is("the kill follows", "default", |there| {
            operators(there).len() == 1
        })
        .await;
    home.post("/revive", "").await;
    other
        .is("the end follows", "default", |there| {
            operators(there).is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_set_refuses_the_file_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("echo.yaml");
    let with = |url: &str| {
        shop(
            25,
            &[remote(url).replace(VARIABLE, "ECHO_REMOTE_KEY_NOBODYS")],
        )
    };
    std::fs::write(&file, with("https://b.example")).unwrap();
    for value in [None, Some(""), Some("YOUR_KEY"), Some("two words")] {
        let mut command = Command::new(program());
        command
            .arg("serve")
            .env_clear()
            .current_dir(folder.path())
            .env("ECHO_MANIFEST", &file)
            .stdin(Stdio::null());
        command
            .env("ECHO_LISTEN", "127.0.0.1:0")
            .envs(value.map(|value| ("ECHO_REMOTE_KEY_NOBODYS", value)));
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{value:?}: {said}");
        assert!(
            said.contains("remote https://b.example: apiKeyEnv: ECHO_REMOTE_KEY_NOBODYS is not"),
            "{value:?}: {said}"
        );
        assert!(!said.contains("two words"), "{said}");
    }

    let home = Site::home(&shop(10, &[])).await;
    home.is("it stands at 10 %", "shop", declares(10)).await;
    std::fs::write(
        home.folder.path().join("echo.yaml"),
        with("https://b.example"),
    )
    .unwrap();
    let told = eventually("/health says that it is wrong", SOON, async || {
        let health = home.ask(Method::GET, "/health", "").await.1;
        let told = health["checks"]["manifest"].as_str()?.to_owned();
        told.contains("a target cannot be called").then_some(told)
    })
    .await;
    assert!(
        !told.contains("NOBODYS") && !told.contains("b.example"),
        "anybody may ask: {told}"
    );
    assert!(
        home.echo
            .as_ref()
            .unwrap()
            .process
            .said()
            .contains("ECHO_REMOTE_KEY_NOBODYS is not set")
    );
    let shop = home.throttle("shop").await;
    assert_eq!(
        (
            declares(10)(&shop),
            shop["targets"].as_array().unwrap().len()
        ),
        (true, 1),
        "the last good state"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_and_canaries_are_where_they_may_be_and_a_key_is_told_before_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("echo.yaml");
    let canary = shop(25, &[]).replace("gate: {}", "gate: {canaryUrl: 'https://c.example/s3cret'}");
    for (text, told) in [
        (
            shop(25, &[remote("https://b.example")]),
            "remote https://b.example",
        ),
        (canary, "canaryUrl"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(program());
        command
            .arg("serve")
            .env_clear()
            .current_dir(folder.path())
            .env("ECHO_MANIFEST", &file)
            .stdin(Stdio::null());
        command
            .env("ECHO_LISTEN", "127.0.0.1:0")
            .env(VARIABLE, KEY)
            .env("ECHO_ALLOWED_HOSTS", "a.example");
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(
            said.contains(told) && said.contains("ECHO_ALLOWED_HOSTS") && !said.contains("s3cret"),
            "{said}"
        );
    }
    let other = Site::other().await;
    std::fs::write(&file, shop(25, &[remote(&other.url())])).unwrap();
    let mut variables = vec![
        ("ECHO_MANIFEST", file.display().to_string()),
        (VARIABLE, KEY.to_owned()),
    ];
    variables.push(("ECHO_ALLOWED_HOSTS", format!("127.0.0.1:{}", other.port)));
    let home = Site::start(variables, folder).await;
    other.is("it declares 25 %", "default", declares(25)).await;
    let said = home.echo.as_ref().unwrap().process.said();
    let line = said
        .lines()
        .find(|line| line.contains("a key goes to another site"))
        .unwrap();
    assert!(
        line.contains(VARIABLE) && line.contains(&other.url()) && !line.contains(KEY),
        "{line}"
    );
}

/// As an earlier version may have stored it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_site_with_another_variable_gets_no_key_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let desired = Arc::new(LedgerDesired::new(Arc::new(ledger), stored));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (keys, hosts) = (
        RemoteKeys::read(),
        HostArgs {
            allowed_hosts: None,
        },
    );
    let remotes = Remotes::new(
        "01M".to_owned(),
        Arc::<LedgerDesired>::clone(&desired),
        Arc::new(SystemClock),
        keys,
        hosts,
    );
    let (remotes, stop) = (Arc::new(remotes.unwrap()), CancellationToken::new());
    let running = tokio::spawn(Arc::clone(&remotes).run(stop.clone()));
    let throttle = desired.declared().remove(0);
    let spec = RemoteSpec {
        url,
        api_key_env: "PATH".to_owned(),
        throttle: ThrottleName::try_from("default".to_owned()).unwrap(),
    };
    let spec = TargetSpec::Remote(spec);
    let error = eventually("it is named", SOON, async || {
        match remotes.read(&throttle, &spec).await {
            Err(error) if !error.to_string().contains("asked yet") => Some(error.to_string()),
            _ => None,
        }
    })
    .await;
    assert!(
        error.contains("apiKeyEnv PATH") && error.contains("ECHO_REMOTE_KEY_NAME"),
        "{error}"
    );
    assert!(listener.accept().is_err(), "nobody was asked");
    stop.cancel();
    running.await.unwrap();
}

//! The canary: Echo's self-test goes through the proxy and comes back with the gate's own answers.

use std::time::Duration;

use super::{CANARY, HERE, Kind, prepare};
use crate::support::plain::{self, PlainApp, request};
use crate::support::proxy::{NGINX_KIND, Proxy, Recipe};
use crate::support::{Echo, KEY, eventually, free_port, http};

behind_each_proxy!(the_canary_proves_the_proxy);

async fn the_canary_proves_the_proxy(kind: Kind) {
    let app = PlainApp::start().await;
    let said = proof(kind, &kind.recipe(CANARY), &app).await;
    assert!(
        said.contains("echo_kill_path_ok{via=\"default\"} 1\n"),
        "{}: {said}",
        kind.name
    );
}

/// What nobody should write there.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_return_proves_nothing() {
    let app = PlainApp::start().await;
    let mut recipe = NGINX_KIND.recipe(CANARY);
    recipe.configuration = recipe
        .configuration
        .replace("try_files /none @canary;", "return 200;");
    let said = proof(NGINX_KIND, &recipe, &app).await;
    assert!(
        said.contains("echo_kill_path_ok{via=\"default\"} 0\n"),
        "{said}"
    );
}

/// What the first self-test found. The proxy stands before Echo starts, since the next one comes a
/// minute later.
async fn proof(kind: Kind, recipe: &Recipe, app: &PlainApp) -> String {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let canary = format!(", canaryUrl: \"http://127.0.0.1:{port}/echo-canary\"");
    let (variables, gate) = prepare(folder.path(), &canary);
    let proxy = Proxy::with(kind, recipe, folder.path(), port, gate, app.address).await;
    let _ = app.taken();
    let echo = Echo::start("serve", &variables, folder.path()).await;
    let said = eventually("the first round", Duration::from_secs(30), async || {
        let answer = http()
            .get(echo.url("/metrics"))
            .header("x-api-key", KEY)
            .send()
            .await
            .ok()?;
        let said = answer.text().await.ok()?;
        said.contains("echo_kill_path_ok{via=\"default\"}")
            .then_some(said)
    })
    .await;
    assert!(
        app.taken().is_empty(),
        "{}: the app is not asked",
        kind.name
    );
    let pay = plain::ask(proxy.address, HERE, &request("GET", "/pay", "")).await;
    assert_eq!(
        pay.status, 200,
        "{}: the site is served beside it",
        kind.name
    );
    said
}

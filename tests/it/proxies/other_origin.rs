//! Pages of another origin, in a real browser: they see a refusal's status and when to come back,
//! where the proxy says so.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::{Kind, OTHER_ORIGIN, Street, WHOLE_SITE};
use crate::support::backend::Backend;
use crate::support::proxy::NGINX_KIND;
use crate::support::{Process, eventually, prepared};

behind_each_proxy!(a_page_sees_the_refusal);

/// What the page saw: `200 null`, `429 17`, or `network error`.
type Seen = Arc<Mutex<Option<String>>>;

/// Asks as shops do: JSON, a token, cookies, which needs a preflight.
const PAGE: &str = "<script>
fetch('@PAY@', {method: 'POST', credentials: 'include', body: '{}',
    headers: {'content-type': 'application/json', 'authorization': 'Bearer token'}})
  .then(answer => answer.status + ' ' + answer.headers.get('retry-after'), () => 'network error')
  .then(seen => fetch('/seen', {method: 'POST', body: seen}));
</script>";

async fn a_page_sees_the_refusal(kind: Kind) {
    let backend = Backend::start().await;
    let street = Street::open(kind, OTHER_ORIGIN, backend.address).await;
    assert_eq!(
        saw(&street, "shop.example").await,
        "200 null",
        "{}",
        kind.name
    );
    street.declare(100, 0).await;
    refused(&saw(&street, "shop.example").await, 429, kind);
    assert_eq!(
        saw(&street, "elsewhere.example").await,
        "network error",
        "{}: another page",
        kind.name
    );
    street.kill(None).await;
    refused(&saw(&street, "shop.example").await, kind.killed, kind);
}

fn refused(seen: &str, status: u16, kind: Kind) {
    let (said, wait) = seen.split_once(' ').unwrap();
    assert_eq!(said, status.to_string(), "{}: {seen}", kind.name);
    assert!(wait.parse::<u32>().is_ok(), "{}: {seen}", kind.name);
}

/// Why there is a recipe.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_recipe_a_page_sees_a_network_error() {
    let backend = Backend::start().await;
    let street = Street::open(NGINX_KIND, WHOLE_SITE, backend.address).await;
    assert_eq!(saw(&street, "shop.example").await, "200 null");
    street.declare(100, 0).await;
    assert_eq!(saw(&street, "shop.example").await, "network error");
}

/// Opens the page of a site in a browser and answers what it saw.
async fn saw(street: &Street, site: &str) -> String {
    let seen = Seen::default();
    let page = PAGE.replace("@PAY@", &street.proxy.url("/pay"));
    let told =
        |State(seen): State<Seen>, body: String| async move { *seen.lock().unwrap() = Some(body) };
    let routes = Router::new()
        .route("/", get(|| async { Html(page) }))
        .route("/seen", post(told))
        .with_state(Arc::clone(&seen));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/chromium"));
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-proxy-server",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("--host-resolver-rules=MAP {site}:80 {address}"))
        .arg(format!("http://{site}/"))
        .env("HOME", folder.path());
    let process = Process::start(&mut browser, &folder.path().join("log"));
    let what = format!("{site} in a browser");
    let said = eventually(&what, Duration::from_secs(60), async || {
        seen.lock().unwrap().take()
    })
    .await;
    drop(process);
    server.abort();
    said
}

//! The page at `/docs`: nothing is sent unless its reader lets it, what it proposes is refused as
//! it stands, and the key is not written out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method as Verb, Uri, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::*;
use crate::support::{Process, eventually};

/// Reads the page as a person does: looks at `/kill`, lets the page send, gives the key, asks for
/// the throttles.
const READER: &str = r##"
const until = (look) => new Promise((done) => {
  const again = () => { const found = look(); if (found) done(found); else setTimeout(again, 50); };
  again();
});
const find = (selector) => document.querySelector(selector);
const all = (selector) => document.querySelectorAll(selector).length;
const type = (input, text) => {
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
  input.dispatchEvent(new Event("input", { bubbles: true }));
};
const open = async (id) => {
  (await until(() => find(`#${id} .opblock-summary-control`))).click();
  return until(() => find(`#${id} .opblock-body`));
};
(async () => {
  const kill = await open("operations-brake-post_kill");
  await until(() => kill.textContent.includes("CONFIRM_KILL"));
  const proposed = kill.textContent;
  const buttons = all(".try-out__btn") + all(".execute");
  find("#sends").click();
  await until(() => !document.body.contains(kill));
  (await until(() => find(".auth-wrapper .authorize"))).click();
  type(await until(() => find(".auth-container input")), "@KEY@");
  find(".auth-btn-wrapper .authorize").click();
  (await until(() => find(".auth-btn-wrapper .btn-done"))).click();
  const read = await open("operations-records-get_v1_throttles");
  (await until(() => find("#operations-records-get_v1_throttles .try-out__btn"))).click();
  (await until(() => find("#operations-records-get_v1_throttles .execute"))).click();
  const curl = (await until(() => find("#operations-records-get_v1_throttles .curl"))).textContent;
  const answer = (await until(() => find("#operations-records-get_v1_throttles .live-responses-table"))).textContent;
  const told = { buttons, proposed, curl, answer, page: document.body.textContent };
  await fetch("/seen", { method: "POST", body: JSON.stringify(told) });
})().catch((error) => fetch("/seen", { method: "POST", body: JSON.stringify({ error: String(error.stack) }) }));
"##;

/// A browser that opens the page, with all it keeps in this folder.
fn browser(folder: &Path, address: SocketAddr) -> Process {
    let mut browser = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/chromium"));
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-proxy-server",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", folder.display()))
        .arg(format!("http://{address}/"))
        .env("HOME", folder);
    Process::start(&mut browser, &folder.join("log"))
}

/// The service's page with a reader in it, on an origin of its own that passes everything else on.
async fn read_by_a_browser(echo: &Echo) -> Value {
    let seen = Arc::new(Mutex::new(None));
    let page = http()
        .get(echo.url("/docs"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let page = page.replace("</body>", "<script src=\"/reader.js\"></script></body>");
    let (base, told) = (echo.url(""), Arc::clone(&seen));
    let pass_on = move |verb: Verb, uri: Uri, headers: HeaderMap, body: Bytes| {
        let url = format!("{base}{uri}");
        async move {
            let request = http()
                .request(Method::from_bytes(verb.as_str().as_bytes()).unwrap(), url)
                .body(body);
            let key = headers.get("x-api-key").cloned();
            let answer = key
                .iter()
                .fold(request, |request, key| request.header("x-api-key", key))
                .send()
                .await
                .unwrap();
            let names = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
            let kept = names
                .into_iter()
                .filter_map(|name| Some((name.clone(), answer.headers().get(name)?.clone())));
            let kept: HeaderMap = kept.collect();
            (kept, answer.bytes().await.unwrap()).into_response()
        }
    };
    let routes = Router::new()
        .route("/", get(|| async { Html(page) }))
        .route(
            "/reader.js",
            get(|| async {
                (
                    [(header::CONTENT_TYPE, "text/javascript")],
                    READER.replace("@KEY@", KEY),
                )
            }),
        )
        .route(
            "/seen",
            post(move |body: String| async move {
                *told.lock().unwrap() = serde_json::from_str(&body).ok()
            }),
        )
        .fallback(pass_on);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let process = browser(folder.path(), address);
    let found = eventually("what a browser saw", Duration::from_secs(90), async || {
        seen.lock().unwrap().take()
    })
    .await;
    drop(process);
    server.abort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_sends_nothing_until_it_is_let_and_writes_no_key_out() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let seen = read_by_a_browser(&echo).await;
    assert_eq!(seen["error"], Value::Null, "{seen}");
    assert_eq!(seen["buttons"], 0, "nothing to try before it is turned on");
    assert!(
        seen["proposed"]
            .as_str()
            .unwrap()
            .contains("type CONFIRM_KILL"),
        "{}",
        seen["proposed"]
    );
    let curl = seen["curl"].as_str().unwrap();
    assert!(curl.contains("X-API-Key: ********"), "{curl}");
    assert!(
        seen["answer"]
            .as_str()
            .unwrap()
            .contains("\"name\": \"default\""),
        "it was sent with the key: {}",
        seen["answer"]
    );
    assert!(
        !seen["page"].as_str().unwrap().contains(KEY),
        "the key stands nowhere on the page"
    );
}

/// What stands in the boxes moves nothing, whoever clicks.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_commands_are_refused_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let document: Value = serde_json::from_str(&printed()).unwrap();
    for killed in [false, true] {
        if killed {
            let body = r#"{"reason":"r","operator":"o","confirmation":"CONFIRM_KILL"}"#;
            http()
                .post(echo.url("/kill"))
                .header("x-api-key", KEY)
                .body(body)
                .send()
                .await
                .unwrap();
        }
        for (path, status) in [
            ("/kill", 400),
            ("/revive", 422),
            ("/control", 422),
            ("/observe", 422),
        ] {
            let example = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
                ["example"];
            assert!(example.is_object(), "{path} has an example");
            let sent = http()
                .post(echo.url(path))
                .header("x-api-key", KEY)
                .body(example.to_string())
                .send()
                .await
                .unwrap();
            assert_eq!(
                sent.status(),
                status,
                "{path}: {}",
                sent.text().await.unwrap()
            );
        }
    }
}

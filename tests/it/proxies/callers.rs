//! The caller's name: the proxy's word alone, the same one for Echo and the app. The same callers
//! pass over every way, and raising the level only removes some.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CALLERS_NAME, HERE, Kind, Street};
use crate::support::KEY;
use crate::support::plain::{PlainApp, header, request};
use crate::support::proxy::{CADDY, NGINX_KIND};

const CALLERS: u8 = 120;

behind_each_proxy!(the_address_is_the_name);

fn caller(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, number))
}

async fn the_address_is_the_name(kind: Kind) {
    let app = PlainApp::start().await;
    let street = Street::open(kind, CALLERS_NAME, app.address).await;
    told_alike(&street, &app).await;
    are_nested(&street).await;
}

/// Whatever a client writes, Echo and the app are told its address, once.
async fn told_alike(street: &Street, app: &PlainApp) {
    let name = street.kind.name;
    for forged in [
        "",
        "X-Real-IP: 127.0.1.9\r\n",
        "X-Real-IP: 127.0.1.9\r\nX-Real-Ip: 127.0.1.10\r\n",
        "X-REAL-IP: \u{e9}\r\n",
        "X-Forwarded-For: 127.0.1.9\r\nForwarded: for=127.0.1.9\r\nX-Envoy-External-Address: 127.0.1.9\r\n",
        "Connection: X-Real-IP\r\nX-Real-IP: 127.0.1.9\r\n",
    ] {
        let answer = street
            .ask(caller(7), &request("GET", "/tenants/pay", forged))
            .await;
        assert_eq!(
            answer.status,
            200,
            "{name}: {forged}: {}",
            street.proxy.said()
        );
        let heads = app.taken();
        let head = heads.last().unwrap();
        assert_eq!(header(head, "x-real-ip"), ["127.0.1.7"], "{name}: {forged}");
    }
}

async fn are_nested(street: &Street) {
    // Each hour other callers are refused: what began in one and ended in the next is asked again.
    for _ in 0..3 {
        let hour = || Timestamp::now().as_second() / 3600;
        let began = hour();
        let mut before: Option<BTreeSet<u8>> = None;
        for percent in [25, 60] {
            street.declare(25, percent).await;
            let (passed, decided) = (over_the_proxy(street).await, over_decide(street).await);
            if hour() != began {
                continue;
            }
            assert_eq!(passed, decided, "{}: at {percent} %", street.kind.name);
            let refused = usize::from(CALLERS) - passed.len();
            let wanted = usize::from(CALLERS) * percent as usize / 100;
            assert!(
                refused.abs_diff(wanted) <= usize::from(CALLERS) / 5,
                "{}: {refused} of {CALLERS} at {percent} %",
                street.kind.name
            );
            assert!(
                before.is_none_or(|before| passed.is_subset(&before)),
                "{}: nested",
                street.kind.name
            );
            before = Some(passed);
        }
        if hour() == began {
            return;
        }
    }
    panic!("three hours turned during the test");
}

/// Each says that it is one of the others, too.
async fn over_the_proxy(street: &Street) -> BTreeSet<u8> {
    let mut passed = BTreeSet::new();
    for number in 0..CALLERS {
        let other = caller((number + 1) % CALLERS);
        let forged = format!("X-Real-IP: {other}\r\nX-Forwarded-For: {other}\r\n");
        match street
            .ask(caller(number), &request("GET", "/tenants/pay", &forged))
            .await
            .status
        {
            200 => drop(passed.insert(number)),
            status => assert_eq!(status, 429, "{}", street.kind.name),
        }
    }
    passed
}

async fn over_decide(street: &Street) -> BTreeSet<u8> {
    let mut passed = BTreeSet::new();
    for number in 0..CALLERS {
        let body = json!({ "throttle": "tenants", "key": caller(number).to_string() });
        let asked = street
            .client
            .post(street.echo.url("/v1/decide"))
            .header("x-api-key", KEY)
            .json(&body);
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        if answer["decision"] == "allow" {
            passed.insert(number);
        }
    }
    passed
}

/// What the page says of a header that comes twice: the variable is not what the app is handed.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_reads_one_of_two_headers_and_hands_on_both() {
    let mut recipe = NGINX_KIND.recipe(CALLERS_NAME);
    recipe.configuration = recipe.configuration.replace("$remote_addr", "$http_x_name");
    let app = PlainApp::start().await;
    let street = Street::with(NGINX_KIND, &recipe, app.address).await;
    let twice = request("GET", "/tenants/pay", "X-Name: one\r\nX-Name: two\r\n");
    assert_eq!(street.ask(HERE, &twice).await.status, 200);
    let head = app.taken().pop().unwrap();
    assert_eq!(header(&head, "x-name"), ["one", "two"]);
    let read = header(&head, "x-real-ip");
    assert!(
        read == ["one"] || read == ["one, two"],
        "before 1.23, and since: {read:?}"
    );
}

/// A person whom nginx has let in: `auth_basic` is asked before `auth_request`.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_names_who_it_has_verified() {
    let folder = tempfile::tempdir().unwrap();
    let people = folder.path().join("people");
    std::fs::write(&people, "dana:{PLAIN}opensesame\n").unwrap();
    let mut recipe = NGINX_KIND.recipe(CALLERS_NAME);
    let login = format!(
        "auth_basic shop; auth_basic_user_file {}; listen 127.0.0.1:8000;",
        people.display()
    );
    recipe.configuration = recipe
        .configuration
        .replace("$remote_addr", "$remote_user")
        .replace("listen 127.0.0.1:8000;", &login);
    names_who_logged_in(NGINX_KIND, &recipe).await;
}

/// The same in Caddy: in both lines of the recipe.
#[tokio::test(flavor = "multi_thread")]
async fn caddy_names_who_it_has_verified() {
    let mut command =
        std::process::Command::new(crate::support::prepared("ECHO_TEST_TOOLS").join("bin/caddy"));
    let hash = crate::support::run(command.args(["hash-password", "--plaintext", "opensesame"]));
    let mut recipe = CADDY.recipe(CALLERS_NAME);
    let login = format!(
        "(gated) {{\n\tbasic_auth {{\n\t\tdana {}\n\t}}\n",
        hash.trim()
    );
    recipe.configuration = recipe
        .configuration
        .replace("{remote_host}", "{http.auth.user.id}")
        .replace("(gated) {\n", &login);
    names_who_logged_in(CADDY, &recipe).await;
}

/// `dana:opensesame` and `dana:wrong`.
async fn names_who_logged_in(kind: Kind, recipe: &crate::support::proxy::Recipe) {
    let app = PlainApp::start().await;
    let street = Street::with(kind, recipe, app.address).await;
    street.declare(0, 50).await;
    let _ = app.taken();
    let forged = "X-Real-IP: somebody\r\nX-Real-IP: else\r\n";
    let right = request(
        "GET",
        "/tenants/pay",
        &format!("{forged}Authorization: Basic ZGFuYTpvcGVuc2VzYW1l\r\n"),
    );
    let wrong = request(
        "GET",
        "/tenants/pay",
        &format!("{forged}Authorization: Basic ZGFuYTp3cm9uZw==\r\n"),
    );
    assert_eq!(street.ask(HERE, &wrong).await.status, 401, "{}", kind.name);
    assert_eq!(
        street
            .ask(HERE, &request("GET", "/tenants/pay", forged))
            .await
            .status,
        401,
        "{}",
        kind.name
    );
    assert!(app.taken().is_empty(), "{}", kind.name);
    let body = json!({ "throttle": "tenants", "key": "dana" });
    let asked = street
        .client
        .post(street.echo.url("/v1/decide"))
        .header("x-api-key", KEY)
        .json(&body);
    let answer: Value = asked.send().await.unwrap().json().await.unwrap();
    let wanted = if answer["decision"] == "allow" {
        200
    } else {
        429
    };
    assert_eq!(
        street.ask(HERE, &right).await.status,
        wanted,
        "{}: asked for as dana",
        kind.name
    );
    if wanted == 200 {
        assert_eq!(
            header(&app.taken().pop().unwrap(), "x-real-ip"),
            ["dana"],
            "{}",
            kind.name
        );
    }
}

//! What the pages say beside their recipes: traps that are traps, limits that are somebody's own,
//! Echo hanging.

use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    CALLERS_NAME, HERE, Kind, OTHER_ORIGIN, Street, THROUGH_A_RESTART, WHOLE_SITE, untouched,
};
use crate::support::backend::Backend;
use crate::support::plain::{self, PlainApp, header, request};
use crate::support::proxy::{CADDY, ENVOY, NGINX_KIND, Proxy, Recipe, TRAEFIK};
use crate::support::{KEY, eventually, free_port, http, prepared, run};

behind_each_proxy!(hanging_is_closed_and_an_upgraded_connection_stays);

/// Stops a process. The signal is on its way when `kill` returns: a verdict takes less than that.
async fn stop(pid: &str) {
    run(Command::new("kill").args(["-STOP", pid]));
    let tasks = format!("/proc/{pid}/task");
    let is_stopped = |stat: &str| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('T'))
    };
    eventually(
        "each thread has stopped",
        Duration::from_secs(10),
        async || {
            let all = std::fs::read_dir(&tasks).unwrap().flatten();
            let mut stats =
                all.map(|task| std::fs::read_to_string(task.path().join("stat")).unwrap());
            stats.all(|stat| is_stopped(&stat)).then_some(())
        },
    )
    .await;
}

async fn hanging_is_closed_and_an_upgraded_connection_stays(kind: Kind) {
    let backend = Backend::start().await;
    let heading = if kind.name == "traefik" {
        THROUGH_A_RESTART
    } else {
        WHOLE_SITE
    };
    let street = Street::open(kind, heading, backend.address).await;
    let mut upgraded = untouched::upgrade(&street).await;
    street.kill(None).await;
    upgraded.write_all(b"still here").await.unwrap();
    let mut said = [0; 10];
    upgraded.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"still here", "{}", kind.name);

    assert_eq!(street.post("/revive", "").await, 200);
    street.declare(0, 0).await;
    let _ = backend.taken();
    let pid = street.echo.process.pid().to_string();
    stop(&pid).await;
    let status = street.ask(HERE, &request("GET", "/pay", "")).await.status;
    run(Command::new("kill").args(["-CONT", &pid]));
    let wanted = if ["caddy", "traefik"].contains(&kind.name) {
        504
    } else {
        kind.undecided
    };
    assert_eq!(status, wanted, "{}", kind.name);
    assert_eq!(backend.taken(), 0, "{}", kind.name);
    eventually("it goes on", Duration::from_secs(20), async || {
        (street.ask(HERE, &request("GET", "/pay", "")).await.status == 200).then_some(())
    })
    .await;
}

mod told {
    behind_each_proxy!(super::echo_is_told_little);
}

/// What reaches a decider that admits all: no query, no cookie, nothing of a client's that it need
/// not know.
async fn echo_is_told_little(kind: Kind) {
    let wanted: &[&str] = match kind.name {
        "nginx" => &["host", "x-original-method", "x-original-url"],
        "caddy" => &[
            "accept-encoding",
            "host",
            "user-agent",
            "x-forwarded-method",
            "x-forwarded-uri",
        ],
        "traefik" => &[
            "accept-encoding",
            "host",
            "user-agent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-method",
            "x-forwarded-proto",
            "x-forwarded-uri",
            "x-real-ip",
        ],
        _ => &[
            "authorization",
            "content-length",
            "host",
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-internal",
            "x-envoy-original-path",
        ],
    };
    let (decider, app) = (PlainApp::start().await, PlainApp::start().await);
    let folder = tempfile::tempdir().unwrap();
    let recipe = kind.recipe(WHOLE_SITE);
    let proxy = Proxy::with(
        kind,
        &recipe,
        folder.path(),
        free_port(),
        decider.address,
        app.address,
    )
    .await;
    let _ = (decider.taken(), app.taken());
    let headers = "Cookie: c=secret\r\nAuthorization: Bearer token\r\nX-Mine: 1\r\nAccept: */*\r\nContent-Length: 3\r\n\r\n100";
    let asked = request("POST", "/pay?card=4242", headers);
    assert_eq!(
        plain::ask(proxy.address, HERE, &asked[..asked.len() - 2])
            .await
            .status,
        200,
        "{}",
        kind.name
    );
    assert_eq!(
        header(&app.taken().pop().unwrap(), "x-mine"),
        ["1"],
        "{}",
        kind.name
    );
    let told = decider.taken().pop().unwrap();
    let mut names: Vec<_> = told
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
        .collect();
    names.sort_unstable();
    names.retain(|name| name != "connection");
    assert_eq!(names, wanted, "{}: {told}", kind.name);
    assert!(!plain::path(&told).contains('?'), "{}: {told}", kind.name);
}

/// A recipe with a part of it said otherwise.
fn but(kind: Kind, heading: &str, said: &str, otherwise: &str) -> Recipe {
    let mut recipe = kind.recipe(heading);
    assert!(
        recipe.configuration.contains(said),
        "{}: {heading}: {said}",
        kind.name
    );
    recipe.configuration = recipe.configuration.replace(said, otherwise);
    recipe
}

async fn status(street: &Street, path: &str) -> u16 {
    street.ask(HERE, &request("GET", path, "")).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_traps_of_nginx_are_traps() {
    let trapped = "location / {
        proxy_pass http://app;
      }
      location = /returned { return 200; }
      location = /error-page { error_page 404 /gone; proxy_pass http://app; }
      location = /one-header { proxy_set_header X-Mine 1; proxy_pass http://app; }
      location = /denied { deny all; proxy_pass http://app; }";
    let app = PlainApp::start().await;
    let recipe = but(
        NGINX_KIND,
        WHOLE_SITE,
        "location / {\n    proxy_pass http://app;\n  }",
        trapped,
    );
    let street = Street::with(NGINX_KIND, &recipe, app.address).await;
    assert_eq!(
        status(&street, "/denied").await,
        403,
        "nginx's own refusal stays one"
    );
    let forged = request("GET", "/one-header", "echo-decision: allow\r\n");
    assert_eq!(street.ask(HERE, &forged).await.status, 200);
    assert_eq!(
        header(&app.taken().pop().unwrap(), "echo-decision"),
        ["allow"]
    );
    street.kill(None).await;
    assert_eq!(status(&street, "/pay").await, 503);
    assert_eq!(status(&street, "/returned").await, 200);
    assert_eq!(status(&street, "/error-page").await, 403);
    assert_eq!(
        status(&street, "/_echo").await,
        404,
        "nobody asks from outside"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_refuses_a_location_without_a_throttle() {
    let app = PlainApp::start().await;
    let recipe = but(
        NGINX_KIND,
        CALLERS_NAME,
        "location /tenants/ {\n    set $throttle tenants;",
        "location /tenants/ {",
    );
    let street = Street::with(NGINX_KIND, &recipe, app.address).await;
    assert_eq!(
        (
            status(&street, "/pay").await,
            status(&street, "/tenants/pay").await
        ),
        (200, 500)
    );
}

/// 40 KiB of cookies, without the line that raises the proxy's own limit; and what Envoy takes as
/// it is printed.
#[tokio::test(flavor = "multi_thread")]
async fn proxies_have_limits_of_their_own() {
    let app = PlainApp::start().await;
    let street = Street::open(ENVOY, WHOLE_SITE, app.address).await;
    let cookie = request(
        "GET",
        "/pay",
        &format!("Cookie: c={}\r\n", "x".repeat(70 << 10)),
    );
    assert_eq!(street.ask(HERE, &cookie).await.status, 431);
    let cookie = request(
        "GET",
        "/pay",
        &format!("Cookie: c={}\r\n", "x".repeat(40 << 10)),
    );
    for (kind, line, wanted) in [
        (NGINX_KIND, "large_client_header_buffers 4 48k;", 400),
        (CADDY, "max_header_size 48kb", 431),
    ] {
        let app = PlainApp::start().await;
        let street = Street::with(kind, &but(kind, WHOLE_SITE, line, ""), app.address).await;
        assert_eq!(
            (
                street.ask(HERE, &cookie).await.status,
                status(&street, "/pay").await
            ),
            (wanted, 200),
            "{}",
            kind.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_answers_other_hosts_with_nothing() {
    let app = PlainApp::start().await;
    let recipe = but(
        CADDY,
        WHOLE_SITE,
        "http://:8000 {\n\tbind 127.0.0.1",
        "http://127.0.0.1:8000 {",
    );
    let street = Street::with(CADDY, &recipe, app.address).await;
    let _ = app.taken();
    let answer = street.ask(HERE, &request("GET", "/pay", "")).await;
    assert_eq!(
        (answer.status, answer.body.as_str(), app.taken().len()),
        (200, "", 0),
        "no app, no verdict"
    );
}

/// What the page warns of: a name taken from the client's own header, where `request_header` would
/// have set it.
#[tokio::test(flavor = "multi_thread")]
async fn caddy_sets_a_request_header_too_late_for_echo() {
    let mut recipe = CADDY.recipe(CALLERS_NAME);
    let (before, after) = recipe
        .configuration
        .split_once("\t\theader_up -*\n\t\theader_up X-Real-IP {remote_host}\n")
        .unwrap();
    recipe.configuration = before.replace(
        "request_header -echo-*",
        "request_header -echo-*\n\trequest_header X-Real-IP {remote_host}",
    ) + after;
    let app = PlainApp::start().await;
    let street = Street::with(CADDY, &recipe, app.address).await;
    street.declare(0, 50).await;
    let mut statuses = std::collections::BTreeSet::new();
    for number in 0..40 {
        let chosen = request(
            "GET",
            "/tenants/pay",
            &format!("X-Real-IP: name-{number}\r\n"),
        );
        statuses.insert(street.ask(HERE, &chosen).await.status);
    }
    assert_eq!(
        statuses.into_iter().collect::<Vec<_>>(),
        [200, 429],
        "who chooses a name is admitted by one of them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_takes_traefik_yaml_for_its_static_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = TRAEFIK.recipe(WHOLE_SITE);
    std::fs::write(folder.path().join("traefik.yaml"), recipe.configuration).unwrap();
    let mut command = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/traefik"));
    command
        .current_dir(folder.path())
        .env("HOME", folder.path());
    command.args([
        "--entryPoints.web.address=127.0.0.1:0",
        "--providers.file.filename=traefik.yaml",
    ]);
    let done = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(!done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_believes_whom_it_trusts() {
    let app = PlainApp::start().await;
    let mut recipe = TRAEFIK.recipe(CALLERS_NAME);
    let insecure = " --entryPoints.web.forwardedHeaders.insecure=true";
    recipe.command = recipe
        .command
        .map(|command| command.trim_end().to_owned() + insecure);
    let street = Street::with(TRAEFIK, &recipe, app.address).await;
    assert_eq!(
        street
            .ask(
                HERE,
                &request("GET", "/tenants/pay", "X-Real-Ip: lucky\r\n")
            )
            .await
            .status,
        200
    );
    assert_eq!(header(&app.taken().pop().unwrap(), "x-real-ip"), ["lucky"]);

    let forged = request("GET", "/pay", "X-Forwarded-Uri: /refunds\r\n");
    for (trusting, wanted) in [("", 503), ("trustForwardHeader: true\n        ", 200)] {
        let with = format!("{trusting}authRequestHeaders:");
        let mut recipe = but(TRAEFIK, WHOLE_SITE, "authRequestHeaders:", &with);
        recipe.command = recipe
            .command
            .map(|command| command.trim_end().to_owned() + insecure);
        let street = Street::with(TRAEFIK, &recipe, app.address).await;
        street.kill(None).await;
        assert_eq!(street.ask(HERE, &forged).await.status, wanted, "{trusting}");
    }
}

/// An Envoy that appends the client's path and query to its question.
fn with_path_prefix() -> Recipe {
    let mut recipe = but(ENVOY, WHOLE_SITE, "path_override:", "path_prefix:");
    let (before, rest) = recipe
        .configuration
        .split_once("                        authorization_request:")
        .unwrap();
    let (_, after) = rest
        .split_once("                        authorization_response:")
        .unwrap();
    recipe.configuration =
        format!("{before}                        authorization_response:{after}");
    recipe
}

/// A `#` in such a question is lost on our server's parser, which would leave `/refunds` of it:
/// Envoy answers it before it asks. Where the path stands in a header the gate sees it, and Envoy
/// answers it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_answers_a_fragment_itself() {
    for recipe in [ENVOY.recipe(WHOLE_SITE), with_path_prefix()] {
        let app = PlainApp::start().await;
        let street = Street::with(ENVOY, &recipe, app.address).await;
        street.kill(None).await;
        let _ = app.taken(); // what was asked to see that Envoy runs
        for path in ["/refunds#/../../pay", "/refunds/#", "/refunds#?/../pay"] {
            let answer = street.ask(HERE, &request("POST", path, "")).await;
            assert_eq!(answer.status, 400, "{path}");
        }
        assert_eq!(app.taken().len(), 0, "nothing reached the app");
        assert_eq!(
            street
                .ask(HERE, &request("POST", "/refunds", ""))
                .await
                .status,
            200,
            "what is on the list does"
        );
        let counted = street
            .client
            .get(street.echo.url("/metrics"))
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap();
        let counted = counted.text().await.unwrap();
        assert!(
            counted
                .lines()
                .any(|line| line.ends_with("reason=\"allow_list\"} 1")),
            "one question alone: {counted}"
        );
    }
}

/// An Envoy that cannot keep the query from Echo.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_with_a_path_prefix_refuses_some_queries() {
    let app = PlainApp::start().await;
    let recipe = with_path_prefix();
    let street = Street::with(ENVOY, &recipe, app.address).await;
    assert_eq!(
        (
            status(&street, "/pay?q=b").await,
            status(&street, "/pay?q=<b>").await
        ),
        (200, 400)
    );
    street.kill(None).await;
    assert_eq!(
        (
            status(&street, "/pay?q=b").await,
            status(&street, "/refunds?q=b").await
        ),
        (403, 200)
    );
}

/// Bytes that are no text are names as good as others; without `encode_raw_headers` all of them are
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_hands_on_names_byte_by_byte() {
    let own = "\"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"";
    let raw = but(ENVOY, CALLERS_NAME, own, "\"%REQ(X-NAME)%\"");
    let mut marked = raw.clone();
    marked.configuration = marked
        .configuration
        .replace("encode_raw_headers: true", "encode_raw_headers: false");
    for (recipe, wanted) in [(raw, 2), (marked, 1)] {
        let app = PlainApp::start().await;
        let street = Street::with(ENVOY, &recipe, app.address).await;
        street.declare(0, 50).await;
        let mut statuses = std::collections::BTreeSet::new();
        for number in 0xa0..=0xff_u8 {
            let name = char::from(number);
            statuses.insert(
                street
                    .ask(
                        HERE,
                        &request("GET", "/tenants/pay", &format!("X-Name: {name}\r\n")),
                    )
                    .await
                    .status,
            );
        }
        assert_eq!(statuses.len(), wanted, "{statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_asks_under_both_throttles_where_a_route_turns_none_off() {
    let app = PlainApp::start().await;
    let both = "- match: {path: /both}\n                          route: {cluster: app}\n                        - match: {prefix: /tenants/}";
    let street = Street::with(
        ENVOY,
        &but(ENVOY, CALLERS_NAME, "- match: {prefix: /tenants/}", both),
        app.address,
    )
    .await;
    assert_eq!(status(&street, "/both").await, 200);
    for killed in ["default", "tenants"] {
        street.kill(Some(killed)).await;
        assert_eq!(status(&street, "/both").await, 403, "{killed}");
        assert_eq!(street.post("/revive", "").await, 200);
        street.declare(0, 0).await;
    }
}

/// Envoy's word for the path counts where no path follows the throttle's name, and only if it is
/// said once.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_says_the_path_in_one_of_two_places() {
    let app = PlainApp::start().await;
    let street = Street::open(ENVOY, WHOLE_SITE, app.address).await;
    street.kill(None).await;
    let one = "x-envoy-original-path: /refunds?a=<b>\r\n";
    for (path, headers, wanted) in [
        ("/authz/envoy/default", one.to_owned(), 200),
        ("/authz/envoy/default", one.repeat(2), 403),
        ("/authz/envoy/default", String::new(), 403),
        (
            "/authz/envoy/default",
            "x-envoy-original-path: /refunds#/../pay\r\n".to_owned(),
            403,
        ),
        ("/authz/envoy/default/pay", one.to_owned(), 403),
        ("/authz/envoy/default/", one.to_owned(), 403),
        ("/authz/envoy/default/refunds", String::new(), 200),
    ] {
        let answer = plain::ask(street.echo.address, HERE, &request("GET", path, &headers)).await;
        assert_eq!(answer.status, wanted, "{path}: {headers}");
    }
}

/// Nobody decides: whose error bears headers that a page of another origin needs.
#[tokio::test(flavor = "multi_thread")]
async fn who_tells_pages_that_nobody_decides() {
    for (kind, told) in [
        (NGINX_KIND, false),
        (CADDY, false),
        (TRAEFIK, true),
        (ENVOY, true),
    ] {
        let app = PlainApp::start().await;
        let mut street = Street::open(kind, OTHER_ORIGIN, app.address).await;
        street.echo.process.kill_9();
        let asked = http()
            .get(street.proxy.url("/pay"))
            .header("origin", "http://shop.example");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), kind.undecided, "{}", kind.name);
        assert_eq!(
            answer.headers().contains_key("access-control-allow-origin"),
            told,
            "{}",
            kind.name
        );
    }
}

/// A site of Caddy's whose address bears a host answers an empty 200 to requests for any other,
/// killed or not.
#[test]
fn no_printed_site_of_caddys_is_for_one_host_alone() {
    let mut sites = 0;
    for page in ["README.md", "docs/caddy.md"] {
        let text = std::fs::read_to_string(page).unwrap();
        for block in text
            .split("```caddy\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
        {
            for line in block
                .lines()
                .filter(|line| line.starts_with("http") && line.ends_with('{'))
            {
                assert!(line.starts_with("http://:"), "{page}: {line}");
                sites += 1;
            }
        }
    }
    assert!(sites > 4, "{sites}");
}

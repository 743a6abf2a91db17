//! No way of writing a path is asked for as one thing and served as another: not as a route that is
//! always admitted, and not under the throttle of another part of the site.

use super::{CALLERS_NAME, HERE, Kind, Street, WHOLE_SITE};
use crate::support::plain::{PlainApp, path, request};

behind_each_proxy!(no_path_dodges_a_kill);

/// Ways of writing `/pay` so that it looks like `/tenants/…`, and the other way round.
const HOSTILE: [&str; 40] = [
    "/tenants/../pay",
    "/tenants/./../pay",
    "/tenants/..;/pay",
    "/tenants/..;x=1/pay",
    "/tenants/..%2fpay",
    "/tenants/..%2Fpay",
    "/tenants/%2e%2e/pay",
    "/tenants/%2E%2e/pay",
    "/tenants/.%2e/pay",
    "/tenants/%2e%2e%2fpay",
    "/tenants/..\\pay",
    "/tenants\\..\\pay",
    "/tenants/..%5cpay",
    "/tenants/..%3b/pay",
    "/tenants/x/../../pay",
    "/tenants//../pay",
    "/tenants/..//pay",
    "/tenants/#/../../pay",
    "/tenants/%23/../../pay",
    "/tenants/x#/../../pay",
    "/tenants/..",
    "/tenants/..?a=b",
    "/tenants/../?x=/tenants/",
    "//pay",
    "/./pay",
    "/pay/../tenants/list",
    "/pay/..;/tenants/list",
    "/pay/..%2ftenants/list",
    "/pay/%2e%2e/tenants/list",
    "/pay\\..\\tenants\\list",
    "/pay/..%5ctenants/list",
    "//tenants/list",
    "///tenants/list",
    "/./tenants/list",
    "/;/tenants/list",
    "/tenants;x/list",
    "/%74enants/list",
    "/tenants%2flist",
    "/tenants%5clist",
    "/x/..//tenants/list",
];

mod allowed {
    behind_each_proxy!(super::no_path_passes_for_a_refund);
}

/// `/refunds` is on the list, and the path that the app may read is not.
async fn no_path_passes_for_a_refund(kind: Kind) {
    let app = PlainApp::start().await;
    let street = Street::open(kind, WHOLE_SITE, app.address).await;
    street.kill(None).await;
    assert_eq!(
        street
            .ask(HERE, &request("POST", "/refunds/7", ""))
            .await
            .status,
        200,
        "{}",
        kind.name
    );
    let written = HOSTILE
        .iter()
        .filter(|path| path.contains("/tenants") && path.contains("pay"));
    let written = written.map(|path| path.replace("/tenants", "/refunds"));
    for asked in written.chain(
        [
            "/refunds#/../../pay",
            "/refunds#/../pay",
            "/refunds?/../pay",
            "/x/../refunds#/../pay",
        ]
        .map(str::to_owned),
    ) {
        let answer = street.ask(HERE, &request("POST", &asked, "")).await;
        if answer.status == 200 {
            let got = path(&answer.body);
            assert!(
                resolved(got).starts_with("/refunds"),
                "{}: {asked} came to the app as {got}",
                kind.name
            );
        } else {
            assert!(
                [400, 404, kind.killed].contains(&answer.status),
                "{}: {asked}: {}",
                kind.name,
                answer.status
            );
        }
    }
    let past_a_fragment = app.taken().iter().any(|head| path(head).contains('#'));
    assert!(!past_a_fragment, "{}", kind.name);
}

async fn no_path_dodges_a_kill(kind: Kind) {
    let app = PlainApp::start().await;
    let street = Street::open(kind, CALLERS_NAME, app.address).await;
    let plain = [
        ("/pay", "default"),
        ("/pay?x=/tenants/../..;", "default"),
        ("/tenants/list?a=//b;c", "tenants"),
    ];
    for killed in ["default", "tenants"] {
        street.kill(Some(killed)).await;
        for (asked, throttle) in plain {
            let wanted = if throttle == killed { kind.killed } else { 200 };
            assert_eq!(
                street.ask(HERE, &request("GET", asked, "")).await.status,
                wanted,
                "{}: {asked}",
                kind.name
            );
        }
        for asked in HOSTILE {
            let answer = street.ask(HERE, &request("GET", asked, "")).await;
            let refusals = [400, 404, 418, kind.killed];
            assert!(
                answer.status == 200 || refusals.contains(&answer.status),
                "{}: {asked}: {answer:?}",
                kind.name
            );
            if answer.status == 200 {
                let got = path(&answer.body);
                let meant = if resolved(got).starts_with("/tenants/") {
                    "tenants"
                } else {
                    "default"
                };
                assert_ne!(
                    meant, killed,
                    "{}: {asked} came to the app as {got}",
                    kind.name
                );
            }
        }
        assert_eq!(street.post("/revive", "").await, 200);
        street.declare(0, 0).await;
    }
    case_is_the_apps_business(&street).await;
}

/// What the page says remains: how an app reads letters is not known to a proxy.
async fn case_is_the_apps_business(street: &Street) {
    street.kill(Some("tenants")).await;
    let status = street
        .ask(HERE, &request("GET", "/TENANTS/list", ""))
        .await
        .status;
    let wanted = if street.kind.name == "caddy" {
        street.kind.killed
    } else {
        200
    };
    assert_eq!(status, wanted, "{}", street.kind.name);
    let status = street
        .ask(HERE, &request("GET", "/tenants", ""))
        .await
        .status;
    // nginx sends it to the path with the slash, by itself.
    assert_eq!(
        status,
        if street.kind.name == "nginx" {
            301
        } else {
            200
        },
        "{}",
        street.kind.name
    );
    street.kill(None).await;
    for asked in ["/TENANTS/list", "/tenantsx", "/pay"] {
        let status = street.ask(HERE, &request("GET", asked, "")).await.status;
        assert_eq!(
            status, street.kind.killed,
            "{}: a kill of everything asks no path",
            street.kind.name
        );
    }
}

/// A path as the most obliging of apps reads it: without its query, decoded, `\` as `/`, without
/// path parameters, doubled slashes and dot segments; a `#` is part of it, as for Go.
fn resolved(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let decoded = decoded(path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/")) + if decoded.ends_with('/') { "/" } else { "" }
}

fn decoded(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out += before;
        match after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[2..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

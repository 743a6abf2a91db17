//! `set` and `audit`: a person declares a level, and reads who did what. And what a person meets on
//! the way: a service that is asked too often, an address without its scheme.

use super::*;

fn set(folder: &Path, url: &str, arguments: &[&str]) -> Output {
    ask(
        folder,
        url,
        &[
            &["set"],
            arguments,
            &["--operator", "dana", "--reason", "fraud wave"],
        ]
        .concat(),
    )
}

async fn get(echo: &Echo, path: &str) -> Value {
    http()
        .get(echo.url(path))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// Who declared the level and why, in the record and in its table.
async fn on_record(echo: &Echo, folder: &Path, url: &str) {
    let page = get(echo, "/v1/audit?action=control").await;
    let entry = &page["items"][0];
    let who = (
        &entry["actor"],
        &entry["operator"],
        &entry["reason"],
        &entry["binding_signal"],
    );
    assert_eq!(
        who,
        (
            &json!("ECHO_API_KEY"),
            &json!("dana"),
            &json!("fraud wave"),
            &json!("target")
        )
    );
    let table = out(&ask(
        folder,
        url,
        &["audit", "--throttle", "default", "--since", "2026-01-01"],
    ));
    let row = table.lines().find(|line| line.contains("control")).unwrap();
    assert!(
        table.starts_with("SEQ")
            && row.contains("  ECHO_API_KEY: dana  ")
            && row.ends_with("fraud wave"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_set_as_a_plain_declaration_and_read_in_the_record() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let opened = set(folder, &url, &["0"]);
    assert_eq!(opened.status.code(), Some(0), "{}", err(&opened));
    assert!(
        out(&opened).starts_with("DECLARED: default refuses 0 %\n"),
        "{}",
        out(&opened)
    );
    // Asked of /health: verdicts that are asked for are load, and load is a ramp.
    eventually("it opens", Duration::from_secs(30), async || {
        (get(&echo, "/health").await["throttle_pct"] == 0.0).then_some(())
    })
    .await;
    let json = set(
        folder,
        &url,
        &["25%", "--throttle", "default", "-o", "json"],
    );
    let answer: Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(
        (&answer["binding_signal"], &answer["stress"]),
        (&json!("target"), &Value::Null),
        "{answer}"
    );
    assert_eq!(
        (&answer["target_throttle"], &answer["throttle_pct"]),
        (&json!(0.25), &json!(0.25))
    );
    assert_eq!(
        answer["in_force"], 0.25,
        "what tightens holds before the answer"
    );

    on_record(&echo, folder, &url).await;
    let unknown = set(folder, &url, &["0", "--throttle", "other"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", err(&unknown));

    ask(folder, &url, &KILL);
    let killed = set(folder, &url, &["0"]);
    assert_eq!(killed.status.code(), Some(1));
    assert!(
        err(&killed).contains("Held by dana, over the API"),
        "{}",
        err(&killed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_number_above_one_is_refused_with_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    for (level, said) in [
        ("25", "say 0.25 or 25%"),
        ("100", "say 1 or 100%"),
        ("2.5", "say 0.025 or 2.5%"),
        ("101%", "as 25%"),
    ] {
        let refused = set(folder.path(), "http://127.0.0.1:1", &[level]);
        assert_eq!(refused.status.code(), Some(2), "{level}: {}", err(&refused));
        assert!(err(&refused).contains(said), "{level}: {}", err(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_read_page_after_page() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    for _ in 0..205 {
        let body = r#"{"target_throttle":1,"operator":"ops","reason":"again"}"#;
        http()
            .post(echo.url("/control"))
            .header("x-api-key", KEY)
            .body(body)
            .send()
            .await
            .unwrap();
    }
    let all: Vec<Value> =
        serde_json::from_str(&out(&ask(folder, &url, &["audit", "-o", "json"]))).unwrap();
    let numbers: Vec<_> = all
        .iter()
        .map(|entry| entry["seq"].as_i64().unwrap())
        .collect();
    assert!(
        numbers.len() >= 205 && numbers.windows(2).all(|two| two[0] == two[1] + 1),
        "{numbers:?}"
    );
    let table = out(&ask(folder, &url, &["audit"]));
    assert_eq!(table.lines().count(), numbers.len() + 1);
    let none = ask(
        folder,
        &url,
        &["audit", "--since", "2099-01-01", "-o", "json"],
    );
    assert_eq!((none.status.code(), out(&none).as_str()), (Some(0), "[]\n"));
    let wrong = ask(folder, &url, &["audit", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", err(&wrong));
    assert!(err(&wrong).contains("2026-01-31"), "{}", err(&wrong));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_asked_too_often_is_asked_again_when_it_says() {
    let folder = tempfile::tempdir().unwrap();
    // 60 a minute: one second brings one back.
    let echo = Echo::start(
        "serve",
        &[("RATE_LIMIT_PER_MINUTE", "60".to_owned())],
        folder.path(),
    )
    .await;
    let url = echo.url("");
    let client = http();
    let spend = async || {
        eventually(
            "it is asked too often",
            Duration::from_secs(60),
            async || {
                // All at once, faster than it comes back.
                let one = || {
                    client
                        .get(echo.url("/v1/throttles"))
                        .header("x-api-key", KEY)
                        .send()
                };
                let all = futures::future::join_all((0..70).map(|_| one())).await;
                all.into_iter()
                    .any(|asked| asked.unwrap().status() == 429)
                    .then_some(())
            },
        )
        .await;
    };
    for arguments in [
        &["status"][..],
        &["revive"],
        &["set", "1", "--operator", "o", "--reason", "r"],
        &["audit"],
    ] {
        spend().await;
        let done = ask(folder.path(), &url, arguments);
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {}", err(&done));
        assert!(
            err(&done).contains("too many requests; asked again in "),
            "{arguments:?}: {}",
            err(&done)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_be_a_host_and_a_port() {
    let (folder, echo) = service().await;
    for address in [
        echo.address.to_string(),
        format!("localhost:{}", echo.address.port()),
    ] {
        let told = ask(folder.path(), &address, &["status"]);
        assert_eq!(told.status.code(), Some(0), "{}", err(&told));
        assert!(out(&told).contains("http://"), "{}", out(&told));
    }
    for address in ["echo.invalid:8443", "echo.invalid"] {
        let nobody = ask(folder.path(), address, &["status"]);
        assert_eq!(nobody.status.code(), Some(1));
        assert!(
            err(&nobody).contains(&format!("https://{address}")),
            "elsewhere it is https: {}",
            err(&nobody)
        );
    }
}

#[test]
fn an_address_with_a_fragment_is_none_that_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    for address in [
        "http://127.0.0.1:8080/#x",
        "http://127.0.0.1:8080#",
        "127.0.0.1:8080/#/docs",
    ] {
        let done = ask(folder.path(), address, &["status"]);
        assert_eq!(done.status.code(), Some(2), "{address}: {}", err(&done));
        assert!(err(&done).contains("ECHO_URL"), "{address}: {}", err(&done));
    }
}

/// A service of a later version, whose specification has what this one cannot read.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_version_declares_hides_nothing_that_holds() {
    let (folder, echo) = service().await;
    ask(folder.path(), &echo.url(""), &KILL);
    let mut throttles = eventually(
        "the loop has seen the kill",
        Duration::from_secs(20),
        async || {
            let found = get(&echo, "/v1/throttles").await;
            (found["items"][0]["holds"].as_array()?.len() == 1).then_some(found)
        },
    )
    .await;
    let health = get(&echo, "/health").await;
    throttles["items"][0]["mode"] = json!("shadow");
    throttles["items"][0]["spec"]["mode"] = json!("Shadow");
    throttles["items"][0]["spec"]["targets"] = json!([{ "beam": { "colour": "red" } }]);
    let front = Front::routing(vec![
        ("/health", 200, "application/json", health.to_string()),
        (
            "/v1/throttles",
            200,
            "application/json",
            throttles.to_string(),
        ),
    ]);
    let told = ask(folder.path(), &front.url(), &["status"]);
    assert_eq!(told.status.code(), Some(0), "{}", err(&told));
    assert!(
        out(&told).contains("default: KILLED") && out(&told).contains("mode shadow"),
        "{}",
        out(&told)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_stands_above_what_is_off() {
    let (folder, echo) = service().await;
    ask(folder.path(), &echo.url(""), &KILL);
    let text = eventually(
        "the loop has seen the kill",
        Duration::from_secs(20),
        async || {
            let text = out(&ask(folder.path(), &echo.url(""), &["status"]));
            text.contains("default: KILLED").then_some(text)
        },
    )
    .await;
    let (killed, off) = (
        text.find("default: KILLED").unwrap(),
        text.find("off: set").unwrap(),
    );
    assert!(
        killed < off && text[..killed].lines().count() <= 2,
        "{text}"
    );
}

#[test]
fn a_backup_to_stdout_is_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let refused = ask(folder.path(), "", &["backup", "-"]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(
        err(&refused).contains("expected a file") && err(&refused).contains("./-"),
        "{}",
        err(&refused)
    );
    assert!(!folder.path().join("-").exists());
}

//! Text that wants to draw on a terminal, to hide or to be refused: kept as it came, and shown so
//! that it can be seen.

use std::os::unix::ffi::OsStrExt;

use super::*;

/// What strangers put into free fields, as JSON writes it.
const TEXTS: [&str; 13] = [
    r"\u001b[2J\u001b[1;1Hdefault: open, all is well\r\nFAKE LINE",
    r"line one\nline two",
    r"\u202Eesrever\u202C",
    r"zero\u200Bwidth\u2060joined\u200d\u200c",
    r"\u001b]0;title\u0007",
    r"tab\tand\u0000nul",
    r"\u009b31mC1 control",
    r#"=HYPERLINK(\"http://x\",\"cell\")"#,
    r"'; DROP TABLE audit_log; --",
    r"<script>alert(1)</script>",
    r"{{ .Values.secret }} ${ENV} $(id) `id`",
    r"\ud83d",
    r"é e\u0301 😀",
];

async fn post(echo: &Echo, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let sent = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body)
        .send()
        .await
        .unwrap();
    (sent.status().as_u16(), sent.json().await.unwrap())
}

/// Whether a person sees all that is there: nothing but line ends, and colour where it is ours.
fn seen(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c != '\n' && echo_phoenix::domain::text::is_hidden(c))
}

/// What the commands print of such a text can be seen, and is whole.
fn commands_show(folder: &Path, url: &str, kept: &str) {
    let report = out(&ask(folder, url, &["status"]));
    assert!(
        report.contains("default: KILLED, nothing but its allow-list is admitted\n"),
        "{report}"
    );
    assert!(
        seen(&report) && !report.lines().any(|line| line.starts_with("FAKE")),
        "{report:?}"
    );
    assert!(
        report.contains(&*echo_phoenix::domain::text::shown(kept)),
        "{report:?}"
    );
    for json in [&["status", "-o", "json"][..], &["audit", "-o", "json"]] {
        let said = out(&ask(folder, url, json));
        assert!(seen(&said), "{said:?}");
        assert!(
            serde_json::from_str::<Value>(&said)
                .unwrap()
                .to_string()
                .contains(&json!(kept).to_string())
        );
    }
    let again = ask(folder, url, &KILL);
    assert!(
        seen(&out(&again)) && seen(&err(&again)),
        "{:?}",
        out(&again)
    );
    let table = out(&ask(folder, url, &["audit"]));
    assert!(
        seen(&table) && table.lines().all(|line| !line.starts_with("FAKE")),
        "{table:?}"
    );
    let refused = ask(
        folder,
        url,
        &["set", "0", "--operator", "o", "--reason", "r"],
    );
    assert_eq!(refused.status.code(), Some(1), "it is killed");
    assert!(
        seen(&err(&refused)) && err(&refused).contains("Held by "),
        "{:?}",
        err(&refused)
    );
}

/// Kills with such a text, and holds API and record against what came: that, and what was told.
async fn kept_as_it_came(echo: &Echo, text: &str, body: String) -> (String, Value) {
    let (status, killed) = post(echo, "/kill", body).await;
    assert_eq!(
        (status, &killed["killed"]),
        (200, &json!(true)),
        "{text}: {killed}"
    );
    let read: Result<String, _> = serde_json::from_str(&format!("\"{text}\""));
    let kept = read.map_or_else(
        |_| "\u{fffd}".to_owned(),
        |text| text.replace('\0', "\\u{0}"),
    );
    let told = http()
        .get(echo.url("/v1/throttles/default"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    let told: Value = told.json().await.unwrap();
    assert_eq!(
        told["holds"][0]["reason"],
        kept.as_str(),
        "answered as it came"
    );
    assert_eq!(told["holds"][0]["operator"], kept.as_str());
    let entry = &kills(echo).await[0];
    assert_eq!(
        (&entry["reason"], &entry["operator"]),
        (&json!(kept), &json!(kept)),
        "and so it is on record"
    );
    (kept, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_others_draws_hides_or_is_refused() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    for text in TEXTS {
        let body =
            format!(r#"{{"reason":"{text}","operator":"{text}","confirmation":"CONFIRM_KILL"}}"#);
        let (kept, told) = kept_as_it_came(&echo, text, body).await;

        commands_show(folder, &url, &kept);
        let (_, conditions) = ("", told["conditions"].to_string());
        assert!(seen(&conditions), "{conditions:?}");
        assert_eq!(ask(folder, &url, &["revive"]).status.code(), Some(0));
    }
    let said = echo.process.said();
    assert!(seen(&said), "the log: {said:?}");
}

/// Bodies of kills, and the reason and operator that they have on record.
const WORDLESS: &[(&[u8], &str, &str)] = &[
    (
        br#"{"confirmation":"CONFIRM_KILL"}"#,
        "(none given)",
        "(none given)",
    ),
    (
        br#"{"confirmation":"CONFIRM_KILL","reason":null,"operator":" "}"#,
        "(none given)",
        "(none given)",
    ),
    (
        b"{\"confirmation\":\"CONFIRM_KILL\",\"reason\":\"a\xff\xfeb\",\"operator\":\"\\ude00\"}",
        "a\u{fffd}\u{fffd}b",
        "\u{fffd}",
    ),
];

/// A kill of any length stops as long as what it stops is read; else it is told that it did not.
async fn long_kills(echo: &Echo) {
    let long = format!(
        r#"{{"reason":"{}","throttle":"default","confirmation":"CONFIRM_KILL"}}"#,
        "log\n".repeat(100_000)
    );
    let (status, killed) = post(echo, "/kill", long.clone()).await;
    assert_eq!(status, 200, "{killed}");
    let entry = &kills(echo).await[0];
    assert_eq!(
        (
            &entry["throttle"],
            entry["reason"].as_str().unwrap().chars().count()
        ),
        (&json!("default"), 1024)
    );
    let unknown = long.replace("\"throttle\"", "\"throtle\"");
    assert_eq!(
        post(echo, "/kill", unknown).await.0,
        422,
        "what it stops is not guessed"
    );
    assert_eq!(post(echo, "/revive", "").await.0, 200);
    for huge in [
        long.replace("log", &"log".repeat(5)),
        format!("{}{long}", " ".repeat(70_000)),
    ] {
        let (status, problem) = post(echo, "/kill", huge).await;
        assert_eq!(status, 413, "{problem}");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("NOTHING WAS STOPPED"),
            "{problem}"
        );
    }
    assert_ne!(echo.verdict("default").await.1, "kill");
}

/// By the command line too, whatever the shell handed it.
async fn by_the_command_line(folder: &Path, echo: &Echo) {
    let words = "- double charges\n".repeat(5_000);
    for (reason, operator) in [
        (words.as_str(), "--dana"),
        ("-1 balance", "-d"),
        ("--throttle", ""),
    ] {
        let all = [
            "kill",
            "--confirm",
            "CONFIRM_KILL",
            "--reason",
            reason,
            "--operator",
            operator,
        ];
        let done = command(folder, &echo.url(""), &all).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", err(&done));
        let entry = &kills(echo).await[0];
        assert!(
            entry["reason"].as_str().unwrap().starts_with(&reason[..10]),
            "{entry}"
        );
        assert_eq!(entry["throttle"], "");
    }
    for all in [&["set", "0.5"][..], &["revive"]] {
        let all = [all, &["--reason", "- it is over", "--operator", "-d"]].concat();
        let done = command(folder, &echo.url(""), &all).output().unwrap();
        assert!(
            !err(&done).contains("unexpected argument"),
            "{}",
            err(&done)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_never_refused_for_its_words() {
    let (folder, echo) = service().await;
    for &(body, reason, operator) in WORDLESS {
        let (status, killed) = post(&echo, "/kill", body).await;
        assert_eq!(status, 200, "{killed}");
        let entry = &kills(&echo).await[0];
        assert_eq!(
            (&entry["reason"], &entry["operator"]),
            (&json!(reason), &json!(operator))
        );
    }
    let long = "x".repeat(5000);
    let body =
        json!({ "confirmation": "CONFIRM_KILL", "reason": long, "operator": long }).to_string();
    assert_eq!(post(&echo, "/kill", body).await.0, 200);
    let entry = &kills(&echo).await[0];
    for (field, limit) in [("reason", 1024), ("operator", 256)] {
        let text = entry[field].as_str().unwrap();
        assert!(
            text.chars().count() == limit && text.ends_with('…'),
            "{field}: {text}"
        );
    }
    assert_eq!(echo.verdict("default").await.1, "kill");
    for wrong in [
        r#"{"confirmation":"CONFIRM_KILL","reson":"a"}"#,
        r#"{"confirmation":"confirm"}"#,
        r#"{"reason":"a"}"#,
    ] {
        assert!(
            [400, 422].contains(&post(&echo, "/kill", wrong).await.0),
            "{wrong}"
        );
    }
    long_kills(&echo).await;
    by_the_command_line(folder.path(), &echo).await;
    let mut kill = command(
        folder.path(),
        &echo.url(""),
        &["kill", "--confirm", "CONFIRM_KILL", "--reason"],
    );
    kill.arg(std::ffi::OsStr::from_bytes(b"caf\xe9"))
        .args(["--operator", ""]);
    let done = kill.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    let entry = &kills(&echo).await[0];
    assert_eq!(
        (&entry["reason"], &entry["operator"]),
        (&json!("caf\u{fffd}"), &json!("(none given)"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watched_in_place_each_thing_has_one_line() {
    let (folder, echo) = service().await;
    let body = json!({ "confirmation": "CONFIRM_KILL", "reason": "wide 漢字 ".repeat(60), "operator": "dana" });
    post(&echo, "/kill", body.to_string()).await;
    let watch = command(folder.path(), &echo.url(""), &["status", "--watch"]);
    let line = format!(
        "stty cols 60; timeout 5 {} status --watch",
        program().display()
    );
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    script
        .envs(
            watch
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", "xterm");
    script.current_dir(folder.path()).stdin(Stdio::null());
    let said = out(&script.output().unwrap());
    let by = said
        .lines()
        .find(|line| line.contains("dana, over the API"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(
        by.trim_end().ends_with('…') && by.chars().count() <= 60,
        "{by}"
    );
}

//! What orders are told in words: what a revival ended, what it did not and why, which throttle was
//! meant, what was refused.

use super::*;

const MANIFEST: &str = "
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: default}
spec: {throttlePercent: 0}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {name: checkout, namespace: payments}
spec: {throttlePercent: 25}
";
const CHECKOUT: &str = "payments.checkout";

/// A service with two throttles of a manifest.
async fn with_manifest() -> (tempfile::TempDir, Echo) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    let echo = Echo::start(
        "serve",
        &[("ECHO_MANIFEST", file.display().to_string())],
        folder.path(),
    )
    .await;
    (folder, echo)
}

fn set(folder: &Path, url: &str, level: &str) -> Output {
    ask(
        folder,
        url,
        &[
            "set",
            level,
            "--throttle",
            CHECKOUT,
            "--operator",
            "eve",
            "--reason",
            "fraud wave",
        ],
    )
}

/// The newest entry of an action.
async fn newest(echo: &Echo, action: &str) -> Value {
    let request = http()
        .get(echo.url(&format!("/v1/audit?limit=1&action={action}")))
        .header("x-api-key", KEY);
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    page["items"][0].clone()
}

/// What stands on stderr and stdout is all in there.
fn has(done: &Output, code: i32, parts: &[&str]) {
    let text = format!("{}{}", out(done), err(done));
    assert_eq!(done.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// The level that stays under everything, and what takes it back.
const HELD: &str = "at 40 % or more, by eve, over the API: fraud wave";
const LOWER: &str = "echo-phoenix set 25% --throttle payments.checkout";
/// Said of a kill of every throttle.
const WIDE: &str = "This kill covers every throttle; ending it opens all.";

/// A revival where nothing is killed ends nothing, and says what would end the level.
fn of_no_kill(folder: &Path, url: &str) {
    // Nothing is killed, so by contract nothing ends; the level is told with what takes it back.
    has(
        &ask(folder, url, &["revive"]),
        0,
        &["nothing was ended", "of payments.checkout stays", LOWER],
    );
    let wrong = ask(folder, url, &["revive", "--epoch", "wrong"]);
    has(
        &wrong,
        1,
        &[
            "There is no hold with the epoch wrong, and nothing is killed",
            "so not the hold wrong either",
        ],
    );
    let json = ask(folder, url, &["revive", "--epoch", "wrong", "-o", "json"]);
    has(
        &json,
        1,
        &[
            r#""status":"already_running""#,
            "so not the hold wrong either",
        ],
    );
}

/// A kill is told with the level under it, and with what ending it opens.
async fn killed_over_a_level(folder: &Path, url: &str) {
    has(&ask(folder, url, &KILL), 0, &["KILLED: all throttles"]);
    let told = eventually(
        "the loop has seen the kill",
        Duration::from_secs(20),
        async || {
            let told = ask(folder, url, &["status"]);
            out(&told).contains("default: KILLED").then_some(told)
        },
    )
    .await;
    has(
        &told,
        0,
        &[HELD, "a revive that names no epoch ends this too", WIDE],
    );
    assert_eq!(
        out(&told).matches(WIDE).count(),
        2,
        "under each throttle: {}",
        out(&told)
    );
}

/// What ends no hold is refused, and says what would end it.
async fn of_no_hold(echo: &Echo, folder: &Path, url: &str) {
    let only = ask(folder, url, &["revive", "--throttle", "default"]);
    has(
        &only,
        1,
        &[
            "(409)",
            "dana, over the API",
            WIDE,
            "echo-phoenix revive --epoch ",
        ],
    );
    let wrong = ask(
        folder,
        url,
        &[
            "revive",
            "--epoch",
            "wrong",
            "--operator",
            "dana",
            "--reason",
            "why",
        ],
    );
    has(&wrong, 1, &["There is no hold with the epoch wrong", WIDE]);
    let entry = newest(echo, "revive_refused").await;
    assert_eq!(
        (&entry["operator"], &entry["reason"]),
        (&json!("dana"), &json!("no hold wrong: why")),
        "{entry}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_names_the_kill_and_the_level_that_it_ended() {
    let (folder, echo) = with_manifest().await;
    let (folder, url) = (folder.path(), echo.url(""));
    eventually("the loop has passed", Duration::from_secs(20), async || {
        out(&ask(folder, &url, &["status"]))
            .contains("payments.checkout: 25 %")
            .then_some(())
    })
    .await;
    has(
        &set(folder, &url, "40%"),
        0,
        &["DECLARED: payments.checkout refuses 40 %"],
    );
    has(
        &ask(folder, &url, &["status"]),
        0,
        &[HELD, LOWER, "a revive that ends a kill ends this too"],
    );
    of_no_kill(folder, &url);
    killed_over_a_level(folder, &url).await;
    of_no_hold(&echo, folder, &url).await;

    let revived = ask(
        folder,
        &url,
        &["revive", "--operator", "dana", "--reason", "fixed"],
    );
    has(
        &revived,
        0,
        &[
            "REVIVED: 2 hold(s) ended",
            "the kill of every throttle by dana, over the API",
            "double charges",
        ],
    );
    has(
        &revived,
        0,
        &[
            "the level of payments.checkout, 40 % or more by eve, over the API",
            "fraud wave",
        ],
    );
    let help = ask(folder, &url, &["revive", "--help"]);
    has(
        &help,
        0,
        &["Ends kills and levels that people set on top of a manifest"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_killed_is_told_by_whoever_stops_part_of_it_and_whoever_ends_part_of_it() {
    let (folder, echo) = with_manifest().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let by_name = [
        "kill",
        "--throttle",
        CHECKOUT,
        "--reason",
        "narrow",
        "--operator",
        "eve",
        "--confirm",
        "CONFIRM_KILL",
    ];
    let narrow = ask(folder, &url, &[&by_name[..], &["-o", "json"]].concat());
    let epoch = serde_json::from_str::<Value>(&out(&narrow)).unwrap()["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    has(&ask(folder, &url, &KILL), 0, &["KILLED: all throttles"]);
    let default = ask(
        folder,
        &url,
        &[&KILL[..], &["--throttle", "default"]].concat(),
    );
    has(
        &default,
        0,
        &[
            "KILLED ALREADY: throttle default",
            "dana: double charges",
            WIDE,
        ],
    );

    let one = ask(
        folder,
        &url,
        &[
            "revive",
            "--epoch",
            &epoch,
            "--operator",
            "kim",
            "--reason",
            "one of two",
        ],
    );
    has(
        &one,
        0,
        &[
            "the kill of payments.checkout by eve",
            "Still killed, by what was not to be ended: the kill of every throttle",
        ],
    );
    assert!(!err(&one).contains("It opens"), "{}", err(&one));
    assert_eq!(newest(&echo, "revive").await["after"], "killed");
    has(
        &ask(folder, &url, &["revive"]),
        0,
        &["It opens step by step"],
    );
    assert_eq!(newest(&echo, "revive").await["after"], "opening");
}

/// A level below the manifest's ends what was on top of it, and is not told as declared.
fn below_the_manifests(folder: &Path, url: &str) {
    let lower = set(folder, url, "10%");
    has(
        &lower,
        1,
        &[
            "  ended     70 % or more by dana, over the API, since 2",
            ": worse\n",
        ],
    );
    has(
        &lower,
        1,
        &[
            "NOT LOWER: payments.checkout stays declared at 25 % in the manifest file; 10 % was asked for",
        ],
    );
    has(
        &lower,
        1,
        &[
            "opens tick by tick (5 s) down to what holds",
            "change throttlePercent in the manifest file",
        ],
    );
    assert!(
        !out(&lower).contains("DECLARED") && !err(&lower).contains("since :"),
        "{}{}",
        out(&lower),
        err(&lower)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_below_the_manifests_is_not_told_as_declared() {
    let (folder, echo) = with_manifest().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let first = set(folder, &url, "60%");
    has(&first, 0, &["DECLARED: payments.checkout refuses 60 %"]);
    assert!(!out(&first).contains("  ended "), "{}", out(&first));
    // Whose tightening it takes the place of is named: nobody else would be told.
    let by = [
        "--throttle",
        CHECKOUT,
        "--operator",
        "dana",
        "--reason",
        "worse",
    ];
    let higher = ask(folder, &url, &[&["set", "70%"][..], &by].concat());
    has(
        &higher,
        0,
        &[
            "DECLARED",
            "  ended     60 % or more by eve, over the API, since 2",
            ": fraud wave\n",
        ],
    );
    below_the_manifests(folder, &url);
    let entry = newest(&echo, "control").await;
    assert_eq!(
        (&entry["after"], &entry["operator"]),
        (&json!("0.25"), &json!("eve")),
        "{entry}"
    );
    assert_eq!(entry["reason"], "0.1 was asked for: fraud wave");
    // It opens still, though no level of a person's is left.
    let still = set(folder, &url, "10%");
    has(&still, 1, &["NOT LOWER"]);
    assert!(
        !out(&still).contains("  ended "),
        "nothing was left to end: {}",
        out(&still)
    );
    let row = out(&still)
        .lines()
        .find(|line| line.contains("next"))
        .unwrap()
        .to_owned();
    let opened = out(&still).contains("in force  25 %");
    assert!(
        opened || row.contains("opens tick by tick"),
        "{}",
        out(&still)
    );
}

/// Who declared is a person where one said so, and the key alone where nobody did.
#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_is_told_with_the_person_and_the_key() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    has(
        &ask(
            folder,
            &url,
            &["set", "25%", "--operator", "dana", "--reason", "fraud wave"],
        ),
        0,
        &["DECLARED"],
    );
    has(
        &ask(folder, &url, &["status"]),
        0,
        &["  declared  25 %, 2", ")\n  by        ECHO_API_KEY: dana\n"],
    );
    let request = http()
        .post(echo.url("/control"))
        .header("x-api-key", KEY)
        .json(&json!({ "target_throttle": 0.5 }));
    assert_eq!(request.send().await.unwrap().status(), 200);
    has(
        &ask(folder, &url, &["status"]),
        0,
        &["  declared  50 %, 2", ")\n  by        ECHO_API_KEY\n"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_that_is_not_there_is_told_with_the_one_that_was_meant() {
    let (folder, echo) = with_manifest().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let meant = "Did you mean payments.checkout?";
    let kill = ask(
        folder,
        &url,
        &[&KILL[..], &["--throttle", "checkout"]].concat(),
    );
    has(
        &kill,
        1,
        &[
            "there is no throttle `checkout`",
            meant,
            "NOTHING WAS STOPPED",
        ],
    );
    has(
        &ask(folder, &url, &["revive", "--throttle", "chekout"]),
        1,
        &[meant],
    );
    let level = [
        "set",
        "1",
        "--operator",
        "o",
        "--reason",
        "r",
        "--throttle",
        "payments.chekout",
    ];
    has(&ask(folder, &url, &level), 1, &[meant]);
    for output in ["text", "json"] {
        let audit = ask(
            folder,
            &url,
            &["audit", "--throttle", "checkout", "-o", output],
        );
        has(
            &audit,
            1,
            &[
                "there is no throttle `checkout`",
                meant,
                "echo-phoenix status",
            ],
        );
        assert_eq!(out(&audit), "");
    }
    has(
        &ask(folder, &url, &["audit", "--throttle", CHECKOUT]),
        0,
        &["declare"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_keeps_who_asked_for_what_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("ECHO_API_KEYS", "ci:reader:reads-only".to_owned())];
    let echo = Echo::start("serve", &keys, folder.path()).await;
    let (folder, url) = (folder.path(), echo.url(""));
    let order = ["set", "25%", "--operator", "eve", "--reason", "go live"];
    let read_only = |arguments: &[&str]| {
        let done = command(folder, &url, arguments)
            .env("ECHO_API_KEY", "reads-only")
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", err(&done));
    };
    let said = async |action: &str| {
        let entry = newest(&echo, action).await;
        (
            entry["operator"].as_str().unwrap().to_owned(),
            entry["reason"].as_str().unwrap().to_owned(),
        )
    };
    let pair = |operator: &str, reason: &str| (operator.to_owned(), reason.to_owned());
    read_only(&order);
    assert_eq!(
        said("control_refused").await,
        pair("eve", "role; 0.25 was asked for: go live")
    );
    read_only(&KILL);
    assert_eq!(
        said("kill_refused").await,
        pair("dana", "role: double charges")
    );
    ask(folder, &url, &KILL);
    has(
        &ask(folder, &url, &order),
        1,
        &["Held by dana, over the API"],
    );
    assert_eq!(
        said("control_refused").await,
        pair("eve", "killed; 0.25 was asked for: go live")
    );
}

/// What only somebody who sends requests knows.
const OF_REQUESTS: [&str; 6] = [
    "POST ",
    "held_by",
    "X-API-Key",
    "Idempotency-Key",
    "target_throttle",
    "\noperator:",
];

/// A service whose manifest kills a throttle, with a key that only reads.
async fn with_killed_checkout() -> (tempfile::TempDir, Echo) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    std::fs::write(
        &file,
        format!("{MANIFEST}  kill: {{reason: r, operator: o, confirmation: CONFIRM_KILL}}\n")
            .replace(
                "spec: {throttlePercent: 25}\n",
                "spec:\n  throttlePercent: 25\n",
            ),
    )
    .unwrap();
    let variables = [
        ("ECHO_API_KEYS", "ci:reader:reads-only".to_owned()),
        ("ECHO_MANIFEST", file.display().to_string()),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    (folder, echo)
}

/// Whoever typed a command sent no request: the command and the flag are named, and no route,
/// header or field.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_in_commands_and_flags() {
    let (folder, echo) = with_killed_checkout().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let (long, order) = (
        "x".repeat(1000),
        ["--operator", "eve", "--reason", "go live"],
    );
    let set = |arguments: &[&str]| ask(folder, &url, &[&["set", "0"][..], arguments].concat());
    let reader = |arguments: &[&str]| {
        command(folder, &url, arguments)
            .env("ECHO_API_KEY", "reads-only")
            .output()
            .unwrap()
    };
    let nobody = command(folder, &url, &KILL)
        .env("ECHO_API_KEY", "")
        .env("ENVIRONMENT", "staging")
        .output()
        .unwrap();
    let killed = set(&[&order[..], &["--throttle", CHECKOUT]].concat());
    let ended = ask(folder, &url, &["revive"]);
    let told = [
        (
            set(&["--operator", &long, "--reason", "r"]),
            "set was refused (422): --operator: expected ",
        ),
        (
            set(&["--operator", "o", "--reason", &long.repeat(20)]),
            "set was refused (422): --reason: expected ",
        ),
        (
            reader(&KILL),
            "kill was refused (403): `echo-phoenix kill` needs the role breaker, which the key ci has not",
        ),
        (
            reader(&["revive"]),
            "revive was refused (403): `echo-phoenix revive` needs the role breaker",
        ),
        (nobody, "kill was refused (401): Missing API key."),
        (
            killed,
            "set was refused (409): Throttle payments.checkout is killed; end the kill with `echo-phoenix revive` first.",
        ),
        (
            ended,
            "revive was refused (409): Nothing could be ended here; see below for who holds what.",
        ),
        (
            ask(folder, &url, &["revive", "--epoch", "wrong"]),
            "no hold with the epoch wrong; see below for those there are.",
        ),
    ];
    for (done, words) in &told {
        has(done, 1, &[words]);
        for theirs in OF_REQUESTS {
            assert!(!err(done).contains(theirs), "{theirs} is in {}", err(done));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_surely_stopped_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("ENVIRONMENT", "production".to_owned()),
        ("ECHO_API_KEY", String::new()),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    let nothing = "NOTHING WAS STOPPED";
    let (folder, url) = (folder.path(), echo.url(""));
    has(
        &ask(folder, &url, &KILL),
        1,
        &["API key not configured", nothing],
    );
    has(
        &ask(folder, "ftp://127.0.0.1", &KILL),
        2,
        &["ECHO_URL", nothing],
    );
    has(
        &ask(folder, &url, &KILL[..5]),
        2,
        &["--confirm CONFIRM_KILL", nothing],
    );
    has(
        &ask(folder, &url, &[&KILL[..], &["--patience", "soon"]].concat()),
        2,
        &["--patience", nothing],
    );
    let help = ask(folder, &url, &["kill", "--help"]);
    assert!(
        help.status.success() && !err(&help).contains(nothing),
        "{}",
        err(&help)
    );
    let (code, said) = on_terminal(&mut command(folder, &url, &KILL[..5]), "no\n");
    assert!(code == Some(2) && said.contains(nothing), "{code:?} {said}");
    // Any other 5xx leaves it open.
    let front = Front::answering(
        500,
        "application/problem+json",
        r#"{"detail":"The kill broke off"}"#,
    );
    let broke = ask(folder, &front.url(), &KILL);
    assert!(!err(&broke).contains(nothing), "{}", err(&broke));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_unknown_and_no_figure() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let wrong = || {
        command(folder, &url, &["status"])
            .env("ECHO_API_KEY", "wrong")
            .output()
            .unwrap()
    };
    has(
        &wrong(),
        1,
        &["what each throttle refuses is unknown", "Invalid API key"],
    );
    assert!(!out(&wrong()).contains("% refused"), "{}", out(&wrong()));
    ask(folder, &url, &KILL);
    has(&wrong(), 1, &["KILLED, as far as /health tells", "unknown"]);
}

#[test]
fn words_that_are_blank_and_levels_with_a_sign_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let set = |arguments: &[&str]| {
        ask(
            folder.path(),
            "http://127.0.0.1:1",
            &[&["set"], arguments].concat(),
        )
    };
    has(
        &set(&["0", "--operator", "", "--reason", "r"]),
        2,
        &["--operator", "expected some text"],
    );
    has(
        &set(&["0", "--operator", "o", "--reason", "  "]),
        2,
        &["--reason", "expected some text"],
    );
    has(
        &set(&["+5%", "--operator", "o", "--reason", "r"]),
        2,
        &["as 5%", "0.25", "25%"],
    );
    has(
        &ask(folder.path(), "", &["revive", "--operator", ""]),
        2,
        &["expected some text"],
    );
}

#[test]
fn a_record_that_is_not_there_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, empty) = (folder.path(), folder.path().join("empty.db"));
    std::fs::write(&empty, "").unwrap();
    let empty = empty.display().to_string();
    let missing = [
        "data/ledger.db: there is no such file",
        "--data-dir or ECHO_DATA_DIR",
    ];
    has(&ask(folder, "", &["verify"]), 1, &missing);
    has(&ask(folder, "", &["backup", "b.db"]), 1, &missing);
    assert!(!folder.join("b.db").exists() && !folder.join("data").exists());
    has(
        &ask(folder, "", &["verify", "--file", &empty]),
        1,
        &[&empty, "it is empty", "--file names a ledger"],
    );
    has(
        &ask(folder, "", &["verify", "--file", "gone.db"]),
        1,
        &["gone.db: there is no such file"],
    );
    has(
        &ask(folder, "", &["verify", "--file", "."]),
        1,
        &["it is a folder", "--data-dir"],
    );
}

/// Bytes that are no ledger, what is said of them, and what they look like.
fn no_ledgers(folder: &Path, whole: &[u8]) -> [(Vec<u8>, &'static str, &'static str); 7] {
    let mut damaged = whole.to_owned();
    damaged[4096..].fill(0xa5);
    let other = |sql: &str| {
        let file = folder.join("other.db");
        let _ = std::fs::remove_file(&file);
        Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        std::fs::read(file).unwrap()
    };
    let text =
        b"no database at all, and long enough to be looked at, which is to say a hundred bytes and a few more of them"
            .to_vec();
    let (unread, none) = ("the ledger cannot be read: ", "no ledger, ");
    [
        (text, unread, "it does not begin as a ledger does"),
        (
            b"SQLite format 3\0".to_vec(),
            unread,
            "it does not begin as a ledger does",
        ),
        (
            [&[0x1f, 0x8b, 8, 0][..], whole].concat(),
            unread,
            "it is compressed (gzip): unpack it first",
        ),
        (
            [&b"Salted__"[..], whole].concat(),
            unread,
            "it is encrypted (openssl): decrypt it first",
        ),
        (
            whole[..whole.len() / 2].to_vec(),
            unread,
            "it was cut short: ",
        ),
        (
            damaged,
            unread,
            "it begins as a ledger does and is damaged further in",
        ),
        (
            other("CREATE TABLE notes (text)"),
            none,
            "but an SQLite file of another program: none of a ledger's tables is in it",
        ),
    ]
}

/// Whatever lies where a ledger should be is named, with what it looks like and how to go on, by
/// both that read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_ledger_is_named_with_what_it_looks_like_and_the_way_out() {
    let (home, mut echo) = service().await;
    let folder = home.path();
    has(&ask(folder, "", &["backup", "whole.db"]), 0, &[]);
    echo.process.kill_9();
    let whole = std::fs::read(folder.join("whole.db")).unwrap();
    let ways = [
        "echo-phoenix verify --file BACKUP",
        "cp BACKUP NEW/ledger.db",
        "ECHO_DATA_DIR=NEW",
    ];
    std::fs::create_dir(folder.join("bad")).unwrap();
    for (bytes, what, looks) in no_ledgers(folder, &whole) {
        std::fs::write(folder.join("bad/ledger.db"), bytes).unwrap();
        let verified = ask(folder, "", &["verify", "--file", "bad/ledger.db"]);
        has(&verified, 1, &[&format!("bad/ledger.db: {what}"), looks]);
        has(&verified, 1, &ways);
        let saved = ask(folder, "", &["backup", "new.db", "--data-dir", "bad"]);
        has(&saved, 1, &["no backup was made: bad/ledger.db: ", looks]);
        has(&saved, 1, &ways);
        assert!(!folder.join("new.db").exists(), "{looks}");
    }
    // A row that was edited leaves no doubt of what the file is.
    std::fs::write(folder.join("bad/ledger.db"), &whole).unwrap();
    let edit =
        "DROP TRIGGER audit_log_no_update; UPDATE audit_log SET reason = 'another' WHERE seq = 1";
    Connection::open(folder.join("bad/ledger.db"))
        .unwrap()
        .execute_batch(edit)
        .unwrap();
    let verified = ask(folder, "", &["verify", "--data-dir", "bad"]);
    has(
        &verified,
        1,
        &["bad/ledger.db: audit_log: row 1 was edited"],
    );
    has(&verified, 1, &ways);
    // What is wrong with the place of the copy is not the ledger's.
    let nowhere = ask(folder, "", &["backup", "gone/new.db"]);
    assert!(!err(&nowhere).contains("BACKUP"), "{}", err(&nowhere));
    has(&nowhere, 1, &["no backup was made: gone/new.db"]);
}

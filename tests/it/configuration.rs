//! Configuration of the real binary: what counts as not set, what is refused and how it is said,
//! who beats whom; and that a secret that was given is found nowhere again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;
use echo_phoenix::config::Secret;
use echo_phoenix::run::ServeArgs;
use reqwest::Method;

use crate::support::{Echo, KEY, http, program};

/// The `.env` that the guide's step 1 writes.
const GUIDE: &str = "# Core Services
AIRTABLE_API_KEY=YOUR_AIRTABLE_KEY
AIRTABLE_BASE_ID=YOUR_BASE_ID
STRIPE_SECRET_KEY=sk_live_YOUR_KEY
STRIPE_WEBHOOK_SECRET=whsec_PLACEHOLDER

# Security (REQUIRED)
ECHO_API_KEY=5f0c9e3a7d5b4c1e8f2a6b9d0c3e7f1a
RATE_LIMIT_PER_MINUTE=100

# Environment
ENVIRONMENT=production
";

/// Starts what must not start: its exit code and what it said.
fn refused(folder: &Path, variables: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command
        .arg("serve")
        .args(flags)
        .env_clear()
        .current_dir(folder)
        .env("ECHO_LISTEN", "127.0.0.1:0");
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    // Whatever starts all the same is ended by the folder's lock at the latest: it listens on a
    // port that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    if !variables.iter().any(|(name, _)| *name == "ECHO_LISTEN") {
        command.env("ECHO_LISTEN", taken.local_addr().unwrap().to_string());
    }
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (
        done.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Variables, and what their refusal says.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for variables in [
        &[("ECHO_STORE", "postgres://dana:s3cret@db/echo")][..],
        &[
            ("AIRTABLE_API_KEY", "keyOLD"),
            ("AIRTABLE_BASE_ID", "appABC123"),
        ],
        &[("ECHO_API_KEYS", "ECHO_API_KEY:reader:k")],
        &[
            ("ECHO_LISTEN", "127.0.0.1:9"),
            ("ECHO_GATE_LISTEN", "127.0.0.1:9"),
        ],
        &[("ECHO_DATA_DIR", "file")],
    ] {
        let (code, said) = refused(folder.path(), variables, &[]);
        let named = variables.iter().any(|(name, _)| said.contains(name));
        assert!(
            code == Some(2) && named && !said.contains("s3cret") && !said.contains("made one"),
            "{variables:?}: {said}"
        );
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|one| one.unwrap().file_name())
            .collect();
        assert_eq!(left, ["file"], "{variables:?}");
    }
}

/// Variables, and what must be said of them.
const MALFORMED: &[Case] = &[
    (
        &[("ECHO_STORE", "postgres://db/echo")],
        &["ECHO_STORE", "sqlite", "unset", "no PostgreSQL yet"],
    ),
    (
        &[("ECHO_STORE", "mysql")],
        &["ECHO_STORE", "sqlite", "unset"],
    ),
    (
        &[("ECHO_LISTEN", "192.0.2.1:8080")],
        &["ECHO_LISTEN", "an address of this machine", "0.0.0.0"],
    ),
    (
        &[("ECHO_API_KEYS", "ECHO_API_KEY:reader:k")],
        &["ECHO_API_KEYS", "reserved", "ci:reader:KEY"],
    ),
    (
        &[("ECHO_LISTEN", "localhost:8080")],
        &["ECHO_LISTEN", "localhost:8080", "127.0.0.1:8080", "unset"],
    ),
    (
        &[("ECHO_GATE_LISTEN", "8081")],
        &["ECHO_GATE_LISTEN", "an IP address and a port", "unset"],
    ),
    (
        &[("ENVIRONMENT", "prod")],
        &["ENVIRONMENT", "prod", "staging, production", "unset"],
    ),
    (
        &[("ECHO_LOG", "=,=")],
        &["ECHO_LOG", "echo_phoenix=debug", "unset"],
    ),
    (
        &[("ECHO_LOG_FORMAT", "xml")],
        &["ECHO_LOG_FORMAT", "json", "human", "unset"],
    ),
    (
        &[("RATE_LIMIT_PER_MINUTE", "0")],
        &["RATE_LIMIT_PER_MINUTE", "a whole number", "from 1", "unset"],
    ),
    (
        &[("RATE_LIMIT_PER_MINUTE", "many")],
        &["RATE_LIMIT_PER_MINUTE", "many", "a whole number"],
    ),
    (
        &[("RATE_LIMIT_PER_MINUTE", "4294967296")],
        &["RATE_LIMIT_PER_MINUTE", "a whole number"],
    ),
    (
        &[("ECHO_TRUSTED_PROXIES", "10.0.0.1,fly")],
        &["ECHO_TRUSTED_PROXIES", "CIDR", "number 2", "unset"],
    ),
    (
        &[("ECHO_API_KEY", "with space")],
        &["ECHO_API_KEY:", "visible ASCII", "openssl rand"],
    ),
    (
        &[("ECHO_API_KEYS", "a:reader:k,b:king:k2")],
        &[
            "ECHO_API_KEYS",
            "entry 2",
            "reader, gate, operator, breaker",
            "Write",
        ],
    ),
    (
        &[("AIRTABLE_API_KEY", "key123"), ("AIRTABLE_BASE_ID", "appX")],
        &["AIRTABLE_API_KEY", "pat", "airtable.com"],
    ),
    (
        &[("AIRTABLE_API_KEY", "pat1"), ("AIRTABLE_BASE_ID", "tblX")],
        &["AIRTABLE_BASE_ID", "app", "Copy"],
    ),
    (
        &[("AIRTABLE_API_BASE", "api.airtable.com")],
        &["AIRTABLE_API_BASE", "https://", "unset"],
    ),
    (
        &[("STRIPE_WEBHOOK_SECRET", "whsec_a,sec_b")],
        &["STRIPE_WEBHOOK_SECRET", "whsec_", "number 2", "Copy"],
    ),
    (
        &[("STRIPE_SECRET_KEY", "pk_live_1")],
        &["STRIPE_SECRET_KEY", "sk_", "Copy"],
    ),
    (
        &[
            ("STRIPE_SECRET_KEY", "sk_test_1"),
            ("ENVIRONMENT", "production"),
        ],
        &[
            "STRIPE_SECRET_KEY",
            "live-mode",
            "production",
            "ENVIRONMENT=staging",
        ],
    ),
    (
        &[
            ("STRIPE_SECRET_KEY", "rk_test_1"),
            ("ENVIRONMENT", "production"),
        ],
        &["STRIPE_SECRET_KEY", "live-mode", "production"],
    ),
];

#[test]
fn a_malformed_value_is_refused_with_variable_expectation_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    for (variables, words) in MALFORMED {
        let (code, said) = refused(folder.path(), variables, &[]);
        assert_eq!(code, Some(2), "{variables:?}: {said}");
        for word in *words {
            assert!(
                said.contains(word),
                "{variables:?} does not say {word}: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_production_a_key_under_32_characters_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let (short, long) = (
        "s-hort-9Qx2VnB4-89012345678901x",
        "l-ong-9Qx2VnB4-8901234567890123x",
    );
    assert_eq!((short.len(), long.len()), (31, 32));
    let more = format!("ops:operator:{long},dana:breaker:{short}");
    for role in ["serve", "operator", "gate"] {
        let cases = [
            ("ECHO_API_KEY", short, "32 characters"),
            ("ECHO_API_KEYS", more.as_str(), "entry 2"),
        ];
        for (variable, value, named) in cases {
            let mut command = Command::new(program());
            command
                .arg(role)
                .env_clear()
                .current_dir(folder.path())
                .stdin(Stdio::null());
            command
                .env("ECHO_LISTEN", "127.0.0.1:0")
                .env("KUBECONFIG", "nowhere")
                .env("ENVIRONMENT", "production");
            let done = command.env(variable, value).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(done.status.code(), Some(2), "{role} {variable}: {said}");
            for word in [variable, "production", named, "openssl rand -hex 32"] {
                assert!(
                    said.contains(word),
                    "{role} {variable} does not say {word}: {said}"
                );
            }
            assert!(!said.contains("9Qx2VnB4"), "{said}");
        }
    }
    // As long as that it starts, and anywhere else a short one does.
    for (environment, key) in [
        ("production", long),
        ("staging", short),
        ("development", short),
    ] {
        let variables = [
            ("ENVIRONMENT", environment.to_owned()),
            ("ECHO_API_KEY", key.to_owned()),
        ];
        drop(Echo::start("serve", &variables, folder.path()).await);
    }
}

/// Variables that may be empty.
const EMPTY: [&str; 12] = [
    "ECHO_GATE_LISTEN",
    "ECHO_LOG",
    "ECHO_LOG_FORMAT",
    "ECHO_API_KEY",
    "ECHO_API_KEYS",
    "ECHO_DATA_DIR",
    "ENVIRONMENT",
    "RATE_LIMIT_PER_MINUTE",
    "ECHO_TRUSTED_PROXIES",
    "AIRTABLE_API_BASE",
    "AIRTABLE_API_KEY",
    "STRIPE_WEBHOOK_SECRET",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_empty_or_the_guides_placeholder_is_not_set_and_the_log_names_what_is_off() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), GUIDE).unwrap();
    // Every variable empty: none of them may stop it, and the file's key is used.
    let variables = EMPTY
        .iter()
        .zip(["", " ", "YOUR_VALUE"].iter().cycle())
        .map(|(n, v)| (*n, (*v).to_owned()));
    let echo = Echo::start("serve", &variables.collect::<Vec<_>>(), folder.path()).await;
    let said = echo.process.said();
    for variable in ["STRIPE_WEBHOOK_SECRET", "AIRTABLE_API_KEY"] {
        assert!(
            said.contains(&format!("off: set {variable} to turn it on")),
            "{said}"
        );
    }
    let key = "5f0c9e3a7d5b4c1e8f2a6b9d0c3e7f1a";
    let observed = http()
        .post(echo.url("/observe"))
        .header("x-api-key", key)
        .body(r#"{"source":"test"}"#);
    assert_eq!(observed.send().await.unwrap().status(), 200);
    let health: serde_json::Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "healthy", "what is off does not degrade");
    assert!(
        health["checks"]["airtable"]
            .as_str()
            .unwrap()
            .contains("AIRTABLE_API_KEY"),
        "{health}"
    );
    let authz = http()
        .get(echo.url("/authz/nginx/default"))
        .send()
        .await
        .unwrap();
    assert_eq!(authz.status(), 403);
    drop(echo);

    let half = [
        ("AIRTABLE_API_KEY", "patSomething".to_owned()),
        ("ECHO_DATA_DIR", "other".to_owned()),
    ];
    let echo = Echo::start("serve", &half, folder.path()).await;
    assert!(
        echo.process
            .said()
            .contains("off: set AIRTABLE_BASE_ID to turn it on"),
        "the half that is missing is named"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_beats_the_environment_which_beats_the_file_of_this_folder_alone() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("below");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        above.path().join(".env"),
        "ECHO_DATA_DIR=from-above\nECHO_LOG=nonsense,=\n",
    )
    .unwrap();
    let made = || {
        let all = [
            "data",
            "from-above",
            "from-file",
            "from-environment",
            "from-flag",
        ];
        all.into_iter()
            .filter(|name| folder.join(name).exists())
            .collect::<Vec<_>>()
    };
    drop(Echo::start("serve", &[], &folder).await);
    assert_eq!(made(), ["data"]);
    // Some editors begin a file with a byte order mark.
    std::fs::write(folder.join(".env"), "\u{feff}ECHO_DATA_DIR='from-file'\n").unwrap();
    drop(Echo::start("serve", &[], &folder).await);
    assert_eq!(made(), ["data", "from-file"]);
    let environment = [("ECHO_DATA_DIR", "from-environment".to_owned())];
    drop(Echo::start("serve", &environment, &folder).await);
    assert_eq!(made(), ["data", "from-file", "from-environment"]);
    let mut command = Command::new(program());
    command.args(["serve", "--data-dir", "from-flag"]);
    drop(Echo::launch(command, "serve", &environment, &folder).await);
    assert_eq!(
        made(),
        ["data", "from-file", "from-environment", "from-flag"]
    );
    std::fs::remove_dir_all(folder.join("from-file")).unwrap();
    drop(Echo::start("serve", &[("ECHO_DATA_DIR", String::new())], &folder).await);
    assert!(
        made().contains(&"from-file"),
        "an empty variable is one that is not set"
    );
}

/// Everything secret that can be given; none of it stands in another.
const SECRETS: [&str; 8] = [
    KEY,
    "s-reader-7Qx2VnB4",
    "s-breaker-9Lm3KpW8",
    "patAIRTABLE5Tg7Yh2.9f8e7d6c5b4a",
    "sk_live_STRIPEKEY4Rt6Yu8",
    "whsec_WEBHOOKONE2Ws4Ed",
    "whsec_WEBHOOKTWO5Rf7Tg",
    "patAIRTABLE5Tg7Yh2",
];

fn secrets() -> Vec<(&'static str, String)> {
    vec![
        (
            "ECHO_API_KEYS",
            format!("ci:reader:{},red:breaker:{}", SECRETS[1], SECRETS[2]),
        ),
        ("AIRTABLE_API_KEY", SECRETS[3].to_owned()),
        ("AIRTABLE_BASE_ID", "appABC123".to_owned()),
        // Nobody listens there, so every call fails.
        ("AIRTABLE_API_BASE", "http://127.0.0.1:9".to_owned()),
        ("STRIPE_SECRET_KEY", SECRETS[4].to_owned()),
        (
            "STRIPE_WEBHOOK_SECRET",
            format!("{},{}", SECRETS[5], SECRETS[6]),
        ),
    ]
}

fn tells(text: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| text.contains(secret))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_given_is_found_in_no_answer_and_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut variables = secrets();
    variables.push(("ECHO_LOG", "trace".to_owned()));
    let mut echo = Echo::start("serve", &variables, folder.path()).await;
    let kill = r#"{"reason":"r","operator":"o","confirmation":"CONFIRM_KILL"}"#;
    let (get, post) = (Method::GET, Method::POST);
    let all = [
        (&get, "/health", "", ""),
        (&get, "/metrics", KEY, ""),
        (&get, "/openapi.json", "", ""),
        (&get, "/docs", "", ""),
        (&get, "/v1/throttles", SECRETS[1], ""),
        (&post, "/observe", KEY, r#"{"source":"test"}"#),
        (&post, "/observe", KEY, "{"),
        (&post, "/control", SECRETS[1], "{}"),
        (&post, "/kill", SECRETS[2], kill),
        (&post, "/kill", SECRETS[1], kill),
        (&post, "/kill", "whsec_WEBHOOKONE2Ws4Ed", kill),
        (&post, "/webhooks/stripe", "", "{}"),
        (&post, "/revive", SECRETS[2], ""),
        (&get, "/v1/audit?limit=200", SECRETS[1], ""),
        (&get, "/v1/state", KEY, ""),
    ];
    for (method, path, key, body) in all {
        let request = http()
            .request(method.clone(), echo.url(path))
            .header("x-api-key", key)
            .body(body);
        let request = request.header("stripe-signature", "t=1,v1=00");
        let answer = request.send().await.unwrap();
        let headers = format!("{:?}", answer.headers());
        let said = headers + &answer.text().await.unwrap();
        assert_eq!(tells(&said), None, "{method} {path}: {said}");
    }
    assert!(echo.process.terminate().success());
    let said = echo.process.said();
    assert!(said.contains("\"DEBUG\""), "the log was as loud as can be");
    assert_eq!(tells(&said), None);
}

/// A secret in a file that cannot be read.
fn not_told_of_a_file(folder: &Path, secret: &str) {
    std::fs::write(
        folder.join(".env"),
        format!("A=1\nECHO_API_KEY={secret} and more\n"),
    )
    .unwrap();
    let (code, said) = refused(folder, &[], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains(".env") && said.contains("line 2") && !said.contains("Zx9"),
        "{said}"
    );
    std::fs::write(
        folder.join(".env"),
        format!("A=1\nB=2\nECHO_API_KEY='{secret}\nC=3\n"),
    )
    .unwrap();
    let (code, said) = refused(folder, &[], &[]);
    assert!(
        code == Some(2) && said.contains("line 3") && !said.contains("Zx9"),
        "{said}"
    );
}

#[test]
fn a_secret_that_was_given_is_found_in_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "Zx9-hush-8Yw7";
    let broken = [
        ("ECHO_API_KEY", format!("{secret} x")),
        ("ECHO_API_KEYS", format!("a:reader:k,{secret}")),
        ("ECHO_API_KEYS", format!("{secret}:reader")),
        ("ECHO_API_KEYS", format!("a:{secret}:reader")),
        ("AIRTABLE_API_KEY", secret.to_owned()),
        ("STRIPE_SECRET_KEY", secret.to_owned()),
        ("STRIPE_WEBHOOK_SECRET", secret.to_owned()),
    ];
    for (variable, value) in &broken {
        let base = [
            (*variable, value.as_str()),
            ("AIRTABLE_BASE_ID", "appABC123"),
        ];
        let (code, said) = refused(folder.path(), &base, &[]);
        assert_eq!(code, Some(2), "{variable}: {said}");
        assert!(
            said.contains(variable) && !said.contains("Zx9") && !said.contains("8Yw7"),
            "{variable}: {said}"
        );
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        let (code, said) = refused(
            folder.path(),
            &[("AIRTABLE_BASE_ID", "appABC123")],
            &[&flag, value],
        );
        assert!(code == Some(2) && !said.contains("Zx9"), "{flag}: {said}");
    }
    // Another value's mistake while secrets are there.
    let given = secrets();
    let mut given: Vec<_> = given
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    given.extend([("ECHO_API_KEY", KEY), ("RATE_LIMIT_PER_MINUTE", "x")]);
    let (code, said) = refused(folder.path(), &given, &[]);
    assert_eq!((code, tells(&said)), (Some(2), None), "{said}");
    not_told_of_a_file(folder.path(), secret);
    let mut setup = Command::new(program());
    setup
        .arg("setup-airtable")
        .env_clear()
        .envs(secrets())
        .current_dir("/");
    let done = setup.output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(
        done.status.code() == Some(1) && said.contains("setup-airtable:"),
        "{said}"
    );
    assert_eq!(tells(&said), None, "{said}");
    let mut help = Command::new(program());
    help.args(["serve", "--help"])
        .env_clear()
        .envs(secrets())
        .env("ECHO_API_KEY", KEY)
        .current_dir("/");
    let help = String::from_utf8(help.output().unwrap().stdout).unwrap();
    assert!(
        help.contains("--api-keys") && tells(&help).is_none(),
        "{help}"
    );
}

#[derive(Debug, Parser)]
struct Whole {
    #[command(flatten)]
    args: ServeArgs,
}

#[test]
fn a_secret_that_was_given_is_found_in_no_debug_output() {
    let mut flags = vec!["echo-phoenix".to_owned(), format!("--api-key={KEY}")];
    let flag = |name: &str| name.to_lowercase().replace('_', "-").replace("echo-", "");
    flags.extend(
        secrets()
            .iter()
            .map(|(name, value)| format!("--{}={value}", flag(name))),
    );
    let debug = format!("{:?}", Whole::parse_from(flags).args);
    assert!(
        debug.contains("(set)") && debug.contains("http://127.0.0.1:9"),
        "{debug}"
    );
    assert_eq!(tells(&debug), None, "{debug}");
    assert_eq!(
        format!("{:?}", Secret::from("YOUR_KEY".to_owned())),
        "(not set)"
    );
}

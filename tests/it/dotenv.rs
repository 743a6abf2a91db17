//! A `.env` that may be somebody else's, keys that go only where they belong, and secrets in files:
//! the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it measures time"
)]

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Echo, KEY, eventually, http, program, run};

const KILL: [&str; 7] = [
    "kill",
    "--reason",
    "double charges",
    "--operator",
    "dana",
    "--confirm",
    "CONFIRM_KILL",
];

/// Our program in a folder, with these variables alone; ended after 20 s, which would be too long.
async fn ask(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .envs(variables.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    eventually(
        &format!("{arguments:?} ends"),
        Duration::from_secs(20),
        async || child.try_wait().unwrap().map(drop),
    )
    .await;
    child.wait_with_output().unwrap()
}

fn err(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn pipe(path: &Path) {
    run(Command::new("mkfifo").arg(path));
}

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ==\n-----END PRIVATE KEY-----\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_dotenv_stops_no_command_that_has_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let url = echo.url("");
    let given = [("ECHO_URL", url.as_str()), ("ECHO_API_KEY", KEY)];
    let cases: [(&str, Vec<u8>); 9] = [
        ("malformed", b"FOO=bar baz\nQUX='open\n".to_vec()),
        ("a PEM", PEM.into()),
        ("Latin-1", b"NAME=Andr\xe9\n".to_vec()),
        ("a NUL", b"A=b\0c\n\0\0".to_vec()),
        (
            "a NUL of ours",
            b"ECHO_DATA_DIR=a\0b\nECHO_API_KEY=a\0b\n".to_vec(),
        ),
        (
            "ours, malformed, given otherwise",
            b"ECHO_API_KEY='open\nECHO_URL=http://a b\n".to_vec(),
        ),
        (
            "ours, malformed, of the service",
            b"ENVIRONMENT=pro duction\nECHO_LISTEN=a b\n".to_vec(),
        ),
        ("large", vec![b'x'; (64 << 10) + 1]),
        ("empty", Vec::new()),
    ];
    for (what, text) in cases {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".env"), text).unwrap();
        let killed = ask(home.path(), &KILL, &given).await;
        assert_eq!(killed.status.code(), Some(0), "{what}: {}", err(&killed));
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".env");
    pipe(&file);
    let killed = ask(home.path(), &KILL, &given).await;
    assert_eq!(killed.status.code(), Some(0), "{}", err(&killed));
    assert!(
        err(&killed).contains(".env: not read: it is no regular file"),
        "{}",
        err(&killed)
    );
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let killed = ask(home.path(), &KILL, &given).await;
    assert_eq!(
        (killed.status.code(), err(&killed).contains(".env")),
        (Some(0), false),
        "{}",
        err(&killed)
    );
    std::fs::remove_dir(&file).unwrap();
    // Not even its owner may read it; a superuser reads it all the same.
    std::fs::write(&file, "ECHO_API_KEY=other\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let killed = ask(home.path(), &KILL, &given).await;
    assert_eq!(killed.status.code(), Some(0), "{}", err(&killed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_ours_refuses_only_what_needs_it_and_is_named_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let url = echo.url("");
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join(".env"),
        "# mine\nECHO_API_KEY=Zx9 hush\nECHO_RAMP='\n",
    )
    .unwrap();
    let refused = ask(home.path(), &["status"], &[("ECHO_URL", &url)]).await;
    let said = err(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains(".env: line 2: expected ECHO_API_KEY=value") && !said.contains("Zx9"),
        "{said}"
    );
    let told = ask(
        home.path(),
        &["status"],
        &[("ECHO_URL", &url), ("ECHO_API_KEY", KEY)],
    )
    .await;
    let said = err(&told);
    assert_eq!(told.status.code(), Some(0), "{said}");
    assert!(
        said.contains(".env: line 2: ECHO_API_KEY is not taken") && !said.contains("line 3"),
        "{said}"
    );
    let other = ask(home.path(), &["crd"], &[]).await;
    assert_eq!(
        other.status.code(),
        Some(0),
        "no key is needed: {}",
        err(&other)
    );
    // A value that is no value of its kind is named with its line too.
    std::fs::write(home.path().join(".env"), "\nRATE_LIMIT_PER_MINUTE=many\n").unwrap();
    let refused = ask(home.path(), &["serve"], &[("ECHO_LISTEN", "127.0.0.1:0")]).await;
    assert!(
        refused.status.code() == Some(2) && err(&refused).contains(".env, line 2"),
        "{}",
        err(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_dotenv_cannot_be_read_says_so_and_hangs_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    pipe(&folder.path().join(".env"));
    let refused = ask(
        folder.path(),
        &["serve"],
        &[("ECHO_LISTEN", "127.0.0.1:0"), ("ECHO_API_KEY", KEY)],
    )
    .await;
    let said = err(&refused);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "it may say that this is production: {said}"
    );
    assert!(
        said.contains(".env") && said.contains("no regular file") && said.contains("ENVIRONMENT"),
        "{said}"
    );
    let given = [("ENVIRONMENT", "development".to_owned())];
    let mut echo = Echo::start("serve", &given, folder.path()).await;
    assert!(echo.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_others_may_read_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    for (text, mode, told) in [
        (format!("ECHO_API_KEY={KEY}\n"), 0o644, true),
        (format!("ECHO_API_KEY={KEY}\n"), 0o600, false),
        ("ECHO_LOG=info\nOTHER_SECRET=x\n".to_owned(), 0o644, false),
    ] {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = err(&ask(folder.path(), &["crd"], &[]).await);
        assert_eq!(
            said.contains("others may read its secrets (mode 0644); chmod 600 .env"),
            told,
            "{said}"
        );
    }
}

/// Airtable's key goes nowhere that `.env` says either.
async fn airtables_key_stays(home: &Path, address: SocketAddr) {
    std::fs::write(
        home.join(".env"),
        format!("AIRTABLE_API_BASE=http://{address}\nAIRTABLE_BASE_ID=appABC123\n"),
    )
    .unwrap();
    let refused = ask(
        home,
        &["setup-airtable"],
        &[("AIRTABLE_API_KEY", "patSomething.1")],
    )
    .await;
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(
        err(&refused).contains("AIRTABLE_API_BASE"),
        "{}",
        err(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_environment_never_goes_where_dotenv_says() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let address = stranger.local_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".env");
    let never_asked = || assert!(stranger.accept().is_err(), "the stranger was asked");
    for (text, named) in [
        (format!("ECHO_URL=http://{address}\n"), "ECHO_URL"),
        (format!("ECHO_LISTEN={address}\n"), "ECHO_LISTEN"),
    ] {
        std::fs::write(&file, &text).unwrap();
        for arguments in [&KILL[..], &["status"], &["revive"], &["plan"]] {
            let refused = ask(home.path(), arguments, &[("ECHO_API_KEY", KEY)]).await;
            let said = err(&refused);
            assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
            assert!(
                said.contains(named)
                    && said.contains(".env's and ECHO_API_KEY is not")
                    && !said.contains(KEY),
                "{said}"
            );
        }
        let by_flag = ask(home.path(), &["status", "--api-key", KEY], &[]).await;
        assert_eq!(by_flag.status.code(), Some(2), "{}", err(&by_flag));
        let secret = home.path().join("key");
        std::fs::write(&secret, KEY).unwrap();
        let by_file = ask(
            home.path(),
            &["status"],
            &[("ECHO_API_KEY_FILE", secret.to_str().unwrap())],
        )
        .await;
        assert_eq!(by_file.status.code(), Some(2), "{}", err(&by_file));
        // Nor does a file of this machine, by a path that stands there.
        std::fs::write(
            &file,
            format!("{text}ECHO_API_KEY_FILE={}\n", secret.display()),
        )
        .unwrap();
        let named = err(&ask(home.path(), &["crd"], &[]).await);
        assert!(
            named.contains("ECHO_API_KEY_FILE is not taken: it counts in the environment only"),
            "{named}"
        );
        never_asked();
    }
    airtables_key_stays(home.path(), address).await;
    never_asked();

    // Both in the same place: it is asked.
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    std::fs::write(
        &file,
        format!("ECHO_URL={}\nECHO_API_KEY={KEY}\n", echo.url("")),
    )
    .unwrap();
    let told = ask(home.path(), &["status"], &[]).await;
    assert_eq!(told.status.code(), Some(0), "{}", err(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dotenv_says_runs_no_command_and_names_no_platform() {
    let home = tempfile::tempdir().unwrap();
    let (ran, kubeconfig) = (home.path().join("ran"), home.path().join("kubeconfig"));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:9'}}}}]\n\
         users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, \
         interactiveMode: Never, args: [-c, 'echo ran > {}; exit 1']}}}}}}]\n",
        ran.display()
    );
    std::fs::write(&kubeconfig, text).unwrap();
    std::fs::write(
        home.path().join(".env"),
        format!("KUBECONFIG={}\nFLY_APP_NAME=x\n", kubeconfig.display()),
    )
    .unwrap();
    for role in ["operator", "gate"] {
        let done = ask(
            home.path(),
            &[role],
            &[("ECHO_LISTEN", "127.0.0.1:0"), ("ECHO_API_KEY", KEY)],
        )
        .await;
        let said = err(&done);
        assert!(!done.status.success() && !ran.exists(), "{role}: {said}");
        for name in ["KUBECONFIG", "FLY_APP_NAME"] {
            assert!(
                said.contains(&format!(
                    ".env: {name} is not taken: it counts in the environment only"
                )),
                "{said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_to_another_site_never_goes_where_a_declaration_of_dotenvs_says() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (manifest, file) = (home.path().join("echo.yaml"), home.path().join(".env"));
    let text = format!(
        "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: shop}}\nspec:\n  \
         throttlePercent: 25\n  targets:\n    - gate: {{}}\n    - remote: {{url: 'http://{}', apiKeyEnv: ECHO_REMOTE_KEY_OTHER}}\n",
        stranger.local_addr().unwrap()
    );
    std::fs::write(&manifest, text).unwrap();
    let secret = home.path().join("key");
    std::fs::write(&secret, KEY).unwrap();
    let (path, secret) = (manifest.display().to_string(), secret.display().to_string());
    let by_env = [("ECHO_REMOTE_KEY_OTHER", KEY)];
    let by_file = [("ECHO_REMOTE_KEY_OTHER_FILE", secret.as_str())];
    let base = [("ECHO_LISTEN", "127.0.0.1:0")];
    let cases: [(String, &str, &[&str]); 2] = [
        (
            format!("ECHO_MANIFEST={path}\n"),
            "ECHO_MANIFEST",
            &["serve"],
        ),
        (
            "ECHO_DATA_DIR=./theirs\n".to_owned(),
            "ECHO_DATA_DIR",
            &["serve", "--manifest", &path],
        ),
    ];
    for (text, named, arguments) in cases {
        std::fs::write(&file, text).unwrap();
        for key in [by_env, by_file] {
            let refused = ask(home.path(), arguments, &[base, key].concat()).await;
            let said = err(&refused);
            assert_eq!(refused.status.code(), Some(2), "{said}");
            assert!(
                said.contains(&format!("{named} is .env's and the key is not"))
                    && !said.contains(KEY),
                "{said}"
            );
        }
        assert!(stranger.accept().is_err(), "the stranger was asked");
    }
    // Both in the same place: it is asked.
    std::fs::write(
        &file,
        format!("ECHO_MANIFEST={path}\nECHO_REMOTE_KEY_OTHER={KEY}\n"),
    )
    .unwrap();
    let _echo = Echo::start("serve", &[], home.path()).await;
    eventually(
        "the other site is asked",
        Duration::from_secs(20),
        async || stranger.accept().ok().map(drop),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_service_made_goes_nowhere_that_dotenv_says() {
    let victim = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[("ECHO_API_KEY", String::new())], victim.path()).await;
    let data = victim.path().join("data").display().to_string();
    let key = std::fs::read_to_string(victim.path().join("data/api-key")).unwrap();
    let (url, listen) = (echo.url(""), echo.address.to_string());
    let home = tempfile::tempdir().unwrap();
    let (file, dir) = (home.path().join(".env"), ("ECHO_DATA_DIR", data.as_str()));
    for (text, given, named) in [
        (
            format!("ECHO_URL={url}\nECHO_DATA_DIR={data}\n"),
            vec![],
            "ECHO_URL",
        ),
        (format!("ECHO_URL={url}\n"), vec![dir], "ECHO_URL"),
        (format!("ECHO_LISTEN={listen}\n"), vec![dir], "ECHO_LISTEN"),
        (
            format!("ECHO_DATA_DIR={data}\n"),
            vec![("ECHO_URL", url.as_str())],
            "ECHO_DATA_DIR",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = ask(home.path(), &KILL, &given).await;
        let said = err(&refused);
        assert_eq!(refused.status.code(), Some(1), "{named}: {said}");
        assert!(
            said.contains(&format!("is not used: {named} is .env's")) && !said.contains(key.trim()),
            "{said}"
        );
    }
    // On a laptop nothing of that is .env's.
    for (text, given) in [
        (
            "ECHO_LOG=info\n".to_owned(),
            vec![("ECHO_LISTEN", listen.as_str()), dir],
        ),
        (
            format!("ECHO_API_KEY={key}"),
            vec![("ECHO_LISTEN", listen.as_str())],
        ),
        (format!("ECHO_URL={url}\nECHO_API_KEY={key}"), vec![]),
    ] {
        std::fs::write(&file, text).unwrap();
        let told = ask(home.path(), &["status"], &given).await;
        assert_eq!(told.status.code(), Some(0), "{}", err(&told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_where_is_said_before_it_goes() {
    let home = tempfile::tempdir().unwrap();
    let given = [("ECHO_URL", "http://echo.invalid:9"), ("ECHO_API_KEY", KEY)];
    let said = err(&ask(home.path(), &["status"], &given).await);
    assert!(
        said.starts_with(
            "The key that was given goes to http://echo.invalid:9, the address that was given."
        ),
        "{said}"
    );
    assert!(!said.contains(KEY), "{said}");
    std::fs::write(
        home.path().join(".env"),
        format!("ECHO_URL=http://echo.invalid:9\nECHO_API_KEY={KEY}\n"),
    )
    .unwrap();
    let said = err(&ask(home.path(), &["status"], &[]).await);
    assert!(
        said.contains("The key of .env goes to http://echo.invalid:9, the address of .env."),
        "{said}"
    );
}

/// Both keys open, and nothing is off.
async fn are_in_use(echo: &Echo, other: &str) {
    for key in [KEY, other] {
        let answer = http()
            .get(echo.url("/v1/throttles"))
            .header("x-api-key", key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for part in ["stripe", "airtable", "keys"] {
        assert!(
            !health["checks"][part]
                .as_str()
                .unwrap_or_default()
                .starts_with("off"),
            "{part}: {health}"
        );
    }
}

async fn what_is_no_such_file_is_refused(folder: &Path, url: &str) {
    pipe(&folder.join("pipe"));
    for (path, told) in [
        ("nowhere", "No such file"),
        ("pipe", "no regular file"),
        (".", "a folder"),
    ] {
        let refused = ask(
            folder,
            &["status"],
            &[("ECHO_URL", url), ("ECHO_API_KEY_FILE", path)],
        )
        .await;
        let said = err(&refused);
        assert!(
            refused.status.code() == Some(2)
                && said.contains("ECHO_API_KEY_FILE")
                && said.contains(told),
            "{said}"
        );
        // Who needs none does without.
        assert_eq!(
            ask(folder, &["crd"], &[("ECHO_API_KEY_FILE", path)])
                .await
                .status
                .code(),
            Some(0)
        );
    }
}

/// Starts with the secret in a file that is linked to, as Kubernetes mounts them.
#[tokio::test(flavor = "multi_thread")]
async fn each_secret_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(folder.path().join(format!("..{name}")), text).unwrap();
        symlink(format!("..{name}"), &path).unwrap();
        path.display().to_string()
    };
    let other = "another-key-0123456789abcdef01234567";
    let variables = [
        ("ECHO_API_KEY", String::new()),
        ("ECHO_API_KEY_FILE", put("key", &format!("{KEY}\n"))),
        (
            "ECHO_API_KEYS_FILE",
            put("keys", &format!("ci:reader:{other}\n")),
        ),
        ("STRIPE_WEBHOOK_SECRET_FILE", put("webhook", "whsec_abc\n")),
        ("STRIPE_SECRET_KEY_FILE", put("stripe", "sk_live_abc")),
        ("AIRTABLE_API_KEY_FILE", put("airtable", "patSomething.1")),
        ("AIRTABLE_BASE_ID", "appABC123".to_owned()),
        ("AIRTABLE_API_BASE", "http://127.0.0.1:9".to_owned()),
        ("ENVIRONMENT", "production".to_owned()),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    are_in_use(&echo, other).await;
    let url = echo.url("");
    let told = ask(
        folder.path(),
        &["status"],
        &[("ECHO_URL", &url), ("ECHO_API_KEY_FILE", &variables[1].1)],
    )
    .await;
    assert_eq!(told.status.code(), Some(0), "{}", err(&told));
    let both = [
        ("ECHO_URL", url.as_str()),
        ("ECHO_API_KEY_FILE", &variables[1].1),
        ("ECHO_API_KEY", KEY),
    ];
    let refused = ask(folder.path(), &["status"], &both).await;
    assert!(
        refused.status.code() == Some(2) && err(&refused).contains("ECHO_API_KEY_FILE"),
        "{}",
        err(&refused)
    );
    what_is_no_such_file_is_refused(folder.path(), &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_over_https_or_loopback_and_to_hosts_that_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let token = [
        ("AIRTABLE_API_KEY", "patSomething.1"),
        ("AIRTABLE_BASE_ID", "appABC123"),
    ];
    for (more, told) in [
        (
            &[("AIRTABLE_API_BASE", "http://airtable.example")][..],
            "plain text",
        ),
        (
            &[("AIRTABLE_API_BASE", "http://127.0.0.1.example")],
            "plain text",
        ),
        (
            &[("AIRTABLE_API_BASE", "https://dana:s3cret@airtable.example")],
            "password",
        ),
        (
            &[("ECHO_ALLOWED_HOSTS", "echo.example")],
            "ECHO_ALLOWED_HOSTS",
        ),
        (
            &[("ECHO_ALLOWED_HOSTS", "https://echo.example")],
            "number 1 is none",
        ),
    ] {
        for role in ["serve", "operator", "setup-airtable"] {
            let listen = if role == "setup-airtable" {
                &[][..]
            } else {
                &[("ECHO_LISTEN", "127.0.0.1:0")]
            };
            let refused = ask(folder.path(), &[role], &[&token[..], more, listen].concat()).await;
            let said = err(&refused);
            assert!(
                refused.status.code() == Some(2) && said.contains(told),
                "{role} {more:?}: {said}"
            );
            assert!(
                !said.contains("s3cret") && !said.contains("patSomething"),
                "{said}"
            );
        }
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == OsStr::new(".env")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_no_regular_file_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    pipe(&folder.path().join("pipe"));
    let home = folder.path().join("home/.kube");
    std::fs::create_dir_all(&home).unwrap();
    pipe(&home.join("config"));
    let (pipe, home) = (folder.path().join("pipe"), folder.path().join("home"));
    let (pipe, home) = (pipe.to_str().unwrap(), home.to_str().unwrap());
    let two = format!("{}:{pipe}", folder.path().join("missing").display());
    let listen = [("ECHO_LISTEN", "127.0.0.1:0"), ("ECHO_API_KEY", KEY)];
    for role in ["operator", "gate"] {
        for (variable, value, named) in [
            (
                "KUBECONFIG",
                pipe,
                "pipe cannot be read: it is no regular file",
            ),
            ("KUBECONFIG", two.as_str(), "missing cannot be read"),
            ("HOME", home, "config cannot be read: it is no regular file"),
        ] {
            let refused = ask(
                folder.path(),
                &[role],
                &[listen[0], listen[1], (variable, value)],
            )
            .await;
            assert!(
                !refused.status.success() && err(&refused).contains(named),
                "{role}: {}",
                err(&refused)
            );
        }
    }
}

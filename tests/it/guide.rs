//! The deployment guide by real bash, curl and openssl: its commands as they stand in
//! `guide/guide.md`, with the address of the service under test in place of the guide's, and its
//! tables row by row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Echo, curl, eventually};

const GUIDE: &str = include_str!("guide/guide.md");
/// How often a person looks again: more often, and what opens would be loaded by that, or the limit
/// of a minute used up.
const PACE: Duration = Duration::from_millis(800);
const ADDRESS: &str = "https://echo-phoenix.fly.dev";

/// The part of the guide under a heading, up to the next one of its rank.
fn part(heading: &str) -> &'static str {
    let (_, rest) = GUIDE
        .split_once(&format!("\n{heading}"))
        .unwrap_or_else(|| panic!("no {heading} in the guide"));
    let rank = heading.split(' ').next().unwrap();
    rest.split(&format!("\n{rank} ")).next().unwrap()
}

/// The one block of bash in a part.
fn block(part: &'static str) -> &'static str {
    let mut blocks = part.split("```bash\n").skip(1);
    let block = blocks
        .next()
        .expect("a block of bash")
        .split("```")
        .next()
        .unwrap();
    assert!(blocks.next().is_none(), "one block of bash in: {part}");
    block
}

/// Commands of a block, each with what the guide says under `# Expected:`, if it does.
fn commands(block: &str) -> Vec<(String, Option<String>)> {
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    let mut lines = block.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("curl ") {
            let mut command = line.to_owned();
            while let Some(more) = lines.next_if(|line| !line.is_empty() && !line.starts_with('#'))
            {
                command = format!("{command}\n{more}");
            }
            all.push((command, None));
        } else if let Some(expected) = line.strip_prefix("# Expected:") {
            let below = if expected.trim().is_empty() {
                lines.next().unwrap().trim_start_matches('#')
            } else {
                expected
            };
            all.last_mut().expect("a command before what it prints").1 =
                Some(below.trim().to_owned());
        }
    }
    all
}

/// Rows of the table in a part, without its head.
fn rows(part: &'static str) -> Vec<Vec<&'static str>> {
    let rows = part.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// What the guide prints of an answer, against the answer: these members first, in this order, with
/// these values; where the guide writes `...` anything may stand.
fn as_printed(printed: &str, answer: &str) {
    let closed = printed.replace("{...}", "\"...\"").replace(",...}", "}");
    let printed: Value =
        serde_json::from_str(&closed).unwrap_or_else(|error| panic!("{printed}: {error}"));
    let answer: Value =
        serde_json::from_str(answer).unwrap_or_else(|error| panic!("{answer}: {error}"));
    let mut members = answer.as_object().unwrap().iter();
    for (name, value) in printed.as_object().unwrap() {
        let (found, told) = members.next().unwrap();
        assert_eq!(name, found, "order of members in {answer}");
        assert!(value == "..." || value == told, "{name} in {answer}");
        assert!(value != "..." || told.is_object(), "{name} in {answer}");
    }
}

/// An answer as curl heard it.
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.body))
    }

    /// A series of `/metrics`, whatever its labels.
    fn series(&self, name: &str) -> f64 {
        let line = self.body.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        line.unwrap_or_else(|| panic!("no {name} in:\n{}", self.body))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }
}

/// A person at a terminal who follows the guide.
struct Person {
    home: PathBuf,
    key: String,
}

impl Person {
    /// Lives in this folder. curl is told by its own file what every test's curl is told: no proxy,
    /// and to say the status.
    fn new(home: &Path) -> Self {
        let settings = "silent\nshow-error\nnoproxy = \"*\"\ndump-header = \"head\"\nwrite-out = \"\\n%{http_code}\"\n";
        std::fs::write(home.join(".curlrc"), settings).unwrap();
        std::fs::create_dir(home.join("echo-production")).unwrap();
        Self {
            home: home.to_owned(),
            key: String::new(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.home.join("echo-production")
    }

    /// Runs a script as it stands; answers what it printed.
    fn bash(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        command
            .args(["-euc", script])
            .current_dir(&self.home)
            .env("CURL_HOME", &self.home)
            .env("ECHO_API_KEY", &self.key);
        let done = command.output().unwrap();
        assert!(
            done.status.success(),
            "{script}\n{}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    }

    /// Runs one of the guide's commands against a service.
    fn curl(&self, command: &str, echo: &Echo) -> Heard {
        let out = self.bash(&command.replace(ADDRESS, &echo.url("")));
        let (body, status) = out.rsplit_once('\n').unwrap();
        let head = std::fs::read_to_string(self.home.join("head"))
            .unwrap()
            .to_lowercase();
        Heard {
            status: status.parse().unwrap(),
            head,
            body: body.to_owned(),
        }
    }
}

/// Starts the service in the folder whose `.env` step 1 wrote: what tests set otherwise is not set.
async fn deployed(person: &Person, more: &[(&str, &str)]) -> Echo {
    let mut variables = vec![
        ("ECHO_API_KEY", String::new()),
        ("RATE_LIMIT_PER_MINUTE", String::new()),
    ];
    variables.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Echo::start("serve", &variables, &person.folder()).await
}

/// Step 1 by bash, and what it wrote.
fn step_1(person: &mut Person) {
    let printed = person.bash(block(part("## Step 1")));
    let key = printed
        .trim()
        .strip_prefix("Generated API Key: ")
        .expect("it prints the key")
        .to_owned();
    assert!(
        key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{key}"
    );
    let written = std::fs::read_to_string(person.folder().join(".env")).unwrap();
    assert!(
        written.contains(&format!("\nECHO_API_KEY={key}\n"))
            && written.ends_with("ENVIRONMENT=production\n")
    );
    person.key = key;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_is_true_from_its_first_step_to_its_monitoring() {
    let home = tempfile::tempdir().unwrap();
    let mut person = Person::new(home.path());
    step_1(&mut person);
    let echo = deployed(&person, &[]).await;

    // Step 5, each answer field by field as far as it is printed.
    let steps = commands(block(part("## Step 5")));
    let statuses = [200, 200, 401];
    assert_eq!(steps.len(), statuses.len());
    for ((command, expected), status) in steps.iter().zip(statuses) {
        let heard = person.curl(command, &echo);
        assert_eq!(heard.status, status, "{command}: {}", heard.body);
        as_printed(
            expected.as_ref().expect("the guide says what to expect"),
            &heard.body,
        );
    }
    let health = person.curl(&steps[0].0, &echo).json();
    let members: Vec<_> = health
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        [
            "status",
            "version",
            "mode",
            "uptime_seconds",
            "throttle_pct",
            "killed",
            "checks"
        ]
    );
    assert_eq!(
        (&health["mode"], &health["killed"], &health["throttle_pct"]),
        (&json!("serve"), &json!(false), &json!(1.0))
    );
    let checks = json!({
        "stripe": "off: set STRIPE_WEBHOOK_SECRET", "airtable": "off: set AIRTABLE_API_KEY", "gate": "ok", "ledger": "ok",
    });
    for (name, told) in checks.as_object().unwrap() {
        assert_eq!(
            &health["checks"][name], told,
            "placeholders of step 1 are not set"
        );
    }
    assert!(health["uptime_seconds"].is_u64());
    let observed = person.curl(&steps[1].0, &echo).json();
    let state = json!({
        "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 0.0, "requests_per_minute": 0.0, "phi_static": 0.5,
        "phi_dynamic": 0.5, "temperature": 0.0, "susceptibility": 1.0, "killed": false, "epoch": null,
    });
    assert_eq!(observed["state"], state);
    assert_eq!(
        (&observed["throttle"], &observed["source"]),
        (&json!("default"), &json!("test"))
    );

    go_live(&person, &echo).await;
    emergency(&person, &echo).await;
    monitoring(&person, &echo);
}

/// Step 6: 0.0 is answered, and in force within 5 s.
async fn go_live(person: &Person, echo: &Echo) {
    assert_eq!(
        echo.verdict("default").await,
        (403, "target".to_owned()),
        "shut until step 6"
    );
    let [(command, None)] = &commands(block(part("## Step 6")))[..] else {
        panic!("one command in step 6")
    };
    let heard = person.curl(command, echo);
    let answer = heard.json();
    let told = [
        "throttle",
        "throttle_pct",
        "previous_throttle_pct",
        "target_throttle",
        "binding_signal",
        "stress",
    ];
    let told = told.map(|name| answer[name].clone());
    assert_eq!(heard.status, 200, "{answer}");
    let law = [
        json!("default"),
        json!(0.0),
        json!(1.0),
        json!(0.0),
        json!("none"),
        json!(0.0),
    ];
    assert_eq!(told, law, "{answer}");
    assert_eq!(
        (&answer["audit"], &answer["durable"]),
        (&json!("recorded"), &json!(true))
    );
    // Asked of /health: verdicts that are asked for are load, and load is a ramp.
    eventually(
        "step 6 is in force within 5 s, and what a busy machine takes",
        Duration::from_secs(8),
        async || {
            tokio::time::sleep(PACE).await;
            (curl(&[&echo.url("/health")]).1["throttle_pct"] == 0.0).then_some(())
        },
    )
    .await;
}

/// Kill, revive and metrics by the commands of the guide.
async fn emergency(person: &Person, echo: &Echo) {
    let [(kill, None)] = &commands(block(part("### Kill Switch")))[..] else {
        panic!("one command kills")
    };
    let unconfirmed = person.curl(&kill.replace("CONFIRM_KILL", "yes"), echo);
    assert_eq!(unconfirmed.status, 400, "the kill switch requires its word");
    assert_eq!(
        echo.verdict("default").await.0,
        200,
        "and nothing moves without"
    );
    let heard = person.curl(kill, echo);
    let killed = heard.json();
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    assert_eq!(
        (heard.status, &killed["killed"], &killed["audit"]),
        (200, &json!(true), &json!("recorded"))
    );
    let targets = json!([{ "throttle": "default", "target": "gate", "enforced": true }]);
    assert_eq!(
        (&killed["durable"], &killed["targets"]),
        (&json!(true), &targets)
    );

    let [(metrics, None)] = &commands(block(part("### View Metrics")))[..] else {
        panic!("one command for metrics")
    };
    assert_eq!(person.curl(metrics, echo).series("echo_killed"), 1.0);
    let [(revive, None)] = &commands(block(part("### Revive System")))[..] else {
        panic!("one command revives")
    };
    let heard = person.curl(revive, echo);
    let revived = heard.json();
    assert_eq!((heard.status, &revived["status"]), (200, &json!("revived")));
    assert_eq!(
        (&revived["ended"], &revived["held_by"]),
        (&json!([killed["epoch"]]), &json!([]))
    );
    eventually("it opens again", Duration::from_secs(60), async || {
        tokio::time::sleep(PACE).await;
        let told = person.curl(metrics, echo);
        assert_eq!((told.status, told.series("echo_killed")), (200, 0.0));
        (told.series("echo_throttle_pct") == 0.0).then_some(())
    })
    .await;
    let again = person.curl(revive, echo).json();
    assert_eq!(again["status"], "already_running");
}

/// The monitoring table: every value is there under its name, and within its threshold while all is
/// well.
fn monitoring(person: &Person, echo: &Echo) {
    let metrics = commands(block(part("### View Metrics"))).remove(0).0;
    let mut thresholds = Vec::new();
    for row in rows(part("## Monitoring")) {
        let [_, endpoint, threshold] = row[..] else {
            panic!("three cells: {row:?}")
        };
        let command = metrics.replace("/metrics", endpoint.trim_matches('`'));
        let heard = person.curl(&command, echo);
        let (name, relation, most) = {
            let mut words = threshold.split(' ');
            (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            )
        };
        if relation == "=" {
            assert_eq!(heard.json()[name], most.trim_matches('"'), "{threshold}");
        } else {
            let most: f64 = most
                .trim_end_matches("/hour")
                .trim_end_matches('%')
                .parse()
                .unwrap();
            assert!(
                heard.series(name) < most,
                "{threshold}: {}",
                heard.series(name)
            );
        }
        thresholds.push(name);
    }
    assert_eq!(
        thresholds,
        [
            "status",
            "echo_throttle_pct",
            "echo_total_errors",
            "echo_webhook_events_rejected"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_troubleshooting_table_is_as_it_says() {
    let home = tempfile::tempdir().unwrap();
    let mut person = Person::new(home.path());
    step_1(&mut person);
    for row in rows(part("## Troubleshooting")) {
        let [issue, _, solution] = row[..] else {
            panic!("three cells: {row:?}")
        };
        match issue {
            "401 Unauthorized" => missing_key(&person, issue).await,
            "403 Forbidden" => wrong_key(&person, issue).await,
            "429 Too Many Requests" => too_many(&person, issue, solution).await,
            "400 Invalid signature" => wrong_secret(&person, issue).await,
            "500 API key not configured" => no_key(&person, issue).await,
            other => panic!("the guide's {other} is not tried here"),
        }
    }
    assert_eq!(rows(part("## Troubleshooting")).len(), 5);
}

/// The metrics command, which takes a key.
fn protected() -> String {
    commands(block(part("### View Metrics"))).remove(0).0
}

/// Status and title, as the table writes them.
fn title(heard: &Heard) -> String {
    format!(
        "{} {}",
        heard.status,
        heard.json()["title"].as_str().unwrap()
    )
}

/// Status and detail, as the table writes them.
fn detail(heard: &Heard) -> String {
    format!(
        "{} {}",
        heard.status,
        heard.json()["detail"].as_str().unwrap()
    )
}

async fn missing_key(person: &Person, issue: &str) {
    let echo = deployed(person, &[]).await;
    let without = protected().replace("-H \"X-API-Key: $ECHO_API_KEY\"", "");
    let heard = person.curl(&without, &echo);
    assert_eq!(title(&heard), issue);
    assert_eq!(
        heard.json()["detail"],
        "Missing API key. Include X-API-Key header."
    );
    assert_eq!(
        person.curl(&protected(), &echo).status,
        200,
        "add the header, and it is answered"
    );
}

async fn wrong_key(person: &Person, issue: &str) {
    let echo = deployed(person, &[]).await;
    let stranger = Person {
        home: person.home.clone(),
        key: "0".repeat(64),
    };
    let heard = stranger.curl(&protected(), &echo);
    assert_eq!(
        (title(&heard), &heard.json()["detail"]),
        (issue.to_owned(), &json!("Invalid API key"))
    );
    assert_eq!(
        person.curl(&protected(), &echo).status,
        200,
        "with the key of the service it is answered"
    );
}

/// 100 a minute, by the `.env` of step 1; whoever waits what the answer says, a minute at most, is
/// served again.
async fn too_many(person: &Person, issue: &str, solution: &str) {
    let echo = deployed(person, &[]).await;
    let health = commands(block(part("## Step 5"))).remove(0).0;
    let address = echo.url("/health");
    let burst = person.bash(&format!("curl -o /dev/null '{address}?[1-100]'"));
    let statuses: Vec<_> = burst.split_whitespace().collect();
    assert_eq!(
        statuses,
        vec!["200"; 100],
        "100 a minute, all at once if one likes"
    );
    // One more a 0.6 s is let through, so it may take more than one.
    let heard = eventually(
        "the limit is reached",
        Duration::from_secs(30),
        async || Some(person.curl(&health, &echo)).filter(|heard| heard.status != 200),
    )
    .await;
    assert_eq!(title(&heard), issue);
    let wait = heard
        .head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok());
    let wait: u64 = wait.expect("it says how long to wait");
    assert_eq!(solution, "Wait 60 seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let kill = commands(block(part("### Kill Switch"))).remove(0).0;
    assert_eq!(
        person.curl(&kill, &echo).status,
        200,
        "a kill passes all the same"
    );
    eventually(
        "who waits is served again",
        Duration::from_secs(60),
        async || (person.curl(&health, &echo).status == 200).then_some(()),
    )
    .await;
    let revive = commands(block(part("### Revive System"))).remove(0).0;
    eventually(
        "what was stopped is revived",
        Duration::from_secs(60),
        async || (person.curl(&revive, &echo).status == 200).then_some(()),
    )
    .await;
}

async fn wrong_secret(person: &Person, issue: &str) {
    let echo = deployed(
        person,
        &[("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef")],
    )
    .await;
    let event = r#"{"id":"evt_guide","object":"event","type":"payment_intent.created","created":1700000000,
        "data":{"object":{"id":"pi_1","object":"payment_intent","amount":100,"currency":"usd","status":"processing"}}}"#;
    std::fs::write(person.home.join("event.json"), event).unwrap();
    let send = |secret: &str| {
        format!(
            "t=$(date +%s)\nmac=$( (printf '%s.' \"$t\"; cat event.json) | openssl dgst -sha256 -hmac {secret} -r | cut -d' ' -f1)\n\
             curl -X POST {ADDRESS}/webhooks/stripe -H \"Stripe-Signature: t=$t,v1=$mac\" --data-binary @event.json"
        )
    };
    let heard = person.curl(&send("whsec_another"), &echo);
    assert_eq!(detail(&heard), issue);
    let heard = person.curl(&send("whsec_0123456789abcdef"), &echo);
    assert_eq!(
        (heard.status, &heard.json()["event_id"]),
        (200, &json!("evt_guide")),
        "by the right secret it is stored"
    );
    let metrics = person.curl(&protected(), &echo);
    let counted = ["echo_webhook_events_total", "echo_webhook_events_rejected"]
        .map(|name| metrics.series(name));
    assert_eq!(counted, [2.0, 1.0]);
}

async fn no_key(person: &Person, issue: &str) {
    let other = tempfile::tempdir().unwrap();
    let newcomer = Person::new(other.path());
    let echo = deployed(&newcomer, &[("ENVIRONMENT", "production")]).await;
    let heard = person.curl(&protected(), &echo);
    assert_eq!(detail(&heard), issue);
    let health = person.curl(&commands(block(part("## Step 5"))).remove(0).0, &echo);
    // It answers as the platform expects, and says that nobody could stop it.
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("degraded"))
    );
    drop(echo);
    let echo = deployed(
        &newcomer,
        &[("ENVIRONMENT", "production"), ("ECHO_API_KEY", &person.key)],
    )
    .await;
    assert_eq!(
        person.curl(&protected(), &echo).status,
        200,
        "set it, and it is answered"
    );
}

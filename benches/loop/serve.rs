//! A service without a cluster whose manifest has many throttles, some of which act on other sites
//! that take connections and never answer.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Echo, KEY, http};
use crate::table::{Took, limited, line};
use crate::timing::{first_denial, ms};

/// Other sites, each of one throttle.
const SITES: usize = 20;
/// Kills, each of another throttle.
const RUNS: usize = 100;
/// Throttles whose level is raised, and as many whose level is lowered.
const MOVED: usize = 100;
/// The levels they have before and after, or the other way round, percent.
const LEVELS: [i64; 2] = [0, 30];
/// Requests for levels at the same time.
const AT_ONCE: usize = 8;

/// How long all may take to come to their first levels, and to the next.
const READY_LIMIT: Duration = Duration::from_secs(60);
const MOVE_LIMIT: Duration = Duration::from_secs(20);

/// What must be, milliseconds: a denial, and a tick with what one look at all levels takes.
const DENIAL_P95_MS: f64 = 5.0;
const MOVE_MAX_MS: f64 = 5_500.0;

/// A program with so many throttles.
pub(crate) async fn measure(program: &Path, whose: &str, throttles: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    let sites = Sites::listen().await;
    let plain = throttles - SITES;
    let manifest = |moved| manifest(plain, &sites.urls, moved);
    std::fs::write(&file, manifest(false)).unwrap();
    let variables = [
        ("ECHO_MANIFEST", file.display().to_string()),
        ("ECHO_REMOTE_KEY_SITE", KEY.to_owned()),
    ];
    let began = Instant::now();
    let echo = Echo::start_of(program, "serve", &variables, folder.path()).await;
    let names: Vec<_> = (0..2 * MOVED).map(|n| format!("t{n}")).collect();
    let first = levels(&echo, &names, READY_LIMIT, |n| {
        LEVELS[usize::from(is_first(n))]
    })
    .await;
    line(
        whose,
        &format!("serve, {throttles} throttles, {SITES} sites that never answer"),
        &format!(
            "{} of {} looked at were open {:.0} s after the start",
            first.1.came(),
            names.len(),
            began.elapsed().as_secs_f64()
        ),
    );
    kills(whose, &echo, plain).await;
    let part = file.with_extension("part");
    std::fs::write(&part, manifest(true)).unwrap();
    std::fs::rename(part, &file).unwrap();
    let (declared, moved) = levels(&echo, &names, MOVE_LIMIT, |n| {
        LEVELS[usize::from(!is_first(n))]
    })
    .await;
    line(
        whose,
        "another file, until its levels are declared",
        &declared.words(),
    );
    for (what, lowers) in [("raised", false), ("lowered", true)] {
        let times = moved.0.iter().enumerate();
        let times = times.filter(|(n, _)| is_first(*n) == lowers);
        let took = Took(times.map(|(_, time)| *time).collect());
        limited(
            whose,
            &format!("a level that is {what} by the file, from there until it is in force"),
            &took.words(),
            ("max", took.at(100), MOVE_MAX_MS),
        );
    }
}

/// Whether a throttle that is moved begins at the higher level.
fn is_first(number: usize) -> bool {
    number < MOVED
}

/// Sites that take every connection and never answer; they end with this value.
struct Sites {
    urls: Vec<String>,
    _taking: JoinSet<()>,
}

impl Sites {
    async fn listen() -> Self {
        let (mut urls, mut taking) = (Vec::new(), JoinSet::new());
        for _ in 0..SITES {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            taking.spawn(async move {
                let mut taken = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    taken.push(stream);
                }
            });
        }
        Self {
            urls,
            _taking: taking,
        }
    }
}

/// The file, before levels are moved or after. Throttles are `t0`, `t1` and so on, and `site-0`.
fn manifest(plain: usize, sites: &[String], moved: bool) -> String {
    let mut text = String::new();
    let mut throttle = |name: &str, percent: i64, more: &str| {
        write!(
            text,
            "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: {name}}}\n\
             spec:\n  throttlePercent: {percent}\n  ramp: {{maxPercentPerSecond: 100}}\n  targets:\n    - gate: {{}}\n{more}"
        )
        .unwrap();
    };
    for number in 0..plain {
        let high = number < 2 * MOVED && is_first(number) != moved;
        throttle(&format!("t{number}"), LEVELS[usize::from(high)], "");
    }
    for (number, url) in sites.iter().enumerate() {
        let target = format!("    - remote: {{url: '{url}', apiKeyEnv: ECHO_REMOTE_KEY_SITE}}\n");
        throttle(&format!("site-{number}"), 0, &target);
    }
    text
}

/// From sending `/kill` to the first denial, on a connection that asks all the time.
async fn kills(whose: &str, echo: &Echo, plain: usize) {
    let client = http();
    let post = async |path: &str, body: Value| {
        let request = client.post(echo.url(path)).header("x-api-key", KEY);
        let answer = request.json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    };
    let mut took = Vec::new();
    for run in 0..RUNS {
        // Those whose levels are looked at are left alone, where there are others.
        let throttle = format!("t{}", (2 * MOVED + run) % plain);
        let live = first_denial(http(), echo.url(&format!("/authz/nginx/{throttle}")));
        let live = tokio::spawn(live);
        sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        let body = json!({ "throttle": throttle, "reason": "measured", "operator": "bench", "confirmation": "CONFIRM_KILL" });
        post("/kill", body).await;
        let denied = live.await.unwrap();
        took.push(Some(ms(denied.duration_since(began))));
        let body = json!({ "throttle": throttle, "reason": "measured", "operator": "bench" });
        post("/revive", body).await;
    }
    let took = Took::of(took);
    limited(
        whose,
        "POST /kill sent to the first denial",
        &took.words(),
        ("p95", took.at(95), DENIAL_P95_MS),
    );
}

/// How long it takes each of these until its level is declared, and from there until it is in force.
async fn levels(
    echo: &Echo,
    names: &[String],
    limit: Duration,
    wanted: impl Fn(usize) -> i64,
) -> (Took, Took) {
    let (client, began) = (http(), Instant::now());
    let ask = async |(number, name): (usize, &String)| {
        let url = echo.url(&format!("/v1/throttles/{name}"));
        let request = client.get(url).header("x-api-key", KEY);
        let found: Value = request.send().await.unwrap().json().await.unwrap();
        let is = |what: &str| found[what]["throttlePercent"] == wanted(number);
        (number, is("declared"), is("effective"), Instant::now())
    };
    let (mut declared, mut in_force) = (vec![None; names.len()], vec![None; names.len()]);
    while in_force.iter().any(Option::is_none) && began.elapsed() < limit {
        let waiting = names.iter().enumerate();
        let waiting = waiting.filter(|(number, _)| in_force[*number].is_none());
        let asked = stream::iter(waiting.map(ask).collect::<Vec<_>>());
        let found: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        for (number, is_declared, is_in_force, at) in found {
            if is_declared {
                let since = *declared[number].get_or_insert(at);
                if is_in_force {
                    in_force[number] = Some(ms(at.duration_since(since)));
                }
            }
        }
    }
    let declared = declared.into_iter();
    let declared = declared.map(|at| at.map(|at| ms(at.duration_since(began))));
    (Took::of(declared), Took::of(in_force))
}

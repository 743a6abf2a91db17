//! A storm's load: two at the brake, one at the level, Stripe, proxies, and somebody who looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::known::{Became, Known, Told};
use crate::support::stripe::{event, signature};
use crate::support::{KEY, http};

pub(super) const SECRET: &str = "whsec_of_the_storms";
/// Senders of events: each waits for its answer.
const SENDERS: usize = 8;
/// A verdict is asked for so often, whether those before it were answered or not.
const OFTEN: Duration = Duration::from_millis(25);

/// Whoever sends something.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) known: Arc<Known>,
    /// Where the service is.
    pub(super) url: String,
    /// Where one is whose disk is well.
    pub(super) calm: String,
    pub(super) client: Client,
}

/// A client that waits for as long as the service may take.
pub(super) fn patient() -> Client {
    let _ = http(); // sets the process's TLS up
    Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

pub(super) fn kill_body(confirmation: &str) -> Value {
    json!({ "reason": "storm", "operator": "dana", "confirmation": confirmation })
}

impl Sender {
    fn request(&self, path: &str, id: &str, key: Option<&str>, body: &Value) -> RequestBuilder {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header("x-api-key", KEY)
            .header("request-id", id);
        let request = if let Some(key) = key {
            request.header("idempotency-key", key)
        } else {
            request
        };
        request.body(body.to_string())
    }

    /// Sends a command; answers what became of it, and the body.
    pub(super) async fn command(
        &self,
        path: &'static str,
        key: Option<&str>,
        body: &Value,
    ) -> (Became, Value) {
        let (id, began) = (ulid::Ulid::generate().to_string(), Instant::now());
        let answer = self.request(path, &id, key, body).send().await;
        let (became, said) = match answer {
            Ok(answer) => became(answer).await,
            Err(error) => (None, Value::String(error.to_string())),
        };
        let became = became.unwrap_or_else(|| {
            self.known.wrong(format!("{path} {body}: {said}"));
            Became::Unheard
        });
        let may_be_lost = said["durable"] == false;
        self.known.told(Told {
            what: path,
            id,
            became,
            took: began.elapsed(),
            may_be_lost,
        });
        (became, said)
    }

    pub(super) async fn kill(&self, key: Option<&str>) -> (Became, Value) {
        let sent = self.known.kills();
        let (became, said) = self.command("/kill", key, &kill_body("CONFIRM_KILL")).await;
        if matches!(became, Became::Done | Became::Replayed(true)) {
            self.known.killed(&sent);
        } else if !matches!(became, Became::Replayed(false)) {
            self.known
                .wrong(format!("a kill was answered {became:?}: {said}"));
        }
        (became, said)
    }

    /// `raced`: a kill that begins meanwhile may leave nothing to end.
    pub(super) async fn revive(&self, key: Option<&str>, raced: bool) -> (Became, Value) {
        let sent = self.known.revives();
        let body = json!({ "reason": "storm", "operator": "kim" });
        let (became, said) = self.command("/revive", key, &body).await;
        self.known.revived(&sent, became);
        if became == Became::Refused && !raced {
            self.known
                .wrong(format!("a revival found nothing to end: {said}"));
        }
        (became, said)
    }

    pub(super) async fn control(&self, key: Option<&str>, percent: i64) -> (Became, Value) {
        self.known.declares(percent);
        let body = json!({ "target_throttle": percent as f64 / 100.0, "operator": "eve", "reason": "storm" });
        let (became, said) = self.command("/control", key, &body).await;
        self.known.declared(became);
        (became, said)
    }

    /// Sends a kill without its word and hangs up before it is refused.
    async fn hangs_up(&self) {
        let (id, began) = (ulid::Ulid::generate().to_string(), Instant::now());
        let request = self
            .request("/kill", &id, None, &kill_body("yes"))
            .timeout(Duration::from_millis(60));
        let became = match request.send().await {
            Ok(answer) => became(answer).await.0.unwrap_or(Became::Unheard),
            Err(_) => Became::Unheard,
        };
        self.known.told(Told {
            what: "/kill",
            id,
            became,
            took: began.elapsed(),
            may_be_lost: false,
        });
    }

    /// Sends an event once; answers whether it was stored.
    pub(super) async fn event(&self, id: &str) -> bool {
        let body = event(id, 0);
        let signed = signature(SECRET, jiff::Timestamp::now().as_second(), body.as_bytes());
        let request = self
            .client
            .post(format!("{}/webhooks/stripe", self.url))
            .header("stripe-signature", signed);
        let Ok(answer) = request.body(body).send().await else {
            return false;
        };
        match answer.status().as_u16() {
            200 => self.known.event(id.to_owned(), true),
            503 => self.known.event(id.to_owned(), false),
            other => self.known.wrong(format!("an event was answered {other}")),
        }
        answer.status() == 200
    }

    async fn verdict(&self) {
        let before = self.known.sure();
        let began = Instant::now();
        let Ok(answer) = self
            .client
            .get(format!("{}/authz/nginx/default", self.url))
            .send()
            .await
        else {
            return;
        };
        let reason = answer.headers()["echo-reason"].to_str().unwrap().to_owned();
        self.known.verdict(&before, &reason, began.elapsed());
    }

    async fn calm_verdict(&self) {
        let began = Instant::now();
        if self
            .client
            .get(format!("{}/authz/nginx/default", self.calm))
            .send()
            .await
            .is_ok()
        {
            self.known.calm(began.elapsed());
        }
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap();
        answer.json().await.unwrap()
    }

    async fn look(&self) {
        let before = self.known.sure();
        let throttle = self.get("/v1/throttles/default").await;
        self.known
            .level(&before, throttle["spec"]["throttlePercent"].as_i64(), None);
        let before = self.known.sure();
        let health = self.get("/health").await;
        self.known
            .level(&before, None, health["throttle_pct"].as_f64());
    }

    /// Stops, stops again, and lets go; with keys in every other round, whose client tries again
    /// with them.
    async fn brake(&self, round: u64) {
        let keys = round
            .is_multiple_of(2)
            .then(|| (format!("kill-{round}"), format!("revive-{round}")));
        let (kill, revive) = (
            keys.as_ref().map(|keys| keys.0.as_str()),
            keys.as_ref().map(|keys| keys.1.as_str()),
        );
        self.kill(kill).await;
        sleep(Duration::from_millis(200)).await;
        self.kill(kill).await;
        self.hangs_up().await;
        let (became, _) = self.revive(revive, false).await;
        if matches!(became, Became::Nothing | Became::Undecided) {
            sleep(Duration::from_millis(500)).await;
            self.revive(revive, false).await;
        }
        sleep(Duration::from_millis(300)).await;
        match round % 3 {
            // Its key was used, and what it took has ended, perhaps.
            0 => drop(self.kill(kill).await),
            1 => drop(tokio::join!(self.kill(None), self.revive(None, true))),
            _ => drop(self.command("/kill", None, &kill_body("yes")).await),
        }
    }

    /// Somebody else stops what is stopped: it leans on the kill there is, or crosses its end.
    async fn stop_again(&self) {
        if self.known.is_killed() {
            self.kill(None).await;
        }
        sleep(Duration::from_millis(400)).await;
    }

    /// Levels up and down; every other one with a key, with which it is sent again where nothing is
    /// known.
    async fn level(&self, round: u64) {
        let percent = i64::from(rand::rng().random_range(1..=9_u8)) * 10;
        let key = round.is_multiple_of(2).then(|| format!("level-{round}"));
        let (became, _) = self.control(key.as_deref(), percent).await;
        if became == Became::Undecided && key.is_some() {
            self.control(key.as_deref(), percent).await;
        }
        sleep(Duration::from_millis(150)).await;
    }

    /// Stripe sends again what was not taken.
    async fn events(&self, sender: usize, round: u64) {
        let id = format!("evt_storm_{sender}_{round}");
        for _ in 0..3 {
            if self.event(&id).await {
                break;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What an answer says of a command; none if no command may be answered so.
async fn became(answer: Response) -> (Option<Became>, Value) {
    let status = answer.status().as_u16();
    let replayed = answer.headers().contains_key("idempotent-replayed");
    let said: Value = answer.json().await.unwrap_or_default();
    let detail = said["detail"].as_str().unwrap_or_default();
    let became = match status {
        200 | 409 if replayed => Became::Replayed(status == 200),
        200 => Became::Done,
        400 | 409 => Became::Refused,
        503 if detail.contains("may still happen") && !detail.contains("Nothing") => {
            Became::Undecided
        }
        503 if detail.contains("Nothing was") => Became::Nothing,
        _ => return (None, json!({ "status": status, "said": said })),
    };
    (Some(became), said)
}

/// All of it at once, until then; what is under way at the end is waited for.
pub(super) async fn until(sender: &Sender, end: Instant) {
    let mut tasks = JoinSet::new();
    let goes_on = move || Instant::now() < end;
    let own = sender.clone();
    tasks.spawn(async move {
        for round in (0..).take_while(|_| goes_on()) {
            own.brake(round).await;
        }
    });
    let own = sender.clone();
    tasks.spawn(async move {
        for round in (0..).take_while(|_| goes_on()) {
            own.level(round).await;
        }
    });
    let own = sender.clone();
    tasks.spawn(async move {
        while goes_on() {
            own.stop_again().await;
        }
    });
    for number in 0..SENDERS {
        let own = sender.clone();
        tasks.spawn(async move {
            for round in (0..).take_while(|_| goes_on()) {
                own.events(number, round).await;
            }
        });
    }
    let own = sender.clone();
    tasks.spawn(async move {
        while goes_on() {
            own.look().await;
            sleep(Duration::from_millis(150)).await;
        }
    });
    let own = sender.clone();
    tasks.spawn(async move {
        let (mut often, mut asked) = (interval(OFTEN), JoinSet::new());
        while goes_on() {
            often.tick().await;
            let (one, other) = (own.clone(), own.clone());
            asked.spawn(async move { one.verdict().await });
            asked.spawn(async move { other.calm_verdict().await });
            while asked.try_join_next().is_some() {}
        }
        asked.join_all().await;
    });
    tasks.join_all().await;
}

//! What is counted, and how it is said: Prometheus text.
//!
//! Labels are bounded: a throttle's name is one only because throttles are declared, a route only
//! as its template.

mod scrape;

use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::families::{self, Family, Samples};
use super::kill_path::KillPath;
use super::ledger_gauges::{RecordGauges, float};

pub use scrape::{LoopFindings, Scrape, ThrottleGauges, Verdicts};

/// Upper bounds of the duration's buckets, seconds: from a verdict to a handler's limit.
const BUCKETS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0, 30.0,
];

/// Methods that stand in a label; any other one is `other`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    errors: IntCounter,
    webhooks: IntCounter,
    webhooks_rejected: IntCounter,
    requests: IntCounterVec,
    durations: HistogramVec,
    commands: IntCounterVec,
    kill_path: KillPath,
    limited: IntCounterVec,
    webhooks_refused: IntCounterVec,
    keys_refused: IntCounterVec,
    cut: IntCounterVec,
    unread: IntCounterVec,
    unknown: IntCounterVec,
    connections: IntGauge,
    record: Mutex<Option<RecordGauges>>,
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// If a name is taken or malformed: a mistake of ours.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |of: &Family| {
            let counters = IntCounterVec::new(Opts::new(of.name, of.help), of.labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let (requests, commands) = (
            counters(&families::REQUESTS)?,
            counters(&families::COMMANDS)?,
        );
        let duration = HistogramOpts::new(families::DURATION.name, families::DURATION.help)
            .buckets(BUCKETS.to_vec());
        let durations = HistogramVec::new(duration, families::DURATION.labels)?;
        registry.register(Box::new(durations.clone()))?;
        let (limited, cut) = (counters(&families::LIMITED)?, counters(&families::CUT)?);
        let webhooks_refused = counters(&families::WEBHOOKS_REASONS)?;
        let keys_refused = counters(&families::KEYS_REFUSED)?;
        let (unread, unknown) = (counters(&families::UNREAD)?, counters(&families::UNKNOWN)?);
        let connections = IntGauge::new(families::CONNECTIONS.name, families::CONNECTIONS.help)?;
        registry.register(Box::new(connections.clone()))?;
        // A series that begins at 1 hides its first event.
        for (of, words) in [
            (&limited, ["client", "key", "kill"]),
            (&keys_refused, ["missing", "wrong", "role"]),
            (&cut, ["slow", "idle", "crowded"]),
            (&unknown, ["nginx", "envoy", "forward"]),
        ] {
            words
                .iter()
                .for_each(|word| of.with_label_values(&[word]).inc_by(0));
        }
        cut.with_label_values(&["intake"]).inc_by(0);
        unknown.with_label_values(&["decide"]).inc_by(0);
        for (listener, why) in [
            ("api", "malformed"),
            ("api", "too_large"),
            ("gate", "malformed"),
            ("gate", "too_large"),
        ] {
            unread.with_label_values(&[listener, why]).inc_by(0);
        }
        // The encoder knows no untyped ones, so these three are written by hand.
        let plain = |of: &Family| IntCounter::new(of.name, of.help);
        Ok(Self {
            errors: plain(&families::ERRORS)?,
            webhooks: plain(&families::WEBHOOKS)?,
            webhooks_rejected: plain(&families::WEBHOOKS_REJECTED)?,
            kill_path: KillPath::default(),
            registry,
            requests,
            durations,
            commands,
            limited,
            webhooks_refused,
            keys_refused,
            cut,
            unread,
            unknown,
            connections,
            record: Mutex::default(),
        })
    }

    /// Counts an answer with a 5xx status.
    pub fn count_error(&self) {
        self.errors.inc();
    }

    /// Counts a request that was answered. `route` is a template of ours, none where no route
    /// matched.
    pub fn count_request(&self, route: Option<&str>, method: &str, status: u16, took: Duration) {
        let route_label = route.unwrap_or("other");
        let method = METHODS
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.requests
            .with_label_values(&[route_label, method, class])
            .inc();
        self.durations
            .with_label_values(&[route_label])
            .observe(took.as_secs_f64());
    }

    /// Begins to count commands of these actions: fixed words.
    pub fn expect_commands(&self, actions: impl IntoIterator<Item = &'static str>) {
        actions
            .into_iter()
            .for_each(|action| self.commands.with_label_values(&[action, "done"]).inc_by(0));
    }

    /// Counts a command that was answered. `action` is a word of ours.
    pub fn count_command(&self, action: &'static str, status: u16) {
        let outcome = match status {
            ..400 => "done",
            400..500 => "refused",
            500.. => "failed",
        };
        self.commands.with_label_values(&[action, outcome]).inc();
    }

    /// Begins to count webhook events that are refused for these reasons: fixed words.
    pub fn expect_webhooks(&self, reasons: impl IntoIterator<Item = &'static str>) {
        reasons
            .into_iter()
            .for_each(|reason| self.webhooks_refused.with_label_values(&[reason]).inc_by(0));
    }

    /// Counts a webhook event: accepted, or why not.
    pub fn count_webhook(&self, found: Result<(), &'static str>) {
        self.webhooks.inc();
        if let Err(reason) = found {
            self.webhooks_rejected.inc();
            self.webhooks_refused.with_label_values(&[reason]).inc();
        }
    }

    /// Counts a request that was refused for its key: missing, wrong, or without the role.
    pub fn count_key_refused(&self, why: &'static str) {
        self.keys_refused.with_label_values(&[why]).inc();
    }

    /// What the self-test found.
    pub fn kill_path(&self) -> &KillPath {
        &self.kill_path
    }

    /// Counts a request that was refused because a limit was reached. `bucket` is a word of ours:
    /// whose limit.
    pub fn count_limited(&self, bucket: &'static str) {
        self.limited.with_label_values(&[bucket]).inc();
    }

    /// Counts a connection that we ended. `why` is a word of ours.
    pub fn count_cut(&self, why: &'static str) {
        self.cut.with_label_values(&[why]).inc();
    }

    /// Counts a head that could not be read. Both are words of ours.
    pub fn count_unread(&self, listener: &'static str, why: &'static str) {
        self.unread.with_label_values(&[listener, why]).inc();
    }

    /// Counts a verdict that was asked of a throttle that nobody declared. `door` is a word of
    /// ours.
    pub fn count_unknown(&self, door: &'static str) {
        self.unknown.with_label_values(&[door]).inc();
    }

    /// Tells how many connections one listener has more (or less) than before.
    pub fn count_connections(&self, more: i64) {
        self.connections.add(more);
    }

    /// Where the record stands now.
    pub fn set_record(&self, record: RecordGauges) {
        *self.record.lock() = Some(record);
    }

    /// The counters that the encoder does not write.
    fn by_hand(&self) -> [Samples<'_>; 3] {
        [
            (&families::ERRORS, &self.errors),
            (&families::WEBHOOKS, &self.webhooks),
            (&families::WEBHOOKS_REJECTED, &self.webhooks_rejected),
        ]
        .map(|(of, counter)| (of, vec![(vec![], float(counter.get()))]))
    }

    /// Everything as Prometheus text.
    pub fn render(&self, now: &Scrape) -> String {
        let proofs = self.kill_path.all();
        let record = self.record.lock().clone();
        let mut text = String::new();
        now.in_force()
            .into_iter()
            .chain(scrape::proven(&proofs, now.at))
            .chain(now.asked())
            .chain(now.health())
            .chain(self.by_hand())
            .chain(now.lost())
            .chain(record.iter().flat_map(RecordGauges::samples))
            .chain(now.process())
            .for_each(|(of, samples)| write_family(&mut text, of, &samples));
        let mut counted = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut counted) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        text + &String::from_utf8_lossy(&counted)
    }
}

/// A family without samples is not said at all.
fn write_family(text: &mut String, of: &Family, samples: &[(Vec<&str>, f64)]) {
    let _ = writeln!(
        text,
        "# HELP {} {}\n# TYPE {} {}",
        of.name,
        of.help,
        of.name,
        of.kind.as_str()
    );
    for (values, value) in samples {
        // Names of throttles and words of ours need no escape.
        let labels: Vec<_> = of
            .labels
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(text, "{}{labels} {value}", of.name);
    }
}

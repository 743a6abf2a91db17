//! Logs and metrics: what the process tells about itself.
//!
//! Labels are bounded: a throttle's name is one only because throttles are declared, never taken from a request.

use std::fmt::Write as _;
use std::io::IsTerminal;

use prometheus::{Encoder, GaugeVec, IntCounter, Opts, Registry, TextEncoder};

use crate::domain::level::Level;

/// Starts logging to stderr: for people on a terminal, JSON lines elsewhere. `filter` as in `RUST_LOG`.
pub fn start_logs(filter: &str) {
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (a test's) keeps the first.
    let _ = if std::io::stderr().is_terminal() { logs.try_init() } else { logs.json().try_init() };
}

/// Where one throttle stands, for its gauges.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleGauges {
    /// The throttle's name.
    pub throttle: String,
    /// Level in force.
    pub level: Level,
    /// Whether a kill holds.
    pub killed: bool,
    /// Requests offered so far.
    pub offered: u64,
    /// Requests admitted so far.
    pub admitted: u64,
}

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    level: GaugeVec,
    killed: GaugeVec,
    offered: GaugeVec,
    admitted: GaugeVec,
    errors: IntCounter,
    webhooks: IntCounter,
    webhooks_rejected: IntCounter,
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// If a name is taken or malformed: a mistake of ours.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let gauge = GaugeVec::new(Opts::new(name, help), &["throttle"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let level = gauge("echo_throttle_pct", "Share of work refused now, 0 to 1.")?;
        let killed = gauge("echo_killed", "1 while a kill holds.")?;
        let offered = gauge("echo_gate_offered", "Requests offered to this process's gate since it started.")?;
        let admitted = gauge("echo_gate_admitted", "Requests admitted by this process's gate since it started.")?;
        let webhooks = IntCounter::new("echo_webhook_events_total", "Webhook events received.")?;
        registry.register(Box::new(webhooks.clone()))?;
        let errors = IntCounter::new("echo_total_errors", "Answers with a 5xx status.")?;
        let webhooks_rejected = IntCounter::new("echo_webhook_events_rejected", "Webhook events refused.")?;
        Ok(Self { registry, level, killed, offered, admitted, errors, webhooks, webhooks_rejected })
    }

    /// Counts an answer with a 5xx status.
    pub fn count_error(&self) {
        self.errors.inc();
    }

    /// Counts a webhook event.
    pub fn count_webhook(&self, accepted: bool) {
        self.webhooks.inc();
        if !accepted {
            self.webhooks_rejected.inc();
        }
    }

    /// Everything as Prometheus text.
    pub fn render(&self, throttles: &[ThrottleGauges]) -> String {
        for gauge in [&self.level, &self.killed, &self.offered, &self.admitted] {
            gauge.reset(); // a throttle that is gone leaves no series behind
        }
        for one in throttles {
            let labels = [one.throttle.as_str()];
            self.level.with_label_values(&labels).set(one.level.fraction());
            self.killed.with_label_values(&labels).set(f64::from(u8::from(one.killed)));
            #[allow(clippy::cast_precision_loss, reason = "a count above 2^53 requests may lose its last digit")]
            {
                self.offered.with_label_values(&labels).set(one.offered as f64);
                self.admitted.with_label_values(&labels).set(one.admitted as f64);
            }
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        let mut text = String::from_utf8(text).unwrap_or_default();
        // The guide's names lack `_total`, which a counter must end with; the encoder knows no untyped ones.
        for counter in [&self.errors, &self.webhooks_rejected] {
            let family = prometheus::core::Collector::collect(counter);
            for family in family {
                let (name, help) = (family.name(), family.help());
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} untyped\n{name} {}", counter.get());
            }
        }
        text
    }
}

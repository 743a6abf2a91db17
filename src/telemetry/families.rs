//! Every metric in one table: what `/metrics` answers and docs/metrics.md lists.

use std::fmt::Write as _;

use strum::IntoStaticStr;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum MetricKind {
    /// Only rises while the process lives.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
    /// A counter whose name the guide fixed without `_total`.
    Untyped,
}

impl MetricKind {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// A family with its samples: values of its labels, and the number.
pub(super) type Samples<'a> = (&'static Family, Vec<(Vec<&'a str>, f64)>);

const fn family(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind,
        labels,
        help,
    }
}

const THROTTLE: &[&str] = &["throttle"];
const NONE: &[&str] = &[];

pub(super) const LEVEL: Family = family(
    "echo_throttle_pct",
    MetricKind::Gauge,
    THROTTLE,
    "Share of work refused now, 0 to 1; of a throttle with a key: share of its callers.",
);
pub(super) const KILLED: Family = family(
    "echo_killed",
    MetricKind::Gauge,
    THROTTLE,
    "1 while a kill holds.",
);
pub(super) const ENFORCED: Family = family(
    "echo_enforced",
    MetricKind::Gauge,
    THROTTLE,
    "1 while every target was read back as it should be (serve).",
);
pub(super) const DRIFTS: Family = family(
    "echo_drifts_open",
    MetricKind::Gauge,
    THROTTLE,
    "Differences from what was asked for that are open now (serve).",
);
pub(super) const REFUSED: Family = family(
    "echo_gate_refused_ratio",
    MetricKind::Gauge,
    THROTTLE,
    "Share measured to be refused, 0 to 1, of the requests that the level decides (serve); beside a key it may differ widely from the level.",
);
pub(super) const CALLERS: Family = family(
    "echo_gate_callers",
    MetricKind::Gauge,
    THROTTLE,
    "Callers seen since the full hour (UTC), when others are chosen to be refused: an estimate, to 2.3 % (one standard error); only of throttles whose callers have names.",
);
pub(super) const KILL_PATH: Family = family(
    "echo_kill_path_ok",
    MetricKind::Gauge,
    &["via"],
    "1 if the last self-test was admitted while open and refused while killed, by way: listener, or the throttle of a canary URL.",
);
pub(super) const KILL_PATH_AGE: Family = family(
    "echo_kill_path_age_seconds",
    MetricKind::Gauge,
    &["via"],
    "Time since the kill path was last proven.",
);
pub(super) const HEALTH: Family = family(
    "echo_health",
    MetricKind::Gauge,
    &["status"],
    "1 for the word that `/health` says now, 0 for the other two.",
);
pub(super) const CHECK: Family = family(
    "echo_check_ok",
    MetricKind::Gauge,
    &["check"],
    "1 while a part that `/health` looks at is well; nothing for one that is off.",
);
pub(super) const ERRORS: Family = family(
    "echo_total_errors",
    MetricKind::Untyped,
    NONE,
    "Answers with a 5xx status.",
);
pub(super) const WEBHOOKS: Family = family(
    "echo_webhook_events_total",
    MetricKind::Counter,
    NONE,
    "Webhook events received, refused ones too.",
);
pub(super) const WEBHOOKS_REJECTED: Family = family(
    "echo_webhook_events_rejected",
    MetricKind::Untyped,
    NONE,
    "Webhook events refused.",
);
pub(super) const WEBHOOKS_REASONS: Family = family(
    "echo_webhook_refused_total",
    MetricKind::Counter,
    &["reason"],
    "Webhook events refused, by reason: no_match and too_old or too_new of every event mean a wrong secret and a wrong clock.",
);
pub(super) const VERDICTS: Family = family(
    "echo_gate_verdicts_total",
    MetricKind::Counter,
    &["throttle", "decision", "reason"],
    "Verdicts of this process's gate.",
);
pub(super) const UNKNOWN: Family = family(
    "echo_gate_unknown_total",
    MetricKind::Counter,
    &["door"],
    "Verdicts asked of throttles that nobody declared, all refused (`echo-reason: unknown`): a typo in a proxy's file; the log has the names. By door: nginx, envoy, forward, or decide.",
);
pub(super) const STATE_AGE: Family = family(
    "echo_gate_state_age_seconds",
    MetricKind::Gauge,
    THROTTLE,
    "Time since the state behind the verdicts was last confirmed.",
);
pub(super) const REQUESTS: Family = family(
    "echo_http_requests_total",
    MetricKind::Counter,
    &["route", "method", "status"],
    "Requests by route, method and class of status, verdicts apart; a request for one that got none is counted.",
);
pub(super) const DURATION: Family = family(
    "echo_http_request_duration_seconds",
    MetricKind::Histogram,
    &["route"],
    "Time from a request's head to its answer, verdicts apart.",
);
pub(super) const COMMANDS: Family = family(
    "echo_commands_total",
    MetricKind::Counter,
    &["action", "outcome"],
    "Commands by what became of them: done, refused or failed.",
);
pub(super) const LIMITED: Family = family(
    "echo_rate_limited_total",
    MetricKind::Counter,
    &["bucket"],
    "Requests refused with 429: by the limit of a client or of a key, or by the one that requests to /kill share which are no kill.",
);
pub(super) const KEYS_REFUSED: Family = family(
    "echo_keys_refused_total",
    MetricKind::Counter,
    &["why"],
    "Requests to protected routes whose key is missing, nobody's (wrong), or without the role.",
);
pub(super) const FORGOTTEN: Family = family(
    "echo_rate_limit_forgotten_total",
    MetricKind::Counter,
    NONE,
    "Clients forgotten before their limit had renewed, because too many came at once; each may begin afresh.",
);
pub(super) const CONNECTIONS: Family = family(
    "echo_connections_open",
    MetricKind::Gauge,
    NONE,
    "Connections open now, of all listeners.",
);
pub(super) const CUT: Family = family(
    "echo_connections_cut_total",
    MetricKind::Counter,
    &["why"],
    "Connections ended by us: a head that took too long (slow), nothing for too long (idle), no room for a newcomer (crowded), most of the bytes that unfinished requests may hold (intake).",
);
pub(super) const UNREAD: Family = family(
    "echo_requests_unread_total",
    MetricKind::Counter,
    &["listener", "why"],
    "Requests whose head could not be read, so that no route saw them, verdicts' neither: malformed (400), or more than 64 KiB or 256 fields (too_large, 431 or 414).",
);
pub(super) const LOG_LOST: Family = family(
    "echo_log_lines_dropped_total",
    MetricKind::Counter,
    NONE,
    "Lines of the log that were lost: stderr was not read, its reader was gone or its disk full. Nothing waits for the log.",
);
pub(super) const HEAD_SEQ: Family = family(
    "echo_ledger_head_seq",
    MetricKind::Gauge,
    &["table"],
    "Number of a chained table's newest row, looked up each minute; for `verify --head`.",
);
pub(super) const HEAD_HASH: Family = family(
    "echo_ledger_head_hash48",
    MetricKind::Gauge,
    &["table"],
    "First 48 bits of that row's hash as a number: another one at the same row means that the record was rewritten.",
);
pub(super) const LACKING: Family = family(
    "echo_commands_owed",
    MetricKind::Gauge,
    &["kept"],
    "Commands done and answered that the ledger lacks: kept on disk (the journal), or in memory alone, where a crash loses them.",
);
pub(super) const OUTBOX: Family = family(
    "echo_outbox_rows",
    MetricKind::Gauge,
    NONE,
    "Rows that wait for the mirror, looked up each minute.",
);
pub(super) const DROPPED: Family = family(
    "echo_outbox_dropped_total",
    MetricKind::Counter,
    NONE,
    "Rows the mirror will never get, since more than 10,000 waited; the ledger has them.",
);
pub(super) const BUILD: Family = family(
    "echo_build_info",
    MetricKind::Gauge,
    &["version", "mode"],
    "Always 1; what runs here, and in which role.",
);
pub(super) const UPTIME: Family = family(
    "echo_uptime_seconds",
    MetricKind::Gauge,
    NONE,
    "Time since the process started.",
);
pub(super) const START: Family = family(
    "process_start_time_seconds",
    MetricKind::Gauge,
    NONE,
    "When the process started, seconds since 1970.",
);
pub(super) const MEMORY: Family = family(
    "process_resident_memory_bytes",
    MetricKind::Gauge,
    NONE,
    "Memory of this process that is in RAM (Linux).",
);
pub(super) const CPU: Family = family(
    "process_cpu_seconds_total",
    MetricKind::Counter,
    NONE,
    "Processor time used, by users and system (Linux).",
);
pub(super) const FILES: Family = family(
    "process_open_fds",
    MetricKind::Gauge,
    NONE,
    "Open file descriptors (Linux).",
);

/// All of them, in the order of the reference.
pub(super) const ALL: &[&Family] = &[
    &LEVEL,
    &KILLED,
    &ENFORCED,
    &DRIFTS,
    &REFUSED,
    &CALLERS,
    &KILL_PATH,
    &KILL_PATH_AGE,
    &HEALTH,
    &CHECK,
    &ERRORS,
    &WEBHOOKS,
    &WEBHOOKS_REJECTED,
    &WEBHOOKS_REASONS,
    &VERDICTS,
    &UNKNOWN,
    &STATE_AGE,
    &COMMANDS,
    &REQUESTS,
    &DURATION,
    &LIMITED,
    &KEYS_REFUSED,
    &FORGOTTEN,
    &CONNECTIONS,
    &CUT,
    &UNREAD,
    &LOG_LOST,
    &LACKING,
    &HEAD_SEQ,
    &HEAD_HASH,
    &OUTBOX,
    &DROPPED,
    &BUILD,
    &UPTIME,
    &START,
    &MEMORY,
    &CPU,
    &FILES,
];

/// The reference of all metrics, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "<!-- Generated by `echo-phoenix reference metrics`; do not edit. -->\n# Metrics\n\n\
         `GET /metrics` answers them as Prometheus text. It takes a key, as `X-API-Key` or as `Authorization: Bearer`, which Prometheus\n\
         sends by `authorization: {credentials: …}`; on `ECHO_GATE_LISTEN`, which only proxies and it can reach, it takes none. No label bears anything out of a request: throttles are declared, routes are templates\n\
         (`other` where none matches), all else is a fixed set of words. Names without a `_total` that count are those of the guide.\n\n\
         | name | type | labels | what |\n|---|---|---|---|\n",
    );
    for one in ALL {
        let labels: Vec<_> = one
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            one.name,
            one.kind.as_str(),
            labels.join(", "),
            one.help
        );
    }
    text
}

//! Logs and metrics: what the process tells about itself.
//!
//! Labels are bounded: a throttle's name is one only because throttles are declared, never taken from a request.

mod families;
mod kill_path;
mod metrics;
mod process;

use std::io::IsTerminal;

pub use families::reference;
pub use kill_path::{KillPath, Proof};
pub use metrics::{Found, Metrics, Now, ThrottleGauges, Verdicts};

/// Starts logging to stderr: for people on a terminal, JSON lines elsewhere. `filter` as in `RUST_LOG`.
pub fn start_logs(filter: &str) {
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (a test's) keeps the first.
    let _ = if std::io::stderr().is_terminal() { logs.try_init() } else { logs.json().try_init() };
}

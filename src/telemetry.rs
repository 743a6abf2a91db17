//! Logs and metrics: what the process tells about itself.
//!
//! Labels are bounded: a throttle's name is one only because throttles are declared, never taken from a request.

mod families;
mod kill_path;
mod metrics;
mod process;
mod record;

use std::io::IsTerminal;

use crate::config::{ConfigError, LogFormat};

pub use families::reference;
pub use kill_path::{KillPath, Proof};
pub use metrics::{Found, Metrics, Now, ThrottleGauges, Verdicts};
pub use record::{RecordGauges, TableHead};

/// Starts logging to stderr: for people on a terminal, JSON lines elsewhere, unless `format` says. `filter` as in
/// `RUST_LOG`.
///
/// # Errors
/// If the filter is none.
pub fn start_logs(filter: &str, format: Option<LogFormat>) -> Result<(), ConfigError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| ConfigError {
        variable: "ECHO_LOG",
        expected: format!("a level or a filter, as info or echo_phoenix=debug: {error}"),
        fix: "Leave it unset for info.".to_owned(),
    })?;
    let on_terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(on_terminal);
    let for_people = format.map_or(on_terminal, |format| format == LogFormat::Human);
    // A second start (a test's) keeps the first.
    let _ = if for_people { logs.try_init() } else { logs.json().try_init() };
    Ok(())
}

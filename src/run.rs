//! The composition root: builds the parts, wires them, supervises their tasks, and owns clock,
//! signals and the order of starting and stopping.
//!
//! The only place that may know everything. Starting: the gate knows its holds before a listener
//! answers. Stopping: listeners first, the loop next, the record last, so that nothing opens on the
//! way down.

mod awaited;
pub mod clock;
mod data_folder;
mod gate;
mod gate_secret;
mod installation;
mod kept;
mod listen;
mod local_key;
mod manifest;
mod mirror;
mod operator;
mod record;
mod report_fan_out;
mod self_test;
mod serve;
pub mod supervise;
mod unaccounted;
mod upkeep;

pub use gate::{GateArgs, gate};
pub use local_key::made_key;
pub use mirror::{SetupArgs, setup_airtable};
pub use operator::{OperatorArgs, operator};
pub use serve::{ServeArgs, serve};

/// The description of the API as text, OpenAPI 3.1.
pub fn openapi() -> &'static str {
    crate::http::description()
}

/// The reference of everything that is refused over HTTP, as Markdown.
pub fn refusals() -> String {
    crate::http::refusal::reference()
}

/// Why a process ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used; exit code 2.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Whoever read the result has enough of it, as `head` has; no failure, but nobody to go on
    /// for.
    #[error("nobody reads on")]
    Enough,
    /// Something that was needed did not work; exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Whether an order was done, or will be, is not known; exit code 3.
    #[error("{0}")]
    Undecided(String),
}

impl RunError {
    /// A result that did not come out.
    pub fn unheard(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Enough,
            _ => Self::Failed(format!("stdout: {error}")),
        }
    }

    fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

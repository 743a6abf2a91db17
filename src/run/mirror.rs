//! Building the mirror, where it is on, and `setup-airtable`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::{Mutex, Notify};

use crate::config::{AirtableArgs, ConfigError, HostArgs};
use crate::http::HealthCheck;
use crate::mirror::airtable::{Airtable, AirtableConfig, Token};
use crate::mirror::counters::MirrorCounters;
use crate::mirror::retry::RetryPolicy;
use crate::mirror::setup::setup;
use crate::mirror::worker::{Worker, WorkerParts};
use crate::ports::{Clock, Ledger};
use crate::telemetry::{ConsoleWriter, shown_so_far};

use super::RunError;
use super::awaited::Awaited;
use super::supervise::Supervisor;

/// `echo-phoenix setup-airtable`
#[derive(Args, Clone, Debug)]
pub struct SetupArgs {
    /// Print what would be added and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// See `serve --help`
    #[command(flatten)]
    pub airtable: AirtableArgs,
    /// Hosts
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Makes what the mirror needs in the base.
///
/// # Errors
/// If the mirror is not configured, or Airtable refuses.
pub async fn setup_airtable(args: &SetupArgs) -> Result<(), RunError> {
    let Some(client) = client(&args.airtable, &args.hosts)? else {
        return Err(RunError::Config(ConfigError {
            variable: "AIRTABLE_API_KEY",
            expected: "a personal access token (pat…), and AIRTABLE_BASE_ID a base id (app…)"
                .to_owned(),
            fix: "Set both in the environment or in .env.".to_owned(),
        }));
    };
    // What it adds it adds, whether or not somebody reads what that is.
    let done = setup(&client, args.dry_run, &mut ConsoleWriter)
        .await
        .map_err(|e| RunError::failed("setup-airtable", e))?;
    match shown_so_far() {
        Err(error) if args.dry_run => return Err(RunError::unheard(&error)),
        _ => {}
    }
    if done.conflicts > 0 {
        return Err(RunError::Failed(format!(
            "{} fields are of another type; rename or remove them",
            done.conflicts
        )));
    }
    Ok(())
}

/// Whether the mirror can be built as configured, or is off.
///
/// # Errors
/// If a value cannot be used.
pub(super) fn check(args: &AirtableArgs, hosts: &HostArgs) -> Result<(), RunError> {
    client(args, hosts).map(drop)
}

/// The mirror's worker, if it is on.
pub(super) fn worker(
    args: &AirtableArgs,
    hosts: &HostArgs,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
) -> Result<Option<(Worker, Arc<MirrorCounters>)>, RunError> {
    let Some(airtable) = client(args, hosts)? else {
        return Ok(None);
    };
    tracing::info!(
        variable = "AIRTABLE_API_KEY",
        to = args.airtable_api_base,
        "a key goes to the mirror"
    );
    let counters = Arc::new(MirrorCounters::default());
    let parts = WorkerParts {
        airtable,
        ledger,
        clock,
        wake: Arc::new(Notify::new()),
        counters: Arc::clone(&counters),
        policy: RetryPolicy::default(),
        jitter: || rand::random(),
    };
    Ok(Some((Worker::new(parts), counters)))
}

/// Starts the worker, and again if it breaks.
pub(super) fn keep_up(supervisor: &mut Supervisor, worker: Worker) {
    let worker = Arc::new(Mutex::new(worker));
    supervisor.keep_up("mirror", move |stop| {
        let worker = Arc::clone(&worker);
        async move { worker.lock().await.run(stop).await }
    });
}

/// A mirror that is later than this is worth a look: a drift record is due within 5 s.
const LATE: Duration = Duration::from_secs(60);

/// How the mirror is doing, for `/health`.
pub(super) fn look(counters: Arc<MirrorCounters>, clock: Arc<dyn Clock>) -> HealthCheck {
    Arc::new(move || {
        let since = counters.oldest_pending_since();
        let late = since.map_or(Duration::ZERO, |since| {
            clock.elapsed().saturating_sub(since)
        });
        match (counters.quota_until(), counters.parked()) {
            (Some(until), _) => Err(format!(
                "the month's calls are used up; waits until {until}"
            )),
            (None, parked) if parked > 0 => Err(format!("{parked} rows are refused by Airtable")),
            (None, _) if late > LATE => Err(format!(
                "the oldest row has waited {} s; the log says why",
                late.as_secs()
            )),
            (None, _) => Ok("ok".to_owned()),
        }
    })
}

fn client(args: &AirtableArgs, hosts: &HostArgs) -> Result<Option<Airtable>, RunError> {
    let Some((token, base)) = args.given() else {
        return Ok(None);
    };
    args.check_base(hosts)?;
    let token = Token::parse(token).map_err(|error| ConfigError {
        variable: "AIRTABLE_API_KEY",
        expected: "a personal access token (pat…)".to_owned(),
        fix: error.to_string(),
    })?;
    if !base.starts_with("app") || !base.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(RunError::Config(ConfigError {
            variable: "AIRTABLE_BASE_ID",
            expected: "a base id, which begins with app".to_owned(),
            fix: "Copy it from the API documentation of your base.".to_owned(),
        }));
    }
    let _awaited = Awaited::on_certificates();
    let config = AirtableConfig {
        base_url: args.airtable_api_base.clone(),
        ..AirtableConfig::new(token, base)
    };
    Airtable::new(config)
        .map(Some)
        .map_err(|error| RunError::failed("AIRTABLE_API_BASE", error))
}

//! Building the mirror, where it is on, and `setup-airtable`.

use std::sync::Arc;

use clap::Args;
use tokio::sync::Notify;

use crate::config::{AirtableArgs, ConfigError};
use crate::mirror::airtable::{Airtable, AirtableConfig, Token};
use crate::mirror::counters::MirrorCounters;
use crate::mirror::retry::RetryPolicy;
use crate::mirror::setup::setup;
use crate::mirror::worker::{Worker, WorkerParts};
use crate::ports::{Clock, Ledger};

use super::RunError;

/// `echo-phoenix setup-airtable`
#[derive(Args, Clone, Debug)]
pub struct SetupArgs {
    /// Print what would be added and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// See `serve --help`
    #[command(flatten)]
    pub airtable: AirtableArgs,
}

/// Makes what the mirror needs in the base.
///
/// # Errors
/// If the mirror is not configured, or Airtable refuses.
pub async fn setup_airtable(args: &SetupArgs) -> Result<(), RunError> {
    let Some(client) = client(&args.airtable)? else {
        return Err(RunError::Config(ConfigError {
            variable: "AIRTABLE_API_KEY",
            expected: "a personal access token (pat…), and AIRTABLE_BASE_ID a base id (app…)".to_owned(),
            fix: "Set both in the environment or in .env.".to_owned(),
        }));
    };
    let done = setup(&client, args.dry_run, &mut std::io::stdout())
        .await
        .map_err(|e| RunError::failed("setup-airtable", e))?;
    if done.conflicts > 0 {
        return Err(RunError::Failed(format!("{} fields are of another type; rename or remove them", done.conflicts)));
    }
    Ok(())
}

/// The mirror's worker, if it is on.
pub(super) fn worker(
    args: &AirtableArgs,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
) -> Result<Option<(Worker, Arc<MirrorCounters>)>, RunError> {
    let Some(airtable) = client(args)? else { return Ok(None) };
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

/// A look at a part: `ok`, or what is wrong.
pub(super) type Look = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// How the mirror is doing, for `/health`.
pub(super) fn look(counters: Arc<MirrorCounters>) -> Look {
    Arc::new(move || match (counters.quota_until(), counters.parked()) {
        (Some(until), _) => Err(format!("the month's calls are used up; waits until {until}")),
        (None, 0) => Ok("ok".to_owned()),
        (None, parked) => Err(format!("{parked} rows are refused by Airtable")),
    })
}

fn client(args: &AirtableArgs) -> Result<Option<Airtable>, RunError> {
    let Some((token, base)) = args.given() else { return Ok(None) };
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
    let config = AirtableConfig { base_url: args.airtable_api_base.clone(), ..AirtableConfig::new(token, base) };
    Airtable::new(config).map(Some).map_err(|error| RunError::failed("AIRTABLE_API_BASE", error))
}

//! `plan`: what would happen. Without a file what the service does next; with one what it would do
//! if that were its manifest. Reads, and changes nothing.

mod changes;
mod differences;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::changes::{ChangeKind, PlannedThrottle, from_file, from_service};
use super::service::{Output, ServiceArgs, failed};
use super::terminal::{Paint, columns, fit_words, json_line, print, tell};
use crate::client::{ApiClient, ClientError, HealthSummary, ThrottleList};
use crate::config::files::{PatientReader, text};
use crate::config::{ConfigError, RemoteKeys};
use crate::domain::target::TargetSpec;
use crate::domain::throttle::FromFile;
use crate::run::RunError;
use crate::source::manifest;

/// `echo-phoenix plan`
#[derive(Args)]
pub(super) struct PlanArgs {
    /// A manifest, as `serve --manifest` takes it, or - for what is piped in; without one: what the
    /// service does next
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(super) async fn plan(args: PlanArgs, paint: Paint) -> Result<(), RunError> {
    // A file that is wrong is wrong without any service.
    let file = args.file.as_deref().map(read).transpose()?;
    file.iter().flatten().for_each(without_keys);
    let client = args.service.client()?;
    let (planned, compared) = match (ask(&client).await, &file) {
        (Ok((_, throttles)), None) => (from_service(&throttles.items), true),
        (Ok((health, throttles)), Some(file)) => {
            if health
                .checks
                .get("manifest")
                .is_some_and(|state| state.starts_with("off"))
            {
                tell!(
                    "{} takes no manifest yet: start it with --manifest FILE or ECHO_MANIFEST.",
                    client.base()
                );
            }
            (from_file(file, Some(&throttles.items)), true)
        }
        (Err(error @ ClientError::Silent { .. }), Some(file)) => {
            tell!(
                "Not compared: {error}. This is what the file declares; ECHO_URL names a service."
            );
            (from_file(file, None), false)
        }
        (Err(error), _) => return Err(failed(&client, &error)),
    };
    match args.output {
        Output::Json => {
            let from = args.file.as_ref().map(|file| file.display().to_string());
            let url = compared.then(|| client.base());
            print(&json_line(
                &json!({ "url": url, "file": from, "compared": compared, "throttles": planned }),
            ))
        }
        Output::Text => print(&fit_words(&written(&planned, paint), columns())),
    }
}

async fn ask(client: &ApiClient) -> Result<(HealthSummary, ThrottleList), ClientError> {
    let health = client.typed("/health", &client.health().await?)?;
    let throttles = client.typed("/v1/throttles", &client.get("/v1/throttles").await?)?;
    Ok((health, throttles))
}

fn read(path: &Path) -> Result<Vec<FromFile>, RunError> {
    let wrong = |fix: String| {
        let expected =
            "a file of EchoThrottle documents, as `serve --manifest` takes it".to_owned();
        RunError::Config(ConfigError {
            variable: "--file",
            expected,
            fix,
        })
    };
    let text = match path.as_os_str() == "-" {
        true => stdin(),
        false => PatientReader::of(path, manifest::LIMIT).read_text(),
    };
    let text = text.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    manifest::parse(&text).map_err(|error| {
        let mistakes: Vec<_> = error
            .0
            .iter()
            .map(|mistake| format!("\n  - {mistake}"))
            .collect();
        wrong(format!("{}:{}", path.display(), mistakes.concat()))
    })
}

/// Says which keys to other sites are not here: a service without them refuses the file, and its
/// variables may be others.
fn without_keys(one: &FromFile) {
    let keys = RemoteKeys::read();
    for target in &one.spec.targets {
        if let TargetSpec::Remote(remote) = target
            && let Err(why) = keys.get(&remote.api_key_env)
        {
            let (name, url, variable) = (&one.name, &remote.url, &remote.api_key_env);
            tell!(
                "Note: {name}, remote {url}: {variable} {why}, here. `serve` refuses this file unless it is set where it runs."
            );
        }
    }
}

/// What is piped in, up to more than a manifest may have, which is told as such.
fn stdin() -> io::Result<String> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(manifest::LIMIT as u64 + 1)
        .read_to_end(&mut bytes)?;
    text(bytes)
}

fn written(planned: &[PlannedThrottle], paint: Paint) -> String {
    let count = |kind: ChangeKind| planned.iter().filter(|one| one.change == kind).count();
    let (new, moved, same) = (
        count(ChangeKind::Create),
        count(ChangeKind::Change),
        count(ChangeKind::None),
    );
    let mut text = match count(ChangeKind::Unknown) {
        0 => format!("{new} new, {moved} to change, {same} as they are\n"),
        all => format!("{all} declared, compared with nothing\n"),
    };
    for one in planned {
        let name = match one.change {
            ChangeKind::Create => paint.good(&format!("+ {}", one.throttle)),
            ChangeKind::Change => paint.warn(&format!("~ {}", one.throttle)),
            ChangeKind::None => format!("= {}", one.throttle),
            ChangeKind::Unknown => format!("? {}", one.throttle),
        };
        text += &format!("\n{name}\n");
        one.steps
            .iter()
            .for_each(|step| text += &format!("    {step}\n"));
    }
    text
}

//! The command line: subcommands, exit codes, and help that teaches by example.
//!
//! Exit codes: 0 done, 1 failed, 2 usage or configuration. Results go to stdout, talk to stderr.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use kube::CustomResourceExt;

use crate::config::{self, StoreArgs};
use crate::run::{self, GateArgs, OperatorArgs, RunError, ServeArgs, SetupArgs};
use crate::source::crd::EchoThrottle;
use crate::source::crd_override::{ClusterEchoOverride, EchoOverride};
use crate::store::verify;
use crate::telemetry;

#[derive(Parser)]
#[command(name = "echo-phoenix", version, about, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  echo-phoenix serve                                   a service on 127.0.0.1:8080, record in ./data
  curl -X POST localhost:8080/kill -H \"X-API-Key: $ECHO_API_KEY\" \\
    -d '{\"reason\":\"double charges\",\"operator\":\"dana\",\"confirmation\":\"CONFIRM_KILL\"}'
  echo-phoenix verify --data-dir ./data                re-read every stored value of the record
  echo-phoenix crd | kubectl apply -f -                the custom resources, then: echo-phoenix operator
Variables may also stand in a file .env; a flag beats the environment, which beats .env.";

#[derive(Subcommand)]
enum Command {
    /// Everything in one process, without a cluster
    Serve(Box<ServeArgs>),
    /// The control plane of a cluster: leader-elected loop, ledger, API
    Operator(Box<OperatorArgs>),
    /// A data plane process of a cluster: watches and answers verdicts
    Gate(Box<GateArgs>),
    /// Re-read every stored value of the record and say whether it is as it was written
    Verify(VerifyArgs),
    /// Print the custom resource definitions as YAML
    Crd,
    /// Print the description of the API, OpenAPI 3.1
    Openapi,
    /// Print the reference of all metrics, as Markdown
    #[command(hide = true)]
    MetricsReference,
    /// Make the mirror's tables in Airtable; adds what is missing, changes nothing else
    SetupAirtable(SetupArgs),
    /// Ask a running process whether it is sound; for containers
    Healthcheck(HealthArgs),
}

#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A head that was exported earlier: finds rows that were cut from the end
    #[arg(long, value_name = "SEQ:HASH", value_parser = head)]
    head: Option<(i64, String)>,
}

#[derive(Args)]
struct HealthArgs {
    /// Address of the process, as its ECHO_LISTEN
    #[arg(long, env = "ECHO_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

fn head(text: &str) -> Result<(i64, String), String> {
    let parts = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, hash.to_owned())));
    parts
        .filter(|(seq, hash): &(i64, String)| *seq >= 0 && hash.len() == 64)
        .ok_or_else(|| "expected SEQ:HASH as `verify` prints it".to_owned())
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli: Cli = match config::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was there already");
    }
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-phoenix: {error}");
            ExitCode::from(if matches!(error, RunError::Config(_)) { 2 } else { 1 })
        }
    }
}

fn dispatch(command: Command) -> Result<(), RunError> {
    match command {
        Command::Serve(args) => {
            telemetry::start_logs(&args.listen.log, args.listen.log_format)?;
            block_on(run::serve(*args))
        }
        Command::Operator(args) => {
            telemetry::start_logs(&args.listen.log, args.listen.log_format)?;
            block_on(run::operator(*args))
        }
        Command::Gate(args) => {
            telemetry::start_logs(&args.listen.log, args.listen.log_format)?;
            block_on(run::gate(*args))
        }
        Command::SetupAirtable(args) => block_on(run::setup_airtable(&args)),
        Command::Verify(args) => verify_record(&args),
        Command::Crd => print_crds(),
        Command::Openapi => print(run::openapi()),
        Command::MetricsReference => print(&telemetry::reference()),
        Command::Healthcheck(args) => healthcheck(args.listen),
    }
}

fn block_on(task: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| RunError::Failed(format!("no runtime: {error}")))?.block_on(task)
}

fn verify_record(args: &VerifyArgs) -> Result<(), RunError> {
    let on_terminal = std::io::stderr().is_terminal();
    let mut progress = |table: &str, done: i64, all: i64| {
        if on_terminal {
            eprint!("\r{table}: {done} of {all}   ");
        }
    };
    let verified = verify(&args.store.data_dir, args.head.clone(), &mut progress);
    if on_terminal {
        eprintln!();
    }
    let verified = verified.map_err(|error| RunError::Failed(error.to_string()))?;
    for (table, rows) in &verified.rows {
        eprintln!("{table}: {rows} rows as written");
    }
    print(&format!("head {}:{}\n", verified.head_seq, verified.head_hash))
}

fn print_crds() -> Result<(), RunError> {
    let mut text = String::from("# Generated by `echo-phoenix crd`; do not edit.\n");
    for definition in [EchoThrottle::crd(), EchoOverride::crd(), ClusterEchoOverride::crd()] {
        let yaml = serde_saphyr::to_string(&definition).map_err(|error| RunError::Failed(error.to_string()))?;
        text.push_str("---\n");
        text.push_str(&yaml);
    }
    print(&text)
}

fn healthcheck(listen: SocketAddr) -> Result<(), RunError> {
    use std::io::Read;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let failed = |error: std::io::Error| RunError::Failed(format!("{listen} does not answer: {error}"));
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port()), patience).map_err(failed)?;
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    stream.write_all(b"GET /livez HTTP/1.0\r\nhost: localhost\r\n\r\n").map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).map_err(failed)?;
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    if line.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(RunError::Failed(format!("not sound: {line}"))) }
}

fn print(text: &str) -> Result<(), RunError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| RunError::Failed(format!("stdout: {error}")))
}

//! The command line: subcommands, exit codes, and help that teaches by example.
//!
//! Exit codes: [`Exit`]. Results go to stdout, talk to stderr; that nobody hears it changes no exit
//! code.

mod api;
mod audit;
mod examples;
mod kill;
mod known;
mod ledger;
mod plan;
mod reference;
mod report;
mod revive;
mod service;
mod set;
mod status;
mod terminal;
mod words;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use kube::CustomResourceExt;

use crate::config::{self, ListenArgs, NotRun};
use crate::domain::text::shown_lines;
use crate::ports::Clock;
use crate::run::clock::SystemClock;
use crate::run::{self, GateArgs, OperatorArgs, RunError, ServeArgs, SetupArgs};
use crate::source::crd::EchoThrottle;
use crate::source::crd_override::{ClusterEchoOverride, EchoOverride};
use crate::telemetry;
use audit::AuditArgs;
use kill::KillArgs;
use ledger::{BackupArgs, VerifyArgs};
use plan::PlanArgs;
use reference::{Exit, Reference};
use revive::ReviveArgs;
use set::SetArgs;
use status::StatusArgs;
use terminal::{Paint, print, tell};

/// How long blocking calls may go on after everything else has ended.
const LEFT: Duration = Duration::from_secs(2);

#[derive(Parser)]
#[command(name = "echo-phoenix", version, about, after_help = examples::ALL, propagate_version = true)]
struct Cli {
    /// No colour, whatever the terminal; as https://no-color.org has it.
    #[arg(long, env = "NO_COLOR", hide = true, global = true, num_args = 0..=1, default_missing_value = "1")]
    no_color: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process, without a cluster
    #[command(after_help = examples::SERVE)]
    Serve(Box<ServeArgs>),
    /// The control plane of a cluster: leader-elected loop, ledger, API
    #[command(after_help = examples::OPERATOR)]
    Operator(Box<OperatorArgs>),
    /// A data plane process of a cluster: watches and answers verdicts
    #[command(after_help = examples::GATE)]
    Gate(Box<GateArgs>),
    /// What holds, since when, by whom, what next
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Stop: everything, or one throttle
    #[command(after_help = examples::KILL)]
    Kill(KillArgs),
    /// End what people hold; what is declared comes back step by step
    #[command(after_help = examples::REVIVE)]
    Revive(ReviveArgs),
    /// Declare a level: what share of work is refused from now on
    #[command(after_help = examples::SET)]
    Set(SetArgs),
    /// The record, newest first: who did what, when and why
    #[command(after_help = examples::AUDIT)]
    Audit(AuditArgs),
    /// What would happen: next, or by a manifest
    #[command(after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Re-read every stored value of the record and say whether it is as it was written
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Copy the record while the service writes, and prove the copy
    #[command(after_help = examples::BACKUP)]
    Backup(BackupArgs),
    /// Print the custom resource definitions as YAML
    #[command(after_help = examples::CRD)]
    Crd,
    /// Print the description of the API, OpenAPI 3.1
    #[command(after_help = examples::OPENAPI)]
    Openapi,
    /// Print a reference that is made from the code, as Markdown
    #[command(hide = true)]
    Reference {
        /// Of what
        of: Reference,
    },
    /// Make the mirror's tables in Airtable; adds what is missing, changes nothing else
    #[command(after_help = examples::SETUP_AIRTABLE)]
    SetupAirtable(SetupArgs),
    /// Ask a running process whether it is sound; for containers
    #[command(after_help = examples::HEALTHCHECK)]
    Healthcheck(HealthArgs),
    /// Print what a shell needs to complete these commands
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Args)]
struct HealthArgs {
    /// Address of the process, as its ECHO_LISTEN
    #[arg(long, env = "ECHO_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Whatever this program makes is its owner's alone, whoever started it; SQLite's files too.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let code = match config::parse(&|line| tell!("{line}")) {
        Ok(cli) => run_it(cli),
        Err(NotRun {
            text,
            to_stdout,
            code,
        }) => {
            if to_stdout {
                telemetry::show(&text)
            } else {
                telemetry::tell(&text)
            }
            // Whoever meant to stop has to know that nothing did.
            if code != Exit::Done as u8 && stops() {
                tell!("{}", kill::NOTHING);
            }
            code
        }
    };
    telemetry::flush();
    ExitCode::from(code)
}

/// Runs a command; gives its exit code.
fn run_it(cli: Cli) -> u8 {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was there already");
    }
    let exit = match dispatch(cli.command, Paint::new(cli.no_color.as_deref())) {
        Ok(()) | Err(RunError::Enough) => Exit::Done,
        Err(error) => {
            tell!("echo-phoenix: {}", shown_lines(&error.to_string()));
            match error {
                RunError::Config(_) => Exit::Refused,
                RunError::Undecided(_) => Exit::Undecided,
                _ => Exit::Failed,
            }
        }
    };
    exit as u8
}

/// Whether the command line is that of a kill, readable or not.
fn stops() -> bool {
    std::env::args_os()
        .skip(1)
        .find(|word| !word.to_string_lossy().starts_with('-'))
        .is_some_and(|word| word == "kill")
}

/// Starts the log of a role.
fn start_logs(listen: &ListenArgs) -> Result<(), RunError> {
    telemetry::start_logs(&listen.log, listen.log_format, || SystemClock.elapsed())
        .map_err(RunError::Config)
}

fn dispatch(command: Command, paint: Paint) -> Result<(), RunError> {
    match command {
        Command::Serve(args) => {
            start_logs(&args.listen)?;
            block_on(run::serve(*args))
        }
        Command::Operator(args) => {
            start_logs(&args.listen)?;
            block_on(run::operator(*args))
        }
        Command::Gate(args) => {
            start_logs(&args.listen)?;
            block_on(run::gate(*args))
        }
        Command::SetupAirtable(args) => block_on(run::setup_airtable(&args)),
        Command::Status(args) => block_on(status::status(args, paint)),
        Command::Kill(args) => block_on(kill::kill(args, paint)),
        Command::Revive(args) => block_on(revive::revive(args, paint)),
        Command::Set(args) => block_on(set::set(args, paint)),
        Command::Audit(args) => block_on(audit::audit(args)),
        Command::Plan(args) => block_on(plan::plan(args, paint)),
        Command::Verify(args) => ledger::verify(&args),
        Command::Backup(args) => ledger::backup(&args),
        Command::Crd => print_crds(),
        Command::Openapi => print(run::openapi()),
        Command::Reference { of } => print(&of.text(&Cli::command())),
        Command::Healthcheck(args) => healthcheck(args.listen),
        Command::Completions { shell } => completions(shell),
    }
}

fn block_on(task: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| RunError::Failed(format!("no runtime: {error}")))?;
    let ended = runtime.block_on(task);
    // A call that the kernel does not let go of keeps no process from ending.
    runtime.shutdown_timeout(LEFT);
    ended
}

fn completions(shell: Shell) -> Result<(), RunError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "echo-phoenix", &mut text);
    print(&String::from_utf8_lossy(&text))
}

fn print_crds() -> Result<(), RunError> {
    let mut text = String::from("# Generated by `echo-phoenix crd`; do not edit.\n");
    for definition in [
        EchoThrottle::crd(),
        EchoOverride::crd(),
        ClusterEchoOverride::crd(),
    ] {
        let yaml = serde_saphyr::to_string(&definition)
            .map_err(|error| RunError::Failed(error.to_string()))?;
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
    let failed =
        |error: std::io::Error| RunError::Failed(format!("{listen} does not answer: {error}"));
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port()), patience)
        .map_err(failed)?;
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    stream
        .write_all(b"GET /livez HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).map_err(failed)?;
    let line = String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    if line.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(RunError::Failed(format!("not sound: {line}")))
    }
}

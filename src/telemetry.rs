//! Logs and metrics: what the process tells about itself.
//!
//! Labels are bounded: a throttle's name is one only because throttles are declared, never taken
//! from a request. What is said waits for nobody and ends nothing: see [`sink`].

mod families;
mod kill_path;
mod ledger_gauges;
mod metrics;
mod process;
mod sink;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::config::{ConfigError, LogFormat};
use crate::domain::text::{shown, shown_json};
use sink::Sink;

pub use families::reference;
pub use kill_path::{KillPath, Proof};
pub use ledger_gauges::{RecordGauges, TableHead};
pub use metrics::{LoopFindings, Metrics, Scrape, ThrottleGauges, Verdicts};

/// How long whoever has done its work waits until what it says is written...
const PATIENCE: Duration = Duration::from_secs(1);
/// ...and how long once that was in vain.
const NO_MORE: Duration = Duration::from_millis(50);
/// For how long a lost line of the log is worth a look.
const RECENT: Duration = Duration::from_secs(60);

/// Stderr, of which there is one.
static STDERR: LazyLock<Sink> = LazyLock::new(|| {
    let recovered =
        |lines| tracing::warn!(lines, "lines of the log were lost; it is written again");
    sink(io::stderr(), recovered)
});
/// Stdout, for what is said there by the way.
static STDOUT: OnceLock<Sink> = OnceLock::new();
/// Whether somebody waited in vain.
static IN_VAIN: AtomicBool = AtomicBool::new(false);
/// The monotonic clock that lost lines are dated by.
static CLOCK: OnceLock<fn() -> Duration> = OnceLock::new();

fn elapsed() -> Duration {
    CLOCK.get().map_or(Duration::ZERO, |clock| clock())
}

/// A way out of its own: nobody who locks the standard one can hold up the log, nor the log them.
fn sink(out: impl AsFd + Write + Send + 'static, recovered: impl Fn(u64) + Send + 'static) -> Sink {
    match out.as_fd().try_clone_to_owned() {
        Ok(own) => Sink::start(File::from(own), elapsed, recovered),
        Err(_) => Sink::start(out, elapsed, recovered),
    }
}

/// Starts logging to stderr: for people on a terminal, JSON lines elsewhere, unless `format` says.
/// `filter` as in `RUST_LOG`, `clock` a monotonic one. A panic is a line of the log like any other.
///
/// # Errors
/// If the filter is none.
pub fn start_logs(
    filter: &str,
    format: Option<LogFormat>,
    clock: fn() -> Duration,
) -> Result<(), ConfigError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| ConfigError {
        variable: "ECHO_LOG",
        expected: format!("a level or a filter, as info or echo_phoenix=debug: {error}"),
        fix: "Leave it unset for info.".to_owned(),
    })?;
    let on_terminal = io::stderr().is_terminal();
    let _ = CLOCK.set(clock);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(on_terminal);
    // Its own complaints would go to stderr, past the queue, and a stderr that is broken would make
    // them a panic.
    let logs = logs.log_internal_errors(false);
    let for_people = format.map_or(on_terminal, |format| format == LogFormat::Human);
    // A second start (a test's) keeps the first.
    let _ = if for_people {
        logs.fmt_fields(debug_fn(field).delimited(" "))
            .with_writer(|| Line { json: false })
            .try_init()
    } else {
        logs.with_writer(|| Line { json: true }).json().try_init()
    };
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a panic");
    }));
    Ok(())
}

/// A field of a line for people: text of others is written so that it can be seen. Only what is
/// ours alone has lines.
fn field(out: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => write!(out, "{}", shown(&value)),
        "backtrace" => write!(out, "\n{value}"),
        name => write!(out, "{name}={}", shown(&value)),
    }
}

/// What tracing writes a line of the log to.
struct Line {
    /// JSON has escapes of its own for what would not be seen.
    json: bool,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if self.json => STDERR.offer(shown_json(text).as_bytes(), elapsed),
            _ => STDERR.offer(line, elapsed),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says something to a person on stderr, after what was said before. Waits for nobody: whether it
/// comes out is seen at the end, by [`flush`].
pub fn tell(text: &str) {
    STDERR.offer(text.as_bytes(), elapsed);
}

/// Says something on stdout in the same way.
pub fn show(text: &str) {
    STDOUT
        .get_or_init(|| sink(io::stdout(), |_| {}))
        .offer(text.as_bytes(), elapsed);
}

/// Waits a moment until what was told and shown is written: between two streams, and before the
/// process ends. Only for whoever has done its work.
pub fn flush() {
    let _ = flushed(&STDERR);
    let _ = shown_so_far();
}

/// The same for what was shown.
///
/// # Errors
/// If some of it did not come out: why, or that nobody reads it.
pub fn shown_so_far() -> io::Result<()> {
    let Some(stdout) = STDOUT.get() else {
        return Ok(());
    };
    let all = flushed(stdout);
    match stdout.error() {
        Some(error) => Err(error),
        None if all => Ok(()),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")),
    }
}

fn flushed(sink: &Sink) -> bool {
    let all = sink.flush(if IN_VAIN.load(Ordering::Relaxed) {
        NO_MORE
    } else {
        PATIENCE
    });
    IN_VAIN.fetch_or(!all, Ordering::Relaxed);
    all
}

/// What is shown, for those that write.
#[derive(Debug)]
pub struct ConsoleWriter;

impl Write for ConsoleWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        show(&String::from_utf8_lossy(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines of the log that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostLines {
    /// How many since the start.
    pub lines: u64,
    /// Whether one was lost a moment ago.
    pub recently: bool,
}

/// What the log lost so far.
pub fn lost_lines() -> LostLines {
    let recently = STDERR
        .lost_at()
        .is_some_and(|at| elapsed().saturating_sub(at) < RECENT);
    LostLines {
        lines: STDERR.lost(),
        recently,
    }
}

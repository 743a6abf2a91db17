//! Where values come from: a flag beats the environment, which beats `.env` in the working
//! directory. A variable that is empty, or still has the guide's placeholder, is one that is not
//! set. A secret may stand in a file that `…_FILE` names.
//!
//! Knows no variable by name but those that an unreadable `.env` may hold and those that are never
//! its. Sets none: the environment of a process is not to be written to.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::OnceLock;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};

use super::dotenv::DotEnv;
use super::files::PatientReader;
use super::not_set;

/// Its name; not looked for in other folders than the working directory.
const FILE: &str = ".env";
/// How the name of a variable begins that has a key to another site.
pub(super) const REMOTE_KEY_PREFIX: &str = "ECHO_REMOTE_KEY_";
/// What names the file that has a secret.
pub(super) const FILE_SUFFIX: &str = "_FILE";
/// Largest such file, bytes.
const SECRET_LIMIT: usize = 64 << 10;
/// A wrong configuration.
const REFUSED: u8 = 2;
/// What decides whether a process is open to everybody: of each of these one has to be given
/// otherwise where `.env` cannot be read and might have it.
const NEEDED: [&[&str]; 2] = [&["ENVIRONMENT"], &["ECHO_API_KEY", "ECHO_API_KEYS"]];

/// What is the word of whoever runs the process, never of a file: by a kubeconfig commands are run
/// and a cluster is chosen, and the others tell what the platform is.
const ENVIRONMENT_ONLY: [&str; 3] = ["KUBECONFIG", "FLY_APP_NAME", "LISTEN_FDNAMES"];

/// What `.env` says and what of it is used. Like the environment, which it stands beside, it is the
/// process's own: read once, before anything else, and never changed.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) file: DotEnv,
    /// Variables whose value is the file's.
    used: BTreeSet<String>,
}

static LOADED: OnceLock<Loaded> = OnceLock::new();

pub(super) fn loaded() -> &'static Loaded {
    LOADED.get_or_init(Loaded::default)
}

/// Whether the value in use of a variable is the word of `.env`, which may be a stranger's.
pub fn is_of_dotenv(variable: &str) -> bool {
    loaded().used.contains(variable)
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRun {
    /// What is to be said of it. No value is told but one that was expected to be a number, an
    /// address or a word; a secret is none of these.
    pub text: String,
    /// Whether it is what was asked for, as `--help` is.
    pub to_stdout: bool,
    /// The exit code.
    pub code: u8,
}

/// Reads the command line and everything it may leave out. What is to be known and stops nothing is
/// told by `tell`, which waits for nobody.
///
/// # Errors
/// If there is nothing to run: why.
pub fn parse<C: Parser>(tell: &dyn Fn(&str)) -> Result<C, NotRun> {
    let plain = C::command();
    let (mut known, mut secret) = (BTreeSet::new(), BTreeSet::new());
    variables(&plain, &mut known, &mut secret);
    known.extend(secret.iter().map(|name| format!("{name}{FILE_SUFFIX}")));
    let mut file = DotEnv::read(Path::new(FILE), &|name| {
        known.contains(name) || name.starts_with(REMOTE_KEY_PREFIX)
    });
    let strange =
        file.take_out(|name| name.ends_with(FILE_SUFFIX) || ENVIRONMENT_ONLY.contains(&name));
    warn(&file, &secret, &strange, tell);
    let refused = |error: clap::Error| {
        let hint = variable(&plain, &error).and_then(|name| given_by(&name, &file));
        let hint = hint.map(|hint| format!("{hint}\n")).unwrap_or_default();
        let code = u8::try_from(error.exit_code()).unwrap_or(REFUSED);
        NotRun {
            text: rendered(&error) + &hint,
            to_stdout: !error.use_stderr(),
            code,
        }
    };
    let wrong = |error: String| NotRun {
        text: format!("echo-phoenix: {error}\n"),
        to_stdout: false,
        code: REFUSED,
    };
    let mut command = provide(C::command(), &file);
    let mut matches = command
        .try_get_matches_from_mut(std::env::args_os())
        .map_err(refused)?;
    let mut used = BTreeSet::new();
    let chosen = matches
        .subcommand()
        .map(|(name, matches)| (name.to_owned(), matches));
    if let Some((name, given)) = chosen
        && let Some(chosen) = plain.find_subcommand(&name)
    {
        let secrets = secret_files(chosen, given).map_err(wrong)?;
        needed(chosen, given, &secrets, &file).map_err(wrong)?;
        used = of_dotenv(chosen, given, &secrets, &file);
        if !secrets.is_empty() {
            let with = |arg: Arg, text: String| {
                arg.env(Resettable::Reset)
                    .default_value(text)
                    .hide_default_value(true)
            };
            let all = |one| {
                secrets.into_iter().fold(one, |one: Command, (id, text)| {
                    one.mut_arg(id, |a| with(a, text))
                })
            };
            command = provide(C::command(), &file).mut_subcommand(name, all);
            matches = command
                .try_get_matches_from_mut(std::env::args_os())
                .map_err(refused)?;
        }
    }
    let parsed = C::from_arg_matches_mut(&mut matches).map_err(refused)?;
    let _only_once = LOADED.set(Loaded { file, used });
    Ok(parsed)
}

/// What clap says, in colour for a terminal that shows it.
fn rendered(error: &clap::Error) -> String {
    let terminal = if error.use_stderr() {
        io::stderr().is_terminal()
    } else {
        io::stdout().is_terminal()
    };
    let plain =
        environment("NO_COLOR").is_some() || environment("TERM").is_none_or(|name| name == "dumb");
    let text = error.render();
    if terminal && !plain {
        text.ansi().to_string()
    } else {
        text.to_string()
    }
}

/// Every variable that a command tree takes, and those that are secret.
fn variables(command: &Command, known: &mut BTreeSet<String>, secret: &mut BTreeSet<String>) {
    for arg in command.get_arguments() {
        let Some(name) = env_of(arg) else { continue };
        if arg.is_hide_env_values_set() {
            secret.insert(name.clone());
        }
        known.insert(name);
    }
    command
        .get_subcommands()
        .for_each(|one| variables(one, known, secret));
}

fn env_of(arg: &Arg) -> Option<String> {
    arg.get_env()
        .map(|name| name.to_string_lossy().into_owned())
}

/// Says what is wrong with the file, without a word of what stands in it.
fn warn(file: &DotEnv, secret: &BTreeSet<String>, strange: &[String], tell: &dyn Fn(&str)) {
    if let Some(why) = &file.unreadable {
        tell(&format!("echo-phoenix: {FILE}: not read: {why}"));
    }
    for (name, line, why) in file.malformed() {
        tell(&format!(
            "echo-phoenix: {FILE}: line {line}: {name} is not taken: {why}"
        ));
    }
    let is_secret = |name: &str| secret.contains(name) || name.starts_with(REMOTE_KEY_PREFIX);
    if let Some(mode) = file.open.filter(|_| {
        file.names()
            .any(|name| is_secret(name) && file.value(name).is_some())
    }) {
        tell(&format!(
            "echo-phoenix: {FILE}: others may read its secrets (mode {mode:04o}); chmod 600 {FILE}"
        ));
    }
    for name in strange {
        // A path in somebody else's file would have any file of this machine sent as a key, or a
        // command run.
        tell(&format!(
            "echo-phoenix: {FILE}: {name} is not taken: it counts in the environment only"
        ));
    }
}

/// Lets no variable that is not set count as set, and the file speak for those.
fn provide(command: Command, file: &DotEnv) -> Command {
    let command = command.mut_args(|arg| match env_of(&arg) {
        Some(name) => provide_one(arg, &name, file),
        None => arg,
    });
    command.mut_subcommands(|one| provide(one, file))
}

fn provide_one(arg: Arg, name: &str, file: &DotEnv) -> Arg {
    let arg = named(arg, name);
    if environment(name).is_some() {
        return arg;
    }
    let arg = arg.env(Resettable::Reset);
    match file.value(name) {
        // Not shown by --help: it may be a secret.
        Some((value, _)) => arg.default_value(value.to_owned()).hide_default_value(true),
        None => arg,
    }
}

/// Names the variable in the help text, whether or not it is set, and never what it is set to.
fn named(arg: Arg, name: &str) -> Arg {
    let with = |help: &dyn std::fmt::Display| format!("{help} [env: {name}]");
    let (help, long) = (
        arg.get_help().map(|help| with(help)),
        arg.get_long_help().map(|help| with(help)),
    );
    let arg = arg.hide_env(true);
    let arg = help.into_iter().fold(arg, |arg, help| arg.help(help));
    long.into_iter().fold(arg, |arg, help| arg.long_help(help))
}

/// A variable of the environment that is set; of one that is no text, what can be read of it.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the place where configuration is read"
)]
pub(super) fn environment(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    let value = value.to_string_lossy();
    (!not_set(&value)).then(|| value.into_owned())
}

/// The secret in a file that a variable names, without the line's end.
pub(super) fn secret_in(path: &str) -> Result<String, String> {
    let text = PatientReader::of(Path::new(path), SECRET_LIMIT)
        .read_text()
        .map_err(|error| error.to_string())?;
    Ok(text.trim().to_owned())
}

/// Whether a value is the command line's or the environment's.
fn is_given(arg: &Arg, given: &ArgMatches) -> bool {
    matches!(
        given.value_source(arg.get_id().as_str()),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// Secrets whose variable names a file: the argument's id, and what stands there.
type Secrets = Vec<(String, String)>;

fn secret_files(chosen: &Command, given: &ArgMatches) -> Result<Secrets, String> {
    let mut secrets = Vec::new();
    for arg in chosen
        .get_arguments()
        .filter(|arg| arg.is_hide_env_values_set())
    {
        let id = arg.get_id().as_str();
        let Some(name) =
            env_of(arg).filter(|_| given.value_source(id) != Some(ValueSource::CommandLine))
        else {
            continue;
        };
        let named = format!("{name}{FILE_SUFFIX}");
        let Some(path) = environment(&named) else {
            continue;
        };
        if is_given(arg, given) {
            return Err(format!(
                "{name}: expected it or {named}, and both are set. Leave one of them unset."
            ));
        }
        let text = secret_in(&path).map_err(|why| {
            format!("{named}: expected a file that has the secret. {path}: {why}. Name another, or set {name} itself.")
        })?;
        secrets.push((id.to_owned(), text));
    }
    Ok(secrets)
}

/// Whether the command can go without what the file was meant to say.
fn needed(
    chosen: &Command,
    given: &ArgMatches,
    secrets: &Secrets,
    file: &DotEnv,
) -> Result<(), String> {
    let is_known = |arg: &Arg| {
        is_given(arg, given) || secrets.iter().any(|(id, _)| arg.get_id().as_str() == id)
    };
    let visible = || chosen.get_arguments().filter(|arg| !arg.is_hide_set());
    for (name, line, why) in file
        .malformed()
        .filter(|(name, ..)| file.value(name).is_none())
    {
        if visible().any(|arg| env_of(arg).is_some_and(|env| env == name) && !is_known(arg)) {
            return Err(format!(
                "{FILE}: line {line}: expected {name}=value; {why}. Mend it, or set {name} elsewhere."
            ));
        }
    }
    let Some(why) = &file.unreadable else {
        return Ok(());
    };
    let has = |names: &[&str], known: &dyn Fn(&Arg) -> bool| {
        visible()
            .any(|arg| env_of(arg).is_some_and(|env| names.contains(&env.as_str())) && known(arg))
    };
    let is_process = NEEDED.iter().all(|names| has(names, &|_| true));
    match NEEDED
        .iter()
        .find(|names| is_process && !has(names, &is_known))
    {
        Some(names) => {
            let names = names.join(" or ");
            Err(format!(
                "{FILE}: {why}. It may have {names}: let this process read it, remove it, or set {names} elsewhere."
            ))
        }
        None => Ok(()),
    }
}

/// The variables whose value is the file's.
fn of_dotenv(
    chosen: &Command,
    given: &ArgMatches,
    secrets: &Secrets,
    file: &DotEnv,
) -> BTreeSet<String> {
    let other = |arg: &&Arg| {
        is_given(arg, given) || secrets.iter().any(|(id, _)| arg.get_id().as_str() == id)
    };
    let args = chosen.get_arguments().filter(|arg| !other(arg));
    args.filter_map(env_of)
        .filter(|name| file.value(name).is_some())
        .collect()
}

/// The variable beside the flag that an error names.
fn variable(command: &Command, error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = flag.split([' ', '=']).next()?.strip_prefix("--")?;
    find(command, flag)
}

/// Where the value of a variable that cannot be used may come from.
fn given_by(name: &str, file: &DotEnv) -> Option<String> {
    if environment(name).is_some() {
        return Some(format!(
            "The value may be the variable {name}'s: mend it, or leave it unset for the default."
        ));
    }
    let (_, line) = file.value(name)?;
    Some(format!(
        "The value may be that of {name} in {FILE}, line {line}: mend it, or leave it unset for the default."
    ))
}

fn find(command: &Command, flag: &str) -> Option<String> {
    let here = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(flag))
        .and_then(env_of);
    here.or_else(|| command.get_subcommands().find_map(|one| find(one, flag)))
}

//! Where values come from: a flag beats the environment, which beats `.env` in the working directory. A variable that is
//! empty, or still has the guide's placeholder, is one that is not set.
//!
//! Knows no variable by name.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Parser};

use super::{Secret, graphic, not_set};

/// Its name; not looked for in other folders than the working directory.
const FILE: &str = ".env";
/// A wrong configuration.
const REFUSED: u8 = 2;

/// Reads the command line and everything it may leave out.
///
/// # Errors
/// The exit code, after telling on stderr (or stdout, for `--help`) why there is nothing to run. No value is told but
/// one that was expected to be a number, an address or a word; a secret is none of these.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    let file = read_file(Path::new(FILE)).map_err(|wrong| {
        let _ = writeln!(io::stderr(), "echo-phoenix: {FILE}: {wrong}");
        ExitCode::from(REFUSED)
    })?;
    let mut command = unset(C::command(), &file);
    let matched = command.try_get_matches_from_mut(std::env::args_os());
    matched.and_then(|mut matches| C::from_arg_matches_mut(&mut matches)).map_err(|error| {
        let _ = error.print();
        if let Some(variable) = variable(&command, &error).filter(|name| is_given(name)) {
            let way_out =
                format!("The value may be the variable {variable}'s: mend it, or leave it unset for the default.");
            let _ = writeln!(io::stderr(), "{way_out}");
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(REFUSED))
    })
}

/// What the file says. Its lines may hold secrets, so an error names the line's number alone.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text); // some editors begin a file with it
    let read: Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    let read = read.map_err(|error| match error {
        // The line, or the value alone; of one that an open quote goes on in, all lines to the end.
        dotenvy::Error::LineParse(part, _) => {
            let part = part.lines().next().unwrap_or_default().trim();
            let number = text.lines().position(|line| line.trim().ends_with(part)).map_or(0, |index| index + 1);
            format!("line {number}: expected NAME=value. Quote a value that holds spaces, and lead a comment by #.")
        }
        _ => "cannot be read".to_owned(),
    })?;
    // For the libraries that read the environment themselves; what is there already stays.
    dotenvy::from_read(text.as_bytes()).map_err(|_| "cannot be read".to_owned())?;
    Ok(read)
}

/// Lets no variable that is not set count as set, and the file speak for those.
fn unset(command: Command, file: &[(String, String)]) -> Command {
    let command = command.mut_args(|arg| match arg.get_env().map(OsStr::to_owned) {
        Some(name) => unset_one(arg, &name, file),
        None => arg,
    });
    command.mut_subcommands(|one| unset(one, file))
}

#[allow(clippy::disallowed_methods, reason = "this is the place where configuration is read")]
fn unset_one(arg: Arg, name: &OsStr, file: &[(String, String)]) -> Arg {
    let Some(value) = std::env::var_os(name) else { return arg };
    if !value.to_str().is_some_and(not_set) {
        return arg;
    }
    let arg = arg.env(Resettable::Reset);
    let said = file.iter().rev().find(|(known, value)| name == known.as_str() && !not_set(value));
    match said {
        Some((_, value)) => arg.default_value(value),
        None => arg,
    }
}

/// The key in a variable that a declaration names.
///
/// # Errors
/// Why there is none, in words that follow the variable's name.
#[allow(clippy::disallowed_methods, reason = "this is the place where configuration is read")]
pub fn key_in(variable: &str) -> Result<Secret, &'static str> {
    let secret = Secret(std::env::var_os(variable).and_then(|value| value.into_string().ok()).unwrap_or_default());
    match secret.given() {
        None => Err("is not set, or has no text"),
        Some(key) if !graphic(key) => Err("is not visible ASCII without spaces"),
        Some(_) => Ok(secret),
    }
}

/// The variable beside the flag that an error names.
fn variable(command: &Command, error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = flag.split([' ', '=']).next()?.strip_prefix("--")?;
    find(command, flag)
}

#[allow(clippy::disallowed_methods, reason = "this is the place where configuration is read")]
fn is_given(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

fn find(command: &Command, flag: &str) -> Option<String> {
    let here = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).and_then(Arg::get_env);
    here.map(|name| name.to_string_lossy().into_owned())
        .or_else(|| command.get_subcommands().find_map(|one| find(one, flag)))
}

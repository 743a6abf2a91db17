//! `verify` and `backup`: the record looked at from outside. Neither needs the folder's lock, so
//! the service may run.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::terminal::{Progress, print, print_done, tell};
use crate::config::{ConfigError, StoreArgs};
use crate::domain::chain_head::ChainHead;
use crate::run::RunError;
use crate::store::{self, LEDGER_FILE, Verified};

/// `echo-phoenix verify`
#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Verify this file instead, a backup for example
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// A head that was exported earlier, which finds rows cut from the end: SEQ:HASH for the audit
    /// log, TABLE=SEQ:HASH for any table; may be given more than once
    #[arg(long = "head", value_name = "[TABLE=]SEQ:HASH")]
    heads: Vec<ChainHead>,
}

/// `echo-phoenix backup`
#[derive(Args)]
pub(super) struct BackupArgs {
    /// The file to make; one that is there is never overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// What is wrong with a file that can be no ledger, and where it was looked for; nothing of one
/// that may be one.
fn no_ledger(file: &Path, data_dir: Option<&Path>) -> Option<String> {
    let what = match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".to_owned(),
        Err(error) => error.to_string(),
        Ok(found) if found.is_dir() => {
            "it is a folder; the folder of a record is named by --data-dir".to_owned()
        }
        Ok(found) if !found.is_file() => {
            "it is no regular file but a pipe, a socket or a device".to_owned()
        }
        Ok(found) if found.len() == 0 => "it is empty, so it is no ledger and no backup".to_owned(),
        Ok(_) => return None,
    };
    let way_out = match data_dir {
        Some(folder) => format!(
            "It was looked for in the data folder {}: --data-dir or ECHO_DATA_DIR names the one that the service uses.",
            folder.display()
        ),
        None => "--file names a ledger or a backup.".to_owned(),
    };
    Some(format!("{}: {what}\n  - {way_out}", file.display()))
}

/// What a ledger looks like that is none or not as it was written, and what to go on with.
fn ways_out(looks: Option<&str>) -> String {
    let looks = looks
        .map(|looks| format!("\n  - What it looks like: {looks}."))
        .unwrap_or_default();
    format!(
        "{looks}\n  - Keep the file as it is. Which backup is whole: echo-phoenix verify --file BACKUP\n  - To go on from that one: stop \
         the service, mkdir -m 700 NEW, cp BACKUP NEW/ledger.db, start it with ECHO_DATA_DIR=NEW, look (echo-phoenix status), \
         echo-phoenix revive."
    )
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), RunError> {
    let folder = args.file.is_none().then_some(args.store.data_dir.as_path());
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| args.store.data_dir.join(LEDGER_FILE));
    if let Some(wrong) = no_ledger(&file, folder) {
        return Err(RunError::Failed(wrong));
    }
    let verified = {
        let mut progress = Progress::new();
        store::verify(&file, &args.heads, &mut |part, done, all| {
            progress.tell(part, done, all)
        })
    };
    let verified = verified.map_err(|error| {
        let looks = error.looks(&file);
        RunError::Failed(format!(
            "{}: {error}{}",
            file.display(),
            ways_out(looks.as_deref())
        ))
    })?;
    tell!("{}: every row is as it was written", file.display());
    if args.heads.is_empty() {
        tell!(
            "Rows cut from the end leave no trace in the file itself: give a head that lives elsewhere, as the log has \
             them (--head)."
        );
    }
    print(&heads(&verified))
}

pub(super) fn backup(args: &BackupArgs) -> Result<(), RunError> {
    if args.file.as_os_str() == "-" {
        let expected =
            "a file: a copy is read back before it counts, which stdout cannot be".to_owned();
        let fix = "Nothing was written. Name a file; one whose name is - is ./-".to_owned();
        return Err(RunError::Config(ConfigError {
            variable: "FILE",
            expected,
            fix,
        }));
    }
    let ledger = args.store.data_dir.join(LEDGER_FILE);
    if let Some(wrong) = no_ledger(&ledger, Some(&args.store.data_dir)) {
        return Err(RunError::Failed(format!("no backup was made: {wrong}")));
    }
    let saved = {
        let mut progress = Progress::new();
        store::backup(&args.store.data_dir, &args.file, &mut |part, done, all| {
            progress.tell(part, done, all)
        })
    };
    let saved = saved.map_err(|error| {
        let dir = &args.store.data_dir;
        let ways = if error.is_of_the_ledger(dir) {
            ways_out(error.looks(dir).as_deref())
        } else {
            String::new()
        };
        let file = if ways.is_empty() {
            String::new()
        } else {
            format!("{}: ", ledger.display())
        };
        RunError::Failed(format!("no backup was made: {file}{error}{ways}"))
    })?;
    let bytes = saved.bytes;
    tell!(
        "{}: {bytes} bytes of {}, readable by its owner alone; read back, and every row is as written",
        args.file.display(),
        args.store.data_dir.display()
    );
    print_done(&heads(&saved.verified));
    Ok(())
}

/// The heads as text: the audit log's without its name.
fn heads(verified: &Verified) -> String {
    let mut text = String::new();
    for head in &verified.heads {
        let (seq, hash) = (head.seq, &head.hash);
        text += &if head.is_audit() {
            format!("head {seq}:{hash}\n")
        } else {
            format!("{} head {seq}:{hash}\n", head.table)
        };
        tell!("{}: {seq} rows", head.table);
    }
    text
}

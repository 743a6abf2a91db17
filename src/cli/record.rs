//! `verify` and `backup`: the record looked at from outside. Neither needs the folder's lock, so the service may run.

use std::path::PathBuf;

use clap::Args;

use super::terminal::{Progress, print, print_done, tell};
use crate::config::{ConfigError, StoreArgs};
use crate::run::RunError;
use crate::store::{self, Head, LEDGER_FILE, Verified};

/// `echo-phoenix verify`
#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Verify this file instead, a backup for example
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// A head that was exported earlier, which finds rows cut from the end: SEQ:HASH for the audit log, TABLE=SEQ:HASH for
    /// any table; may be given more than once
    #[arg(long = "head", value_name = "[TABLE=]SEQ:HASH")]
    heads: Vec<Head>,
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

pub(super) fn verify(args: &VerifyArgs) -> Result<(), RunError> {
    let file = args.file.clone().unwrap_or_else(|| args.store.data_dir.join(LEDGER_FILE));
    let verified = {
        let mut progress = Progress::new();
        store::verify(&file, &args.heads, &mut |part, done, all| progress.tell(part, done, all))
    };
    let verified = verified.map_err(|error| RunError::Failed(error.to_string()))?;
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
        let expected = "a file: a copy is read back before it counts, which stdout cannot be".to_owned();
        let fix = "Nothing was written. Name a file; one whose name is - is ./-".to_owned();
        return Err(RunError::Config(ConfigError { variable: "FILE", expected, fix }));
    }
    let saved = {
        let mut progress = Progress::new();
        store::backup(&args.store.data_dir, &args.file, &mut |part, done, all| progress.tell(part, done, all))
    };
    let saved = saved.map_err(|error| RunError::Failed(format!("no backup was made: {error}")))?;
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

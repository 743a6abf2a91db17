//! `echo-phoenix setup-airtable`: tells what a base lacks of the mirror's tables, and adds it.
//!
//! Adds, never changes or removes; running it again finds nothing to do.

use std::io::Write;

use super::airtable::{Airtable, AirtableError};
use super::tables::{SchemaChange, TABLES, diff};

/// Why the tables could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Airtable did not do it. What was already added stays, and is found next time.
    #[error(transparent)]
    Airtable(#[from] AirtableError),
    /// The diff could not be printed, so nothing more was done.
    #[error("cannot print: {0}")]
    Output(#[from] std::io::Error),
}

impl SetupError {
    /// Fixed label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Airtable(error) => error.category().label(),
            Self::Output(_) => "output",
        }
    }
}

/// What setting up came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetUp {
    /// Tables and fields that were missing.
    pub missing: usize,
    /// Of these, how many were added; none in a dry run.
    pub added: usize,
    /// Fields of another type than ours, left alone. The mirror waits until a person has dealt with
    /// them.
    pub conflicts: usize,
}

/// Prints the diff and, unless `dry_run`, adds what is missing.
pub async fn setup(
    client: &Airtable,
    dry_run: bool,
    out: &mut impl Write,
) -> Result<SetUp, SetupError> {
    let diff = diff(TABLES, &client.schema().await?);
    write!(out, "{diff}")?;
    let mut done = SetUp {
        missing: diff.changes.len(),
        added: 0,
        conflicts: diff.conflicts.len(),
    };
    if diff.changes.is_empty() {
        writeln!(out, "nothing to add")?;
        return Ok(done);
    }
    if dry_run {
        writeln!(out, "dry run: nothing was changed")?;
        return Ok(done);
    }
    for change in &diff.changes {
        apply(client, change).await?;
        done.added += 1;
    }
    let _ = writeln!(out, "added"); // it is done, heard or not
    Ok(done)
}

async fn apply(client: &Airtable, change: &SchemaChange) -> Result<(), AirtableError> {
    match change {
        SchemaChange::CreateTable(table) => client.create_table(table).await.map(drop),
        SchemaChange::CreateField {
            table_id, field, ..
        } => client.create_field(table_id, field).await.map(drop),
    }
}

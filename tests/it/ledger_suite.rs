//! What every ledger must do, as plain functions over a factory, and the backends they are run for.
//!
//! Another backend is one more `Backend` and one more `every_case!` line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod cases;
pub(crate) mod declared;
mod memory;
mod sqlite;
mod standby;
mod tampering;
mod upkeep;
pub(crate) mod values;

use std::sync::Arc;

use echo_phoenix::ports::{Ledger, LedgerUpkeep};
use echo_phoenix::store::SqliteLedger;
use tempfile::TempDir;

/// A ledger as the suite sees it.
pub(crate) trait TestLedger: Ledger + LedgerUpkeep {}

impl<L: Ledger + LedgerUpkeep> TestLedger for L {}

/// A place where a ledger lives. Opening it again finds what was committed before.
pub(crate) trait Backend: Send + Sync {
    /// Opens the ledger of this place.
    fn open(&self) -> Arc<dyn TestLedger>;
}

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

impl Backend for Sqlite {
    fn open(&self) -> Arc<dyn TestLedger> {
        Arc::new(SqliteLedger::open(self.0.path()).unwrap().0)
    }
}

macro_rules! suite {
    ($module:ident, $backend:expr, $($file:ident: $($case:ident),+;)+) => {
        mod $module {
            #[allow(unused_imports, reason = "the factory's expression may need them")]
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $file::$case(&$backend).await;
                }
            )+)+
        }
    };
}

/// The whole suite, for one backend.
macro_rules! every_case {
    ($module:ident, $backend:expr) => {
        suite!(
            $module,
            $backend,
            cases:
            audit_entries_are_numbered_from_one,
            a_hold_is_taken_once,
            a_command_whose_hold_is_known_leaves_its_entry_and_its_answer,
            an_ended_hold_never_comes_back,
            a_hold_that_ended_before_it_came_never_bites,
            an_event_is_stored_once,
            an_event_with_another_meaning_raises_an_alarm,
            the_same_id_elsewhere_is_another_event,
            an_older_generation_is_a_conflict,
            an_intent_gets_one_outcome,
            a_refused_change_leaves_nothing,
            the_mirror_owes_the_newest_version,
            a_newer_version_stays_owed,
            a_row_that_changes_keeps_its_place,
            concurrent_writers_all_get_what_they_were_told,
            a_failing_change_fails_alone,
            a_check_changes_nothing,
            what_was_acknowledged_is_there_after_a_restart,
            a_command_is_recorded_once,
            a_client_key_gets_the_first_answer,
            a_used_key_lets_a_level_close_and_none_open,
            a_first_declaration_is_not_made_under_the_key_of_another_request,
            a_kill_under_a_used_key_is_recorded_unless_it_tells_of_the_same_kill,
            what_its_client_was_told_is_recorded_under_a_used_key_too,
            a_retry_hears_what_was_told_and_a_refusal_is_kept_for_nobody;
            upkeep:
            a_process_records_what_it_starts_from,
            an_intent_that_was_left_open_is_closed_once,
            heads_follow_their_tables,
            what_may_be_forgotten_goes_and_nothing_else,
            a_ledger_that_is_closed_takes_nothing;
        );
    };
}

every_case!(on_sqlite, Sqlite::new());
every_case!(in_memory, memory::Memory::default());

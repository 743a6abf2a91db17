//! The brake of a service of one process: what is declared, the gate, and the kill path that moves
//! it, with every hold there is before anybody is answered.
//!
//! Knows no listener and starts no task.

use std::collections::HashMap;
use std::sync::Arc;

use super::ServeArgs;
use crate::config::{HostArgs, RemoteKeys};
use crate::decide::law::Law;
use crate::desired::{LedgerDesired, ManifestFile};
use crate::domain::hold::Epoch;
use crate::domain::target::TargetKind;
use crate::gate::Gate;
use crate::http::StatusBoard;
use crate::latch::Latch;
use crate::ports::{Clock, Desired, Journal, JournalEntry, Ledger, Report, Stored, Target};
use crate::reconcile::ReconcileContext;
use crate::run::manifest::{self, ManifestDeps};
use crate::run::report_fan_out::ReportFanOut;
use crate::run::{RunError, gate_secret};
use crate::store::{FileJournal, StandbyLedger};
use crate::targets::gate::LocalGate;

/// What decides here, and what it moves.
pub(super) struct Brake {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) record: Arc<dyn Ledger>,
    pub(super) manifest: Option<Arc<ManifestFile>>,
    pub(super) declared: Arc<LedgerDesired>,
    /// The same, as others see it.
    pub(super) desired: Arc<dyn Desired>,
    pub(super) gate: Arc<Gate>,
    pub(super) latch: Arc<Latch>,
}

impl Brake {
    /// Starts from what was stored, and what the ledger was heard to have. What is not as it should
    /// be in the folder goes to `told`.
    ///
    /// # Errors
    /// If the gate's secret cannot be used.
    pub(super) fn new(
        args: &ServeArgs,
        clock: Arc<dyn Clock>,
        ledger: &Arc<StandbyLedger>,
        journal: &Arc<FileJournal>,
        (stored, heard): (&Stored, &[Epoch]),
        told: &mut Vec<String>,
    ) -> Result<Self, RunError> {
        let journal: Arc<dyn Journal> = Arc::<FileJournal>::clone(journal);
        let record: Arc<dyn Ledger> = Arc::<StandbyLedger>::clone(ledger);
        let manifest = args
            .manifest
            .manifest
            .as_deref()
            .map(|path| Arc::new(ManifestFile::new(path, &clock)));
        let declared = Arc::new(match &manifest {
            Some(_) => LedgerDesired::with_manifest(Arc::clone(&record), stored.clone()),
            None => LedgerDesired::new(Arc::clone(&record), stored.clone()),
        });
        let desired: Arc<dyn Desired> = Arc::<LedgerDesired>::clone(&declared);
        // What was done and never reached the ledger is declared state too.
        journal
            .pending()
            .iter()
            .for_each(|entry| declared.owes(entry));
        let kept = Some((args.store.data_dir.as_path(), told));
        let gate = Arc::new(gate_secret::gate(
            &args.secret,
            args.listen.environment,
            kept,
        )?);
        let latch = latch(&gate, &declared, &journal, stored, heard);
        // The gate knows every hold, the journal's and the manifest's included, before a listener
        // is bound.
        latch.restore(clock.elapsed());
        Ok(Self {
            clock,
            record,
            manifest,
            declared,
            desired,
            gate,
            latch,
        })
    }

    /// Obeys the manifest's file, where there is one; answers what it acts on from here on.
    /// `abroad` as of [`ManifestDeps::new`].
    ///
    /// # Errors
    /// If the file cannot be used and there is no earlier state to stand on.
    pub(super) async fn obey_file(
        &self,
        abroad: (RemoteKeys, HostArgs),
        has_state: bool,
    ) -> Result<Arc<ManifestDeps>, RunError> {
        let on = ManifestDeps::new(&self.declared, &self.latch, &self.clock, abroad);
        if let Some(file) = &self.manifest {
            manifest::start(file, &on, has_state).await?;
        }
        Ok(on)
    }

    /// What the loop needs of it. `there`: the throttles of other sites; `board`: who hears of each
    /// pass beside the declared state.
    pub(super) fn parts(self, there: Arc<dyn Target>, board: Arc<StatusBoard>) -> ReconcileContext {
        let local: Arc<dyn Target> = Arc::new(LocalGate::new(
            Arc::clone(&self.gate),
            Arc::clone(&self.clock),
        ));
        let declared: Arc<dyn Report> = Arc::<LedgerDesired>::clone(&self.declared);
        let told: Arc<dyn Report> = Arc::new(ReportFanOut(vec![declared, board]));
        ReconcileContext {
            desired: self.desired,
            leadership: Arc::<LedgerDesired>::clone(&self.declared),
            wake: self.declared,
            ledger: self.record,
            latch: self.latch,
            gate: self.gate,
            targets: HashMap::from([(TargetKind::Gate, local), (TargetKind::Remote, there)]),
            report: Some(told),
            clock: self.clock,
            law: Law::default(),
        }
    }
}

/// The kill path with every hold there is, those that only the journal has included.
fn latch(
    gate: &Arc<Gate>,
    declared: &Arc<LedgerDesired>,
    journal: &Arc<dyn Journal>,
    stored: &Stored,
    heard: &[Epoch],
) -> Arc<Latch> {
    let pending = journal.pending().into_iter().filter_map(JournalEntry::hold);
    let held = stored.holds.iter().cloned().chain(pending).collect();
    let latch = Latch::new(
        Arc::clone(gate),
        Arc::<LedgerDesired>::clone(declared),
        Arc::<LedgerDesired>::clone(declared),
        Some(Arc::clone(journal)),
        held,
    );
    latch.heard(heard);
    Arc::new(latch)
}

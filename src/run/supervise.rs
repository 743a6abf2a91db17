//! One supervisor for all tasks. A vital one that ends before it was told to ends the process with
//! a reason; any other is started again, with longer and longer pauses.
//!
//! A process without its loop or its kill lane must not look alive; whoever runs us starts it
//! again, from what was stored. A mirror or a file that breaks its task must not take the gate
//! away.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::clock::SystemClock;
use crate::ports::Clock;

/// How long the tasks of a stage may take to end once they are told to...
const GRACE: Duration = Duration::from_secs(10);
/// ...and all stages together. With the closing of the record and of the log that is less than
/// platforms wait (30 s).
const ALL_GRACE: Duration = Duration::from_secs(18);
/// What the last stages have at least.
const LEAST_GRACE: Duration = Duration::from_secs(1);
/// The pause before a task that is not vital is started again, doubled each time...
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// ...up to this. A task that lived for longer than this begins anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tasks of one stage; stages are stopped in the reverse order of their start.
struct Stage {
    tasks: JoinSet<&'static str>,
    stop: CancellationToken,
}

/// The signals that end a process. Listened to before a port is open: whoever was answered once is
/// ended in order. Until then a signal ends it at once, whatever it waits for.
#[derive(Debug)]
pub struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    /// Begins to listen: one that comes from now on is not lost.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn listen() -> Result<Self, RunError> {
        let of = |kind| signal(kind).map_err(|e| RunError::failed("no signal handler", e));
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// All tasks of the process.
#[derive(Default)]
pub struct Supervisor {
    stages: Vec<Stage>,
}

impl Supervisor {
    /// Begins a stage; what is started from now on stops before what was started earlier.
    pub fn stage(&mut self) -> CancellationToken {
        let stop = CancellationToken::new();
        self.stages.push(Stage {
            tasks: JoinSet::new(),
            stop: stop.clone(),
        });
        stop
    }

    /// Starts a vital task of the current stage: the process ends if it does.
    pub fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.current();
        if let Some(stage) = self.stages.last_mut() {
            stage.tasks.spawn(async move {
                task.await;
                name
            });
        }
    }

    /// Starts a task of the current stage that is started again if it ends or panics.
    pub fn keep_up<F>(
        &mut self,
        name: &'static str,
        mut task: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let stop = self.current();
        self.start(name, async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let began = SystemClock.elapsed();
                let ended = AssertUnwindSafe(task(stop.clone())).catch_unwind().await;
                if stop.is_cancelled() {
                    return;
                }
                if SystemClock.elapsed().saturating_sub(began) > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                let how = if ended.is_err() { "panicked" } else { "ended" };
                tracing::error!(
                    task = name,
                    how,
                    again_in_s = pause.as_secs(),
                    "a task is started again"
                );
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    fn current(&mut self) -> CancellationToken {
        match self.stages.last() {
            Some(stage) => stage.stop.clone(),
            None => self.stage(),
        }
    }

    /// Waits for a signal or for a task that ends too early, then stops everything, last stage
    /// first.
    ///
    /// # Errors
    /// If a task ended on its own.
    pub async fn run(mut self, mut signals: ShutdownSignals) -> Result<(), RunError> {
        let early = tokio::select! {
            () = signals.any() => None,
            ended = self.first_end() => Some(ended),
        };
        tracing::info!(reason = early.as_deref().unwrap_or("signal"), "stopping");
        let began = SystemClock.elapsed();
        while let Some(mut stage) = self.stages.pop() {
            stage.stop.cancel();
            let left = ALL_GRACE.saturating_sub(SystemClock.elapsed().saturating_sub(began));
            let all = async { while stage.tasks.join_next().await.is_some() {} };
            if timeout(left.clamp(LEAST_GRACE, GRACE), all).await.is_err() {
                tracing::warn!("a task did not end in time; it is dropped");
            }
        }
        match early {
            None => Ok(()),
            Some(reason) => Err(RunError::Failed(reason)),
        }
    }

    async fn first_end(&mut self) -> String {
        let ends = self
            .stages
            .iter_mut()
            .filter(|stage| !stage.tasks.is_empty())
            .map(|stage| Box::pin(stage.tasks.join_next()));
        let ends: Vec<_> = ends.collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        match futures::future::select_all(ends).await.0 {
            Some(Ok(name)) => format!("task {name} ended, which it never should"),
            Some(Err(error)) => format!("a task failed: {error}"),
            None => "a task is gone".to_owned(),
        }
    }
}

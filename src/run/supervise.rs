//! One supervisor for all tasks: a task that ends before it was told to ends the process with a reason.
//!
//! A process without its loop or its kill lane must not look alive; whoever runs us starts it again, from what was stored.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::RunError;

/// How long tasks may take to end once they are told to.
const GRACE: Duration = Duration::from_secs(10);

/// The tasks of one stage; stages are stopped in the reverse order of their start.
struct Stage {
    tasks: JoinSet<&'static str>,
    stop: CancellationToken,
}

/// All tasks of the process.
#[derive(Default)]
pub(super) struct Supervisor {
    stages: Vec<Stage>,
}

impl Supervisor {
    /// Begins a stage; what is started from now on stops before what was started earlier.
    pub(super) fn stage(&mut self) -> CancellationToken {
        let stop = CancellationToken::new();
        self.stages.push(Stage { tasks: JoinSet::new(), stop: stop.clone() });
        stop
    }

    /// Starts a task of the current stage.
    pub(super) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        if self.stages.is_empty() {
            self.stage();
        }
        if let Some(stage) = self.stages.last_mut() {
            stage.tasks.spawn(async move {
                task.await;
                name
            });
        }
    }

    /// Waits for a signal or for a task that ends too early, then stops everything, last stage first.
    ///
    /// # Errors
    /// If a task ended on its own.
    pub(super) async fn run(mut self) -> Result<(), RunError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| RunError::failed("no signal handler", e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| RunError::failed("no signal handler", e))?;
        let early = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            ended = self.first_end() => Some(ended),
        };
        tracing::info!(reason = early.as_deref().unwrap_or("signal"), "stopping");
        while let Some(mut stage) = self.stages.pop() {
            stage.stop.cancel();
            let all = async { while stage.tasks.join_next().await.is_some() {} };
            if timeout(GRACE, all).await.is_err() {
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

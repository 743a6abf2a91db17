//! Listeners as the last stage of a process: the last to start, the first to stop.

use std::sync::atomic::Ordering;

use axum::Router;

use super::RunError;
use super::supervise::Supervisor;
use crate::http::App;
use crate::server::{self, Doors, ListenError};

/// Begins to answer on the API's listener and on that of verdicts.
pub(super) fn start(supervisor: &mut Supervisor, doors: Doors, routes: Router, app: &App) {
    let stop = supervisor.stage();
    for (name, served) in server::served(doors, routes, app, &stop) {
        supervisor.start(name, served);
    }
    app.doors.listening.store(true, Ordering::Release);
}

impl From<ListenError> for RunError {
    fn from(error: ListenError) -> Self {
        match error {
            ListenError::Config(error) => Self::Config(error),
            ListenError::Failed(what) => Self::Failed(what),
        }
    }
}

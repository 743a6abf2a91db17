//! Several listeners to what the loop reports, told in turn.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::report::PassReport;
use crate::ports::Report;

/// Tells everyone in it.
pub(super) struct ReportFanOut(pub(super) Vec<Arc<dyn Report>>);

#[async_trait]
impl Report for ReportFanOut {
    async fn report(&self, outcome: &PassReport) {
        for one in &self.0 {
            one.report(outcome).await;
        }
    }
}

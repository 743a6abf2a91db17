//! Several listeners to what the loop reports, told in turn.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::report::Outcome;
use crate::ports::Report;

/// Tells everyone in it.
pub(super) struct Everyone(pub(super) Vec<Arc<dyn Report>>);

#[async_trait]
impl Report for Everyone {
    async fn report(&self, outcome: &Outcome) {
        for one in &self.0 {
            one.report(outcome).await;
        }
    }
}

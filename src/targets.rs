//! What a throttle acts on, one file each: read back, and apply what was planned.

pub mod gate;
pub mod remote;
pub mod scale;

use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;

use crate::domain::target::TargetKind;
use crate::ports::Target;

/// The kinds that are read and moved by nothing but the API server.
pub fn in_cluster(client: &Client) -> HashMap<TargetKind, Arc<dyn Target>> {
    let workloads: Arc<dyn Target> = Arc::new(scale::Workloads::new(client.clone()));
    HashMap::from([(TargetKind::Scale, workloads)])
}

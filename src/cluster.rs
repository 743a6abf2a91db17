//! All that speaks to the Kubernetes API besides targets: what is declared there, the kill lane,
//! leadership, status.
//!
//! Two lanes. The kill lane runs in every process and acts on the event itself, outside any queue.
//! The normal lane is the reconcile loop, on the leader only. Nothing here knows HTTP routes or
//! SQL.

pub mod connect;
pub mod desired;
pub mod gates;
pub mod heartbeat;
mod hold_endings;
pub mod index;
pub mod lane;
pub mod lease;
pub mod leftovers;
mod override_objects;
mod sent_overrides;
pub mod status;
pub mod watched;

//! The nouns, pure: what a throttle, a hold, a drift or an audit entry *is*.
//!
//! Nothing here decides, waits, reads a clock or knows that Kubernetes, HTTP or SQL exist.

pub mod audit;
pub mod chain_head;
pub mod drift;
pub mod ended;
pub mod history;
pub mod hold;
pub mod level;
pub mod measurement;
pub mod moment;
pub mod observation;
pub mod offered;
pub mod payment;
pub mod plan;
pub mod remote;
pub mod report;
pub mod target;
pub mod text;
pub mod throttle;

//! Echo Phoenix, the brake of a system that moves money: one declared number, one kill switch, and
//! proof that they bite.
//!
//! Read in this order: [`domain`] the nouns, [`decide`] the verbs, [`ports`] the seams; [`gate`]
//! where it bites, [`latch`] how it is killed, [`reconcile`] the loop; [`source`] and [`http`] the
//! doors, `server` what listens for them; [`cluster`] and [`targets`] Kubernetes; [`store`] the
//! record, [`desired`] what is declared over it, [`wake`] who hears of it, [`mirror`] Airtable;
//! [`run`] puts it together, [`client`] asks it from outside. `tests/architecture.rs` holds who may
//! know whom.

pub mod domain;

pub mod decide;

pub mod ports;

pub mod gate;
pub mod latch;
pub mod reconcile;

pub mod source;

pub mod http;
mod server;

pub mod cluster;
pub mod targets;

pub mod desired;
pub mod mirror;
pub mod store;

pub mod config;
mod sync;
pub mod telemetry;
pub mod wake;

pub mod cli;
pub mod client;
pub mod run;

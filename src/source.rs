//! What comes in, made honest at the door: raw objects and bodies become domain types by `TryFrom`,
//! or are refused by name.

pub mod crd;
pub mod crd_override;
pub mod crd_remote;
pub mod crd_status;
pub mod crd_target;
pub mod manifest;
pub mod rest;
pub mod spec_rows;
pub mod status_rows;
pub mod stripe;

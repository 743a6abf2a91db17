//! The verbs, pure: what follows from what is declared and what was found.
//!
//! Every function here is a table a person could check by hand: no clock, no IO, no `async`, no
//! state but its arguments.

pub mod callers;
pub mod check;
pub mod clocks;
pub mod damping;
pub mod facts;
pub mod follow;
pub mod law;
pub mod opening;
pub mod outcome;
pub mod plan;
pub mod precedence;
pub mod refusal_rate;
pub mod step;
pub mod targets;
pub mod unstored;
pub mod verdict;
pub mod waiting;

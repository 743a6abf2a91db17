//! The rules that money rests on, each as a test. Pure: no network, no time.

mod callers;
mod clocks;
mod damping;
mod declared;
mod doors;
mod dotenv;
mod follow;
mod gate;
mod gate_table;
mod holds;
mod index;
mod law;
mod manifest;
mod mirror;
mod plan;
mod record;
mod refusal_rate;
mod remote;
mod start;
mod step;
mod stripe;
mod text;
mod unstored;
mod verdict;
mod waiting;
mod workloads;

//! The rules that money rests on, each as a test. Pure: no network, no time.

mod bite;
mod damping;
mod doors;
mod gate;
mod index;
mod law;
mod manifest;
mod mirror;
mod plan;
mod step;
mod stripe;
mod verdict;

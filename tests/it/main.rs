//! Everything that needs more than values: the ledger, real servers, a real cluster. One binary, so that all of it is
//! linked once; modules run in parallel and end what they start. `make test` prepares what they need.

mod airtable;
mod airtable_emulator;
mod backup;
mod bad_input;
mod cluster_rules;
mod command_line;
mod configuration;
mod crash;
mod doors;
mod errors;
mod floods;
mod fly;
mod guide;
mod idempotency;
mod journal;
mod journey_cluster;
mod journey_service;
mod journey_stripe;
mod latch;
mod ledger_suite;
mod manifest;
mod metrics;
mod migration;
mod openapi;
mod pages;
mod proxies;
mod python;
mod reconcile;
mod self_test;
mod store_faults;
mod stripe_signatures;
mod supervise;
mod support;
mod throttles;
mod verify;

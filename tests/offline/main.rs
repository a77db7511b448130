//! The tests that need nothing but libvirt's library: its test driver, recordings, and the program itself.
//! What needs a program that is not there says so.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod allocations;
mod benchmarks;
mod cache_files;
mod check;
mod churn;
mod command_line;
mod contract;
mod dashboards;
mod events;
mod extra;
mod filters;
mod findings;
mod fleet_page;
mod full_stderr;
mod globs;
mod golden;
mod hostile;
mod licences;
mod line_protocol;
mod logs;
mod missing;
mod numa;
mod odd_guests;
mod packaging;
mod pages;
mod precision;
mod quickstart;
mod readme;
mod recordings;
mod replay;
mod schema;
mod streams;
mod table;
mod watch;

//! The tests with what others made: packages, Telegraf, databases, dashboards, cron, valgrind.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod clickhouse;
mod dashboards;
mod dead_mount;
mod exec;
mod execd;
mod file;
mod fleet;
mod gate;
mod influxdb;
mod influxql;
mod instructions;
mod migration;
mod package;
mod prometheus;
mod spikes;
mod sql;
mod tail;
mod telegraf;
mod valgrind;
mod write;

//! The tests on real QEMU guests behind a real libvirtd, each in a lab of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod alone;
mod anomalies;
mod beside;
mod cache;
mod check;
mod containers;
mod cpu_time;
mod equal;
mod escalation;
mod event_kinds;
mod events;
mod extra;
mod failed_migration;
mod filters;
mod flipped;
mod hosts;
mod hotplug;
mod readme;
mod record;
mod replaced;
mod rights;
mod states;
mod storage;
mod table;
mod tuned;
mod virsh;

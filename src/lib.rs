//! telegraf-virt reads every libvirt guest's statistics and prints InfluxDB line protocol.
#![deny(unsafe_code)]

pub mod agent;
pub mod cache;
pub mod check;
pub mod cli;
pub mod collect;
pub mod config;
pub mod deadline;
pub mod devices;
pub mod features;
pub mod libvirt;
pub mod line_protocol;
pub mod log;
pub mod points;
pub mod record;
pub mod sample;
pub mod sink;
pub mod trigger;

//! telegraf-virt reads every libvirt guest's statistics and prints InfluxDB line protocol.
//!
//! Data flows one way through these modules. Each can be read, tested and changed on its own:
//!
//! ```text
//! trigger -> collect -> sample -> features -> points -> line_protocol -> sink
//!            (host, devices)                  \-> table -------------^
//!             libvirt, record
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | the configuration file, and every mistake that can be made in it |
//! | [`agent`] | one collection from trigger to sink, and the loop around it; the only one that knows all others |
//! | [`trigger`] | a newline, a signal, an interval, the end of input; what waits becomes one |
//! | [`deadline`] | by when something must be done, which comes nearer when the program is told to end |
//! | [`pool`] | threads for calls that may never come back |
//! | [`collect`] | which guests, on which worker, by when; a guest that does not answer |
//! | [`node`] | the host beside its guests, and its storage pools |
//! | [`host`] | what collect asks: a hypervisor over libvirt, or a recording of one |
//! | [`libvirt`] | the only module with unsafe code: connection, bulk call, calls for one guest |
//! | [`sample`] | what was measured, typed; absent is `None` |
//! | [`devices`] | a guest's device list, from its XML |
//! | [`cache`] | device lists, last samples and guests' health on disk, from one run to the next |
//! | [`events`] | what libvirt tells of guests as it happens, from a thread of its own |
//! | [`features`] | two samples to rates, pure |
//! | [`plain_file`] | opening files that others name |
//! | [`schema`] | the one table of measurements, tags and fields, and the code made of it |
//! | [`anomalies`] | which guest behaves unlike its own past, pure |
//! | [`points`] | the lines of a guest, in their order |
//! | [`printable`] | text that others wrote, made harmless for a terminal |
//! | [`json`] | lines as JSON, for scripts |
//! | [`line_protocol`] | escaping and numbers, into one buffer |
//! | [`table`] | the figures of a collection as a table for humans |
//! | [`sink`] | standard output: whole lines, for files, pipes and terminals |
//! | [`log`] | standard error: one line for each message, with Telegraf's levels |
//! | [`check`] | what `telegraf-virt check` looks at |
//! | [`record`] | a host's raw answers in a file, for bug reports and fixtures |
#![deny(unsafe_code)]

pub mod agent;
pub mod anomalies;
pub mod cache;
pub mod check;
pub mod cli;
pub mod collect;
pub mod config;
pub mod deadline;
pub mod devices;
pub mod events;
pub mod features;
pub mod host;
pub mod json;
pub mod libvirt;
pub mod line_protocol;
pub mod log;
pub mod node;
pub mod plain_file;
pub mod points;
pub mod pool;
pub mod printable;
pub mod record;
pub mod sample;
pub mod schema;
pub mod sink;
pub mod table;
pub mod trigger;

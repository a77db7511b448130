//! The only module with unsafe code: what we ask of libvirt, and nothing of what we make of it.
//!
//! Each C allocation has one owner type here with a `Drop`; no raw pointer leaves this module. Any
//! call may block for ever, so it is made on a thread that can be left behind (`crate::pool`).
//!
//! ```text
//! statistics.rs  the bulk call: what a hypervisor offers, and its typed parameters
//! connection.rs  a read-only connection: open, list the guests
//! guest.rs       one guest's handle and the calls for one guest
//! extra.rs       the calls for one guest whose answers only `extra` prints
//! storage.rs     the same of disks' storage: errors, jobs, backing chains, snapshots
//! node.rs        the host beside its guests, and its storage pools
//! cpu_set.rs     sets of CPUs
//! event_loop.rs  libvirt's event loop, on a thread of its own
//! events.rs      what libvirt tells of guests as it happens
//! process.rs     what libvirt does to the process as a whole: its log, its children, the end
//! quiet.rs       what libvirt and its libraries would write on standard error
//! value.rs       a typed parameter's value
//! array.rs       arrays: those that end in NULL, and typed parameters
//! text.rs        strings that libvirt hands over
//! error.rs       libvirt's errors, sorted by what they mean for us
//! ```
#![allow(unsafe_code)]

mod array;
mod connection;
mod cpu_set;
mod error;
mod event_loop;
mod events;
mod extra;
mod guest;
mod node;
mod process;
mod quiet;
mod statistics;
mod storage;
mod text;
mod value;

pub use array::TypedParameters;
pub use connection::{Connection, Node};
pub use cpu_set::cpu_set;
pub use error::{Error, Kind};
pub use event_loop::start_event_loop;
pub use events::{ClosedTaker, EventTaker, GuestEvent, Happening, Subscription};
pub use extra::{DomainState, JobStatistics, VcpuInfo};
pub use guest::{BlockCounters, Control, CpuTimes, Guest, GuestInfo, MemoryStatistic, NicCounters};
pub use node::{NodeInfo, PoolInfo, StoragePool};
pub use process::{begin_process, end_process, leave_session_keyring, stdout_was_closed};
pub use quiet::take_library_messages;
pub use statistics::{Bulk, Group, Groups, Offer, Parameter, Parameters, Record, Records};
pub use storage::{BlockJob, DiskError, Snapshots};
pub use value::{OwnedValue, Value};

//! The only room with unsafe code: what we ask of libvirt, and nothing of what we make of it.
//!
//! Each C allocation has one owner type here with a `Drop`; no raw pointer leaves the room. Every
//! call blocks for as long as libvirt lets it, which may be for ever: whoever calls does so on a
//! thread that can be left behind (`collect::worker`).
//!
//! ```text
//! statistics.rs  the bulk call: what a hypervisor offers, and its typed parameters
//! connection.rs  a read-only connection: open, list the guests
//! guest.rs       one guest's handle and the calls for one guest
//! extra.rs       the calls for one guest whose answers only `extra` prints
//! process.rs     what libvirt does to the process as a whole: its log, its children, the end
//! value.rs       a typed parameter's value
//! array.rs       arrays: those that end in NULL, and typed parameters
//! text.rs        strings that libvirt hands over
//! error.rs       libvirt's errors, sorted by what they mean for us
//! ```
#![allow(unsafe_code)]

mod array;
mod connection;
mod error;
mod extra;
mod guest;
mod process;
mod statistics;
mod text;
mod value;

pub use array::TypedParameters;
pub use connection::{Connection, Node};
pub use error::{Error, Kind};
pub use extra::{JobStatistics, State, VcpuInfo};
pub use guest::{BlockCounters, Control, CpuTimes, Guest, GuestInfo, MemoryStatistic, NicCounters};
pub use process::{begin_process, end_process, leave_session_keyring, stdout_was_closed};
pub use statistics::{Bulk, Group, Groups, Offer, Parameter, Parameters, Record, Records};
pub use value::{OwnedValue, Value};

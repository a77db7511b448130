//! The only room with unsafe code: what we ask of libvirt, and nothing of what we make of it.
//!
//! Each C allocation has one owner type here with a `Drop`; no raw pointer leaves the room. Every
//! call blocks for as long as libvirt lets it, which may be for ever: whoever calls does so on a
//! thread that can be left behind (`collect::worker`).
//!
//!     connection.rs  a read-only connection: open, list guests, what it offers in bulk
//!     guest.rs       one guest's handle and the calls for one guest
//!     statistics.rs  the bulk call and its typed parameters
//!     error.rs       libvirt's errors, sorted by what they mean for us
#![allow(unsafe_code)]

mod connection;
mod error;
mod guest;
mod statistics;

pub use connection::{Connection, Offer};
pub use error::{Error, Kind};
pub use guest::{BlockCounters, Control, CpuTimes, Guest, GuestInfo, MemoryStatistic, NicCounters};
pub use statistics::{Group, Groups, Parameter, Parameters, Record, Records, Value};

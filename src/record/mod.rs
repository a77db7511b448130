//! A host's raw answers in a file: what every call of ours answered, of every guest, at some moments.
//! Bug reports are made of such files, and our own fixtures, so that whoever has no access to a host
//! still sees what it sends. `crate::host` answers out of them.
//!
//! ```text
//! value.rs      typed parameters
//! calls.rs      the calls for one guest: the table that the rest is made from
//! capture.rs    asking a host for all of it
//! command.rs    the command `record`
//! anonymize/    names and addresses, replaced
//! keep.rs       writing the file: whole or not at all
//! file.rs       the format: read with the same distrust as any input
//! ```

mod anonymize;
mod calls;
mod capture;
mod command;
mod file;
mod keep;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use anonymize::anonymize;
pub(crate) use calls::plain_calls;
pub use calls::{DeviceAnswers, PlainAnswers, RecordedAnswer, RecordedJob};
pub use capture::{CaptureOptions, capture};
pub use command::RecordCommand;
pub use file::{
    IndexedGuest, IndexedMoment, MOMENTS_MAX, RecordError, RecordingError, RecordingFile, read,
};
pub use keep::{KeepError, NewFile};
pub use value::Statistic;
pub(crate) use value::parameters;

use crate::libvirt::{Group, Parameter, VcpuInfo};
use crate::schema::{HostReading, PoolReading};

/// What a URI begins with that names a recording.
pub const REPLAY: &str = "replay:";
/// So long a recording may take to be read or written: it may have half a GiB.
pub const RECORDING_WITHIN: Duration = Duration::from_secs(120);

/// What a host answered, at some moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Of the host itself.
    pub host: RecordedHost,
    /// The moments, one after another; there is at least one.
    pub moments: Vec<Snapshot>,
}

/// What does not change from moment to moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedHost {
    /// The version of this program.
    pub program: String,
    /// The URI that was read.
    pub uri: String,
    /// libvirt's versions: the library's, the daemon's, the hypervisor's, each as libvirt's one number.
    pub versions: BTreeMap<String, RecordedAnswer<u64>>,
    /// The host's name.
    pub name: RecordedAnswer<String>,
    /// The groups that the bulk call has, by libvirt's words.
    pub bulk: Vec<String>,
    /// Whether the bulk call knows NOWAIT.
    pub nowait: bool,
}

/// All guests at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When it began, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// The same on the host's clock that does not step.
    pub boot_ns: u64,
    /// The guests, in libvirt's order; those that are off, too.
    pub guests: Vec<RecordedGuest>,
    /// The host beside them.
    pub node: RecordedNode,
}

/// The host beside its guests at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordedNode {
    /// The host; none where it did not answer, or nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostReading>,
    /// Its storage pools, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolReading>,
}

/// One guest at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedGuest {
    /// The domain's id; -1 when it did not run.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// When its statistics came, on the clock of [`Snapshot::boot_ns`].
    pub answered_ns: u64,
    /// When its QEMU started, on the same clock; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ns: Option<u64>,
    /// The bulk call's parameters, of all groups, in libvirt's order.
    pub statistics: RecordedAnswer<Vec<Statistic>>,
    /// The same by libvirt's word for the group, where the call for all of them failed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, RecordedAnswer<Vec<Statistic>>>,
    /// The calls without arguments.
    pub calls: PlainAnswers,
    /// virDomainGetVcpus
    #[serde(default)]
    pub vcpus: RecordedAnswer<Vec<VcpuInfo>>,
    /// virDomainGetJobStats
    #[serde(default)]
    pub job: RecordedAnswer<RecordedJob>,
    /// The calls for one NIC or disk, by its target.
    #[serde(default)]
    pub devices: BTreeMap<String, DeviceAnswers>,
}

impl RecordedGuest {
    /// The parameters as the bulk call gives them, of all groups; none where it failed.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        parameters(self.statistics.result().map_or(&[], Vec::as_slice))
    }

    /// The domain XML; empty where it could not be read.
    pub fn xml(&self) -> &str {
        self.calls.xml.result().map_or("", String::as_str)
    }
}

/// Why a host could not be recorded, in libvirt's words where it has any.
#[derive(Debug)]
pub struct CaptureError(pub(super) String);

impl fmt::Display for CaptureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CaptureError {}

/// The group of the bulk call that a parameter of this name belongs to.
pub(crate) fn group_of(name: &[u8]) -> Option<Group> {
    let prefix = name.split(|&byte| byte == b'.').next().unwrap_or_default();
    Some(match prefix {
        b"state" => Group::State,
        b"cpu" => Group::Cpu,
        b"balloon" => Group::Balloon,
        b"vcpu" => Group::Vcpu,
        b"net" => Group::Interface,
        b"block" => Group::Block,
        b"perf" => Group::Perf,
        b"iothread" => Group::Iothread,
        b"memory" => Group::Memory,
        b"dirtyrate" => Group::DirtyRate,
        b"vm" => Group::Vm,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

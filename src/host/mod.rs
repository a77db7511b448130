//! What `collect` asks: a hypervisor over libvirt, or a recording of one, by the same calls. Either
//! gives what the other would, so that all that is made of the answers is the same code.
//!
//! ```text
//! mod.rs       which of the two, call by call
//! recorded.rs  the answers out of a recording, and which of its moments they are of
//! ```

mod recorded;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::libvirt::{
    self, BlockCounters, BlockJob, Bulk, Connection, Control, CpuTimes, DiskError, Error, Groups,
    GuestInfo, MemoryStatistic, NicCounters, Node, Offer, Parameter, Parameters, Snapshots, State,
    Value, VcpuInfo,
};
use crate::record::{self, RecordedGuest, Statistic, plain_calls};
use crate::sample::boottime_ns;
use recorded::{Filtered, Played, PlayedGuest, PlayedRecords};

pub use crate::record::REPLAY;
pub use crate::sample::Moment;
pub use recorded::Replay;

/// Where a hypervisor's answers come from.
#[derive(Clone)]
pub enum Origin {
    /// libvirt, by this URI.
    Libvirt(Arc<str>),
    /// A recording.
    Recording(Arc<Replay>),
}

impl Origin {
    /// The origin that a URI names.
    pub fn of(uri: &str) -> Self {
        match uri.strip_prefix(REPLAY) {
            Some(path) => Self::Recording(Arc::new(Replay::of(path.into()))),
            None => Self::Libvirt(uri.into()),
        }
    }

    /// The recording, where it is one.
    pub fn replay(&self) -> Option<&Replay> {
        match self {
            Self::Libvirt(_) => None,
            Self::Recording(replay) => Some(replay),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// libvirt's words, or what is wrong with the recording.
    pub fn open(&self) -> Result<Host, Error> {
        match self {
            Self::Libvirt(uri) => Connection::open(uri).map(Host::Live),
            Self::Recording(replay) => replay.open().map(Host::Recorded),
        }
    }
}

/// A hypervisor: connected, or recorded. Its calls are those of [`Connection`].
pub enum Host {
    /// Over libvirt.
    Live(Connection),
    /// Out of a file.
    Recorded(Played),
}

#[allow(missing_docs, clippy::missing_errors_doc)] // as those of Connection
impl Host {
    pub fn is_alive(&self) -> bool {
        match self {
            Self::Live(connection) => connection.is_alive(),
            Self::Recorded(_) => true,
        }
    }

    pub fn guests(&self, inactive: bool) -> Result<Vec<Guest>, Error> {
        match self {
            Self::Live(connection) => {
                Ok(connection.guests(inactive)?.into_iter().map(Guest::Live).collect())
            }
            Self::Recorded(played) => {
                Ok(played.guests(inactive).into_iter().map(Guest::Recorded).collect())
            }
        }
    }

    pub fn running_ids(&self, most: usize) -> Result<Option<Vec<i32>>, Error> {
        match self {
            Self::Live(connection) => connection.running_ids(most),
            Self::Recorded(played) => {
                let ids: Vec<i32> = played.guests(false).iter().map(PlayedGuest::id).collect();
                Ok((ids.len() <= most).then_some(ids))
            }
        }
    }

    pub fn guest(&self, uuid: &Uuid) -> Result<Guest, Error> {
        match self {
            Self::Live(connection) => connection.guest(uuid).map(Guest::Live),
            Self::Recorded(played) => played.guest(uuid).map(Guest::Recorded),
        }
    }

    pub fn guest_named(&self, name: &str) -> Result<Guest, Error> {
        match self {
            Self::Live(connection) => connection.guest_named(name).map(Guest::Live),
            Self::Recorded(played) => played.guest_named(name).map(Guest::Recorded),
        }
    }

    pub fn host_name(&self) -> Result<String, Error> {
        match self {
            Self::Live(connection) => connection.host_name(),
            Self::Recorded(played) => played.host().name.result().cloned(),
        }
    }

    /// The driver's name, such as QEMU.
    pub fn driver(&self) -> Result<String, Error> {
        match self {
            Self::Live(connection) => connection.driver(),
            // A URI begins with it, in small letters.
            Self::Recorded(played) => {
                let uri = &played.host().uri;
                Ok(uri.split([':', '+']).next().unwrap_or_default().to_uppercase())
            }
        }
    }

    /// Versions by what they are of, where they are known: see [`Connection::versions`].
    pub fn versions(&self) -> BTreeMap<String, u64> {
        match self {
            Self::Live(connection) => {
                let known = |(of, version): (&str, Result<u64, Error>)| {
                    Some((of.to_owned(), version.ok()?))
                };
                connection.versions().into_iter().filter_map(known).collect()
            }
            Self::Recorded(played) => {
                let versions = played.host().versions.iter();
                let known =
                    versions.filter_map(|(of, it)| Some((of.clone(), it.result().ok().copied()?)));
                known.collect()
            }
        }
    }

    /// The host's CPUs and memory; `None` where they are not known.
    pub fn node(&self) -> Option<Node> {
        match self {
            Self::Live(connection) => connection.node().ok(),
            Self::Recorded(_) => None,
        }
    }

    /// What is offered in bulk of `wanted`, where that is known without asking.
    pub fn known_offer(&self, wanted: Groups) -> Option<Offer> {
        match self {
            Self::Live(_) => None,
            Self::Recorded(played) => Some(played.offer(wanted)),
        }
    }

    pub fn offer(&self, guest: &Guest, wanted: Groups) -> Result<Offer, Error> {
        match (self, guest) {
            (Self::Live(connection), Guest::Live(guest)) => connection.offer(guest, wanted),
            (Self::Recorded(played), _) => Ok(played.offer(wanted)),
            (Self::Live(_), Guest::Recorded(_)) => {
                Ok(Offer { bulk: Groups::default(), nowait: false })
            }
        }
    }

    pub fn statistics<'a>(
        &self,
        guests: impl Iterator<Item = &'a Guest>,
        groups: Groups,
        how: Bulk,
    ) -> Result<Records, Error> {
        match self {
            Self::Live(connection) => {
                let guests = guests.filter_map(Guest::live);
                connection.statistics(guests, groups, how).map(Records::Live)
            }
            Self::Recorded(played) => {
                let uuids = guests.map(Guest::uuid);
                played.statistics(uuids, groups).map(Records::Recorded)
            }
        }
    }

    /// The moment: this one, or that of the recording.
    pub fn moment(&self) -> Moment {
        match self {
            Self::Live(_) => Moment::now(),
            Self::Recorded(played) => played.moment(),
        }
    }
}

/// The answer of a bulk call.
pub enum Records {
    /// libvirt's list.
    Live(libvirt::Records),
    /// Out of a file.
    Recorded(PlayedRecords),
}

impl Records {
    /// The records, one a guest that answered.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let (live, recorded) = match self {
            Self::Live(records) => (Some(records.iter()), None),
            Self::Recorded(records) => (None, Some(records.iter())),
        };
        let live = live.into_iter().flatten().map(Record::Live);
        let recorded = recorded.into_iter().flatten();
        live.chain(recorded.map(|(guest, groups)| Record::Recorded(guest, groups)))
    }
}

/// One guest's part of the answer.
pub enum Record<'a> {
    /// libvirt's.
    Live(libvirt::Record<'a>),
    /// Of a recorded guest, these groups.
    Recorded(&'a RecordedGuest, Groups),
}

impl<'a> Record<'a> {
    /// The name of the guest that it speaks of, in bytes, as in C.
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Live(record) => record.name().to_bytes(),
            Self::Recorded(guest, _) => guest.name.as_bytes(),
        }
    }

    /// The UUID of the guest that it speaks of.
    pub fn uuid(&self) -> Uuid {
        match self {
            Self::Live(record) => record.uuid(),
            Self::Recorded(guest, _) => guest.uuid,
        }
    }

    /// The guest's id when it was asked; -1 when it did not run.
    pub fn id(&self) -> i32 {
        match self {
            Self::Live(record) => record.id(),
            Self::Recorded(guest, _) => guest.id,
        }
    }

    /// When it came, on the host's clock that does not step; `None` where that is now.
    pub fn answered_at_ns(&self) -> Option<u64> {
        match self {
            Self::Live(_) => None,
            Self::Recorded(guest, _) => Some(guest.answered_ns),
        }
    }

    /// The typed parameters.
    pub fn parameters(&self) -> Statistics<'a> {
        match self {
            Self::Live(record) => Statistics::Live(record.parameters()),
            Self::Recorded(guest, groups) => Statistics::Recorded(Filtered::of(guest, *groups)),
        }
    }
}

/// The typed parameters of one record.
pub enum Statistics<'a> {
    /// libvirt's.
    Live(Parameters<'a>),
    /// Out of a file.
    Recorded(Filtered<'a>),
}

impl<'a> Iterator for Statistics<'a> {
    type Item = Parameter<'a>;

    #[inline]
    fn next(&mut self) -> Option<Parameter<'a>> {
        match self {
            Self::Live(parameters) => parameters.next(),
            Self::Recorded(parameters) => parameters.next(),
        }
    }
}

/// A guest: libvirt's handle of it, or one of a recording. Its calls are those of [`libvirt::Guest`].
pub enum Guest {
    /// libvirt's handle.
    Live(libvirt::Guest),
    /// Out of a file.
    Recorded(PlayedGuest),
}

macro_rules! plain_methods {
    ($($call:ident: $answer:ty, $kind:ident;)*) => {
        #[allow(missing_docs, clippy::missing_errors_doc)] // as those of libvirt::Guest
        impl Guest {
            $(pub fn $call(&self) -> Result<$answer, Error> {
                match self {
                    Self::Live(guest) => guest.$call(),
                    Self::Recorded(guest) => guest.now()?.calls.$call.result().cloned(),
                }
            })*
        }
    };
}
plain_calls!(plain_methods);

#[allow(missing_docs, clippy::missing_errors_doc)] // as those of libvirt::Guest
impl Guest {
    fn live(&self) -> Option<&libvirt::Guest> {
        match self {
            Self::Live(guest) => Some(guest),
            Self::Recorded(_) => None,
        }
    }

    /// virDomainState; of a recording without that call, as its statistics have it.
    pub fn state_number(&self) -> Option<i64> {
        let called = self.state().ok().map(|known| known.state);
        let Self::Recorded(guest) = self else { return called };
        called.or_else(|| {
            let guest = guest.now().ok()?;
            let mut statistics = Filtered::of(&guest, libvirt::Group::State.into());
            match statistics.find(|it| it.name == b"state.state")?.value {
                Value::Int(number) => Some(number),
                _ => None,
            }
        })
    }

    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Live(guest) => guest.name(),
            Self::Recorded(guest) => Cow::Borrowed(guest.name()),
        }
    }

    pub fn uuid(&self) -> Uuid {
        match self {
            Self::Live(guest) => guest.uuid(),
            Self::Recorded(guest) => guest.uuid(),
        }
    }

    pub fn id(&self) -> i32 {
        match self {
            Self::Live(guest) => guest.id(),
            Self::Recorded(guest) => guest.id(),
        }
    }

    pub fn vcpus(&self, most: u16) -> Result<Vec<VcpuInfo>, Error> {
        match self {
            Self::Live(guest) => guest.vcpus(most),
            Self::Recorded(guest) => {
                let guest = guest.now()?;
                let vcpus = guest.vcpus.result()?;
                Ok(vcpus.iter().take(most.into()).cloned().collect())
            }
        }
    }

    pub fn nic_counters(&self, target: &str) -> Result<NicCounters, Error> {
        match self {
            Self::Live(guest) => guest.nic_counters(target),
            Self::Recorded(guest) => guest.device(target, |it| it.nic_counters.result().copied()),
        }
    }

    pub fn block_counters(&self, target: &str) -> Result<BlockCounters, Error> {
        match self {
            Self::Live(guest) => guest.block_counters(target),
            Self::Recorded(guest) => guest.device(target, |it| it.block_counters.result().copied()),
        }
    }

    pub fn block_statistics(
        &self,
        target: &str,
        take: impl FnMut(Parameter<'_>),
    ) -> Result<(), Error> {
        match self {
            Self::Live(guest) => guest.block_statistics(target, take),
            Self::Recorded(guest) => guest.device(target, |it| {
                record::parameters(it.block_statistics.result()?).for_each(take);
                Ok(())
            }),
        }
    }

    pub fn block_job(&self, target: &str) -> Result<Option<BlockJob>, Error> {
        match self {
            Self::Live(guest) => guest.block_job(target),
            Self::Recorded(guest) => guest.device(target, |it| it.block_job.result().copied()),
        }
    }

    pub fn job(&self) -> Result<JobStatistics, Error> {
        match self {
            Self::Live(guest) => guest.job().map(JobStatistics::Live),
            Self::Recorded(guest) => {
                guest.now()?.job.result().cloned().map(JobStatistics::Recorded)
            }
        }
    }

    /// When an answer that has just come came, on the host's clock that does not step.
    pub fn answered_at_ns(&self) -> u64 {
        match self {
            Self::Live(_) => boottime_ns(),
            Self::Recorded(guest) => guest.answered_at_ns(),
        }
    }
}

/// What a job of the guest has done.
pub enum JobStatistics {
    /// libvirt's.
    Live(libvirt::JobStatistics),
    /// Out of a file.
    Recorded(record::RecordedJob),
}

impl JobStatistics {
    /// virDomainJobType; 0 where no job runs.
    pub fn kind(&self) -> i64 {
        match self {
            Self::Live(job) => job.kind,
            Self::Recorded(job) => job.kind,
        }
    }

    /// The typed parameters, in libvirt's order.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        let (live, recorded) = match self {
            Self::Live(job) => (Some(job.parameters.iter()), None),
            Self::Recorded(job) => (None, Some(record::parameters(&job.parameters))),
        };
        live.into_iter().flatten().chain(recorded.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests;

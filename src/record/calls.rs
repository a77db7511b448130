//! The calls for one guest: how each is asked, and what a file holds of its answer.
//!
//! A call without arguments is a line in [`plain_calls`], and nothing more: the file, the recording of
//! it and its replay (`crate::host`) are made from that table. Calls of another shape have their own
//! lines in the steps of `anonymize`, in [`DeviceAnswers`] or [`RecordedGuest`], and in `crate::host`.

use serde::{Deserialize, Serialize};

use super::RecordedGuest;
use super::value::{Statistic, statistic};
use crate::libvirt::{
    self, BlockCounters, BlockJob, Control, CpuTimes, DiskError, Guest, GuestInfo, Kind,
    MemoryStatistic, NicCounters, Snapshots, State,
};

/// More virtual CPUs than any guest has.
const MOST_VCPUS: u16 = 4096;

/// What became of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer<T> {
    /// Its answer.
    Ok(T),
    /// libvirt's error.
    Error {
        /// What it means.
        kind: Kind,
        /// libvirt's words.
        message: String,
    },
    /// No answer came in time, or the call was not made: the guest hung, or the recording is older
    /// than the call.
    #[default]
    Unanswered,
}

impl<T> Answer<T> {
    /// As the call gives it; a call without an answer fails.
    ///
    /// # Errors
    /// The error that was recorded.
    pub fn result(&self) -> Result<&T, libvirt::Error> {
        match self {
            Self::Ok(answer) => Ok(answer),
            Self::Error { kind, message } => Err(libvirt::Error::of(*kind, message)),
            Self::Unanswered => {
                Err(libvirt::Error::of(Kind::Other, "no answer came when this was recorded"))
            }
        }
    }
}

impl<T> From<Result<T, libvirt::Error>> for Answer<T> {
    fn from(result: Result<T, libvirt::Error>) -> Self {
        match result {
            Ok(answer) => Self::Ok(answer),
            Err(error) => Self::Error { kind: error.kind, message: error.to_string() },
        }
    }
}

/// The calls without arguments: the name of the method, its answer, and what it may wait for. `quiet`: for
/// the guest's object only, so that it comes from a guest whose QEMU hangs, too. `job`: for the guest's job as
/// well, as the XML does since libvirt 11.0. `asks`: for its monitor, and only of a guest that runs.
macro_rules! plain_calls {
    ($make:ident) => {
        $make! {
            state: State, quiet;
            info: GuestInfo, quiet;
            control: Control, quiet;
            is_persistent: bool, quiet;
            autostart: bool, quiet;
            xml: String, job;
            cpu_times: CpuTimes, asks;
            memory_statistics: Vec<MemoryStatistic>, asks;
            snapshots: Snapshots, job;
            disk_errors: Vec<DiskError>, asks;
            backing: Vec<Statistic>, asks;
        }
    };
}
pub(crate) use plain_calls;

macro_rules! answers {
    ($($call:ident: $answer:ty, $kind:ident;)*) => {
        /// What the calls without arguments answered.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[allow(missing_docs)] // the names are those of the calls
        pub struct PlainAnswers {
            $(pub $call: Answer<$answer>,)*
        }

        const PLAIN: &[Step] = &[$(Step {
            needs: answers!($kind),
            ask: |guest, _| {
                let answer = guest.$call().into();
                Box::new(|recorded| recorded.calls.$call = answer)
            },
        },)*];
    };
    (quiet) => { Needs::Object };
    (job) => { Needs::Job };
    (asks) => { Needs::Monitor };
}
plain_calls!(answers);

/// What the calls for one device answered; a NIC has other ones than a disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceAnswers {
    /// virDomainInterfaceStats
    #[serde(skip_serializing_if = "is_unanswered")]
    pub nic_counters: Answer<NicCounters>,
    /// virDomainBlockStats
    #[serde(skip_serializing_if = "is_unanswered")]
    pub block_counters: Answer<BlockCounters>,
    /// virDomainBlockStatsFlags
    #[serde(skip_serializing_if = "is_unanswered")]
    pub block_statistics: Answer<Vec<Statistic>>,
    /// virDomainGetBlockJobInfo
    #[serde(skip_serializing_if = "is_unanswered")]
    pub block_job: Answer<Option<BlockJob>>,
}

fn is_unanswered<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Answer::Unanswered)
}

/// A job, and what it has done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedJob {
    /// virDomainJobType
    pub kind: i64,
    /// Its typed parameters.
    pub parameters: Vec<Statistic>,
}

/// The devices that have calls of their own, by their targets.
#[derive(Clone, Debug, Default)]
pub(super) struct Devices {
    pub(super) nics: Vec<String>,
    pub(super) disks: Vec<String>,
}

/// What puts an answer into the recording.
pub(super) type Keep = Box<dyn FnOnce(&mut RecordedGuest) + Send>;

/// What a call for a guest may wait for; each waits for what is before it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// The lock of its object.
    Object,
    /// Its job, which a silent QEMU, a migration or a hot-unplug holds.
    Job,
    /// Its monitor; only a guest that runs has one.
    Monitor,
}

/// One call for a guest, or one for each of its devices.
pub(super) struct Step {
    /// What it may wait for.
    pub(super) needs: Needs,
    /// Makes the call.
    pub(super) ask: fn(&Guest, &Devices) -> Keep,
}

/// The calls with arguments, and those whose answers are no plain values.
const SHAPED: &[Step] = &[
    Step {
        needs: Needs::Monitor,
        ask: |guest, _| {
            let answer = guest.vcpus(MOST_VCPUS).into();
            Box::new(|recorded| recorded.vcpus = answer)
        },
    },
    Step {
        needs: Needs::Monitor,
        ask: |guest, _| {
            let job = guest.job().map(|job| RecordedJob {
                kind: job.kind,
                parameters: job.parameters.iter().map(statistic).collect(),
            });
            let answer = job.into();
            Box::new(|recorded| recorded.job = answer)
        },
    },
    Step {
        needs: Needs::Monitor,
        ask: |guest, devices| {
            of_each(&devices.nics, |target| DeviceAnswers {
                nic_counters: guest.nic_counters(target).into(),
                ..DeviceAnswers::default()
            })
        },
    },
    Step {
        needs: Needs::Monitor,
        ask: |guest, devices| {
            of_each(&devices.disks, |target| {
                let mut statistics = Vec::new();
                let all = guest.block_statistics(target, |it| statistics.push(statistic(it)));
                DeviceAnswers {
                    block_counters: guest.block_counters(target).into(),
                    block_statistics: all.map(|()| statistics).into(),
                    block_job: guest.block_job(target).into(),
                    ..DeviceAnswers::default()
                }
            })
        },
    },
];

/// Every call for one guest, those first that a guest whose QEMU hangs answers, too.
pub(super) fn steps() -> impl Iterator<Item = &'static Step> {
    PLAIN.iter().chain(SHAPED)
}

fn of_each(targets: &[String], ask: impl Fn(&str) -> DeviceAnswers) -> Keep {
    let answers: Vec<_> = targets.iter().map(|target| (target.clone(), ask(target))).collect();
    Box::new(|recorded| recorded.devices.extend(answers))
}

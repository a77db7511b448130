//! The calls for one guest about its disks' storage whose answers only `extra` prints: errors, jobs, backing
//! chains, snapshots.

use std::ptr;

use serde::{Deserialize, Serialize};
use virt::sys;

use super::array::until_null;
use super::guest::{check, text};
use super::statistics::Records;
use super::text::owned;
use super::value::wide;
use super::{Error, Guest, Kind, OwnedValue};

/// More snapshots than this are counted, and no further looked at.
const MOST_READ: usize = 256;

/// A disk whose storage failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskError {
    /// Its target, such as vda.
    pub target: String,
    /// virDomainDiskErrorCode
    pub code: i64,
}

/// A job of one disk, such as a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockJob {
    /// virDomainBlockJobType
    pub kind: i64,
    /// What it may take, bytes a second; 0: as much as it can.
    pub bandwidth: u64,
    /// How far it is.
    pub done: u64,
    /// Where it ends.
    pub total: u64,
}

/// A guest's snapshots and checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshots {
    /// How many snapshots libvirt knows.
    pub count: Option<u64>,
    /// When the oldest was made, Unix seconds.
    pub oldest_s: Option<u64>,
    /// When the newest was made, Unix seconds.
    pub newest_s: Option<u64>,
    /// How many checkpoints libvirt knows.
    pub checkpoints: Option<u64>,
}

impl Guest {
    /// The disks whose storage failed; asks the guest's monitor.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetDiskErrors>
    pub fn disk_errors(&self) -> Result<Vec<DiskError>, Error> {
        // REMOTE_DOMAIN_DISK_ERRORS_MAX: libvirt refuses to be asked for more.
        const ROOM: usize = 256;
        let mut raw = vec![sys::virDomainDiskError { disk: ptr::null_mut(), error: 0 }; ROOM];
        // SAFETY: room for ROOM of them, and the number is told.
        let returned =
            unsafe { sys::virDomainGetDiskErrors(self.as_ptr(), raw.as_mut_ptr(), ROOM as u32, 0) };
        let error = check(returned).err();
        // SAFETY: each name is null or a string that we own, and is freed once, here.
        let named = raw.iter().filter(|it| !it.disk.is_null());
        let errors: Vec<DiskError> = named
            .filter_map(|it| {
                let target = unsafe { owned(it.disk) }.ok()?;
                Some(DiskError { target, code: it.error.into() })
            })
            .collect();
        error.map_or(Ok(errors), Err)
    }

    /// The job of the disk with this target; `None` where none runs. Only where one runs the guest's monitor is
    /// asked.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetBlockJobInfo>
    pub fn block_job(&self, target: &str) -> Result<Option<BlockJob>, Error> {
        let target = text(target)?;
        let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
        // SAFETY: the string lives across the call, and libvirt fills the struct.
        let found = unsafe {
            let flags = sys::VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES;
            check(sys::virDomainGetBlockJobInfo(self.as_ptr(), target.as_ptr(), &mut info, flags))?
        };
        Ok((found > 0).then(|| BlockJob {
            kind: info.type_.into(),
            bandwidth: wide(info.bandwidth),
            done: info.cur,
            total: info.end,
        }))
    }

    /// The statistics of its disks and of the images behind them, as the bulk call has them. A guest that is
    /// busy is answered at once, with less.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING>
    pub fn backing(&self) -> Result<Vec<(String, OwnedValue)>, Error> {
        let backing = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING;
        let nowait = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        let records = match self.block_statistics_with(backing | nowait) {
            // libvirt before 4.5 does not know NOWAIT.
            Err(error) if error.kind == Kind::Unsupported => self.block_statistics_with(backing)?,
            records => records?,
        };
        let parameters = records.iter().flat_map(|record| record.parameters());
        let kept = parameters.map(|parameter| {
            let name = String::from_utf8_lossy(parameter.name).into_owned();
            (name, parameter.value.into())
        });
        Ok(kept.collect())
    }

    fn block_statistics_with(&self, flags: u32) -> Result<Records, Error> {
        let mut guests = [self.as_ptr(), ptr::null_mut()];
        let mut list = ptr::null_mut();
        // SAFETY: the array ends in null, and the guest lives across the call; on success libvirt sets `list`
        // to a list that ends in NULL.
        let returned = unsafe {
            let group = sys::VIR_DOMAIN_STATS_BLOCK;
            sys::virDomainListGetStats(guests.as_mut_ptr(), group, &mut list, flags)
        };
        Records::owned(list, returned)
    }

    /// Its snapshots and checkpoints, as far as libvirt knows of them. Of the snapshots those are read that
    /// have none before or none behind them: the oldest and the newest are among them.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain-snapshot.html#virDomainListAllSnapshots>
    pub fn snapshots(&self) -> Result<Snapshots, Error> {
        // SAFETY: the handle lives.
        let count = unsafe { check(sys::virDomainSnapshotNum(self.as_ptr(), 0))? };
        let mut times = Vec::new();
        if count > 0 {
            times = self.snapshot_times(sys::VIR_DOMAIN_SNAPSHOT_LIST_ROOTS)?;
            times.extend(self.snapshot_times(sys::VIR_DOMAIN_SNAPSHOT_LIST_LEAVES)?);
        }
        Ok(Snapshots {
            count: u64::try_from(count).ok(),
            oldest_s: times.iter().min().copied(),
            newest_s: times.iter().max().copied(),
            checkpoints: self.checkpoints().ok(),
        })
    }

    /// When the snapshots of this kind were made, Unix seconds.
    fn snapshot_times(&self, kind: u32) -> Result<Vec<u64>, Error> {
        let mut list: *mut sys::virDomainSnapshotPtr = ptr::null_mut();
        // SAFETY: the handle lives; libvirt sets `list` to an array of snapshots, which is ours.
        let returned = unsafe { sys::virDomainListAllSnapshots(self.as_ptr(), &mut list, kind) };
        let error = check(returned).err();
        // SAFETY: null, or an array that ends in NULL, in which we own one reference of each snapshot, which
        // is given back once. The array itself was allocated with malloc; may be null.
        let texts: Vec<Option<String>> = unsafe {
            let read = |(place, snapshot)| {
                let wanted = place < MOST_READ;
                let text = wanted.then(|| owned(sys::virDomainSnapshotGetXMLDesc(snapshot, 0)));
                sys::virDomainSnapshotFree(snapshot);
                text.and_then(Result::ok)
            };
            let texts = until_null(list).enumerate().map(read).collect();
            libc::free(list.cast());
            texts
        };
        match error {
            Some(error) => Err(error),
            None => Ok(texts.iter().flatten().filter_map(|text| creation_time(text)).collect()),
        }
    }

    fn checkpoints(&self) -> Result<u64, Error> {
        let mut list: *mut sys::virDomainCheckpointPtr = ptr::null_mut();
        // SAFETY: as for snapshots.
        let (returned, count) = unsafe {
            let returned = sys::virDomainListAllCheckpoints(self.as_ptr(), &mut list, 0);
            let mut count = 0;
            for checkpoint in until_null(list) {
                sys::virDomainCheckpointFree(checkpoint);
                count += 1;
            }
            libc::free(list.cast());
            (returned, count)
        };
        check(returned)?;
        Ok(count)
    }
}

/// The time in a snapshot's XML. It is before the guest's own XML, and what somebody wrote before it has
/// its brackets escaped.
fn creation_time(xml: &str) -> Option<u64> {
    let (_, rest) = xml.split_once("<creationTime>")?;
    rest.split_once('<')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_snapshot_is_read() {
        let xml = "<domainsnapshot><name>a</name><description>&lt;creationTime&gt;1&lt;</description>\
                   <creationTime>1795880918</creationTime><domain><creationTime>2</creationTime>";
        assert_eq!(creation_time(xml), Some(1_795_880_918));
        for xml in ["", "<creationTime>", "<creationTime>x</creationTime>", "<creationTime>-1<"] {
            assert_eq!(creation_time(xml), None, "{xml}");
        }
    }
}

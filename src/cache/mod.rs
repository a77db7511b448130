//! The cache room: what is kept on disk from one run to the next, so that a cron run or a restart
//! starts warm. Losing any of it costs time or one vm_features line, never a right number.
//!
//! ```text
//! place    which folder, and whether it can be trusted
//!   file     one file in it: read, locked, replaced by rename
//!     lines    header, a line a guest, closing line with checksum; two writers' lines put together
//!       devices  each guest's inventory, fresh for a while
//!       samples  each guest's last sample
//!       health   the guests that did not answer, and the calls that they hold
//! ```
//!
//! Each hypervisor has up to three files, named after its URI. The agent opens a [`Place`], and for each
//! hypervisor [`HypervisorFiles`]; it loads at the start and saves after a collection. Every trouble
//! comes back as a value with a text for the user: nothing in this room prints, waits for long, or
//! touches what is not our own user's.

mod digest;
mod error;
mod file;
mod lines;
mod place;

pub mod devices;
mod health;
mod samples;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

pub use devices::DeviceCache;
pub use error::{Cause, FileError, Trouble};
pub use file::Lock;
pub use lines::Saved;
pub use place::{NoPlace, Place, Surroundings};

use crate::collect::SavedHealth;
use crate::sample::Domain;

/// Most characters of a URI that are kept readable in a file's name.
const READABLE_MAX: usize = 80;

/// The cache files of one hypervisor.
#[derive(Clone, Debug)]
pub struct HypervisorFiles {
    place: Place,
    uri: String,
    devices: String,
    samples: String,
    health: String,
}

impl HypervisorFiles {
    /// The files of the hypervisor with this URI.
    pub fn new(place: Place, uri: &str) -> Self {
        let slug = slug(uri);
        Self {
            place,
            uri: uri.to_owned(),
            devices: format!("{}-{slug}.jsonl", devices::HOLDS),
            samples: format!("{}-{slug}.jsonl", samples::HOLDS),
            health: format!("{}-{slug}.jsonl", health::HOLDS),
        }
    }

    /// Where the device lists lie, or will.
    pub fn devices_path(&self) -> PathBuf {
        self.place.path().join(&self.devices)
    }

    /// Where the last samples lie, or will.
    pub fn samples_path(&self) -> PathBuf {
        self.place.path().join(&self.samples)
    }

    /// The device cache on disk, and what is wrong with it; empty where it is absent or cannot be
    /// used.
    pub fn load_devices(&self) -> (DeviceCache, Option<Trouble>) {
        match self.place.directory() {
            Ok(directory) => DeviceCache::load(&directory, &self.devices, &self.uri),
            Err(error) => (DeviceCache::default(), Some(error.into())),
        }
    }

    /// Writes the device cache, where it has something that the file lacks. Guests that others
    /// wrote stay, the newest of them where there are many; those whose XML was last read a day and
    /// `ttl` ago go.
    pub fn save_devices(
        &self,
        cache: &mut DeviceCache,
        now_unix_s: u64,
        ttl: Duration,
    ) -> Result<Saved, FileError> {
        if !cache.is_changed() {
            return Ok(Saved::Unchanged);
        }
        cache.save(&self.place.directory()?, &self.devices, &self.uri, now_unix_s, ttl)
    }

    /// The samples on disk by uuid, and what is wrong with the file: those of this boot of the host,
    /// and of the hour before `now_ns` on its CLOCK_BOOTTIME.
    pub fn load_samples(
        &self,
        boot: Uuid,
        now_ns: u64,
    ) -> (HashMap<Uuid, Domain>, Option<Trouble>) {
        match self.place.directory() {
            Ok(directory) => samples::load(&directory, &self.samples, &self.uri, boot, now_ns),
            Err(error) => (HashMap::new(), Some(error.into())),
        }
    }

    /// Writes the samples. Those of guests that are not among them stay for an hour; of two of one
    /// guest the newer does.
    pub fn save_samples<'a>(
        &self,
        domains: impl IntoIterator<Item = &'a Domain>,
        boot: Uuid,
        now_ns: u64,
    ) -> Result<Saved, FileError> {
        let directory = self.place.directory()?;
        samples::save(&directory, &self.samples, &self.uri, boot, now_ns, domains)
    }

    /// What is known of guests that did not answer, of this boot of the host and of the hour before
    /// `now_ns` on its CLOCK_BOOTTIME, and what is wrong with the file.
    pub fn load_health(&self, boot: Uuid, now_ns: u64) -> (Vec<SavedHealth>, Option<Trouble>) {
        match self.place.directory() {
            Ok(directory) => health::load(&directory, &self.health, &self.uri, boot, now_ns),
            Err(error) => (Vec::new(), Some(error.into())),
        }
    }

    /// Writes what is known of guests that did not answer, or of which that was known before.
    pub fn save_health(
        &self,
        guests: &[SavedHealth],
        boot: Uuid,
        now_ns: u64,
    ) -> Result<Saved, FileError> {
        let directory = self.place.directory()?;
        health::save(&directory, &self.health, &self.uri, boot, now_ns, guests)
    }
}

/// The host's boot, which CLOCK_BOOTTIME counts from; `None` where the kernel does not tell it, and
/// then no samples can be kept.
pub fn boot_id() -> Option<Uuid> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().parse().ok()
}

/// A URI as part of a file's name: readable, and never that of another URI.
fn slug(uri: &str) -> String {
    let mut slug = String::new();
    for character in uri.chars() {
        if slug.len() >= READABLE_MAX {
            break;
        }
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '-') {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    format!("{}-{:08x}", slug.trim_end_matches('_'), digest::digest(uri.as_bytes()) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_makes_a_readable_name_of_its_own() {
        let remote = "qemu+ssh://root@kvm1.example.org:22/system?keyfile=/root/a b";
        for (uri, name) in [
            ("qemu:///system", "qemu_system-3af60887"),
            ("qemu:/system", "qemu_system-0c86e1a3"),
            (remote, "qemu_ssh_root_kvm1.example.org_22_system_keyfile_root_a_b-ffd36a98"),
            ("../../etc/passwd\0\n", ".._.._etc_passwd-e6677adb"),
            ("", "-98d645b8"),
        ] {
            assert_eq!(slug(uri), name);
        }
        let long = slug(&"\u{e4}/x".repeat(1000));
        assert_eq!(long, format!("{}x-4909fc9c", "x_".repeat(39)));
    }

    #[test]
    fn the_hosts_boot_has_an_id() {
        assert!(boot_id().is_some_and(|boot| !boot.is_nil()));
    }
}

//! What is kept on disk from one run to the next, so that a cron run or a restart starts warm. Losing any
//! of it costs time or one vm_features line a guest, never a right number.
//!
//! ```text
//! place        which folder, and whether it can be trusted
//!   file         one file in it: read, locked, replaced by rename
//!     lines        its form: a header, lines, a closing line with a checksum
//!       state        what the lines say
//!         merge        which lines a file keeps, of two writers'
//!         devices      the device lists in memory: fresh for a while
//!       models       what `anomalies` learned, in a second file
//! ```
//!
//! Each hypervisor has one file, named after its URI, and with `anomalies` a second one. The agent opens a
//! [`CacheDir`], and for each hypervisor a [`StateFile`]; it loads at the start and saves after a collection, on
//! threads that can be left behind. Every trouble comes back as a value with a text for the user: nothing in this
//! module prints, or touches what is not our own user's.

mod devices;
mod digest;
mod error;
mod file;
mod lines;
mod models;
mod place;
mod state;

use std::fs;
use std::sync::OnceLock;

use uuid::Uuid;

pub use devices::DeviceCache;
pub use error::{CacheWarning, FileError, FileFault};
pub use file::Lock;
pub use models::{ModelFile, ModelWrite};
pub use place::{CacheDir, CacheEnv, NoCacheDir};
pub use state::{CacheTime, LoadedFile, SavedState, StateFile, StateWrite};

/// Most characters of a URI that are kept readable in a file's name.
const READABLE_MAX: usize = 80;

/// The host's boot, which CLOCK_BOOTTIME counts from; `None` where the kernel does not tell it. No process lives
/// longer than that.
fn boot_id() -> Option<Uuid> {
    static BOOT: OnceLock<Uuid> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Some(*boot);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = text.trim().parse().ok()?;
    Some(*BOOT.get_or_init(|| boot))
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

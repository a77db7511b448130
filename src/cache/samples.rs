//! The last samples on disk: what a guest's rates are computed from when no earlier collection is in
//! memory. Their times count from the host's boot, so a file of another boot holds nothing. Whether a
//! sample fits the one that comes after it (same boot of the guest) is `features`' business.

use std::collections::HashMap;

use uuid::Uuid;

use super::error::{FileError, Trouble};
use super::file::Directory;
use super::lines::{Entry, Flaw, Header, Saved, guest_lines, line_of, read_line, update};
use crate::devices::walk::DEVICES_MAX;
use crate::sample::Domain;

/// What the header calls this kind of file.
pub(super) const HOLDS: &str = "samples";
/// How long a sample is of use, in nanoseconds: the schema's hour.
const KEPT_NS: u64 = 60 * 60 * 1_000_000_000;
/// How far in the future a sample may lie when two writers' are put together, in nanoseconds:
/// another writer took it after our `now`.
const AHEAD_NS: u64 = 60 * 1_000_000_000;

/// The samples in the file that are of this boot of the host and not older than an hour, by the
/// guest's uuid, and what is wrong with the file.
pub(super) fn load(
    directory: &Directory,
    name: &str,
    uri: &str,
    boot: Uuid,
    now_ns: u64,
) -> (HashMap<Uuid, Domain>, Option<Trouble>) {
    let contents = match directory.read(name) {
        Ok(Some(contents)) => contents,
        Ok(None) => return (HashMap::new(), None),
        Err(error) => return (HashMap::new(), Some(error.into())),
    };
    match domains(&contents.bytes, uri, boot, now_ns) {
        Ok(domains) => (domains, None),
        Err(flaw) => (HashMap::new(), Some(flaw.in_file(directory, name))),
    }
}

/// Writes these samples, and keeps in the file what others wrote there within an hour.
pub(super) fn save<'a>(
    directory: &Directory,
    name: &str,
    uri: &str,
    boot: Uuid,
    now_ns: u64,
    domains: impl IntoIterator<Item = &'a Domain>,
) -> Result<Saved, FileError> {
    let entry = |domain: &'a Domain| {
        let (name, uuid, at) = (domain.name.as_str().into(), domain.uuid, domain.answered_at_ns);
        let line = line_of(domain)?.into();
        Some(Entry { name, uuid, at, first_hand: true, line })
    };
    let entries = domains.into_iter().filter_map(entry).collect();
    let times = now_ns.saturating_sub(KEPT_NS)..=now_ns.saturating_add(AHEAD_NS);
    update(directory, name, &Header::new(HOLDS, uri, Some(boot)), entries, &times, check)
}

fn domain(line: &[u8], number: usize) -> Result<Domain, Flaw> {
    let domain: Domain = read_line(line, number)?;
    // A disk of the statistics may be a layer of a backing chain, so there may be more of them.
    if domain.nics.len() + domain.disks.len() > 4 * DEVICES_MAX {
        return Err(Flaw::of_line(number, "too many devices"));
    }
    Ok(domain)
}

fn check(line: &[u8], number: usize) -> Result<(), Flaw> {
    domain(line, number).map(drop)
}

fn domains(
    bytes: &[u8],
    uri: &str,
    boot: Uuid,
    now_ns: u64,
) -> Result<HashMap<Uuid, Domain>, Flaw> {
    let lines = guest_lines(bytes, &Header::new(HOLDS, uri, Some(boot)))?;
    let times = now_ns.saturating_sub(KEPT_NS)..=now_ns;
    let mut domains = HashMap::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let number = index + 2;
        let domain = domain(line, number)?;
        if domains.insert(domain.uuid, domain).is_some() {
            return Err(Flaw::of_line(number, "a guest that was there before"));
        }
    }
    domains.retain(|_, domain| times.contains(&domain.answered_at_ns));
    Ok(domains)
}

#[cfg(test)]
mod tests;

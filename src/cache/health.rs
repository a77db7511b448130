//! What is known of guests that did not answer, on disk: so that the next run does not leave another call
//! behind in a guest that holds one already. Its times count from the host's boot, so a file of another boot
//! holds nothing. While all is well there is no such file, or it is not written.

use std::collections::HashSet;

use super::error::{FileError, Trouble};
use super::file::Directory;
use super::lines::{Entry, Flaw, Header, Saved, guest_lines, line_of, read_line, update};
use crate::collect::SavedHealth;

/// What the header calls this kind of file.
pub(super) const HOLDS: &str = "health";
/// The same of the host beside its guests and of its storage pools.
pub(super) const HOLDS_NODE: &str = "node";
/// How long it is of use, in nanoseconds.
const KEPT_NS: u64 = 60 * 60 * 1_000_000_000;
/// How far in the future an entry may lie when two writers' are put together, in nanoseconds.
const AHEAD_NS: u64 = 60 * 1_000_000_000;

/// What the file has of this boot of the host and of the last hour, and what is wrong with the file.
pub(super) fn load(
    directory: &Directory,
    name: &str,
    header: &Header<'_>,
    now_ns: u64,
) -> (Vec<SavedHealth>, Option<Trouble>) {
    let contents = match directory.read(name) {
        Ok(Some(contents)) => contents,
        Ok(None) => return (Vec::new(), None),
        Err(error) => return (Vec::new(), Some(error.into())),
    };
    match guests(&contents.bytes, header, now_ns) {
        Ok(guests) => (guests, None),
        Err(flaw) => (Vec::new(), Some(flaw.in_file(directory, name))),
    }
}

/// Writes these, and keeps in the file what others wrote there within an hour.
pub(super) fn save(
    directory: &Directory,
    name: &str,
    header: &Header<'_>,
    now_ns: u64,
    guests: &[SavedHealth],
) -> Result<Saved, FileError> {
    let entry = |guest: &SavedHealth| {
        let (name, uuid, at) = (guest.name.clone().into(), guest.uuid, guest.at);
        Some(Entry { name, uuid, at, first_hand: true, line: line_of(guest)?.into() })
    };
    let entries = guests.iter().filter_map(entry).collect();
    let times = now_ns.saturating_sub(KEPT_NS)..=now_ns.saturating_add(AHEAD_NS);
    update(directory, name, header, entries, &times, check)
}

fn check(line: &[u8], number: usize) -> Result<(), Flaw> {
    read_line::<SavedHealth>(line, number).map(drop)
}

fn guests(bytes: &[u8], header: &Header<'_>, now_ns: u64) -> Result<Vec<SavedHealth>, Flaw> {
    let lines = guest_lines(bytes, header)?;
    let times = now_ns.saturating_sub(KEPT_NS)..=now_ns;
    let mut seen = HashSet::with_capacity(lines.len());
    let mut guests = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let number = index + 2;
        let guest: SavedHealth = read_line(line, number)?;
        if !seen.insert(guest.uuid) {
            return Err(Flaw::of_line(number, "a guest that was there before"));
        }
        if times.contains(&guest.at) {
            guests.push(guest);
        }
    }
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cache::{HypervisorFiles, Place, Surroundings};
    use crate::collect::SavedBackoff;
    use crate::sample::Completeness;

    const NOW_NS: u64 = 100_000_000_000_000;

    fn locked(name: &str, number: u128, at: u64) -> SavedHealth {
        let locked = SavedBackoff { since_ns: 1, asked_ns: 2, calls: 3, running: u64::MAX };
        SavedHealth {
            name: name.to_owned(),
            uuid: Uuid::from_u128(number),
            at,
            answer: Completeness::Locked,
            is_slow: false,
            locked: Some(locked),
        }
    }

    #[test]
    fn the_next_run_knows_what_did_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::named(folder.path(), &Surroundings::of_process()).unwrap();
        let files = HypervisorFiles::new(place, "test:///default");
        let boot = Uuid::from_u128(7);
        assert_eq!(files.load_health(boot, NOW_NS), (Vec::new(), None));
        let both = [locked("", 0, NOW_NS), locked("web", 1, NOW_NS - 5)];
        files.save_health(&both, boot, NOW_NS).unwrap();
        assert_eq!(files.load_health(boot, NOW_NS + 1), (both.to_vec(), None));
        assert_eq!(files.load_health(Uuid::from_u128(8), NOW_NS + 1), (Vec::new(), None));
        assert_eq!(files.load_health(boot, NOW_NS + KEPT_NS + 1), (Vec::new(), None));
        // One that is well again takes the place of what was known of it.
        let well = SavedHealth { uuid: Uuid::from_u128(1), at: NOW_NS + 2, ..Default::default() };
        files.save_health(std::slice::from_ref(&well), boot, NOW_NS + 2).unwrap();
        let (mut now, _) = files.load_health(boot, NOW_NS + 3);
        now.sort_by_key(|guest| guest.uuid);
        assert_eq!(now, [both[0].clone(), well]);
    }
}

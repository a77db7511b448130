use std::fs;
use std::time::Duration;

use super::*;
use crate::anomalies::{Anomalies, Pace};
use crate::cache::CacheEnv;
use crate::sample::Domain;

const URI: &str = "qemu:///system";
const NOW_S: u64 = 1_700_000_000;

fn guest(number: u128, at: u64) -> GuestModel {
    let mut anomalies = Anomalies::new(Pace::DEFAULT);
    let (id, uuid) = (1, Uuid::from_u128(number));
    let now =
        Domain { id, uuid, name: format!("g{number}"), answered_at_ns: 1, ..Domain::default() };
    anomalies.observe(0, &now, None, None, Duration::from_secs(at));
    anomalies.guests(0).next().unwrap().clone()
}

fn file(folder: &tempfile::TempDir) -> ModelFile {
    let folder = CacheDir::named(folder.path(), &CacheEnv::of_process()).unwrap();
    ModelFile::new(folder, URI)
}

fn names(file: &ModelFile, now_unix_s: u64) -> Vec<String> {
    let (guests, warning) = file.load(now_unix_s);
    assert_eq!(warning, None);
    let mut names: Vec<String> = guests.iter().map(|guest| guest.name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_two_writers_learned_is_merged_and_kept_for_14_days() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    assert_eq!(names(&file, NOW_S), [""; 0]);
    file.prepare([guest(1, NOW_S), guest(2, NOW_S)].iter(), NOW_S).run().unwrap();
    file.prepare([guest(2, NOW_S - 60), guest(3, NOW_S)].iter(), NOW_S).run().unwrap();
    assert_eq!(names(&file, NOW_S), ["g1", "g2", "g3"]);
    let (guests, _) = file.load(NOW_S);
    let second = guests.iter().find(|guest| guest.name() == "g2").unwrap();
    assert_eq!(second.seen_unix_s(), NOW_S, "the newer one");
    assert_eq!(names(&file, NOW_S + KEPT_S + 1), [""; 0]);
    file.prepare([guest(4, NOW_S + KEPT_S + 1)].iter(), NOW_S + KEPT_S + 1).run().unwrap();
    assert_eq!(names(&file, NOW_S + KEPT_S + 1), ["g4"]);
}

#[test]
fn a_damaged_file_is_a_warning_and_the_next_save_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    file.prepare([guest(1, NOW_S)].iter(), NOW_S).run().unwrap();
    let whole = fs::read(file.path()).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(file.path(), &damaged).unwrap();
        let (guests, warning) = file.load(NOW_S);
        assert!(guests.is_empty() && warning.is_some(), "byte {at}");
        fs::write(file.path(), &whole[..at]).unwrap();
        let (guests, warning) = file.load(NOW_S);
        assert!(guests.is_empty() && warning.is_some(), "cut at {at}");
    }
    file.prepare([guest(2, NOW_S)].iter(), NOW_S).run().unwrap();
    assert_eq!(names(&file, NOW_S), ["g2"]);
}

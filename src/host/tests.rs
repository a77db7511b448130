//! The answers out of a recording: those of libvirt, and no others.

use std::time::Duration;

use super::*;
use crate::libvirt::{Group, Kind, OwnedValue};
use crate::record::{Answer, Moment as RecordedMoment, RecordedHost, Recording};

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

fn guest(uuid: Uuid, id: i32, statistics: &[(&str, u64)]) -> RecordedGuest {
    let statistics =
        statistics.iter().map(|(name, value)| ((*name).to_owned(), OwnedValue::Uint(*value)));
    RecordedGuest {
        id,
        name: format!("guest {}", uuid.as_u128()),
        uuid,
        answered_ns: 7,
        statistics: Answer::Ok(statistics.collect()),
        ..RecordedGuest::default()
    }
}

fn replay(moments: Vec<Vec<RecordedGuest>>) -> (tempfile::TempDir, Origin) {
    let moment = |(number, guests)| RecordedMoment {
        unix_ns: number as u64 * 1_000_000_000,
        boot_ns: number as u64,
        guests,
        node: record::RecordedNode::default(),
    };
    let recording = Recording {
        host: RecordedHost {
            bulk: vec!["state".to_owned(), "cpu".to_owned()],
            name: Answer::Ok("h".to_owned()),
            ..RecordedHost::default()
        },
        moments: moments.into_iter().enumerate().map(moment).collect(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    std::fs::write(&path, recording.to_text().unwrap()).unwrap();
    let origin = Origin::of(&format!("{REPLAY}{}", path.display()));
    (folder, origin)
}

fn all() -> Groups {
    Group::ALL.into_iter().collect()
}

/// What a bulk call for these guests gives: id and names of the parameters of each.
fn asked(host: &Host, guests: &[Guest], groups: Groups) -> Result<Vec<(i32, Vec<String>)>, String> {
    let records = host
        .statistics(guests.iter(), groups, Bulk { nowait: true, enforce: false })
        .map_err(|error| error.to_string())?;
    let name = |it: Parameter<'_>| String::from_utf8_lossy(it.name).into_owned();
    Ok(records
        .iter()
        .map(|record| (record.id(), record.parameters().map(name).collect()))
        .collect())
}

#[test]
fn a_bulk_call_gives_the_groups_that_are_asked_for() {
    let statistics = [("state.state", 1), ("cpu.time", 2), ("vcpu.current", 3), ("new.thing", 4)];
    let (_folder, origin) = replay(vec![vec![guest(A, 4, &statistics)]]);
    let host = origin.open().unwrap();
    assert_eq!(host.host_name().unwrap(), "h");
    let offer = host.known_offer(all()).unwrap();
    assert_eq!(offer.bulk, [Group::State, Group::Cpu].into_iter().collect());
    let guests = host.guests(false).unwrap();
    let cpu = vec!["cpu.time".to_owned(), "new.thing".to_owned()];
    assert_eq!(asked(&host, &guests, Group::Cpu.into()), Ok(vec![(4, cpu)]));
    assert_eq!(asked(&host, &guests, Groups::default()), Ok(vec![]));
    assert_eq!(asked(&host, &guests, all()).unwrap()[0].1.len(), 4);
}

#[test]
fn one_guests_error_fails_the_call_for_all_and_its_other_groups_come_alone() {
    let mut broken = guest(B, 5, &[]);
    broken.statistics = Answer::Error { kind: Kind::Other, message: "no".to_owned() };
    let state = vec![("state.state".to_owned(), OwnedValue::Int(1))];
    broken.groups.insert("state".to_owned(), Answer::Ok(state));
    let (_folder, origin) = replay(vec![vec![guest(A, 4, &[("state.state", 1)]), broken]]);
    let host = origin.open().unwrap();
    let guests = host.guests(false).unwrap();
    assert_eq!(asked(&host, &guests, all()), Err("no".to_owned()));
    assert_eq!(asked(&host, &guests[1..], Group::Cpu.into()), Err("no".to_owned()));
    let state = vec!["state.state".to_owned()];
    let both = vec![(4, state.clone()), (5, state)];
    assert_eq!(asked(&host, &guests, Group::State.into()), Ok(both));
}

#[test]
fn handles_answer_for_the_moment_that_is_asked_and_who_is_gone_is_gone() {
    let off = guest(B, -1, &[]);
    let (_folder, origin) = replay(vec![vec![guest(A, 4, &[]), off], vec![guest(B, 6, &[])]]);
    let replay = origin.replay().unwrap();
    let host = origin.open().unwrap();
    let ids =
        |inactive| -> Vec<i32> { host.guests(inactive).unwrap().iter().map(Guest::id).collect() };
    replay.advance();
    assert_eq!((ids(false), ids(true)), (vec![4], vec![4, -1]));
    assert_eq!(host.running_ids(1).unwrap(), Some(vec![4]));
    let handle = host.guest(&A).unwrap();
    assert_eq!(handle.answered_at_ns(), 7);
    assert!(!replay.is_at_last());
    replay.advance();
    assert!(replay.is_at_last());
    assert_eq!(host.moment(), Moment { unix: Duration::from_secs(1), boot_ns: 1 });
    assert_eq!(ids(false), [6]);
    assert_eq!(host.running_ids(0).unwrap(), None);
    assert_eq!(handle.xml().unwrap_err().kind, Kind::GuestGone);
    assert_eq!(host.guest(&A).err().map(|error| error.kind), Some(Kind::GuestGone));
    assert_eq!(asked(&host, &[handle], all()), Ok(vec![]));
    replay.advance();
    assert_eq!(ids(false), [6]);
}

#[test]
fn a_call_without_an_answer_fails() {
    let (_folder, origin) = replay(vec![vec![guest(A, 4, &[])]]);
    let host = origin.open().unwrap();
    let guest = host.guest(&A).unwrap();
    let error = guest.info().unwrap_err();
    assert_eq!((error.kind, error.to_string()), {
        (Kind::Other, "no answer came when this was recorded".to_owned())
    });
    let error = guest.block_counters("vda").unwrap_err().to_string();
    assert_eq!(error, "the recording has no answer for the device vda");
}

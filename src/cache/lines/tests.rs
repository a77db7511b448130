//! Tests of the files' form: what a whole file looks like, and that nothing else passes for one.

use proptest::prelude::*;

use super::*;
use crate::cache::{Place, Surroundings};

fn header() -> Header<'static> {
    Header::new("devices", "qemu:///system", None)
}

fn entry(name: &str, number: u128, at: u64) -> Entry<'static> {
    let uuid = Uuid::from_u128(number);
    let line = format!(r#"{{"name":"{name}","uuid":"{uuid}","read_at":{at},"more":[1]}}"#);
    Entry {
        name: name.to_owned().into(),
        uuid,
        at,
        first_hand: false,
        line: line.into_bytes().into(),
    }
}

fn check(line: &[u8], number: usize) -> Result<(), Flaw> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "more")]
        _more: Vec<u8>,
    }
    read_line::<Line>(line, number).map(drop)
}

fn file(entries: Vec<Entry<'_>>) -> Vec<u8> {
    sealed(&header(), entries).0
}

#[test]
fn a_file_has_a_header_its_guests_sorted_by_name_and_a_closing_line() {
    let (bytes, saved) = sealed(&header(), vec![entry("web", 2, 20), entry("db", 1, 10)]);
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        r#"{"telegraf-virt":"devices","version":1,"uri":"qemu:///system"}
{"name":"db","uuid":"00000000-0000-0000-0000-000000000001","read_at":10,"more":[1]}
{"name":"web","uuid":"00000000-0000-0000-0000-000000000002","read_at":20,"more":[1]}
{"guests":2,"checksum":"994776f3752850b7"}
"#
    );
    assert_eq!(saved, Saved::Written { guests: 2, left_out: 0 });
}

#[test]
fn a_file_without_guests_is_whole_too() {
    assert_eq!(guest_lines(&file(vec![]), &header()), Ok(vec![]));
}

#[test]
fn what_was_written_is_read_back() {
    let two = vec![entry("a", 1, 10), entry("b \"\u{e4}\\", 2, 20)];
    let bytes = file(vec![entry("a", 1, 10)]);
    assert_eq!(entries(&bytes, &header(), &[], check), Ok(vec![entry("a", 1, 10)]));
    let bytes = file(two.clone());
    let lines: Vec<&[u8]> = two.iter().map(|entry| &*entry.line).collect();
    assert_eq!(guest_lines(&bytes, &header()), Ok(lines));
}

#[test]
fn a_file_cut_at_any_byte_is_damaged() {
    let bytes = file(vec![entry("db", 1, 10), entry("web", 2, 20)]);
    for end in 0..bytes.len() {
        let flaw = guest_lines(&bytes[..end], &header());
        assert!(matches!(flaw, Err(Flaw::Corrupt(..))), "cut at {end}: {flaw:?}");
    }
}

#[test]
fn a_file_with_any_flipped_bit_is_no_file_of_ours() {
    let bytes = file(vec![entry("db", 1, 10), entry("web", 2, 20)]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flaw = guest_lines(&flipped, &header());
        assert!(flaw.is_err(), "bit {bit}: {flaw:?}");
    }
}

#[test]
fn each_flaw_says_what_it_is() {
    let whole = String::from_utf8(file(vec![entry("db", 1, 10)])).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let corrupt = |line, cause: &str| Err(Flaw::Corrupt(line, cause.to_owned()));
    for (text, flaw) in [
        (whole.replace(":1,\"uri\"", ":2,\"uri\""), Err(Flaw::OtherVersion(2))),
        (
            whole.replace("\"version\"", "\"more\":{},\"version\""),
            corrupt(3, "the checksum is wrong"),
        ),
        (whole.replace("qemu", "test"), corrupt(1, "made for something else")),
        (whole.replace("\"devices\"", "\"samples\""), corrupt(1, "made for something else")),
        (whole.replace(":10,", ":11,"), corrupt(3, "the checksum is wrong")),
        (
            whole.replace("\"guests\":1", "\"guests\":2"),
            corrupt(3, "the number of guests is wrong"),
        ),
        (format!("{}\n{}\n", lines[0], lines[2]), corrupt(2, "the checksum is wrong")),
        (whole.trim_end().to_owned(), corrupt(3, "it ends within a line")),
        (format!("{}\n", lines[0]), corrupt(1, "no closing line")),
        (String::new(), corrupt(1, "it ends within a line")),
    ] {
        assert_eq!(guest_lines(text.as_bytes(), &header()), flaw, "{text}");
    }
}

#[test]
fn a_file_of_another_boot_holds_no_guests() {
    let at_boot = |boot| Header::new("samples", "qemu:///system", Some(Uuid::from_u128(boot)));
    let (bytes, _) = sealed(&at_boot(7), vec![entry("db", 1, 10)]);
    assert_eq!(entries(&bytes, &at_boot(7), &[], check), Ok(vec![entry("db", 1, 10)]));
    assert_eq!(entries(&bytes, &at_boot(8), &[], check), Ok(vec![]));
}

#[test]
fn of_two_lines_of_a_guest_the_newer_stays_and_none_outside_the_times() {
    let ours = vec![entry("a", 1, 20), entry("b", 2, 20), entry("old", 4, 9), entry("new", 5, 31)];
    let theirs = vec![
        entry("a", 1, 10),
        entry("renamed", 2, 21),
        entry("c", 3, 10),
        entry("gone", 6, 9),
        entry("future", 7, 31),
    ];
    let mut names: Vec<String> =
        merged(ours, theirs, &(10..=30)).iter().map(|entry| entry.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["a", "c", "renamed"]);
}

#[test]
fn of_two_lines_of_one_time_the_one_known_first_hand_stays_else_the_one_in_the_file() {
    let stays = |first_hand, newer: u64| {
        let ours = Entry { first_hand, ..entry("ours", 1, 20) };
        let theirs = entry("theirs", 1, 20 + newer);
        let stays = merged(vec![ours], vec![theirs], &(0..=30));
        stays.into_iter().map(|entry| entry.name.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stays(true, 0), ["ours"]);
    assert_eq!(stays(false, 0), ["theirs"]);
    assert_eq!(stays(true, 1), ["theirs"]);
}

#[test]
fn a_file_stays_within_its_size_and_keeps_the_newest_guests() {
    let long = |name: &str, number: u128, at, length| {
        let line = vec![b'x'; length];
        Entry { line: line.into(), ..entry(name, number, at) }
    };
    let many: Vec<Entry> =
        (0..20).map(|n| long(&format!("{n:02}"), n, n as u64, LINE_MAX - 1)).collect();
    let (bytes, saved) = sealed(&header(), many);
    assert_eq!(saved, Saved::Written { guests: 15, left_out: 5 });
    assert!(bytes.len() <= SIZE_MAX, "{}", bytes.len());
    assert_eq!(guest_lines(&bytes, &header()).map(|lines| lines.len()), Ok(15));

    let (_, saved) = sealed(&header(), vec![long("a", 1, 1, LINE_MAX + 1), entry("b", 2, 2)]);
    assert_eq!(saved, Saved::Written { guests: 1, left_out: 1 });

    let many = (0..GUESTS_MAX as u128 + 1).map(|n| entry("x", n, n as u64)).collect();
    let (bytes, saved) = sealed(&header(), many);
    assert_eq!(saved, Saved::Written { guests: GUESTS_MAX, left_out: 1 });
    let oldest = entries(&bytes, &header(), &[], check).unwrap().iter().map(|entry| entry.at).min();
    assert_eq!(oldest, Some(1));
}

#[test]
fn of_guests_that_only_others_know_the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::named(folder.path(), &Surroundings::of_process()).unwrap();
    let directory = place.directory().unwrap();
    let save = |entries| update(&directory, "file", &header(), entries, &(0..=u64::MAX), check);
    let theirs = OTHERS_MAX as u128 + 100;
    save((0..theirs).map(|n| entry("x", n, n as u64)).collect()).unwrap();
    // Of these 100, 50 are among the oldest of theirs, which stay since they are ours.
    let ours = (0..50).chain(theirs..theirs + 50).map(|n| entry("x", n, n as u64)).collect();
    let guests = OTHERS_MAX + 100;
    assert_eq!(save(ours), Ok(Saved::Written { guests, left_out: 0 }));
    let bytes = directory.read("file").unwrap().unwrap().bytes;
    let mut kept: Vec<u64> =
        entries(&bytes, &header(), &[], check).unwrap().iter().map(|entry| entry.at).collect();
    kept.sort_unstable();
    assert!(kept.into_iter().eq((0..50).chain(100..guests as u64 + 50)));
}

/// Text between a right header and a right closing line, as only somebody who knows the form can
/// make it.
pub(in crate::cache) fn forged(header: &Header<'_>, lines: &[Vec<u8>]) -> Vec<u8> {
    let lines = lines.iter().enumerate().map(|(index, line)| Entry {
        name: format!("{index:05}").into(),
        uuid: Uuid::from_u128(index as u128),
        at: 0,
        first_hand: false,
        line: line.into(),
    });
    sealed(header, lines.collect()).0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic_or_believe_them(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(guest_lines(&bytes, &header()).is_err());
        let mut after_header = file(vec![]);
        after_header.truncate(after_header.iter().position(|byte| *byte == b'\n').unwrap() + 1);
        after_header.extend(&bytes);
        prop_assert!(guest_lines(&after_header, &header()).is_err());
    }

    #[test]
    fn no_forged_lines_make_it_panic(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5)
    ) {
        let bytes = forged(&header(), &lines);
        let _ = entries(&bytes, &header(), &[], check);
    }
}

#[test]
fn a_line_that_ours_replaces_need_not_be_right_and_any_other_must() {
    let damaged = |name: &str, number, at| {
        let line = String::from_utf8(entry(name, number, at).line.into_owned()).unwrap();
        let line = line.replace("[1]", "[\"x\"]").into_bytes().into();
        Entry { line, ..entry(name, number, at) }
    };
    let newer = [Entry { first_hand: true, ..entry("a", 1, 10) }];
    let bytes = file(vec![damaged("a", 1, 10), entry("b", 2, 20)]);
    assert_eq!(entries(&bytes, &header(), &newer, check), Ok(vec![entry("b", 2, 20)]));
    assert!(entries(&bytes, &header(), &[], check).is_err());
    let bytes = file(vec![damaged("a", 1, 11), entry("b", 2, 20)]);
    assert!(entries(&bytes, &header(), &newer, check).is_err());
    // Of one time, and not first-hand: only the very same line need not be read.
    let same = [entry("a", 1, 10)];
    let bytes = file(vec![entry("a", 1, 10), entry("b", 2, 20)]);
    assert_eq!(entries(&bytes, &header(), &same, check), Ok(vec![entry("b", 2, 20)]));
    let bytes = file(vec![damaged("a", 1, 10), entry("b", 2, 20)]);
    assert!(entries(&bytes, &header(), &same, check).is_err());
}

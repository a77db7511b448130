//! A host's raw answers, captured over a real connection and read back: so the fixtures hold what a
//! real libvirt sends, with its types. With CAPTURE=FILE the recording is kept there; so was
//! fixtures/hosts/debian12-qemu.jsonl made.
#![allow(clippy::unwrap_used)]

mod support;

use std::env;
use std::fs;
use std::time::Duration;

use support::lab::Lab;
use support::wait_until;
use telegraf_virt::deadline::Ending;
use telegraf_virt::log::{Level, Log};
use telegraf_virt::record::{self, Orders, RecordedGuest, RecordedValue, Recording};

fn value<'a>(guest: &'a RecordedGuest, name: &str) -> Option<&'a RecordedValue> {
    let statistics = guest.statistics.result().unwrap();
    statistics.iter().find(|(parameter, _)| parameter == name).map(|(_, value)| value)
}

#[test]
fn a_recording_holds_every_guests_typed_answers_and_reads_back_as_it_was() {
    let Some(lab) = Lab::require("live_record") else { return };
    lab.linux("linux one");
    lab.paused("paused, with=odd name", 2, 3);
    let uri = lab.uri();
    let log = Log::immediate(Level::Warn);
    let (every, patience) = (Duration::ZERO, Duration::from_secs(30));
    let orders = Orders { uri: &uri, moments: 1, every, patience, max_stuck: 8 };
    let recording = wait_until("the guest's memory figures", Duration::from_secs(60), || {
        let recording = record::capture(&orders, &Ending::default(), &log).unwrap();
        let has_reported = |guest: &RecordedGuest| value(guest, "balloon.usable").is_some();
        recording.moments[0].guests.iter().any(has_reported).then_some(recording)
    });
    let text = recording.to_text().unwrap();
    if let Some(file) = env::var_os("CAPTURE") {
        fs::write(file, &text).unwrap();
    }
    assert_eq!(Recording::parse(text.as_bytes()), Ok(recording.clone()));
    let guests = &recording.moments[0].guests;
    let mut names: Vec<_> = guests.iter().map(|guest| guest.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["linux one", "paused, with=odd name"]);
    for guest in guests {
        assert!(guest.xml().starts_with("<domain type='qemu'"), "{}", guest.xml());
        let state = if guest.name == "linux one" { 1 } else { 3 };
        assert_eq!(value(guest, "state.state"), Some(&RecordedValue::Int(state)));
        assert!(matches!(value(guest, "cpu.time"), Some(RecordedValue::Uint(1..))));
        assert!(matches!(value(guest, "block.0.name"), Some(RecordedValue::Text(_))));
    }
}

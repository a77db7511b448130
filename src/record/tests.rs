//! What comes back of a recording, and what is none.

use super::*;
use crate::libvirt::OwnedValue;

const FIRST_HEADER: &str = r#"{"telegraf-virt":"recording","version":1}"#;

fn refused(text: &str) -> String {
    Recording::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn every_type_comes_back_as_it_was() {
    let parameters = [
        ("i", OwnedValue::Int(-1)),
        ("u", OwnedValue::Uint(u64::MAX)),
        ("f", OwnedValue::Float(0.5)),
        ("g", OwnedValue::Float(f64::NEG_INFINITY)),
        ("b", OwnedValue::Bool(true)),
        ("s", OwnedValue::Text("a\n\"\u{0}ä".to_owned())),
    ];
    let statistics = parameters.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let guest = RecordedGuest {
        id: 1,
        name: "x".to_owned(),
        statistics: Answer::Ok(statistics),
        ..RecordedGuest::default()
    };
    let pool = PoolReading { name: "a".to_owned(), state: 2, ..PoolReading::default() };
    let mut host = HostReading::default();
    host.facts.cpus = Some(4);
    let node = RecordedNode { host: Some(host), pools: vec![pool] };
    let moment = Moment { unix_ns: 3, boot_ns: 2, guests: vec![guest], node };
    let recording = Recording { moments: vec![moment], ..Recording::default() };
    let text = recording.to_text().unwrap();
    assert_eq!(Recording::parse(text.as_bytes()), Ok(recording));
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    assert_eq!(refused(""), "line 1 of the recording: the file is empty");
    let newer = FIRST_HEADER.replace('1', "3");
    assert_eq!(
        refused(&newer),
        "line 1 of the recording: a recording of version 3, and this program reads up to 2: read it \
         with the version that made it, or a later one"
    );
    let broken = refused(&format!("{FIRST_HEADER}\n{{\"id\":1"));
    assert_eq!(broken, "line 2 of the recording: EOF while parsing an object at column 7");
}

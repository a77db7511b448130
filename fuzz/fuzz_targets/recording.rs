//! Any bytes are a recording or none; what it says stays the same when it is written and read, and made
//! anonymous it is a recording with as many guests still.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telegraf_virt::record::{Recording, anonymize};

fn guests(recording: &Recording) -> Vec<usize> {
    recording.moments.iter().map(|moment| moment.guests.len()).collect()
}

fuzz_target!(|bytes: &[u8]| {
    match Recording::parse(bytes) {
        Ok(mut recording) => {
            let written = recording.to_text().expect("what was read can be written");
            let again = Recording::parse(written.as_bytes()).expect("what was written can be read");
            // Not the recordings themselves: what is no number does not equal itself.
            assert_eq!(again.to_text().ok(), Some(written));
            anonymize(&mut recording);
            let written = recording.to_text().expect("what is anonymous can be written");
            let anonymous = Recording::parse(written.as_bytes()).expect("and read");
            assert_eq!(guests(&anonymous), guests(&again));
        }
        Err(error) => {
            let message = error.to_string();
            let line = message.strip_prefix("line ").and_then(|rest| rest.split(' ').next());
            let line: usize = line.and_then(|number| number.parse().ok()).expect("a line");
            let lines = bytes.split(|&byte| byte == b'\n').count();
            assert!((1..=lines + 1).contains(&line), "{message} of {lines} lines");
        }
    }
});

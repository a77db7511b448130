//! Any text is a recording or none, and what it says stays the same when it is written and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telegraf_virt::record::Recording;

fuzz_target!(|text: &str| {
    match Recording::parse(text) {
        Ok(recording) => {
            let written = recording.to_text().expect("what was read can be written");
            assert_eq!(Recording::parse(&written).as_ref(), Ok(&recording), "written: {written}");
        }
        Err(error) => {
            let message = error.to_string();
            let line = message.strip_prefix("line ").and_then(|rest| rest.split(' ').next());
            let line: usize = line.and_then(|number| number.parse().ok()).expect("a line");
            // It is the first wrong one.
            if line > 1 {
                let (end, _) = text.match_indices('\n').nth(line - 2).expect("that many lines");
                let before = Recording::parse(&text[..end]);
                assert!(before.is_ok(), "{before:?} comes before {message}");
            }
        }
    }
});

//! Any text is a configuration or is refused in one short line; what is accepted is within its
//! bounds, and its tags can be printed.
#![no_main]

use std::collections::HashSet;
use std::path;

use libfuzzer_sys::fuzz_target;
use telegraf_virt::config::{self, DEADLINE, names};
use telegraf_virt::devices::metadata::{PATHS_MAX, Path};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt_fuzz::reference::{as_tag, points_of, tags_of};
use uuid::Uuid;

/// A line on standard error stands behind `E! `, ends in a newline and has less than 500 bytes.
const MESSAGE_MAX: usize = 499 - "E! \n".len();

fuzz_target!(|text: &str| {
    // So long that a message shows the most of a path that it ever does.
    let file = format!("/{}/telegraf-virt.toml", "ä".repeat(200));
    let settings = match config::parse(text, path::Path::new(&file)) {
        Ok(settings) => settings,
        Err(error) => {
            let messages = error.to_string();
            assert!((1..=10).contains(&messages.lines().count()), "{messages}");
            for message in messages.lines() {
                assert!(message.len() <= MESSAGE_MAX, "{} bytes: {message}", message.len());
                assert!(!message.contains(char::is_control), "not one line: {message:?}");
                assert!(message.contains("ä/telegraf-virt.toml, line "), "{message}");
            }
            return;
        }
    };
    assert!(DEADLINE.contains(&settings.deadline), "{:?}", settings.deadline);
    assert!((1..=64).contains(&settings.workers) && (1..=64).contains(&settings.max_stuck));
    assert!(settings.cache.ttl.as_secs() <= 30 * 86_400, "{:?}", settings.cache.ttl);
    assert!(
        settings.cache.dir.as_deref().is_none_or(path::Path::is_absolute),
        "{:?}",
        settings.cache.dir
    );
    for uri in &settings.uris {
        assert_eq!(config::check_uri(uri), Ok(()));
    }
    // Patterns on names that have something to do with them.
    for name in text.split(|c: char| c.is_whitespace() || c == '"').take(20) {
        let name = name.chars().take(100).collect::<String>();
        settings.domains.takes(&name, &Uuid::from_u128(text.len() as u128));
        settings.devices.takes_nic(&name, None);
        settings.devices.takes_disk(&name, None);
    }

    let mut written = Tags::default();
    for (key, value) in &settings.tags {
        written.add(key, value);
    }
    let mut lines = Lines::default();
    lines.start(1);
    lines.line("m", &[&written], |fields| fields.integer("f", 1));
    let points = points_of(lines.as_bytes());
    let found = tags_of(&points[0]);
    let read = |(key, value): &(String, String)| (as_tag(key), as_tag(value));
    assert_eq!(found, settings.tags.iter().map(read).collect::<Vec<_>>());
    let mut keys = HashSet::new();
    for (key, _) in &found {
        assert_eq!(names::reserved(key), None, "{key:?}");
        assert!(keys.insert(key.clone()), "two tags {key:?}");
    }
    for (key, path) in &settings.metadata_tags {
        assert_eq!(names::reserved(key), None, "{key:?}");
        assert!(keys.insert(as_tag(key)), "two tags {key:?}");
        assert_eq!(Path::parse(path.as_str()).as_ref(), Ok(path));
    }
    assert!(settings.selection().paths.len() <= PATHS_MAX);
});

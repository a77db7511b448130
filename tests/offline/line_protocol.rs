//! Everything that the encoder can be given parses back, value for value, in InfluxDB's own parser.

use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines};
use proptest::prelude::*;
use telegraf_virt::config::Missing;
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{Choice, PrintedGuest, Writer};
use telegraf_virt::sample::{Cpu, Disk, Domain, Memory, Nic};
use uuid::Uuid;

/// What the schema makes of a tag's value: control characters are spaces, and a backslash that
/// could be taken for an escape is a slash.
fn as_tag(text: &str) -> String {
    let spaced: Vec<char> = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    let replaced = spaced.iter().enumerate().map(|(index, &it)| {
        let next = spaced.get(index + 1);
        if it == '\\' && matches!(next, None | Some('\\' | ',' | '=' | ' ')) { '/' } else { it }
    });
    replaced.collect()
}

fn as_field(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// Text that is rich in what parsers trip over.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\\".to_owned()),
        Just(",".to_owned()),
        Just("=".to_owned()),
        Just(" ".to_owned()),
        Just("\"".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\t".to_owned()),
        Just("#".to_owned()),
        Just("i".to_owned()),
        Just("\u{0}".to_owned()),
        Just("\u{85}".to_owned()),
        Just("\u{2028}".to_owned()),
        "[a-z0-9]{1,3}",
        any::<char>().prop_map(|it| it.to_string()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn parse(bytes: &[u8]) -> Vec<ParsedLine<'_>> {
    parse_lines(std::str::from_utf8(bytes).unwrap()).map(Result::unwrap).collect()
}

fn tag(line: &ParsedLine<'_>, key: &str) -> Option<String> {
    line.series.tag_set.as_ref()?.iter().find(|(it, _)| it == &key).map(|(_, it)| it.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn tags_and_fields_of_any_text_and_number_parse_back(
        key in text().prop_filter("a key", |it| !it.is_empty()),
        value in text(),
        string in text(),
        integer in any::<i64>(),
        unsigned in any::<u64>(),
        float in any::<f64>(),
        timestamp in any::<i64>(),
    ) {
        let mut tags = Tags::default();
        tags.add(&key, &value);
        tags.add("last", &value);
        let mut lines = Lines::default();
        lines.start(timestamp);
        lines.line("vm_metrics", &[&tags], |fields| {
            fields.integer("i", integer);
            fields.text("s", &string);
            fields.unsigned("u", unsigned);
            fields.float("f", float);
        });
        // A newline in a string would be legal, and make two lines of one for whoever counts.
        prop_assert_eq!(lines.as_bytes().iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed = parse(lines.as_bytes());
        prop_assert_eq!(parsed.len(), 1);
        let line = &parsed[0];
        prop_assert_eq!(line.series.measurement.to_string(), "vm_metrics");
        prop_assert_eq!(line.timestamp, Some(timestamp));
        let tags = line.series.tag_set.as_ref().map_or(0, |tags| tags.len());
        prop_assert_eq!(tags, if value.is_empty() { 0 } else { 2 });
        if !value.is_empty() {
            prop_assert_eq!(tag(line, &as_tag(&key)), Some(as_tag(&value)));
            prop_assert_eq!(tag(line, "last"), Some(as_tag(&value)));
        }
        let field = |name: &str| line.field_value(name);
        prop_assert!(matches!(field("i"), Some(FieldValue::I64(it)) if *it == integer));
        let clamped = i64::try_from(unsigned).unwrap_or(i64::MAX);
        prop_assert!(matches!(field("u"), Some(FieldValue::I64(it)) if *it == clamped));
        match field("s") {
            Some(FieldValue::String(it)) => prop_assert_eq!(it.to_string(), as_field(&string)),
            other => prop_assert!(false, "{:?}", other),
        }
        match field("f") {
            Some(FieldValue::F64(it)) => prop_assert_eq!(*it, float),
            None => prop_assert!(!float.is_finite()),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_guest_of_any_name_and_any_missing_values_gives_its_lines_and_no_other(
        name in text(),
        nic in text(),
        disk in text(),
        values in prop::collection::vec(any::<Option<u64>>(), 12),
        omit in any::<bool>(),
        partial in any::<bool>(),
    ) {
        let value = |index: usize| values[index];
        let sample = Domain {
            id: 3,
            name: name.clone(),
            uuid: Uuid::from_u128(7),
            completeness: if partial { telegraf_virt::sample::Completeness::Partial } else { Default::default() },
            state: value(0).map(|it| (it % 9) as i64),
            cpu: Cpu { time_ns: value(1), user_ns: value(2), system_ns: None, ..Cpu::default() },
            vcpu_count: value(3),
            memory: Memory { current_kib: value(4), rss_kib: value(5), ..Memory::default() },
            nics: vec![Nic { name: nic.as_str().into(), rx_bytes: value(6), tx_drops: value(7), ..Nic::default() }],
            disks: vec![Disk { name: disk.as_str().into(), rd_reqs: value(8), errors: value(9), ..Disk::default() }],
            ..Domain::default()
        };
        let missing = if omit { Missing::Omit } else { Missing::Zero };
        let choice = Choice { missing, ..Choice::DEFAULT };
        let mut lines = Lines::default();
        lines.start(1);
        let guest = PrintedGuest { sample: &sample, rates: None, inventory: None };
        Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
        let parsed = parse(lines.as_bytes());
        prop_assert_eq!(parsed.len(), lines.count());
        prop_assert_eq!(lines.as_bytes().iter().filter(|byte| **byte == b'\n').count(), parsed.len());
        prop_assert!(parsed.len() <= 4);
        for line in &parsed {
            let expected = (!name.is_empty()).then(|| as_tag(&name));
            prop_assert_eq!(tag(line, "name"), expected);
            prop_assert_eq!(tag(line, "uuid"), Some(Uuid::from_u128(7).to_string()));
            prop_assert_eq!(tag(line, "VMID"), Some("3".to_owned()));
        }
        if !omit && !partial {
            prop_assert_eq!(parsed.len(), 4);
            let total = parsed[3].field_value("net_rxbytes");
            let expected = i64::try_from(value(6).unwrap_or(0)).unwrap_or(i64::MAX);
            prop_assert!(matches!(total, Some(FieldValue::I64(it)) if *it == expected));
        }
    }
}

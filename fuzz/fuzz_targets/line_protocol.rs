//! Any tags and strings come back value for value from the reference parser.
//!
//! The input is text whose pieces are parted by DEL: integer, unsigned, float, timestamp, a string,
//! then keys and values of tags in turn.
#![no_main]

use influxdb_line_protocol::{FieldValue, ParsedLine};
use libfuzzer_sys::fuzz_target;
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt_fuzz::reference::{as_field, as_tag, points_of, tags_of};

fuzz_target!(|text: &str| {
    let mut pieces = text.split('\u{7f}');
    let mut next = || pieces.next().unwrap_or_default();
    let integer: i64 = next().parse().unwrap_or_default();
    let unsigned: u64 = next().parse().unwrap_or_default();
    let float: f64 = next().parse().unwrap_or_default();
    let timestamp: i64 = next().parse().unwrap_or_default();
    let string = next();

    let mut written = [Tags::default(), Tags::default()];
    let mut expected: Vec<(String, String)> = Vec::new();
    while let (Some(key), Some(value)) = (pieces.next(), pieces.next()) {
        let (key_read, value_read) = (as_tag(key), as_tag(value));
        // Which keys may stand on one line is for the configuration to say.
        if key.is_empty() || expected.iter().any(|(known, _)| *known == key_read) {
            continue;
        }
        let half = usize::from(expected.len() >= 3);
        written[half].add(key, value);
        if !value.is_empty() {
            expected.push((key_read, value_read));
        }
    }

    let mut lines = Lines::default();
    lines.start(timestamp);
    let both: Vec<&Tags> = written.iter().collect();
    lines.line("vm_metrics", &both, |fields| {
        fields.integer("i", integer);
        fields.text("s", string);
        fields.unsigned("u", unsigned);
        fields.float("f", float);
    });
    lines.line("vm_none", &both, |fields| fields.float("f", f64::NAN));
    let [mut appended, rest] = written;
    appended.append(&rest);
    lines.line("vm_totals", &[&appended], |fields| fields.text("s", string));

    let points = points_of(lines.as_bytes());
    assert_eq!(points.len(), lines.count());
    let [first, second] = points.as_slice() else { panic!("not two points: {points:?}") };
    assert_eq!(first.series.measurement, "vm_metrics");
    assert_eq!(second.series.measurement, "vm_totals");
    for point in &points {
        assert_eq!(tags_of(point), expected);
        assert_eq!(point.timestamp, Some(timestamp));
        assert_eq!(text_field(point), as_field(string));
    }
    assert_eq!(first.field_value("i"), Some(&FieldValue::I64(integer)));
    let clamped = i64::try_from(unsigned).unwrap_or(i64::MAX);
    assert_eq!(first.field_value("u"), Some(&FieldValue::I64(clamped)));
    let float = Some(FieldValue::F64(float)).filter(|_| float.is_finite());
    assert_eq!(first.field_value("f"), float.as_ref());
    assert_eq!(first.field_set.len(), 3 + usize::from(float.is_some()));
    assert_eq!(second.field_set.len(), 1);
});

fn text_field(point: &ParsedLine<'_>) -> String {
    match point.field_value("s") {
        Some(FieldValue::String(text)) => text.to_string(),
        other => panic!("no string: {other:?}"),
    }
}

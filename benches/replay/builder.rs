//! The same lines by the builder of InfluxDB's own crate, for comparison.

use influxdb_line_protocol::{FieldValue, LineProtocolBuilder, ParsedLine};

/// Writes these lines into the buffer, in place of what it holds.
pub fn write(buffer: &mut Vec<u8>, lines: &[ParsedLine<'_>]) {
    buffer.clear();
    let mut builder = LineProtocolBuilder::new_with(std::mem::take(buffer));
    for line in lines {
        let mut tagged = builder.measurement(&line.series.measurement);
        for (key, value) in line.series.tag_set.iter().flatten() {
            tagged = tagged.tag(key, value);
        }
        let mut fields = line.field_set.iter();
        let (key, value) = fields.next().expect("a line has a field");
        // The first field has another type than those after it.
        let mut filled = match value {
            FieldValue::I64(value) => tagged.field(key, *value),
            FieldValue::F64(value) => tagged.field(key, *value),
            FieldValue::String(value) => tagged.field(key, &**value),
            other => panic!("no line of ours has {other:?}"),
        };
        for (key, value) in fields {
            filled = match value {
                FieldValue::I64(value) => filled.field(key, *value),
                FieldValue::F64(value) => filled.field(key, *value),
                FieldValue::String(value) => filled.field(key, &**value),
                other => panic!("no line of ours has {other:?}"),
            };
        }
        builder = filled.timestamp(line.timestamp.expect("a timestamp")).close_line();
    }
    *buffer = builder.build();
}

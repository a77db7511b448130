//! Line protocol as InfluxDB's own parser reads it.

use influxdb_line_protocol::{FieldValue, parse_lines};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
}

/// One line; tags and fields in the order in which they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub measurement: String,
    pub tags: Vec<(String, String)>,
    pub fields: Vec<(String, Value)>,
    pub timestamp: i64,
}

impl Line {
    pub fn tag(&self, key: &str) -> &str {
        self.find_tag(key).unwrap_or_else(|| panic!("no tag {key} in {self:?}"))
    }

    pub fn find_tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub fn field(&self, key: &str) -> &Value {
        self.find_field(key).unwrap_or_else(|| panic!("no field {key} in {self:?}"))
    }

    pub fn find_field(&self, key: &str) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn int(&self, key: &str) -> i64 {
        match self.field(key) {
            Value::Int(value) => *value,
            other => panic!("{key} is {other:?}, not an integer, in {self:?}"),
        }
    }

    pub fn float(&self, key: &str) -> f64 {
        match self.field(key) {
            Value::Float(value) => *value,
            other => panic!("{key} is {other:?}, not a float, in {self:?}"),
        }
    }

    pub fn text(&self, key: &str) -> &str {
        match self.field(key) {
            Value::Text(value) => value,
            other => panic!("{key} is {other:?}, not a string, in {self:?}"),
        }
    }

    pub fn field_names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Short form for comparing whole outputs: measurement, guest, device.
    pub fn title(&self) -> String {
        let device = self.find_tag("device").map_or(String::new(), |device| format!(" {device}"));
        format!("{} {}{device}", self.measurement, self.tag("name"))
    }
}

/// Every line of an output, which must end with a newline, and parse to as many points as it has
/// lines: a newline in a string would be legal line protocol, but is never wanted here.
pub fn read(output: &str) -> Vec<Line> {
    assert!(output.is_empty() || output.ends_with('\n'), "ends within a line: {output:?}");
    let lines: Vec<Line> = parse_lines(output)
        .map(|line| {
            let line = line.unwrap_or_else(|error| panic!("{error} in:\n{output}"));
            Line {
                measurement: line.series.measurement.to_string(),
                tags: line
                    .series
                    .tag_set
                    .unwrap_or_default()
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
                fields: line
                    .field_set
                    .iter()
                    .map(|(key, value)| (key.to_string(), read_value(value)))
                    .collect(),
                timestamp: line.timestamp.unwrap_or_else(|| panic!("no timestamp in:\n{output}")),
            }
        })
        .collect();
    assert_eq!(lines.len(), output.matches('\n').count(), "points and lines differ in:\n{output}");
    lines
}

fn read_value(value: &FieldValue<'_>) -> Value {
    match value {
        FieldValue::I64(value) => Value::Int(*value),
        FieldValue::F64(value) => Value::Float(*value),
        FieldValue::String(value) => Value::Text(value.to_string()),
        FieldValue::Boolean(value) => Value::Bool(*value),
        FieldValue::U64(value) => panic!("{value}u: InfluxDB 1.x has no unsigned integers"),
    }
}

/// The lines of one guest.
pub fn of_guest<'a>(lines: &'a [Line], uuid: &str) -> Vec<&'a Line> {
    lines.iter().filter(|line| line.tag("uuid") == uuid).collect()
}

/// The one line of a measurement that a guest has; for devices, of the device so named.
pub fn find<'a>(
    lines: &'a [Line],
    uuid: &str,
    measurement: &str,
    device: Option<&str>,
) -> Option<&'a Line> {
    let found: Vec<&Line> = lines
        .iter()
        .filter(|line| line.measurement == measurement && line.tag("uuid") == uuid)
        .filter(|line| line.find_tag("device") == device)
        .collect();
    assert!(found.len() < 2, "twice: {found:?}");
    found.first().copied()
}

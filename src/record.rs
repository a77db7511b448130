//! A host's raw answers in a file: typed parameters and domain XML, as libvirt gave them. Our fixtures
//! are such files, so that tests without a hypervisor still see what a real one sends.
//!
//! JSON Lines: a header, then one guest a line. Read with the same distrust as any input.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::libvirt::{self, Connection, Group, Parameter, Value};

const VERSION: u32 = 1;
/// A recording's most guests, and a guest's most parameters: far more than any host has.
const MOST: usize = 100_000;

/// What a host answered at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// The guests, in libvirt's order.
    pub guests: Vec<RecordedGuest>,
}

/// One guest of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedGuest {
    /// The domain's id; -1 when it did not run.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// The bulk call's parameters, in libvirt's order: name and value.
    pub parameters: Vec<(String, RecordedValue)>,
    /// The domain XML.
    pub xml: String,
}

/// A typed parameter's value, with its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedValue {
    /// int or llong
    Int(i64),
    /// uint or ullong
    Uint(u64),
    /// double
    Float(f64),
    /// boolean
    Bool(bool),
    /// string
    Text(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "telegraf-virt")]
    kind: String,
    version: u32,
}

/// Why a text is no recording, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordError {
    line: usize,
    reason: String,
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {} of the recording: {}", self.line, self.reason)
    }
}

impl std::error::Error for RecordError {}

impl Recording {
    /// Asks a hypervisor for all that this program can read of its running guests.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn of(connection: &Connection) -> Result<Self, libvirt::Error> {
        let offer = connection.offer(Group::ALL.into_iter().collect())?;
        let mut guests = Vec::new();
        for guest in connection.guests(false)? {
            let alone = std::iter::once(&guest);
            let records = connection.statistics(alone, offer.bulk, offer.nowait)?;
            let parameters = records
                .iter()
                .flat_map(|record| record.parameters())
                .map(|it| (text(it.name), RecordedValue::from(it.value)))
                .collect();
            let (id, name, uuid) = (guest.id(), guest.name().into_owned(), guest.uuid());
            guests.push(RecordedGuest { id, name, uuid, parameters, xml: guest.xml()? });
        }
        Ok(Self { guests })
    }

    /// The text of the file.
    ///
    /// # Errors
    /// Where a float is not finite, which JSON cannot hold.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let header = Header { kind: "recording".to_owned(), version: VERSION };
        let mut text = serde_json::to_string(&header)?;
        text.push('\n');
        for guest in &self.guests {
            text.push_str(&serde_json::to_string(guest)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let fail =
            |line, reason: &dyn fmt::Display| RecordError { line, reason: reason.to_string() };
        let Some((_, first)) = lines.next() else { return Err(fail(1, &"the file is empty")) };
        let header: Header = serde_json::from_str(first).map_err(|error| fail(1, &error))?;
        if header.kind != "recording" || header.version != VERSION {
            return Err(fail(1, &format_args!("not a recording of version {VERSION}")));
        }
        let mut guests = Vec::new();
        for (number, line) in lines {
            let guest: RecordedGuest =
                serde_json::from_str(line).map_err(|error| fail(number, &error))?;
            if guests.len() >= MOST || guest.parameters.len() > MOST {
                return Err(fail(number, &format_args!("more than {MOST} entries")));
            }
            guests.push(guest);
        }
        Ok(Self { guests })
    }
}

impl RecordedGuest {
    /// The parameters as the bulk call gives them.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        self.parameters
            .iter()
            .map(|(name, value)| Parameter { name: name.as_bytes(), value: value.into() })
    }
}

/// libvirt's bytes as text; what is no UTF-8 is replaced, since JSON cannot hold it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl From<Value<'_>> for RecordedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Int(number) => Self::Int(number),
            Value::Uint(number) => Self::Uint(number),
            Value::Float(number) => Self::Float(number),
            Value::Bool(truth) => Self::Bool(truth),
            Value::Text(bytes) => Self::Text(text(bytes)),
        }
    }
}

impl<'a> From<&'a RecordedValue> for Value<'a> {
    fn from(value: &'a RecordedValue) -> Self {
        match value {
            RecordedValue::Int(number) => Self::Int(*number),
            RecordedValue::Uint(number) => Self::Uint(*number),
            RecordedValue::Float(number) => Self::Float(*number),
            RecordedValue::Bool(truth) => Self::Bool(*truth),
            RecordedValue::Text(text) => Self::Text(text.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_was() {
        let parameters = [
            ("i", RecordedValue::Int(-1)),
            ("u", RecordedValue::Uint(u64::MAX)),
            ("f", RecordedValue::Float(0.5)),
            ("b", RecordedValue::Bool(true)),
            ("s", RecordedValue::Text("a\n\"\u{0}ä".to_owned())),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let guest = RecordedGuest { id: 1, name: "x".to_owned(), parameters, ..Default::default() };
        let recording = Recording { guests: vec![guest] };
        assert_eq!(Recording::parse(&recording.to_text().unwrap()), Ok(recording));
    }

    #[test]
    fn what_is_no_recording_is_refused_with_its_line() {
        let refused = |text: &str| Recording::parse(text).unwrap_err().to_string();
        assert_eq!(refused(""), "line 1 of the recording: the file is empty");
        let header = r#"{"telegraf-virt":"recording","version":1}"#;
        let newer = header.replace('1', "2");
        assert_eq!(refused(&newer), "line 1 of the recording: not a recording of version 1");
        let broken = refused(&format!("{header}\n{{\"id\":1"));
        assert!(broken.starts_with("line 2 of the recording: EOF while parsing"), "{broken}");
    }
}

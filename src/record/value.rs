//! Typed parameters as a file holds them, with their types.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

use crate::libvirt::{Parameter, Value};

/// A statistic: libvirt's name for it, and its value.
pub type Statistic = (String, RecordedValue);

/// A typed parameter's value, with its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedValue {
    /// int or llong
    Int(i64),
    /// uint or ullong
    Uint(u64),
    /// double
    Float(#[serde(with = "float")] f64),
    /// boolean
    Bool(bool),
    /// string
    Text(String),
}

/// A parameter of libvirt's as the file holds it.
pub(super) fn statistic(parameter: Parameter<'_>) -> Statistic {
    (text(parameter.name), parameter.value.into())
}

/// Recorded parameters as libvirt gives them.
pub(crate) fn parameters(statistics: &[Statistic]) -> impl Iterator<Item = Parameter<'_>> {
    statistics.iter().map(|(name, value)| Parameter { name: name.as_bytes(), value: value.into() })
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

/// JSON has no word for what is no number, and none for infinity: they are written as strings.
mod float {
    use super::{Deserialize, Deserializer, Error, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Word(String),
    }

    pub(super) fn serialize<S: Serializer>(float: &f64, to: S) -> Result<S::Ok, S::Error> {
        let written = if float.is_finite() {
            Written::Number(*float)
        } else {
            Written::Word(float.to_string())
        };
        written.serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<f64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(float) => Ok(float),
            Written::Word(word) => match word.as_str() {
                "NaN" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(D::Error::custom("expected a number, \"NaN\", \"inf\" or \"-inf\"")),
            },
        }
    }
}

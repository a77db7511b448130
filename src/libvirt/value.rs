//! A typed parameter's value: as libvirt holds it, and kept.

use std::ffi::c_ulong;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

/// C's unsigned long, which has 32 bits on some machines.
#[allow(clippy::useless_conversion)] // not there
pub(super) fn wide(number: c_ulong) -> u64 {
    number.into()
}

/// A typed parameter's value; libvirt's 32-bit integers are widened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// VIR_TYPED_PARAM_INT or LLONG
    Int(i64),
    /// VIR_TYPED_PARAM_UINT or ULLONG
    Uint(u64),
    /// VIR_TYPED_PARAM_DOUBLE
    Float(f64),
    /// VIR_TYPED_PARAM_BOOLEAN
    Bool(bool),
    /// VIR_TYPED_PARAM_STRING, which may be no UTF-8.
    Text(&'a [u8]),
}

/// A value that is kept, and written into a file with its type. What is no UTF-8 in a string is replaced,
/// since JSON cannot hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnedValue {
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

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Int(number) => Self::Int(number),
            Value::Uint(number) => Self::Uint(number),
            Value::Float(number) => Self::Float(number),
            Value::Bool(truth) => Self::Bool(truth),
            Value::Text(bytes) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

impl<'a> From<&'a OwnedValue> for Value<'a> {
    fn from(value: &'a OwnedValue) -> Self {
        match value {
            OwnedValue::Int(number) => Self::Int(*number),
            OwnedValue::Uint(number) => Self::Uint(*number),
            OwnedValue::Float(number) => Self::Float(*number),
            OwnedValue::Bool(truth) => Self::Bool(*truth),
            OwnedValue::Text(text) => Self::Text(text.as_bytes()),
        }
    }
}

/// JSON has no word for what is no number, and none for infinity: they are written as strings.
mod float {
    use super::{Deserialize, Deserializer, Error, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum FloatForm {
        Number(f64),
        Word(String),
    }

    pub(super) fn serialize<S: Serializer>(float: &f64, to: S) -> Result<S::Ok, S::Error> {
        let written = if float.is_finite() {
            FloatForm::Number(*float)
        } else {
            FloatForm::Word(float.to_string())
        };
        written.serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<f64, D::Error> {
        match FloatForm::deserialize(from)? {
            FloatForm::Number(float) => Ok(float),
            FloatForm::Word(word) => match word.as_str() {
                "NaN" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(D::Error::custom("expected a number, \"NaN\", \"inf\" or \"-inf\"")),
            },
        }
    }
}

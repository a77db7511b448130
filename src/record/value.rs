//! Typed parameters as a file holds them, with their types.

use crate::libvirt::{OwnedValue, Parameter};

/// A statistic: libvirt's name for it, and its value.
pub type Statistic = (String, OwnedValue);

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

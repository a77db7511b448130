//! What is printed for a value that is missing.

use crate::config::Missing;
use crate::line_protocol::Fields;
use crate::sample::{Completeness, Domain};

/// What is printed for the values that are missing of one guest.
///
/// A statistic that the guest does not offer is 0, or omitted with `missing = "omit"`. A statistic that
/// the guest did not answer this time is always omitted, and so is each sum that it belongs to: a 0 would
/// look like a counter that was reset. A sum is over the devices that are counted.
#[derive(Clone, Copy)]
pub struct MissingPolicy {
    missing: Missing,
    /// Whether the guest's answer is complete: else a missing value is unknown, and omitted.
    is_complete: bool,
}

impl MissingPolicy {
    /// Omits what is missing, as everywhere in what `extra` adds.
    pub const OMIT: Self = Self { missing: Missing::Omit, is_complete: false };

    /// The policy for this guest.
    pub fn new(sample: &Domain, missing: Missing) -> Self {
        Self { missing, is_complete: sample.completeness == Completeness::Complete }
    }

    fn fills_zero(self) -> bool {
        self.is_complete && self.missing == Missing::Zero
    }

    /// Writes a field.
    #[inline(always)]
    pub fn field(self, fields: &mut Fields<'_>, name: &str, value: Option<u64>) {
        match value {
            Some(value) => fields.unsigned(name, value),
            None if self.fills_zero() => fields.unsigned(name, 0),
            None => {}
        }
    }

    /// The value that is printed of a number with a sign.
    pub fn signed(self, value: Option<i64>) -> Option<i64> {
        value.or(if self.fills_zero() { Some(0) } else { None })
    }

    /// Writes the sum over the devices that are counted. Of a guest that did not answer completely it is
    /// written only if every device has the value.
    #[inline(always)]
    pub fn sum<T>(
        self,
        fields: &mut Fields<'_>,
        name: &str,
        devices: &[T],
        value: impl Fn(&T) -> Option<u64>,
    ) {
        if devices.is_empty() && !self.is_complete {
            // Perhaps there are some, and they could not be read.
            return;
        }
        let (mut sum, mut is_counted): (u64, bool) = (0, devices.is_empty() || self.fills_zero());
        for device in devices {
            match value(device) {
                Some(value) => {
                    is_counted = true;
                    sum = sum.saturating_add(value);
                }
                None if self.is_complete => {}
                None => return,
            }
        }
        if !is_counted {
            return;
        }
        fields.unsigned(name, sum);
    }
}

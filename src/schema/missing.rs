//! What is printed for a value that is missing.

use crate::config::Missing;
use crate::line_protocol::Fields;
use crate::sample::{Absent, Completeness, Domain};

use super::FieldRow;

/// What is printed for the values that are missing of one guest.
///
/// A statistic that the guest does not offer is 0, or omitted with `missing = "omit"`. A statistic that
/// the guest did not answer this time, or that it had earlier in this boot, is always omitted, and so is each
/// sum that it belongs to: a 0 would look like a counter that was reset. A sum is over the devices that are
/// counted.
#[derive(Clone, Copy)]
pub struct MissingPolicy<'a> {
    missing: Missing,
    /// Whether the guest's answer is complete: else a missing value is unknown, and omitted.
    is_complete: bool,
    /// What earlier samples say of missing values.
    absent: Option<&'a Absent>,
    /// The device that is printed; empty for the guest itself.
    device: &'a str,
    /// Whether no devices of a kind add up to 0: else nobody would have counted any.
    has_empty_sums: bool,
}

impl<'a> MissingPolicy<'a> {
    /// Omits what is missing, as everywhere in what `extra` adds.
    pub const OMIT: Self = Self {
        missing: Missing::Omit,
        is_complete: false,
        absent: None,
        device: "",
        has_empty_sums: true,
    };

    /// The policy for this guest.
    pub fn new(sample: &'a Domain, missing: Missing) -> Self {
        Self {
            missing,
            is_complete: sample.completeness == Completeness::Complete,
            absent: Some(&sample.absent).filter(|absent| !absent.is_empty()),
            device: "",
            has_empty_sums: true,
        }
    }

    /// The same for one of its devices.
    pub fn of_device(self, device: &'a str) -> Self {
        Self { device, ..self }
    }

    /// The same for the sums over a kind of devices; without any they are 0 only where these would be counted.
    pub fn of_sums(self, are_counted: bool) -> Self {
        Self { has_empty_sums: are_counted, ..self }
    }

    fn fills_zero(self) -> bool {
        self.is_complete && self.missing == Missing::Zero
    }

    /// Whether the statistic was there earlier. Of a device that lost one, nothing that is missing is known.
    fn is_lost(self, device: &str, row: &FieldRow) -> bool {
        self.absent.is_some_and(|absent| {
            if device.is_empty() {
                absent.is_lost(device, row)
            } else {
                absent.has_lost(device, row.group)
            }
        })
    }

    /// Writes a field that no earlier sample says anything of.
    #[inline(always)]
    pub fn field(self, fields: &mut Fields<'_>, name: &str, value: Option<u64>) {
        match value {
            Some(value) => fields.unsigned(name, value),
            None if self.fills_zero() => fields.unsigned(name, 0),
            None => {}
        }
    }

    /// Writes the field of a statistic.
    #[inline(always)]
    pub fn statistic(
        self,
        fields: &mut Fields<'_>,
        name: &str,
        value: Option<u64>,
        row: &FieldRow,
    ) {
        match value {
            Some(value) => fields.unsigned(name, value),
            None if self.fills_zero() && !self.is_lost(self.device, row) => {
                fields.unsigned(name, 0);
            }
            None => {}
        }
    }

    /// The value that is printed of a number with a sign.
    pub fn signed(self, value: Option<i64>) -> Option<i64> {
        value.or(if self.fills_zero() { Some(0) } else { None })
    }

    /// Writes the sum over some parts, if every one has the value.
    pub fn sum<T>(
        self,
        fields: &mut Fields<'_>,
        name: &str,
        parts: &[T],
        value: impl Fn(&T) -> Option<u64>,
    ) {
        let sum = parts.iter().try_fold(0_u64, |sum, part| Some(sum.saturating_add(value(part)?)));
        if let Some(sum) = sum.filter(|_| !parts.is_empty()) {
            fields.unsigned(name, sum);
        }
    }

    /// Writes the sum over the devices that are counted. It is omitted where a device had the value earlier,
    /// and where the guest did not answer completely and nobody knows that a device never has it.
    #[inline(always)]
    pub fn sum_of_devices<'d, T>(
        self,
        fields: &mut Fields<'_>,
        name: &str,
        devices: &'d [T],
        named: impl Fn(&'d T) -> (&'d str, Option<u64>),
        row: &FieldRow,
    ) {
        if devices.is_empty() && !self.is_complete {
            // Perhaps there are some, and they could not be read.
            return;
        }
        let is_empty_sum = devices.is_empty() && self.has_empty_sums;
        let (mut sum, mut is_counted): (u64, bool) = (0, is_empty_sum || self.fills_zero());
        for device in devices {
            match named(device) {
                (_, Some(value)) => {
                    is_counted = true;
                    sum = sum.saturating_add(value);
                }
                (device, None) if self.is_lost(device, row) => return,
                (_, None) if self.is_complete => {}
                (device, None) if self.absent.is_some_and(|it| it.never_had(device, row)) => {}
                (_, None) => return,
            }
        }
        if !is_counted {
            return;
        }
        fields.unsigned(name, sum);
    }
}

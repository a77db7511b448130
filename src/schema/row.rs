//! What a row of the table is, and the macro that makes code of the rows: the struct that holds the values,
//! how they are taken in, and how they are printed.

use std::hash::{DefaultHasher, Hasher};

use smol_str::SmolStr;

use crate::libvirt::{OwnedValue, Value};

use super::Extra;

/// How a field's value is to be read; its type in the output follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An integer that only grows, until the guest is started again.
    Counter,
    /// An integer that may go up and down.
    Gauge,
    /// A number with a fraction, which may go up and down.
    Float,
    /// Words.
    Text,
    /// Yes or no.
    Flag,
    /// As libvirt sent it, under libvirt's name.
    AsSent,
}

impl FieldKind {
    /// The type in the output, as the documents call it.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Counter | Self::Gauge => "integer",
            Self::Float => "float",
            Self::Text => "string",
            Self::Flag => "boolean",
            Self::AsSent => "as sent",
        }
    }
}

/// One field of the output.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// Its name in the output; empty where the row is only read, and printed by another row.
    pub name: &'static str,
    /// Counter, gauge, ...
    pub kind: FieldKind,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// What all names of its group begin with, such as `block.N.`.
    pub group: &'static str,
    /// libvirt's name in that group, such as `rd.bytes`; a call, or a path in the domain's XML.
    pub statistic: &'static [u8],
    /// What it is, in a few words.
    pub text: &'static str,
}

impl FieldRow {
    /// libvirt's whole name for it, such as `block.N.rd.bytes`; a call is whole by itself, and so is a path
    /// that begins with a slash.
    pub fn source(&self) -> String {
        let is_whole = [&b"vir"[..], b"/"].iter().any(|it| self.statistic.starts_with(it));
        let group = if is_whole { "" } else { self.group };
        format!("{group}{}", String::from_utf8_lossy(self.statistic))
    }

    /// A word beside these values.
    pub(super) const fn word(
        self,
        name: &'static str,
        statistic: &'static [u8],
        text: &'static str,
    ) -> Self {
        Self { name, kind: FieldKind::Text, unit: "", statistic, text, ..self }
    }

    /// The same values under another name.
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// Rows that are printed for the same reason.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The name in `extra` that they are printed for; `None` where they are always printed.
    pub extra: Option<Extra>,
    /// The rows.
    pub rows: &'static [FieldRow],
}

impl Section {
    pub(super) const fn always(rows: &'static [FieldRow]) -> Self {
        Self { extra: None, rows }
    }

    pub(super) const fn of(extra: Extra, rows: &'static [FieldRow]) -> Self {
        Self { extra: Some(extra), rows }
    }
}

/// A value that a field is taken from: libvirt's own, or a text of the domain's XML.
pub trait Sent: Copy {
    /// An integer that is not negative: libvirt's -1 means not offered.
    fn unsigned(self) -> Option<u64>;
    /// A number for a text; another text has another number.
    fn mark(self) -> u64;
    /// Yes or no.
    fn boolean(self) -> Option<bool>;
    /// A text; what is no UTF-8 in it is replaced.
    fn text(self) -> Option<SmolStr>;
    /// A number with a fraction.
    fn float(self) -> Option<f64>;
    /// As it was sent, with its type.
    fn owned(self) -> OwnedValue;
}

impl Sent for Value<'_> {
    #[inline(always)]
    fn unsigned(self) -> Option<u64> {
        match self {
            Value::Uint(number) => Some(number),
            Value::Int(number) => u64::try_from(number).ok(),
            Value::Float(_) | Value::Bool(_) | Value::Text(_) => None,
        }
    }

    fn mark(self) -> u64 {
        match self {
            Value::Text(text) => mark_of(text),
            _ => 0,
        }
    }

    fn boolean(self) -> Option<bool> {
        match self {
            Value::Bool(is_true) => Some(is_true),
            Value::Int(number) => Some(number != 0),
            Value::Uint(number) => Some(number != 0),
            Value::Float(_) | Value::Text(_) => None,
        }
    }

    fn text(self) -> Option<SmolStr> {
        let Value::Text(text) = self else { return None };
        Some(str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text).into(), Into::into))
    }

    fn float(self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    fn owned(self) -> OwnedValue {
        self.into()
    }
}

/// A number for this text.
pub fn mark_of(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// An attribute's value, or an element's text, in a domain's XML.
impl Sent for &str {
    fn unsigned(self) -> Option<u64> {
        self.parse().ok()
    }

    fn mark(self) -> u64 {
        mark_of(self.as_bytes())
    }

    fn boolean(self) -> Option<bool> {
        None
    }

    fn text(self) -> Option<SmolStr> {
        (!self.is_empty()).then(|| self.into())
    }

    fn float(self) -> Option<f64> {
        None
    }

    fn owned(self) -> OwnedValue {
        OwnedValue::Text(self.to_owned())
    }
}

/// Whether there is nothing to write into a file.
pub fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Makes code of a group of statistics, one row each:
///
/// ```text
/// Disk "block.N." [fields that are in no row] {
///     always serde(skip_serializing_if = "Option::is_none") {   printed always, and kept in the file of samples
///         rd_reqs b"rd.reqs" => "rd_req" counter "requests" "reads";
///     }
///     DiskTimes serde(skip) { ... }                             printed for this name in `extra`, and not kept
/// }
/// ```
///
/// That is the field `rd_reqs` of the struct, libvirt's name, the name in the output, the kind, the unit and
/// what it is. The kinds are counter, gauge, text, flag, `moment` (Unix seconds, omitted while they are 0) and
/// `epoch` (the same, omitted too while they are too few to be Unix seconds). A row without a name in the output is printed by another table. `sums "disk_"` makes sums over all devices
/// of the rows that are always printed, `else` names a function for the statistics that are in no row.
///
/// Each name is a literal in the code where it is written, so that its few bytes are copied inline;
/// benches/instructions shows when that is lost.
macro_rules! statistics {
    (@type flag) => { Option<bool> };
    (@type text) => { smol_str::SmolStr };
    (@type $number:ident) => { Option<u64> };

    (@kind counter) => { $crate::schema::FieldKind::Counter };
    (@kind text) => { $crate::schema::FieldKind::Text };
    (@kind flag) => { $crate::schema::FieldKind::Flag };
    (@kind $gauge:ident) => { $crate::schema::FieldKind::Gauge };

    (@extra always) => { None };
    (@extra $extra:ident) => { Some($crate::schema::Extra::$extra) };

    (@take flag $target:expr, $number:expr, $value:expr) => { $target = $value.boolean() };
    (@take text $target:expr, $number:expr, $value:expr) => {
        if let Some(text) = $value.text() {
            $target = text;
        }
    };
    (@take $kind:ident $target:expr, $number:expr, $value:expr) => { $target = $number };

    (@policy always, $extras:expr, $policy:expr) => { Some($policy) };
    (@policy $extra:ident, $extras:expr, $policy:expr) => {
        $extras.has($crate::schema::Extra::$extra).then_some($crate::schema::MissingPolicy::OMIT)
    };

    (@write flag $fields:expr, $name:expr, $value:expr, $policy:expr, $row:expr) => {
        if let Some(is_true) = $value {
            $fields.boolean($name, is_true);
        }
    };
    (@write text $fields:expr, $name:expr, $value:expr, $policy:expr, $row:expr) => {
        if !$value.is_empty() {
            $fields.text($name, &$value);
        }
    };
    (@write moment $fields:expr, $name:expr, $value:expr, $policy:expr, $row:expr) => {
        $policy.field($fields, $name, $value.filter(|&moment| moment > 0))
    };
    (@write epoch $fields:expr, $name:expr, $value:expr, $policy:expr, $row:expr) => {
        $policy.field($fields, $name, $value.filter(|&moment| moment >= 1_000_000_000))
    };
    (@write $number:ident $fields:expr, $name:expr, $value:expr, $policy:expr, $row:expr) => {
        $policy.statistic($fields, $name, $value, &$row)
    };

    (@missing always text $this:ident $field:ident $take:ident) => {};
    (@missing always flag $this:ident $field:ident $take:ident) => {};
    (@missing always $number:ident $this:ident $field:ident $take:ident) => {
        if $this.$field.is_none() {
            $take(&Self::$field, |other: &Self| other.$field.is_some());
        }
    };
    (@missing $extra:ident $kind:ident $this:ident $field:ident $take:ident) => {};

    (@less counter $now:expr, $before:expr) => {
        matches!(($now, $before), (Some(now), Some(before)) if now < before)
    };
    (@less $kind:ident $now:expr, $before:expr) => { false };

    (@sums $part:ident $sum:literal always serde $serde:tt {$(
        $field:ident $statistic:literal => $name:literal $kind:ident $unit:literal $text:literal;
    )*} $($rest:tt)*) => {
        impl $part {
            /// The sums over all devices.
            pub const SUMS: &'static [$crate::schema::FieldRow] =
                &[$(Self::$field.named(concat!($sum, $name))),*];

            /// Writes the sums over these devices.
            pub fn write_sums(
                fields: &mut $crate::line_protocol::Fields<'_>,
                policy: $crate::schema::MissingPolicy<'_>,
                devices: &[Self],
            ) {
                $(policy.sum_of_devices(
                    fields,
                    concat!($sum, $name),
                    devices,
                    |device| (&device.name, device.$field),
                    &Self::$field,
                );)*
            }

            /// Whether a counter is lower than it was, as those of another device in its place are.
            pub fn went_back(&self, before: &Self) -> bool {
                $(statistics!(@less $kind self.$field, before.$field))||*
            }

            /// Whether libvirt sent any counter for it.
            pub fn is_counted(&self) -> bool {
                $(self.$field.is_some())||*
            }
        }
    };

    (
        $(#[$meta:meta])* $part:ident $group:literal $own:tt sums $sum:literal { $($body:tt)* }
        $(else $other:path)?
    ) => {
        statistics! { $(#[$meta])* $part $group $own { $($body)* } $(else $other)? }
        statistics! { @sums $part $sum $($body)* }
    };

    (
        $(#[$meta:meta])* $part:ident $group:literal
        [$($(#[$own_meta:meta])* $own:ident: $own_type:ty,)*]
        {$(
            $section:ident serde $serde:tt {$(
                $field:ident $statistic:literal $(=> $name:literal)? $kind:ident $unit:literal
                $text:literal;
            )*}
        )*}
        $(else $other:path)?
    ) => {
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        $(#[$meta])*
        pub struct $part {
            $($(#[$own_meta])* pub $own: $own_type,)*
            $($(
                #[doc = $text]
                #[serde $serde]
                pub $field: statistics!(@type $kind),
            )*)*
        }

        #[allow(non_upper_case_globals)]
        impl $part {
            $($(
                #[doc = $text]
                pub const $field: $crate::schema::FieldRow = $crate::schema::FieldRow {
                    name: concat!($($name)?),
                    kind: statistics!(@kind $kind),
                    unit: $unit,
                    group: $group,
                    statistic: $statistic,
                    text: $text,
                };
            )*)*

            /// All rows.
            pub const SECTIONS: &'static [$crate::schema::Section] = &[$(
                $crate::schema::Section {
                    extra: statistics!(@extra $section),
                    rows: &[$(Self::$field),*],
                }
            ),*];

            /// Takes in a statistic; whether it is known. A value of another type than expected, or a
            /// negative one, counts as not sent.
            #[inline]
            pub fn fill(&mut self, field: &[u8], value: impl $crate::schema::Sent) -> bool {
                // Nearly all are numbers: each arm below is then one store.
                #[allow(unused_variables)]
                let number = value.unsigned();
                match field {
                    $($($statistic => statistics!(@take $kind self.$field, number, value),)*)*
                    _ => return false $(|| $other(self, field, value))?,
                }
                true
            }

            /// Writes the fields of the rows that are printed.
            #[inline(always)]
            #[allow(unused_variables)]
            pub fn write(
                &self,
                fields: &mut $crate::line_protocol::Fields<'_>,
                policy: $crate::schema::MissingPolicy<'_>,
                extras: $crate::schema::Extras,
            ) {
                $(if let Some(policy) = statistics!(@policy $section, extras, policy) {
                    $($(statistics!(
                        @write $kind fields, $name, self.$field, policy, Self::$field
                    );)?)*
                })*
            }

            /// Gives `take` each row that is always printed and has no value here, and what says whether
            /// another one has it.
            #[allow(unused_variables, unused_mut)]
            pub fn each_missing(
                &self,
                mut take: impl FnMut(&'static $crate::schema::FieldRow, fn(&Self) -> bool),
            ) {
                let this = self;
                $($(statistics!(@missing $section $kind this $field take);)*)*
            }
        }
    };
}
pub(crate) use statistics;

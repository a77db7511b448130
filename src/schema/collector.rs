//! The rows of vm_collector: what one collection of a hypervisor cost and met.

use std::time::Duration;

use crate::line_protocol::{Fields, Lines, Tags};

use super::{Extra, FieldKind, FieldRow, Section};

/// What one collection of a hypervisor cost and met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collector {
    /// What could be said of its guests; `None` where it is down.
    pub guests: Option<CollectedGuests>,
    /// How long the collection took.
    pub took: Duration,
    /// Lines of its guests.
    pub lines: usize,
}

const fn row(name: &'static str, unit: &'static str, text: &'static str) -> FieldRow {
    FieldRow { name, kind: FieldKind::Gauge, unit, group: "", statistic: b"", text }
}

macro_rules! collected {
    ([$($first:ident $first_unit:literal $first_text:literal;)+]
     [$($field:ident $unit:literal $text:literal;)+]) => {
        /// The guests of a collection, counted.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CollectedGuests {
            $(#[doc = $first_text] pub $first: usize,)+
            $(#[doc = $text] pub $field: usize,)+
        }

        /// The rows of vm_collector.
        pub(super) const COLLECTOR: &[Section] = &[Section::of(Extra::Collector, &[
                FieldRow { kind: FieldKind::Flag, ..row("up", "", "whether the hypervisor could be read") },
                $(row(stringify!($first), $first_unit, $first_text),)+
                row("collect_ns", "ns", "duration of the collection of this hypervisor"),
                row("lines", "lines", "lines of its guests"),
                $(row(stringify!($field), $unit, $text),)+
            ])];

        /// Writes the line of vm_collector for the hypervisor with this URI.
        pub fn write_collector(lines: &mut Lines, uri: &str, user: &Tags, collector: &Collector) {
            let mut own = Tags::default();
            own.add("uri", uri);
            lines.line("vm_collector", &[&own, user], |fields| {
                let count = |fields: &mut Fields<'_>, name, value: fn(&CollectedGuests) -> usize| {
                    if let Some(guests) = &collector.guests {
                        fields.unsigned(name, value(guests) as u64);
                    }
                };
                fields.boolean("up", collector.guests.is_some());
                $(count(fields, stringify!($first), |it| it.$first);)+
                let took = u64::try_from(collector.took.as_nanos()).unwrap_or(u64::MAX);
                fields.unsigned("collect_ns", took);
                fields.unsigned("lines", collector.lines as u64);
                $(count(fields, stringify!($field), |it| it.$field);)+
            });
        }
    };
}

collected! {
    [
        domains "guests" "guests to read";
        hung "guests" "hung guests: a call for them does not return";
        busy "guests" "guests without a complete answer this time, which may only be busy";
    ] [
        cache_hits "guests" "guests with a cached device list";
        cache_misses "guests" "guests whose XML was read for their device list";
        stuck_calls "calls" "calls that hang in guests; each occupies one of libvirtd's workers";
        unknown_statistics "" "statistics from libvirt that this version does not know";
    ]
}

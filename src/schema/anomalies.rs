//! The rows of vm_anomalies. The values are those of a summary of `anomalies`, which `points` prints.

use super::extra::Extra;
use super::row::{FieldKind, FieldRow, Section};

const fn row(
    name: &'static str,
    kind: FieldKind,
    unit: &'static str,
    text: &'static str,
) -> FieldRow {
    FieldRow { name, kind, unit, group: "", statistic: b"", text }
}

/// The fields of vm_anomalies.
pub(super) const ANOMALIES: &[Section] = &[Section::of(
    Extra::Anomalies,
    &[
        row(
            "rate",
            FieldKind::Float,
            "%",
            "share of the learned series that is flagged; omitted while no series has learned",
        ),
        row(
            "score",
            FieldKind::Float,
            "",
            "0 to 100, of the most unusual series; 50 is the threshold",
        ),
        row(
            "flagged",
            FieldKind::Gauge,
            "series",
            "series that are flagged, or were within 2 hours",
        ),
        row("learned", FieldKind::Gauge, "series", "series that have learned, which takes 3 days"),
        row("learning", FieldKind::Gauge, "series", "series that have not learned yet"),
        row("events", FieldKind::Counter, "events", "number of flags since the guest is known"),
        row("top", FieldKind::Text, "", "the most unusual series, such as `vda wr_bytes`"),
        row("top_value", FieldKind::Float, "of the series", "its mean in the slot"),
        row("top_low", FieldKind::Float, "of the series", "the lowest value that it had before"),
        row("top_high", FieldKind::Float, "of the series", "the highest value that it had before"),
        row(
            "top_reason",
            FieldKind::Text,
            "",
            "range: never outside of it; pattern: the last 4 hours are unlike all before",
        ),
    ],
)];

//! The line of vm_anomalies.

use crate::anomalies::Summary;
use crate::line_protocol::Fields;

/// Half of the scale is the threshold.
const THRESHOLD: f64 = 50.0;

/// Writes what is said of a guest at the end of a slot; nothing where it has no series.
pub(super) fn write(fields: &mut Fields<'_>, summary: &Summary) {
    if summary.learned + summary.learning == 0 {
        return;
    }
    if summary.learned > 0 {
        fields.float("rate", 100.0 * summary.flagged as f64 / summary.learned as f64);
    }
    if let Some(top) = &summary.top {
        let ratio = f64::from(top.verdict.ratio());
        fields.float("score", (ratio * THRESHOLD).min(2.0 * THRESHOLD));
    }
    fields.unsigned("flagged", summary.flagged as u64);
    fields.unsigned("learned", summary.learned as u64);
    fields.unsigned("learning", summary.learning as u64);
    fields.unsigned("events", summary.events);
    if let Some(top) = &summary.top {
        fields.text("top", &top.series);
        fields.float("top_value", top.value);
        fields.float("top_low", top.verdict.low);
        fields.float("top_high", top.verdict.high);
        fields.text("top_reason", top.verdict.reason());
    }
}

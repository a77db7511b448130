//! Prometheus' type of each field, as Telegraf's outputs.prometheus_client takes them: its names are the
//! measurement, an underscore and the field, and an asterisk stands for any letters.

use std::collections::BTreeSet;

use telegraf_virt::schema::{FieldKind, output_fields};

/// The table `[outputs.prometheus_client.metric_types]`, with every field that is a number.
pub fn metric_types() -> String {
    let list = |kinds: &[FieldKind]| -> String {
        let fields = output_fields().iter().filter(|field| kinds.contains(&field.row.kind));
        let names: BTreeSet<String> =
            fields.map(|field| format!("{}_{}", field.measurement, field.row.name)).collect();
        names.iter().map(|name| format!("    \"{name}\",\n")).collect()
    };
    let counters = list(&[FieldKind::Counter]);
    let gauges = list(&[FieldKind::Gauge, FieldKind::Float, FieldKind::Flag]);
    format!(
        "[outputs.prometheus_client.metric_types]\n  counter = [\n{counters}  ]\n  \
         gauge = [\n{gauges}  ]\n"
    )
}

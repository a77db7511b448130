//! Recording rules that give our metrics the names of the Prometheus exporters, made from the
//! tables of these names in docs/migrating.md.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::migration::{How, rows};

/// What the tables say in words only: a name of theirs, and the query that gives it.
const MORE: [(&str, &str); 9] = [
    ("libvirt_up", "vm_collector_up"),
    ("libvirt_domain_info_state", "vm_totals_state"),
    ("libvirt_domain_info_vstate", "vm_totals_state"),
    ("libvirt_domain_block_stats_info", "0 * vm_devices_rd_req{devtype=\"disk\"} + 1"),
    ("libvirt_domain_block_meta", "0 * vm_devices_rd_req{devtype=\"disk\"} + 1"),
    ("libvirt_domain_interface_stats_info", "0 * vm_devices_rxbytes{devtype=\"nic\"} + 1"),
    ("libvirt_domain_interface_meta", "0 * vm_devices_rxbytes{devtype=\"nic\"} + 1"),
    (
        "libvirt_domain_memory_stats_used_percent",
        "100 * (vm_totals_memavailable - (vm_totals_memusable > 0)) / (vm_totals_memavailable > 0)",
    ),
    ("libvirt_domain_memory_stats_maximum_bytes", "1024 * vm_metrics_memory_max_kb"),
];

const HEAD: &str = "\
# Recording rules for Prometheus: the names of the libvirt exporters (of kumina, which Debian has, of inovex
# and of Tinkoff), made from what telegraf-virt sends, so that their dashboards and alerts keep working.
# The labels are theirs too: domain, target_device and vcpu. Ours stay beside them.
# Names with no counterpart, and those with \"fields for labels\", are listed in docs/migrating.md.
groups:
  - name: telegraf-virt-exporter-names
    rules:
";

/// One rule; theirs have the guest's name and the device in labels of other names.
fn rule(name: &str, query: &str) -> String {
    let is_of_guest = !["vm_collector", "vm_pools"].iter().any(|of| query.starts_with(of));
    let renamed = |query: String, theirs: &str, ours: &str| {
        format!("label_replace({query}, \"{theirs}\", \"$1\", \"{ours}\", \"(.+)\")")
    };
    let mut query = query.to_owned();
    if is_of_guest {
        query = renamed(query, "domain", "name");
    }
    if query.contains("vm_devices") || query.contains("vm_limits") {
        query = renamed(query, "target_device", "device");
    }
    format!("      - record: {name}\n        expr: {query}\n")
}

/// The file dashboards/rules/exporter-names.yml, and how many rules it has.
pub fn rules() -> (String, usize) {
    let mut text = HEAD.to_owned();
    let mut seen = BTreeSet::new();
    let mut add = |name: &str, query: &str| {
        if seen.insert(name.to_owned()) {
            write!(text, "{}", rule(name, query)).unwrap();
        }
    };
    for row in rows("## From a Prometheus exporter") {
        for pair in row.pairs() {
            let (Some(ours), How::Times(times)) = (pair.ours, pair.how) else { continue };
            let metric = ours.replace('.', "_");
            let query = match times {
                1.0 => metric,
                up if up > 1.0 => format!("{metric} / {up}"),
                down => format!("{metric} * {}", (1.0 / down).round()),
            };
            add(&pair.theirs, &query);
        }
    }
    for (name, query) in MORE {
        add(name, query);
    }
    let count = seen.len();
    (text, count)
}

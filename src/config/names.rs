//! Names a user may write: the nearest valid one to a wrong one, lists of them for messages, and
//! those that a tag must not have. Knows nothing of TOML or of the command line.

/// The longest piece of a user's text that a message repeats, in bytes.
const SHOWN_MAX: usize = 60;

/// Names that a user's tag must not have, sorted: every tag and field of the output, and what the
/// databases keep for themselves. Names are only ever added to the output, so opt-in ones count
/// from the start: a dashboard must not break when one is turned on. Statistics that KVM or a
/// later libvirt names by itself cannot be known here.
pub const RESERVED_TAGS: &[&str] = &[
    "VMID",
    "_field",
    "_measurement",
    "alias",
    "alignment_faults",
    "allocation_bytes",
    "arch",
    "autostart",
    "balloon_age_sec",
    "bank",
    "branch_instructions",
    "branch_misses",
    "bus",
    "bus_cycles",
    "busy",
    "bytes",
    "bytes_local",
    "bytes_total",
    "cache_hits",
    "cache_misses",
    "cache_references",
    "calc_mode",
    "calc_period",
    "calc_start_time",
    "calc_status",
    "capacity_bytes",
    "cell",
    "cells",
    "cmt",
    "collect_ns",
    "context_switches",
    "cpu_clock",
    "cpu_count",
    "cpu_cycles",
    "cpu_migrations",
    "cpu_percent",
    "cpus",
    "cpuset",
    "cputime",
    "cputime_ns",
    "data_processed_bytes",
    "data_remaining_bytes",
    "data_total_bytes",
    "delay_ns",
    "device",
    "devtype",
    "disk_errors",
    "disk_fl_ms_per_req",
    "disk_processed_bytes",
    "disk_rd_bytes",
    "disk_rd_bytes_angle_deg",
    "disk_rd_bytes_rate",
    "disk_rd_ms_per_req",
    "disk_rd_req",
    "disk_rd_req_angle_deg",
    "disk_rd_req_rate",
    "disk_remaining_bytes",
    "disk_total_bytes",
    "disk_wr_bytes",
    "disk_wr_bytes_angle_deg",
    "disk_wr_bytes_rate",
    "disk_wr_ms_per_req",
    "disk_wr_reqs",
    "disk_wr_reqs_angle_deg",
    "disk_wr_reqs_rate",
    "domains",
    "elapsed_ms",
    "emulation_faults",
    "errors",
    "fl_reqs",
    "fl_time_ns",
    "halt_exits_sum",
    "halted",
    "haltpoll_fail_ns",
    "haltpoll_success_ns",
    "hung",
    "inbound_average_kb_sec",
    "inbound_burst_kib",
    "inbound_floor_kb_sec",
    "inbound_peak_kb_sec",
    "index",
    "instructions",
    "iothread",
    "lines",
    "mac",
    "machine",
    "mbml",
    "mbmt",
    "mem_processed_bytes",
    "mem_remaining_bytes",
    "mem_total_bytes",
    "memactual",
    "memavailable",
    "memdisk_cache",
    "memhugetlb_pgalloc",
    "memhugetlb_pgfail",
    "memlast_update",
    "memmajor_fault",
    "memminor_fault",
    "memory_angle_deg",
    "memory_kib",
    "memory_max_kb",
    "memory_rate_kb_per_sec",
    "memory_used_kb",
    "memrss",
    "memswap_in",
    "memswap_out",
    "memunused",
    "memusable",
    "mib_per_sec",
    "mode",
    "model",
    "monitor",
    "name",
    "net_rxbytes",
    "net_rxbytes_angle_deg",
    "net_rxbytes_rate",
    "net_rxdrops",
    "net_rxerrors",
    "net_rxpackets",
    "net_rxpackets_angle_deg",
    "net_rxpackets_rate",
    "net_txbytes",
    "net_txbytes_angle_deg",
    "net_txbytes_rate",
    "net_txdrops",
    "net_txerrors",
    "net_txpackets",
    "net_txpackets_angle_deg",
    "net_txpackets_rate",
    "network",
    "node",
    "nodeset",
    "operation",
    "os_type",
    "outbound_average_kb_sec",
    "outbound_burst_kib",
    "outbound_peak_kb_sec",
    "page_faults",
    "page_faults_maj",
    "page_faults_min",
    "path",
    "persistent",
    "physical_bytes",
    "poll_grow",
    "poll_max_ns",
    "poll_shrink",
    "rd_bytes",
    "rd_req",
    "rd_time_ns",
    "read_bytes_sec",
    "read_iops_sec",
    "ref_cpu_cycles",
    "remaining_ms",
    "rxbytes",
    "rxdrops",
    "rxerrors",
    "rxpackets",
    "serial",
    "source",
    "stalled_cycles_backend",
    "stalled_cycles_frontend",
    "state",
    "state_reason",
    "state_reason_code",
    "steal_percent",
    "stuck_calls",
    "task_clock",
    "threshold_bytes",
    "time",
    "time_ns",
    "timesys",
    "timeusr",
    "title",
    "total_bytes_sec",
    "total_iops_sec",
    "txbytes",
    "txdrops",
    "txerrors",
    "txpackets",
    "type",
    "unknown_statistics",
    "up",
    "uri",
    "uuid",
    "vcpu",
    "vcpu_delay_ns",
    "vcpu_wait_ns",
    "vcpus",
    "vcpus_max",
    "wait_ns",
    "wr_bytes",
    "wr_reqs",
    "wr_time_ns",
    "write_bytes_sec",
    "write_iops_sec",
];

/// Why a tag must not have this name; `None` when it may.
pub fn reserved(tag: &str) -> Option<&'static str> {
    RESERVED_TAGS.binary_search(&tag).ok()?;
    Some(match tag {
        "time" | "_field" | "_measurement" => "InfluxDB keeps that name for itself",
        _ => "the output has a tag or a field of that name",
    })
}

/// The valid name that a wrong one was most likely meant to be, if one is near.
pub fn nearest<'n>(found: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Beyond this a name is like none of ours, and comparing takes the product of the lengths.
    if found.len() > SHOWN_MAX {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let found = plain(found);
    let length = found.chars().count();
    let near = |name: &&str| {
        let name = plain(name);
        let distance = strsim::damerau_levenshtein(&found, &name);
        // Two wrong letters in six, or a word cut short or drawn out: "err", "warning".
        let is_part = length >= 3 && (name.starts_with(&found) || found.starts_with(&name));
        (is_part || distance <= (length / 3).max(1)).then_some(distance)
    };
    let candidates = names.into_iter().filter_map(|name| Some((near(&name)?, name)));
    candidates.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// The names as a sentence lists them: `a, b or c`.
pub fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A user's text in quotes, on one line and cut where it is long.
pub fn quoted(text: &str) -> String {
    // Escaping makes a text up to eight times longer, so it is cut before, for speed, and after.
    let escaped = format!("{:?}", cut(text));
    format!("\"{}\"", cut(&escaped[1..escaped.len() - 1]))
}

/// A user's text as it is, on one line and cut where it is long.
pub fn plain(text: &str) -> String {
    cut(text).replace(char::is_control, " ")
}

fn cut(text: &str) -> String {
    if text.len() <= SHOWN_MAX {
        return text.to_owned();
    }
    let end = (0..=SHOWN_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_names_are_sorted_and_each_is_found() {
        assert!(RESERVED_TAGS.is_sorted_by(|a, b| a < b));
        for name in RESERVED_TAGS {
            let keeper = if matches!(*name, "time" | "_field" | "_measurement") {
                "InfluxDB keeps that name for itself"
            } else {
                "the output has a tag or a field of that name"
            };
            assert_eq!(reserved(name), Some(keeper), "{name}");
        }
        assert_eq!(reserved("dc"), None);
        assert_eq!(reserved("vmid"), None);
    }

    #[test]
    fn the_nearest_name_is_what_was_meant() {
        let names = ["uris", "deadline", "workers", "cache", "cache.dir", "net", "info", "warn"];
        let cases = [
            ("worker", Some("workers")),
            ("wrokers", Some("workers")),
            ("Workers", Some("workers")),
            ("dead-line", Some("deadline")),
            ("uri", Some("uris")),
            ("cache_dir", Some("cache.dir")),
            ("caches", Some("cache")),
            ("network", Some("net")),
            ("warning", Some("warn")),
            ("interval", None),
            ("ne", Some("net")),
            ("x", None),
            ("", None),
        ];
        for (found, meant) in cases {
            assert_eq!(nearest(found, names), meant, "{found}");
        }
        assert_eq!(nearest(&"workers".repeat(10_000), names), None);
    }

    #[test]
    fn a_users_text_stays_short_and_on_one_line() {
        assert_eq!(quoted("a\n\"b\"\u{1b}[2J\u{202e}"), r#""a\n\"b\"\u{1b}[2J\u{202e}""#);
        assert_eq!(quoted(&"ä".repeat(31)), format!("\"{}…\"", "ä".repeat(30)));
        assert!(quoted(&"\u{202e}".repeat(1000)).len() < 70);
        assert_eq!(plain(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(
            plain(&format!("a\t\u{9b}b{}", "x".repeat(60))),
            format!("a  b{}…", "x".repeat(55))
        );
    }

    #[test]
    fn names_are_listed_as_a_sentence_does() {
        let names = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(listed(&names(&["a", "b", "c"])), "a, b or c");
        assert_eq!(listed(&names(&["a"])), "a");
    }
}

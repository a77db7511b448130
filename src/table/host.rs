//! The line of a host below its guests.

use super::{names, units};
use crate::schema::HostReading;

/// What the guests have been given of what the host has; empty where nothing of it is known. `name` is the
/// host's, where several are read.
pub fn host_line(host: &HostReading, name: Option<&str>) -> String {
    let facts = &host.facts;
    let percent = |given: u64, of: u64| units::percent(100.0 * given as f64 / of as f64);
    let known = |given: Option<u64>, of: Option<u64>| given.zip(of.filter(|&of| of > 0));
    let vcpus = known(facts.guests_vcpus, facts.cpus).map(|(given, cpus)| {
        format!("{given} vCPUs given of {cpus} CPUs ({})", percent(given, cpus))
    });
    let memory = known(facts.guests_memory_kib, facts.memory_total_kib).map(|(given, total)| {
        let bytes = |kib: u64| units::bytes(kib as f64 * 1024.0);
        let (shown, of) = (bytes(given), bytes(total));
        format!("{shown} of memory given of {of} ({})", percent(given, total))
    });
    let told: Vec<String> = vcpus.into_iter().chain(memory).collect();
    if told.is_empty() {
        return String::new();
    }
    let name = name.map_or_else(String::new, |name| format!(" {}", names::shown(name)));
    format!("Host{name}: {}.\n", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_stands_beside_what_is_there() {
        let mut host = HostReading::default();
        assert_eq!(host_line(&host, None), "");
        let facts = &mut host.facts;
        (facts.cpus, facts.guests_vcpus) = (Some(8), Some(12));
        (facts.memory_total_kib, facts.guests_memory_kib) = (Some(64 << 20), Some(24 << 20));
        let expected = "12 vCPUs given of 8 CPUs (150%), 24GiB of memory given of 64GiB (37.5%).\n";
        assert_eq!(host_line(&host, None), format!("Host: {expected}"));
        assert_eq!(host_line(&host, Some("a\u{1b}b")).split(':').next(), Some("Host a?b"));
        // One guest's memory is not known.
        host.facts.guests_memory_kib = None;
        assert_eq!(host_line(&host, None), "Host: 12 vCPUs given of 8 CPUs (150%).\n");
        host.facts.cpus = Some(0);
        assert_eq!(host_line(&host, None), "");
    }
}

//! Whether a hypervisor answers, and each of its guests: by a trial collection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Finding;
use crate::collect::{Hypervisor, Known, Plan};
use crate::config::{Settings, duration};
use crate::deadline::{Deadline, Ending};
use crate::host::REPLAY;
use crate::log::{Level, Log};

pub(super) fn findings(uri: &str, settings: &Settings, ending: &Ending) -> Vec<Finding> {
    // What the collection would say on standard error becomes findings.
    let log = Arc::new(Log::kept(Level::Warn));
    let plan = Plan {
        workers: settings.workers,
        max_stuck: settings.max_stuck,
        selection: Arc::new(settings.selection()),
        deadline: settings.deadline,
        host_name: false,
        extra: settings.extra,
    };
    let started = Instant::now();
    let deadline = Deadline::within(settings.deadline, ending, Duration::ZERO);
    let mut hypervisor = Hypervisor::new(uri, plan, &log);
    if let Some(replay) = hypervisor.replay() {
        replay.skip_to_last();
        replay.advance();
    }
    let collected = hypervisor.collect(|_| Known::default(), &deadline);
    let took = started.elapsed();
    let collected = match collected {
        Ok(collected) => collected,
        Err(down) => {
            let text = format!("{uri} cannot be read: {}", down.0);
            return vec![Finding::lost(text, remedy(uri, &down.0))];
        }
    };
    let mut findings = vec![Finding::good(format!(
        "{uri} answers: {} of {} guests read within {}, of {} that a collection has",
        collected.readings.len() - (collected.not_answering - collected.unread),
        collected.guests,
        duration::shown(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(0))),
        duration::shown(settings.deadline),
    ))];
    findings.extend(log.take().into_iter().map(|(_, message)| {
        let remedy = format!(
            "look at the guest with `virsh -r -c '{uri}' domstate --reason GUEST` and `virsh -r -c \
             '{uri}' domcontrol GUEST`, and at the storage below its disks"
        );
        Finding::lost(message, remedy)
    }));
    findings
}

/// What mends a hypervisor that cannot be read, by what libvirt says of it.
fn remedy(uri: &str, error: &str) -> String {
    let has = |part: &str| error.contains(part);
    if uri.starts_with(REPLAY) {
        "make it anew: telegraf-virt record FILE, on the host that it is of".to_owned()
    } else if has("No such file or directory") || has("Connection refused") {
        "start libvirt (systemctl start libvirtd.socket libvirtd-ro.socket, where it is split into \
         services virtqemud.socket virtqemud-ro.socket), or name another hypervisor with --uri"
            .to_owned()
    } else if has("Permission denied") || has("authentication") {
        "let this user at the read-only socket, which is open to all by default: \
         unix_sock_ro_perms and auth_unix_ro in /etc/libvirt/libvirtd.conf"
            .to_owned()
    } else if has("Failed to find user record") {
        "let libvirtd find this user's name: install libnss-systemd where the user is one that systemd \
         makes up (DynamicUser=), or run this as a user of /etc/passwd"
            .to_owned()
    } else if has("no connection driver available") || has("unable to parse URI") {
        "write the URI as libvirt does: qemu:///system for this machine's QEMU guests, \
         test:///default to try this program out"
            .to_owned()
    } else {
        format!("see whether `virsh -r -c '{uri}' list` answers, and what libvirt's log says")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    fn settings() -> Settings {
        Settings { deadline: Duration::from_secs(4), ..Settings::default() }
    }

    #[test]
    fn the_test_driver_is_read() {
        let findings = findings("test:///default", &settings(), &Ending::default());
        let texts: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(findings.len(), 1, "{texts:?}");
        assert!(texts[0].starts_with("test:///default answers: 1 of 1 guests read within "));
    }

    #[test]
    fn a_socket_that_is_not_there_is_lost_with_its_remedy() {
        let uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock-ro";
        let findings = findings(uri, &settings(), &Ending::default());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].verdict, Verdict::Lost);
        let text = &findings[0].text;
        assert!(text.starts_with(&format!("{uri} cannot be read: Failed to connect socket")));
        let remedy = findings[0].remedy.as_deref().unwrap_or_default();
        assert!(remedy.starts_with("start libvirt (systemctl start"), "{remedy}");
    }
}

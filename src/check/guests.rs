//! What the trial collection says of the guests: which were read, which hang, and what each does not
//! offer, with the one thing that turns it on. Guests with the same finding stand in one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::finding::{Finding, counted};
use super::memballoon::{self, Memballoon};
use super::trial::CollectedHost;
use super::{hypervisor, shell};
use crate::collect::{Collected, Reading};
use crate::config::{Feature, Settings};
use crate::deadline::{Deadline, Ending};
use crate::host::REPLAY;
use crate::sample::Completeness;

/// `virDomainState`: running.
const RUNNING: i64 = 1;
/// Memory figures that are older than so many periods no longer come.
const LATE_PERIODS: u64 = 5;
/// Messages of the collection that nothing else here tells of.
const MESSAGES_MAX: usize = 10;
/// A period that costs nothing and suits Telegraf's usual interval.
const PERIOD: &str = "<memballoon model='virtio'><stats period='10'/></memballoon>";

pub(super) fn findings(host: &CollectedHost, settings: &Settings, ending: &Ending) -> Vec<Finding> {
    let collected = match &host.collected {
        Ok(collected) => collected,
        Err(error) => return vec![gone_down(host, error)],
    };
    let mut findings = vec![read(host, collected)];
    findings.extend(filtered(host, settings));
    findings.extend(hung(host, collected));
    let whole: Vec<&Reading> = collected
        .readings
        .iter()
        .filter(|reading| reading.sample.completeness.is_answer())
        .collect();
    findings.extend(failures(host, &whole));
    findings.extend(others(host));
    findings.extend(quiet(collected));
    let deadline = Deadline::within(settings.deadline, ending, Duration::ZERO);
    findings.extend(balloons(host, &whole, &deadline));
    findings.extend(nics(&whole));
    findings.extend(steal(&whole, settings));
    findings.into_iter().map(|finding| finding.about(&host.uri)).collect()
}

fn gone_down(host: &CollectedHost, error: &str) -> Finding {
    let text = format!("it answered a moment ago, and then its guests could not be read: {error}");
    Finding::lost("gone-down", text)
        .about(&host.uri)
        .losing("every guest of this hypervisor, for as long as that lasts")
        .mend("run this again; if it comes again, see libvirt's log")
        .run("journalctl -u libvirtd -u virtqemud -n 50")
}

fn name(reading: &Reading) -> String {
    reading.sample.name.clone()
}

fn read(host: &CollectedHost, collected: &Collected) -> Finding {
    let whole = collected.readings.iter().filter(|reading| is_read(reading)).count();
    let guests = collected.guests;
    let inactive = match host.inactive {
        0 => String::new(),
        1 => "; 1 is defined and does not run".to_owned(),
        inactive => format!("; {inactive} are defined and do not run"),
    };
    let fill = |finding: Finding| {
        finding
            .fact("guests", guests)
            .fact("read", whole)
            .fact("filtered", host.filtered.len())
            .fact("inactive", host.inactive)
    };
    let text = format!("{whole} of {guests} guests read{inactive}");
    if guests > 0 || !host.filtered.is_empty() {
        return fill(Finding::good("read", text));
    }
    fill(Finding::advice("no-guest", format!("no guest runs{inactive}")))
        .losing("nothing, but a collection prints no line")
        .mend(
            "start one; or name the hypervisor where yours run with --uri or `uris`: those that \
             virt-manager or GNOME Boxes start for one user are at qemu:///session of that user",
        )
        .run(format!("virsh -r -c {} list --all", shell(&host.uri)))
}

/// Whether all that it offers was read; one that says little by itself is told of elsewhere.
fn is_read(reading: &Reading) -> bool {
    reading.sample.completeness.is_answer() || is_starting(&reading)
}

/// Whether it says no more than libvirtd knows, although nothing holds it.
fn is_starting(reading: &&Reading) -> bool {
    reading.sample.completeness == Completeness::Starting
}

fn filtered(host: &CollectedHost, settings: &Settings) -> Option<Finding> {
    let mut names = host.filtered.clone();
    names.sort_unstable();
    if names.is_empty() {
        return None;
    }
    let count = counted(names.len(), "guest");
    if !host.taken.is_empty() {
        let text = format!("{count} left out, as [domains] of the configuration says");
        return Some(Finding::good("filtered", text).of_guests(names));
    }
    let inactive = if settings.domains.inactive { "" } else { " that run" };
    Some(
        Finding::advice(
            "all-filtered",
            format!("[domains] of the configuration leaves out all guests{inactive}"),
        )
        .of_guests(names)
        .losing("every guest: no line is printed")
        .mend(
            "see the lists of names, UUIDs, states and metadata in [domains]; empty ones take all",
        ),
    )
}

/// Guests that do not answer: their names, and how to look at the first.
fn hung(host: &CollectedHost, collected: &Collected) -> Option<Finding> {
    let mut names: BTreeSet<String> =
        collected.readings.iter().filter(|reading| !is_read(reading)).map(name).collect();
    if collected.unread > 0 {
        let read: BTreeSet<Uuid> =
            collected.readings.iter().map(|reading| reading.sample.uuid).collect();
        let unread = host.taken.iter().filter(|(uuid, _)| !read.contains(*uuid));
        names.extend(unread.map(|(_, name)| name.clone()));
    }
    let first = shell(names.first()?);
    let uri = shell(&host.uri);
    let text = match names.len() {
        1 => "1 guest does not answer".to_owned(),
        count => format!("{count} guests do not answer"),
    };
    Some(
        Finding::lost("hung", text)
            .of_guests(names.iter().cloned().collect())
            .losing(
                "disk counters, memory figures and whatever else only QEMU can tell, for as long as that \
                 lasts; other guests lose nothing",
            )
            .mend(
                "see for how long, and why: most often the storage below the disks hangs (state D in \
                 ps), or the QEMU process is stopped (state T)",
            )
            .run(format!("virsh -r -c {uri} domcontrol {first}"))
            .run(format!("virsh -r -c {uri} domblklist {first}"))
            .run(format!(
                "ps -o pid,stat,wchan:24 -p \"$(pgrep -of {})\"",
                shell(&format!("guest={},", names.first().map_or("", String::as_str)))
            )),
    )
}

/// What could not be read of guests that answer; those with the same trouble in one.
fn failures(host: &CollectedHost, readings: &[&Reading]) -> Vec<Finding> {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for reading in readings {
        for failure in &reading.failures {
            groups.entry(failure).or_default().push(name(reading));
        }
    }
    let finding = |(failure, guests): (&str, Vec<String>)| {
        let command = guests
            .first()
            .map(|guest| format!("virsh -r -c {} domstats {}", shell(&host.uri), shell(guest)));
        Finding::lost("partly-unread", format!("{failure}, of {}", counted(guests.len(), "guest")))
            .of_guests(guests)
            .losing("these figures, which are 0 instead, or left out with missing = \"omit\"")
            .mend("see what libvirt itself has of it, and what its log says")
            .run(command.unwrap_or_default())
    };
    groups.into_iter().map(finding).collect()
}

/// What the collection would say on standard error, and nothing above has said.
fn others(host: &CollectedHost) -> Vec<Finding> {
    let is_told = |message: &&String| {
        message.starts_with("guest \"")
            && (message.contains("does not answer") || !message.contains("it cannot be read: "))
    };
    let untold: Vec<&String> = host.messages.iter().filter(|it| !is_told(it)).collect();
    let more = untold.len().saturating_sub(MESSAGES_MAX);
    let finding = |message: &&String| {
        Finding::lost("collection-says", (*message).clone())
            .losing("what the collection says here")
            .mend("see whether virsh can read that guest, and what libvirt's log says")
            .run(format!("virsh -r -c {} domstats", shell(&host.uri)))
    };
    let mut findings: Vec<Finding> = untold.iter().take(MESSAGES_MAX).map(finding).collect();
    if more > 0 {
        findings.push(
            Finding::lost("collection-says", format!("{more} more messages of that kind"))
                .losing("what they say")
                .mend("see all of them")
                .run("telegraf-virt once >/dev/null"),
        );
    }
    findings
}

/// Guests that start, end, or are on their way from or to another host.
fn quiet(collected: &Collected) -> Option<Finding> {
    let guests: Vec<String> = collected.readings.iter().filter(is_starting).map(name).collect();
    if guests.is_empty() {
        return None;
    }
    let text = "these say no more than libvirt knows by itself: they start, end or migrate";
    Some(
        Finding::advice("quiet", text)
            .of_guests(guests)
            .losing("nothing, if that is so: the rest comes when they have started")
            .mend("run this again in a minute"),
    )
}

/// Guests whose own memory figures libvirt does not have.
fn balloons(host: &CollectedHost, readings: &[&Reading], deadline: &Deadline) -> Vec<Finding> {
    // Other drivers have other ways, and no XML that says so.
    if host.driver != "QEMU" {
        return Vec::new();
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let age_s = |reading: &Reading| {
        let update = reading.sample.memory.last_update_s.filter(|update| *update > 0);
        // A recording is as old as it is.
        let is_replay = host.uri.starts_with(REPLAY);
        update.map(|update| if is_replay { 0 } else { now_s.saturating_sub(update) })
    };
    // A quick look without the XML: figures of the last minute are fresh by any measure.
    let doubtful: Vec<&&Reading> = readings
        .iter()
        .filter(|reading| reading.sample.is_active())
        .filter(|reading| age_s(reading).is_none_or(|age| age > 60))
        .collect();
    let uuids: Vec<Uuid> = doubtful.iter().map(|reading| reading.sample.uuid).collect();
    if uuids.is_empty() {
        return Vec::new();
    }
    let xml = hypervisor::xml_of(&host.uri, &uuids, deadline);
    let (mut absent, mut without_period, mut silent, mut late) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for reading in doubtful {
        let runs = reading.sample.state == Some(RUNNING);
        let balloon = xml.get(&reading.sample.uuid).and_then(|xml| memballoon::of(xml));
        match (balloon, age_s(reading)) {
            (Some(Memballoon::Absent), _) => absent.push(name(reading)),
            (Some(Memballoon::WithoutPeriod), _) => without_period.push(name(reading)),
            (Some(Memballoon::WithPeriod(_)), None) if runs => silent.push(name(reading)),
            (Some(Memballoon::WithPeriod(period)), Some(age))
                if runs && age > (period * LATE_PERIODS).max(60) =>
            {
                late.push(name(reading));
            }
            _ => {}
        }
    }
    let figures = "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of \
                   vm_totals, which are 0 instead";
    let mut findings = Vec::new();
    if !without_period.is_empty() {
        let count = counted(without_period.len(), "guest");
        let whose = if without_period.len() == 1 { "its" } else { "their" };
        findings.push(
            Finding::advice(
                "no-balloon-period",
                format!("libvirt never asks {count} for {whose} own memory figures"),
            )
            .losing(figures)
            .mend(
                "set a period with the first line, which works at once and needs no guest agent; the \
                 second is what stands in the guest's XML then. Where libvirt says that a guest is \
                 transient, leave out --config",
            )
            .run(period_command(&host.uri, &without_period))
            .run(PERIOD)
            .of_guests(without_period),
        );
    }
    if !absent.is_empty() {
        let count = counted(absent.len(), "guest");
        let verb = if absent.len() == 1 { "has" } else { "have" };
        findings.push(
            Finding::advice("no-balloon", format!("{count} {verb} no balloon device"))
                .losing(figures)
                .mend(
                    "write the second line into the <devices> of the guest's XML, and shut it down and \
                     start it; no guest agent is needed",
                )
                .run(format!(
                    "sudo virsh -c {} edit {}",
                    shell(&host.uri.replace("-sock-ro", "-sock")),
                    absent.first().map(|guest| shell(guest)).unwrap_or_default()
                ))
                .run(PERIOD)
                .of_guests(absent),
        );
    }
    if !silent.is_empty() {
        let count = counted(silent.len(), "guest");
        let verb = if silent.len() == 1 { "has" } else { "have" };
        findings.push(
            Finding::advice(
                "balloon-silent",
                format!("{count} {verb} never reported memory figures, though asked for them"),
            )
            .of_guests(silent)
            .losing(figures)
            .mend(
                "if they have not just started, load the balloon's driver in them; Windows has it in \
                 virtio-win, with its service BalloonService",
            )
            .run("modprobe virtio_balloon"),
        );
    }
    if !late.is_empty() {
        let count = counted(late.len(), "guest");
        let verb = if late.len() == 1 { "reports" } else { "report" };
        findings.push(
            Finding::advice("balloon-late", format!("{count} no longer {verb} memory figures"))
                .of_guests(late)
                .losing("fresh memory figures: what is printed is as old as their last report")
                .mend("see whether the guest is well, and load the balloon's driver in it again")
                .run("modprobe -r virtio_balloon && modprobe virtio_balloon"),
        );
    }
    findings
}

/// The command that sets the period of these guests; where they are many, of all that run.
fn period_command(uri: &str, guests: &[String]) -> String {
    // The read-only socket, where it is named, is not the one that changes guests.
    let uri = shell(&uri.replace("-sock-ro", "-sock"));
    let set =
        |guest: &str| format!("sudo virsh -c {uri} dommemstat {guest} --period 10 --live --config");
    match guests {
        [guest] => set(&shell(guest)),
        guests if guests.len() <= 4 => {
            let names: Vec<String> = guests.iter().map(|guest| shell(guest)).collect();
            format!("for guest in {}; do {}; done", names.join(" "), set("\"$guest\""))
        }
        _ => format!(
            "sudo virsh -c {uri} list --name | grep . | while read -r guest; do {} </dev/null; done",
            set("\"$guest\"")
        ),
    }
}

/// NICs that libvirt has no counters for, by their kind.
fn nics(readings: &[&Reading]) -> Vec<Finding> {
    let of_kind = |kind: &str| -> Vec<String> {
        let has = |reading: &&&Reading| {
            let nics = reading.inventory.iter().flat_map(|inventory| &inventory.nics);
            nics.filter(|nic| nic.target.is_none()).any(|nic| nic.kind == kind)
        };
        readings.iter().filter(has).map(|reading| name(reading)).collect()
    };
    let mut findings = Vec::new();
    let user = of_kind("user");
    if !user.is_empty() {
        findings.push(
            Finding::advice("user-nic", "NICs of user-mode networking have no counters")
                .of_guests(user)
                .losing(
                    "vm_devices lines of these NICs, and their part of net_* in vm_totals: QEMU moves \
                     their packets by itself, where libvirt cannot count",
                )
                .mend(
                    "where the counters are wanted, connect the NIC to a network or a bridge of the \
                     host, in the guest's XML",
                )
                .run("<interface type='network'><source network='default'/></interface>"),
        );
    }
    let passed = of_kind("hostdev");
    if !passed.is_empty() {
        findings.push(
            Finding::advice("hostdev-nic", "NICs that are passed through have no counters")
                .of_guests(passed)
                .losing(
                    "vm_devices lines of these NICs, and their part of net_* in vm_totals: the host \
                     does not see their packets",
                )
                .mend("count inside the guest, with a Telegraf there and its inputs.net")
                .run("[[inputs.net]]"),
        );
    }
    findings
}

/// The time that vCPUs waited for a host CPU, where rates are made of it.
fn steal(readings: &[&Reading], settings: &Settings) -> Option<Finding> {
    if !settings.features.contains(&Feature::Cpu) {
        return None;
    }
    let lacks = |reading: &&&Reading| {
        reading.sample.state == Some(RUNNING)
            && reading.sample.vcpus.iter().all(|vcpu| vcpu.delay_ns.is_none())
    };
    let guests: Vec<String> = readings.iter().filter(lacks).map(|reading| name(reading)).collect();
    if guests.is_empty() {
        return None;
    }
    Some(
        Finding::advice("no-steal", "libvirt does not tell how long vCPUs wait for a host CPU")
            .of_guests(guests)
            .losing("steal_percent of vm_features")
            .mend("it needs QEMU, and libvirt 7.2 or later; virsh shows whether it is there")
            .run("virsh domstats --vcpu | grep delay"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_guests_are_named_in_the_command_and_many_are_not() {
        let guests = |count: usize| (0..count).map(|n| format!("g {n}")).collect::<Vec<_>>();
        let uri = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock-ro";
        assert_eq!(
            period_command("qemu:///system", &guests(1)),
            "sudo virsh -c qemu:///system dommemstat 'g 0' --period 10 --live --config"
        );
        assert_eq!(
            period_command(uri, &guests(2)),
            "for guest in 'g 0' 'g 1'; do sudo virsh -c \
             'qemu+unix:///system?socket=/run/libvirt/libvirt-sock' dommemstat \"$guest\" --period 10 \
             --live --config; done"
        );
        assert_eq!(
            period_command("qemu:///system", &guests(500)),
            "sudo virsh -c qemu:///system list --name | grep . | while read -r guest; do sudo virsh -c \
             qemu:///system dommemstat \"$guest\" --period 10 --live --config </dev/null; done"
        );
    }
}

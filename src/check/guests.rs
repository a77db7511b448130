//! What the trial collection says of the guests: which were read, which hang, and what each does not
//! offer, with the one thing that turns it on. Guests with the same finding share one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::catalogue::guests as kinds;
use super::finding::{Finding, counted};
use super::memballoon::{self, Memballoon};
use super::trial::CollectedHost;
use super::{cache, hypervisor, shell};
use crate::collect::{Cause, Collected, HeldGuest, Reading};
use crate::config::{Feature, Settings, duration};
use crate::deadline::{Deadline, Ending};
use crate::host::REPLAY;
use crate::sample::Completeness;

/// `virDomainState`: running.
const RUNNING: i64 = 1;
/// Memory figures that are older than so many periods no longer come.
const LATE_PERIODS: u64 = 5;
/// Messages of the collection that nothing else here tells of.
const MESSAGES_MAX: usize = 10;
pub(super) fn findings(host: &CollectedHost, settings: &Settings, ending: &Ending) -> Vec<Finding> {
    let collected = match &host.collected {
        Ok(collected) => collected,
        Err(error) => return vec![kinds::gone_down(error).about(&host.uri)],
    };
    let mut findings = vec![read(host, collected)];
    findings.extend(filtered(host));
    findings.extend(held(host, collected, settings));
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
    findings.extend(uncounted(&whole));
    findings.extend(without_usable(&whole));
    findings.extend(stopped_by_disk(host, &whole));
    findings.extend(steal(&whole, settings));
    findings.into_iter().map(|finding| finding.about(&host.uri)).collect()
}

fn name(reading: &Reading) -> String {
    reading.sample.name.clone()
}

fn read(host: &CollectedHost, collected: &Collected) -> Finding {
    let whole = collected.readings.iter().filter(|reading| is_read(reading)).count();
    let guests = collected.guests;
    let inactive = match host.inactive {
        0 => String::new(),
        1 => "; 1 more is off".to_owned(),
        inactive => format!("; {inactive} more are off"),
    };
    let fill = |finding: Finding| {
        finding
            .fact("guests", guests)
            .fact("read", whole)
            .fact("filtered", host.filtered.len())
            .fact("inactive", host.inactive)
    };
    if guests == 0 && !host.filtered.is_empty() {
        let mut names = host.filtered.clone();
        names.sort_unstable();
        return fill(kinds::all_filtered(counted(names.len(), "guest")).of_guests(names));
    }
    if guests > 0 {
        return fill(kinds::read(whole, guests, inactive));
    }
    fill(kinds::no_guest(inactive, shell(&host.uri)))
}

/// Whether all that it offers was read; one that says little by itself is told of elsewhere.
fn is_read(reading: &Reading) -> bool {
    reading.sample.completeness.is_answer() || is_starting(&reading)
}

/// Whether it says no more than libvirtd knows, although nothing holds it.
fn is_starting(reading: &&Reading) -> bool {
    reading.sample.completeness == Completeness::Starting
}

/// The guests that the filters exclude, where others are read.
fn filtered(host: &CollectedHost) -> Option<Finding> {
    let mut names = host.filtered.clone();
    names.sort_unstable();
    let is_told = names.is_empty() || host.taken.is_empty();
    (!is_told).then(|| kinds::filtered(counted(names.len(), "guest")).of_guests(names))
}

/// A guest, as it is shown and as a command names it. Its name is another's word, such as `--help`: a
/// command has its UUID.
type NamedGuest = (String, Uuid);

fn named(reading: &Reading) -> NamedGuest {
    (name(reading), reading.sample.uuid)
}

fn names<'a>(guests: impl IntoIterator<Item = &'a NamedGuest>) -> Vec<String> {
    guests.into_iter().map(|(name, _)| name.clone()).collect()
}

/// Guests whose answer is not complete, by what holds them; and the list, where it does not come.
fn held(host: &CollectedHost, collected: &Collected, settings: &Settings) -> Vec<Finding> {
    let uri = shell(&host.uri);
    let is_held_only = collected.readings.iter().filter(|reading| !is_read(reading)).count()
        + collected.locked.len()
        <= collected.held.len();
    let is_alone = is_held_only && collected.late.is_empty() && !collected.list_is_late;
    let others = if is_alone { "; other guests are not affected" } else { "" };
    let mut findings = Vec::new();
    for cause in Cause::ALL {
        let guests: Vec<&HeldGuest> =
            collected.held.iter().filter(|guest| guest.cause == cause).collect();
        let Some(first) = guests.first() else { continue };
        let names = guests.iter().map(|guest| guest.name.to_string()).collect();
        let (count, several) = (counted(guests.len(), "guest"), guests.len() > 1);
        let (does, is) = if several { ("do", "are") } else { ("does", "is") };
        let finding = match cause {
            Cause::SilentQemu => {
                kinds::hung(count, does, &uri, first.uuid, others, disks(host, first, settings))
            }
            Cause::Locked => kinds::locked(count, is, others),
            Cause::Job => kinds::busy_job(count, is, others),
            Cause::DeviceChange => kinds::busy_change(count, is, others),
            Cause::OtherCalls => kinds::busy_calls(count, is, others),
            Cause::SlowHelper => kinds::slow_helper(count, if several { "have" } else { "has" }),
        };
        findings.push(finding.of_guests(names));
    }
    if collected.list_is_late {
        let locked = collected.held.iter().any(|guest| guest.cause == Cause::Locked);
        let holder = if locked {
            "the guests above that it has locked hold the list"
        } else if collected.nameless.is_empty() {
            "most likely a guest that is being started or stopped holds the list"
        } else {
            "it has locked these guests, which hold the list"
        };
        findings.push(kinds::list_held(holder).of_guests(collected.nameless.clone()));
    }
    let not_asked = collected
        .readings
        .iter()
        .filter(|reading| reading.sample.completeness == Completeness::NotAsked);
    let not_asked: Vec<String> = not_asked.map(name).collect();
    if !not_asked.is_empty() {
        let count = counted(not_asked.len(), "guest");
        findings.push(kinds::not_asked(count, collected.stuck_calls).of_guests(not_asked));
    }
    if !collected.late.is_empty() {
        let names: Vec<String> = collected.late.iter().map(|(_, name)| name.to_string()).collect();
        let longer = enough_for_all(collected, settings.deadline);
        let longer = duration::format_duration(longer);
        findings.push(kinds::late(counted(names.len(), "guest"), longer).of_guests(names));
    }
    findings
}

/// The deadline that is enough for all guests, where so many could be read by this one: half as much again as it
/// takes at that pace, in whole seconds.
pub(super) fn enough_for_all(collected: &Collected, deadline: Duration) -> Duration {
    // Where hardly any was read that says little of the others.
    const MOST: f64 = 10.0;
    let read = collected.readings.len().max(1) as f64;
    let all = read + collected.late.len() as f64;
    let exact = deadline.mul_f64((all / read).min(MOST) * 1.5);
    Duration::from_secs(exact.as_secs() + u64::from(exact.subsec_nanos() > 0))
}

/// The paths of a guest's disks, as far as the cache knows them: asking libvirt for them may hang.
fn disks(host: &CollectedHost, guest: &HeldGuest, settings: &Settings) -> String {
    let paths = cache::disk_paths(settings, &host.uri, &guest.uuid);
    let paths: Vec<String> = paths.iter().map(|path| shell(path)).collect();
    if paths.is_empty() { String::new() } else { format!("; its disks are {}", paths.join(", ")) }
}

/// What could not be read of guests that answer; those with the same trouble in one.
fn failures(host: &CollectedHost, readings: &[&Reading]) -> Vec<Finding> {
    let mut groups: BTreeMap<&str, Vec<NamedGuest>> = BTreeMap::new();
    for reading in readings {
        for failure in &reading.failures {
            groups.entry(failure).or_default().push(named(reading));
        }
    }
    let finding = |(failure, guests): (&str, Vec<NamedGuest>)| {
        let count = counted(guests.len(), "guest");
        let first = guests.first().map(|(_, uuid)| *uuid).unwrap_or_default();
        kinds::partly_unread(failure, count, shell(&host.uri), first).of_guests(names(&guests))
    };
    groups.into_iter().map(finding).collect()
}

/// What the collection would say on standard error, and nothing above has said.
fn others(host: &CollectedHost) -> Vec<Finding> {
    let is_of_cause = |message: &str| {
        let texts = Cause::ALL.iter().flat_map(|cause| [cause.text(false), cause.text(true)]);
        texts.into_iter().any(|text| message.ends_with(text))
    };
    let is_told = |message: &&String| {
        let is_named = message.starts_with("guest \"") || message.contains(" guests (\"");
        let is_of_guest = is_named && !message.contains("it cannot be read: ");
        let is_of_host =
            [" does not list its guests: ", " within the deadline of ", " are stuck: "];
        is_of_guest || is_of_cause(message) || is_of_host.iter().any(|it| message.contains(it))
    };
    let untold: Vec<&String> = host.messages.iter().filter(|it| !is_told(it)).collect();
    let more = untold.len().saturating_sub(MESSAGES_MAX);
    let uri = shell(&host.uri);
    let finding = |message: &&String| kinds::collection_says(message, &uri);
    let mut findings: Vec<Finding> = untold.iter().take(MESSAGES_MAX).map(finding).collect();
    if more > 0 {
        findings.push(kinds::collection_says_more(more));
    }
    findings
}

/// Guests that start, end, or are on their way from or to another host.
fn quiet(collected: &Collected) -> Option<Finding> {
    let guests: Vec<String> = collected.readings.iter().filter(is_starting).map(name).collect();
    (!guests.is_empty()).then(|| kinds::quiet().of_guests(guests))
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
            (Some(Memballoon::Absent), _) => absent.push(named(reading)),
            (Some(Memballoon::WithoutPeriod), _) => without_period.push(named(reading)),
            (Some(Memballoon::WithPeriod(_)), None) if runs => silent.push(named(reading)),
            (Some(Memballoon::WithPeriod(period)), Some(age))
                if runs && age > (period * LATE_PERIODS).max(60) =>
            {
                late.push(named(reading));
            }
            _ => {}
        }
    }
    let number = |guests: &[NamedGuest]| counted(guests.len(), "guest");
    let verb = |guests: &[NamedGuest], one: &'static str, more: &'static str| {
        if guests.len() == 1 { one } else { more }
    };
    let has = |guests: &[NamedGuest]| format!("{} {}", number(guests), verb(guests, "has", "have"));
    let mut findings = Vec::new();
    if !without_period.is_empty() {
        let whose = verb(&without_period, "its", "their");
        let command = period_command(&host.uri, &without_period);
        let finding = kinds::no_balloon_period(number(&without_period), whose, command);
        findings.push(finding.of_guests(names(&without_period)));
    }
    if let Some((_, first)) = absent.first() {
        let virsh = virsh_to_change(&host.uri);
        findings.push(kinds::no_balloon(has(&absent), virsh, *first).of_guests(names(&absent)));
    }
    if !silent.is_empty() {
        findings.push(kinds::balloon_silent(has(&silent)).of_guests(names(&silent)));
    }
    if !late.is_empty() {
        let report = verb(&late, "reports", "report");
        findings.push(kinds::balloon_late(number(&late), report).of_guests(names(&late)));
    }
    findings
}

/// virsh as it may change guests. A session's guests are its user's: to root that URI means another daemon.
fn virsh_to_change(uri: &str) -> String {
    // The read-only socket, where it is named, is not the one that changes guests.
    let changing = shell(&uri.replace("-sock-ro", "-sock"));
    let is_session = uri.split('?').next().is_some_and(|it| it.ends_with("/session"));
    if is_session { format!("virsh -c {changing}") } else { format!("sudo virsh -c {changing}") }
}

/// The command that sets the period of these guests; where they are many, of all that run.
fn period_command(uri: &str, guests: &[NamedGuest]) -> String {
    let virsh = virsh_to_change(uri);
    let set = |guest: &str| format!("{virsh} dommemstat {guest} --period 10 --live --config");
    match guests {
        [(_, uuid)] => set(&uuid.to_string()),
        guests if guests.len() <= 4 => {
            let uuids: Vec<String> = guests.iter().map(|(_, uuid)| uuid.to_string()).collect();
            format!("for guest in {}; do {}; done", uuids.join(" "), set("\"$guest\""))
        }
        _ => format!(
            "{virsh} list --uuid | grep . | while read -r guest; do {} </dev/null; done",
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
    let of_user = kinds::user_nic().of_guests(of_kind("user"));
    let of_passed_through = kinds::hostdev_nic().of_guests(of_kind("hostdev"));
    let findings = [of_user, of_passed_through].into_iter();
    findings.filter(|finding| !finding.guests.is_empty()).collect()
}

/// NICs and disks that libvirt names and never counts, by what they are.
fn uncounted(readings: &[&Reading]) -> Vec<Finding> {
    let mut devices: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for reading in readings {
        let sample = &reading.sample;
        let inventory = reading.inventory.as_deref();
        for nic in sample.nics.iter().filter(|it| sample.absent.is_uncounted(&it.name, "net.N.")) {
            let kind = inventory.and_then(|it| it.nic(&nic.name)).map_or("", |it| &it.kind);
            devices
                .entry(("NIC", kind))
                .or_default()
                .push(format!("{} of {}", nic.name, sample.name));
        }
        for disk in
            sample.disks.iter().filter(|it| sample.absent.is_uncounted(&it.name, "block.N."))
        {
            let kind = inventory.and_then(|it| it.disk(&disk.name)?.source_type.as_deref());
            let name = format!("{} of {}", disk.name, sample.name);
            devices.entry(("disk", kind.unwrap_or_default())).or_default().push(name);
        }
    }
    let finding = |((what, kind), names): ((&str, &str), Vec<String>)| {
        kinds::uncounted(counted(names.len(), what), kind).of_guests(names)
    };
    devices.into_iter().map(finding).collect()
}

/// Guests that report how much memory they have and not how much is free, as old drivers do.
fn without_usable(readings: &[&Reading]) -> Option<Finding> {
    let memory = |reading: &&&Reading| reading.sample.memory.clone();
    let lacks = |reading: &&&Reading| {
        let memory = memory(reading);
        memory.available_kib.is_some_and(|it| it > 0) && memory.usable_kib.is_none()
    };
    let guests: Vec<String> = readings.iter().filter(lacks).map(|reading| name(reading)).collect();
    (!guests.is_empty()).then(|| kinds::no_usable(counted(guests.len(), "guest")).of_guests(guests))
}

/// Guests that QEMU has paused since a disk of theirs could not be written.
fn stopped_by_disk(host: &CollectedHost, readings: &[&Reading]) -> Option<Finding> {
    let is_so = |reading: &&&Reading| reading.sample.is_stopped_by_disk();
    let guests: Vec<NamedGuest> =
        readings.iter().filter(is_so).map(|reading| named(reading)).collect();
    let (_, first) = guests.first()?;
    let is = if guests.len() == 1 { "is" } else { "are" };
    let finding =
        kinds::stopped_by_disk(counted(guests.len(), "guest"), is, shell(&host.uri), first);
    Some(finding.of_guests(names(&guests)))
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
    (!guests.is_empty()).then(|| kinds::no_steal().of_guests(guests))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_that_is_enough_follows_from_the_guests_that_were_read() {
        let enough = |read: usize, late: u128| {
            let reading = || Reading::of_locked(crate::sample::Domain::default());
            let late = (0..late).map(|n| (Uuid::from_u128(n), "late".into())).collect();
            let readings = (0..read).map(|_| reading()).collect();
            let collected = Collected { readings, late, ..Collected::default() };
            enough_for_all(&collected, Duration::from_secs(4)).as_secs()
        };
        assert_eq!([enough(1000, 0), enough(500, 500), enough(300, 700)], [6, 12, 20]);
        assert_eq!([enough(1, 999), enough(0, 1000)], [60, 60]);
    }

    #[test]
    fn a_few_guests_are_named_in_the_command_and_many_are_not() {
        let guests = |count: u128| -> Vec<NamedGuest> {
            (0..count).map(|n| ("--help".to_owned(), Uuid::from_u128(n))).collect()
        };
        let uri = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock-ro";
        assert_eq!(
            period_command("qemu:///system", &guests(1)),
            "sudo virsh -c qemu:///system dommemstat 00000000-0000-0000-0000-000000000000 --period 10 \
             --live --config"
        );
        assert_eq!(
            period_command(uri, &guests(2)),
            "for guest in 00000000-0000-0000-0000-000000000000 00000000-0000-0000-0000-000000000001; do sudo virsh -c \
             'qemu+unix:///system?socket=/run/libvirt/libvirt-sock' dommemstat \"$guest\" --period 10 \
             --live --config; done"
        );
        assert_eq!(
            period_command("qemu:///system", &guests(500)),
            "sudo virsh -c qemu:///system list --uuid | grep . | while read -r guest; do sudo virsh -c \
             qemu:///system dommemstat \"$guest\" --period 10 --live --config </dev/null; done"
        );
    }

    #[test]
    fn guests_of_a_session_are_changed_by_its_user_and_not_by_root() {
        for uri in ["qemu:///session", "qemu:///session?mode=legacy"] {
            let command = period_command(uri, &[("a".to_owned(), Uuid::nil())]);
            assert!(command.starts_with("virsh -c "), "{command}");
        }
        assert_eq!(virsh_to_change("qemu:///system"), "sudo virsh -c qemu:///system");
    }
}

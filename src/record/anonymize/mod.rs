//! Names and addresses in a recording, replaced. The same text gets the same replacement wherever it
//! stands, so that what belongs together still does.
//!
//! Of the XML and of the statistics only what is known to be harmless stays (numbers, libvirt's own
//! words, targets such as vda and vnet0), and everything else is replaced: so nothing has to
//! be recognized as somebody's to go. Only libvirt's error messages are free text; what is known from
//! elsewhere is replaced in them, and what looks like an address or a path.
//!
//! ```text
//! mod.rs    a recording, answer by answer
//! xml.rs    a domain's XML: what of it stays
//! words.rs  which replacement each original has
//! ```

mod words;
mod xml;

use std::collections::BTreeSet;

use super::value::Statistic;
use super::{DeviceAnswers, PlainAnswers, RecordedAnswer, RecordedGuest, RecordedJob, Recording};
use crate::libvirt::{Kind, OwnedValue};
use words::{Pseudonyms, is_word};

/// Replaces the names and addresses in a recording.
pub fn anonymize(recording: &mut Recording) {
    let mut words = Pseudonyms::default();
    // In the order of their names, which is that of the output.
    let guests = || recording.moments.iter().flat_map(|moment| &moment.guests);
    let names: BTreeSet<&str> = guests().map(|guest| guest.name.as_str()).collect();
    let width = names.len().to_string().len();
    for (number, name) in names.iter().enumerate() {
        words.name(name, format!("guest-{:0width$}", number + 1));
    }
    for guest in guests() {
        words.uuid(guest.uuid);
    }
    if let RecordedAnswer::Ok(name) = &recording.host.name {
        words.host(name);
    }
    // All XML first, since error messages may name what only another guest's XML tells of.
    for guest in recording.moments.iter_mut().flat_map(|moment| &mut moment.guests) {
        if let RecordedAnswer::Ok(text) = &mut guest.calls.xml {
            match xml::anonymized(text, &mut words) {
                Some(anonymized) => *text = anonymized,
                None => {
                    let message = "the XML is not well-formed, and is omitted".to_owned();
                    guest.calls.xml = RecordedAnswer::Error { kind: Kind::Other, message };
                }
            }
        }
    }
    let host = &mut recording.host;
    host.uri = words.uri(&host.uri);
    if let RecordedAnswer::Ok(name) = &mut host.name {
        *name = words.of(name);
    }
    message(&mut host.name, &mut words);
    host.versions.values_mut().for_each(|version| message(version, &mut words));
    for guest in recording.moments.iter_mut().flat_map(|moment| &mut moment.guests) {
        anonymize_guest(guest, &mut words);
    }
    for pool in recording.moments.iter_mut().flat_map(|moment| &mut moment.node.pools) {
        pool.name = words.of(&pool.name);
    }
}

/// Every field is named here: a call that is added must be dealt with, or this does not compile.
fn anonymize_guest(guest: &mut RecordedGuest, words: &mut Pseudonyms) {
    let RecordedGuest {
        id: _,
        name,
        uuid,
        answered_ns: _,
        started_ns: _,
        statistics: all,
        groups,
        calls,
        vcpus,
        job,
        devices,
    } = guest;
    *name = words.of(name);
    *uuid = words.uuid(*uuid);
    statistics(all, words);
    groups.values_mut().for_each(|group| statistics(group, words));
    let PlainAnswers {
        state,
        info,
        control,
        is_persistent,
        autostart,
        // Its text was replaced with the other guests'.
        xml,
        cpu_times,
        memory_statistics,
        snapshots,
        disk_errors,
        backing,
    } = calls;
    message(state, words);
    message(info, words);
    message(control, words);
    message(xml, words);
    message(is_persistent, words);
    message(autostart, words);
    message(cpu_times, words);
    message(memory_statistics, words);
    message(snapshots, words);
    message(disk_errors, words);
    if let RecordedAnswer::Ok(errors) = disk_errors {
        errors.iter_mut().for_each(|error| error.target = words.device(&error.target));
    }
    statistics(backing, words);
    message(vcpus, words);
    message(job, words);
    if let RecordedAnswer::Ok(RecordedJob { kind: _, parameters }) = job {
        parameters.iter_mut().for_each(|it| statistic(it, words));
    }
    for (target, mut answers) in std::mem::take(devices) {
        let DeviceAnswers { nic_counters, block_counters, block_statistics, block_job } =
            &mut answers;
        message(nic_counters, words);
        message(block_counters, words);
        statistics(block_statistics, words);
        message(block_job, words);
        devices.insert(words.device(&target), answers);
    }
}

fn message<T>(answer: &mut RecordedAnswer<T>, words: &mut Pseudonyms) {
    if let RecordedAnswer::Error { message, .. } = answer {
        *message = words.message(message);
    }
}

fn statistics(answer: &mut RecordedAnswer<Vec<Statistic>>, words: &mut Pseudonyms) {
    message(answer, words);
    if let RecordedAnswer::Ok(statistics) = answer {
        statistics.iter_mut().for_each(|it| statistic(it, words));
    }
}

/// The text of a statistic; its name is libvirt's.
fn statistic((name, value): &mut Statistic, words: &mut Pseudonyms) {
    let OwnedValue::Text(text) = value else { return };
    let is_of_device = name.starts_with("net.") || name.starts_with("block.");
    if is_of_device && name.ends_with(".name") {
        *text = words.device(text);
    } else if !is_harmless(name, text) {
        *text = words.of(text);
    }
}

/// What libvirt itself makes up: sets of CPUs, names of monitors after them, words of its enums.
fn is_harmless(name: &str, text: &str) -> bool {
    let is_cpus = |text: &str| text.bytes().all(|it| it.is_ascii_digit() || b",-^".contains(&it));
    let is_monitor = name.starts_with("cpu.") || name.starts_with("memory.");
    if is_monitor && name.ends_with(".vcpus") {
        return is_cpus(text);
    }
    if is_monitor && name.ends_with(".name") {
        return text.strip_prefix("vcpus_").is_some_and(is_cpus);
    }
    name.starts_with("dirtyrate.") && is_word(text)
}

#[cfg(test)]
mod tests;

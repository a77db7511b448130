//! Names and addresses in a recording, replaced. The same text gets the same replacement wherever it
//! stands, so that what belongs together still does.
//!
//! Of the XML and of the statistics only what is known to be harmless stays (numbers, libvirt's own
//! words, targets such as vda and vnet0), and all else is replaced, whatever it is: so nothing has to
//! be recognized as somebody's to go. Only libvirt's error messages are free text; what is known from
//! elsewhere is replaced in them, and what looks like an address or a path.
//!
//! ```text
//! mod.rs    a recording, answer by answer
//! xml.rs    a domain's XML: what of it stays
//! words.rs  what stands for what
//! ```

mod words;
mod xml;

use std::collections::BTreeSet;

use super::value::Statistic;
use super::{Answer, RecordedGuest, Recording};
use crate::libvirt::{Kind, OwnedValue};
use words::{Words, is_word};

/// Replaces the names and addresses in a recording.
pub fn anonymize(recording: &mut Recording) {
    let mut words = Words::default();
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
    if let Answer::Ok(name) = &recording.host.name {
        words.host(name);
    }
    // All XML first, since error messages may name what only another guest's XML tells of.
    for guest in recording.moments.iter_mut().flat_map(|moment| &mut moment.guests) {
        if let Answer::Ok(text) = &mut guest.calls.xml {
            match xml::anonymized(text, &mut words) {
                Some(anonymized) => *text = anonymized,
                None => {
                    let message = "the XML is not well-formed, and is left out".to_owned();
                    guest.calls.xml = Answer::Error { kind: Kind::Other, message };
                }
            }
        }
    }
    let host = &mut recording.host;
    host.uri = words.uri(&host.uri);
    if let Answer::Ok(name) = &mut host.name {
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

fn anonymize_guest(guest: &mut RecordedGuest, words: &mut Words) {
    guest.name = words.of(&guest.name);
    guest.uuid = words.uuid(guest.uuid);
    statistics(&mut guest.statistics, words);
    guest.groups.values_mut().for_each(|group| statistics(group, words));
    let calls = &mut guest.calls;
    message(&mut calls.state, words);
    message(&mut calls.info, words);
    message(&mut calls.control, words);
    message(&mut calls.xml, words);
    message(&mut calls.is_persistent, words);
    message(&mut calls.autostart, words);
    message(&mut calls.cpu_times, words);
    message(&mut calls.memory_statistics, words);
    message(&mut calls.snapshots, words);
    message(&mut calls.disk_errors, words);
    if let Answer::Ok(errors) = &mut calls.disk_errors {
        errors.iter_mut().for_each(|error| error.target = words.device(&error.target));
    }
    statistics(&mut calls.backing, words);
    message(&mut guest.vcpus, words);
    message(&mut guest.job, words);
    if let Answer::Ok(job) = &mut guest.job {
        job.parameters.iter_mut().for_each(|it| statistic(it, words));
    }
    let devices = std::mem::take(&mut guest.devices);
    for (target, mut answers) in devices {
        message(&mut answers.nic_counters, words);
        message(&mut answers.block_counters, words);
        statistics(&mut answers.block_statistics, words);
        message(&mut answers.block_job, words);
        guest.devices.insert(words.device(&target), answers);
    }
}

fn message<T>(answer: &mut Answer<T>, words: &mut Words) {
    if let Answer::Error { message, .. } = answer {
        *message = words.message(message);
    }
}

fn statistics(answer: &mut Answer<Vec<Statistic>>, words: &mut Words) {
    message(answer, words);
    if let Answer::Ok(statistics) = answer {
        statistics.iter_mut().for_each(|it| statistic(it, words));
    }
}

/// The text of a statistic; its name is libvirt's.
fn statistic((name, value): &mut Statistic, words: &mut Words) {
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

//! The measurements that only `extra` turns on, in the schema's order. A value that libvirt did not send
//! is omitted here, for every setting of `missing`.

use std::collections::HashMap;

use smol_str::SmolStr;

use super::named::{Named, Types};
use super::{Page, storage};
use crate::libvirt::OwnedValue;
use crate::line_protocol::{Fields, Lines, Tags};
use crate::sample::{Domain, Job, words};
use crate::schema::{
    AS_SENT, AsSentRow, Details, DirtyRate, Extra, Extras, MissingPolicy, Monitor, More,
    SentStatistic, write_snapshots,
};

const OMIT: MissingPolicy<'static> = MissingPolicy::OMIT;

/// The one tag of a part that has a number.
fn numbered<'t>(tags: &'t mut Tags, key: &str, number: u32) -> &'t Tags {
    tags.clear();
    tags.add_number(key, number.into());
    tags
}

/// Writes what `extra` prints behind vm_totals.
pub(super) fn write(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    types: &mut Types,
    now_unix_s: u64,
) {
    let details = page.guest.inventory.and_then(|inventory| inventory.details.as_deref());
    let more = page.guest.sample.more.as_deref();
    for extra in Extra::ALL.into_iter().filter(|&extra| page.choice.extra.has(extra)) {
        if extra == Extra::Vcpus {
            write_vcpus(page, lines, own, details);
        }
        if let Some(more) = more {
            write_more(page, lines, own, types, more, extra);
            storage::write(page, lines, own, types, &more.storage, extra);
        }
        if let Some(details) = details {
            write_details(page, lines, own, details, extra);
        }
        if let (Extra::Snapshots, Some(snapshots)) = (extra, details.and_then(|it| it.snapshots)) {
            page.line(lines, "vm_snapshots", |fields| {
                write_snapshots(fields, &snapshots, now_unix_s);
            });
        }
    }
}

fn write_more(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    types: &mut Types,
    more: &More,
    extra: Extra,
) {
    let only = Extras::from_iter([extra]);
    let (measurement, names) = (extra.row().measurement, extra.row().tags);
    more.each_of_list(extra, |index, fill| {
        page.own(lines, measurement, numbered(own, names[0], index), fill);
    });
    for row in AS_SENT.iter().filter(|row| row.extra == extra) {
        write_as_sent(page, lines, own, types, row, &more.sent);
    }
    match (extra, &more.job) {
        (Extra::MemoryBandwidth, _) => {
            write_monitors(page, lines, own, extra, &more.bandwidth_monitors);
        }
        (Extra::CpuCache, _) => write_monitors(page, lines, own, extra, &more.cache_monitors),
        (Extra::DirtyRate, _) => write_dirty_rate(page, lines, own, &more.dirty_rate, only),
        (Extra::Jobs, Some(job)) => page.line(lines, "vm_jobs", |fields| write_job(fields, job)),
        (Extra::Other, _) => write_other(page, lines, types, &more.other),
        _ => {}
    }
}

fn write_vcpus(page: &Page<'_>, lines: &mut Lines, own: &mut Tags, details: Option<&Details>) {
    for vcpu in &page.guest.sample.vcpus {
        page.own(lines, "vm_vcpus", numbered(own, "vcpu", vcpu.index), |fields| {
            vcpu.write(fields, OMIT, page.choice.extra);
            let cpuset = details.map_or("", |details| details.cpuset_of(vcpu.index));
            if !cpuset.is_empty() {
                fields.text("cpuset", cpuset);
            }
        });
    }
}

/// A line for each node or bank that a monitor watches.
fn write_monitors(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    extra: Extra,
    monitors: &[Monitor],
) {
    let (row, extras) = (extra.row(), Extras::from_iter([extra]));
    for monitor in monitors {
        for part in &monitor.parts {
            let id = part.id.unwrap_or(part.index.into()).to_string();
            own.clear();
            row.tags.iter().zip([&*monitor.name, &id]).for_each(|(key, value)| own.add(key, value));
            page.own(lines, row.measurement, own, |fields| {
                part.write(fields, OMIT, extras);
                monitor.write(fields, OMIT, extras);
            });
        }
    }
}

fn write_dirty_rate(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    rate: &DirtyRate,
    extras: Extras,
) {
    page.line(lines, "vm_dirty_rate", |fields| rate.write(fields, OMIT, extras));
    for vcpu in &rate.vcpus {
        let own = numbered(own, "vcpu", vcpu.index);
        page.own(lines, "vm_dirty_rate", own, |fields| vcpu.write(fields, OMIT, extras));
    }
}

fn write_job(fields: &mut Fields<'_>, job: &Job) {
    fields.text("type", words::job_type(job.kind));
    if let Some(operation) = job.operation {
        fields.text("operation", words::job_operation(operation));
    }
    job.write(fields, OMIT, Extras::from_iter([Extra::Jobs]));
}

/// What comes from the domain's XML.
fn write_details(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    details: &Details,
    extra: Extra,
) {
    let (sample, only) = (page.guest.sample, Extras::from_iter([extra]));
    match extra {
        Extra::Limits => {
            page.line(lines, "vm_limits", |fields| details.write(fields, OMIT, only));
            // Of the devices that exist now, not those of the list.
            for nic in &sample.nics {
                if let Some(limits) = details.nic_limits.iter().find(|it| nic.name == it.target) {
                    super::start_device(own, "nic", &nic.name);
                    page.own(lines, "vm_limits", own, |fields| limits.write(fields, OMIT, only));
                }
            }
            for disk in &sample.disks {
                let Some(limits) = details.disk_limits.iter().find(|it| disk.name == it.target)
                else {
                    continue;
                };
                super::start_device(own, "disk", &disk.name);
                page.own(lines, "vm_limits", own, |fields| limits.write(fields, OMIT, only));
                for filter in &limits.filters {
                    let groups = &details.throttle_groups;
                    let Some(group) = groups.iter().find(|it| it.target == *filter) else {
                        continue;
                    };
                    super::start_device(own, "disk", &disk.name);
                    own.add("filter", filter);
                    page.own(lines, "vm_limits", own, |fields| group.write(fields, OMIT, only));
                }
            }
        }
        Extra::Numa => {
            page.line(lines, "vm_numa", |fields| {
                fields.unsigned("cells", details.cells.len() as u64);
                details.write(fields, OMIT, only);
            });
            for cell in &details.cells {
                let own = numbered(own, "cell", cell.id);
                page.own(lines, "vm_numa", own, |fields| {
                    cell.write(fields, OMIT, only);
                    if let Some(nodes) = details.nodes_of(cell.id) {
                        nodes.write(fields, OMIT, only);
                    }
                });
            }
        }
        Extra::Info => page.line(lines, "vm_info", |fields| {
            details.write(fields, OMIT, only);
            OMIT.field(fields, "vcpus_max", sample.vcpu_maximum);
        }),
        _ => {}
    }
}

/// A measurement with libvirt's names: a line of the whole guest first, then one for each virtual CPU.
fn write_as_sent(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    types: &mut Types,
    row: &AsSentRow,
    statistics: &[SentStatistic],
) {
    let measurement = row.extra.row().measurement;
    let is_of_row = |it: &&SentStatistic| it.group == row.group && it.name.starts_with(row.begins);
    let mut sorted: Vec<&SentStatistic> = statistics.iter().filter(is_of_row).collect();
    // The order within a part stays.
    sorted.sort_by_key(|it| it.vcpu);
    for group in sorted.chunk_by(|one, other| one.vcpu == other.vcpu) {
        own.clear();
        if let Some(vcpu) = group.first().and_then(|it| it.vcpu) {
            own.add_number("vcpu", vcpu.into());
        }
        let mut named = Named::beside(&page.choice.user_tags);
        group.iter().for_each(|statistic| named.add(&statistic.name, &statistic.value));
        page.own(lines, measurement, own, |fields| named.write(fields, measurement, types));
    }
}

/// What nobody knows, a line for each part of the guest that it is of.
fn write_other(
    page: &Page<'_>,
    lines: &mut Lines,
    types: &mut Types,
    other: &[(SmolStr, OwnedValue)],
) {
    let mut parts: Vec<(Tags, Named<'_>)> = Vec::new();
    let mut places: HashMap<Tags, usize> = HashMap::new();
    for (name, value) in other {
        let Some((tags, field)) = part_of(page.guest.sample, name) else { continue };
        let place = *places.entry(tags).or_insert_with_key(|tags| {
            parts.push((tags.clone(), Named::beside(&page.choice.user_tags)));
            parts.len() - 1
        });
        if let Some((_, named)) = parts.get_mut(place) {
            named.add(&field, value);
        }
    }
    for (tags, named) in parts {
        page.own(lines, "vm_other", &tags, |fields| named.write(fields, "vm_other", types));
    }
}

/// The tags of a statistic that nobody knows, and its name without its part's number: the first number in its name says which part
/// of the guest it is of. `None` where that is no part that has lines, such as a cdrom drive.
fn part_of(sample: &Domain, name: &str) -> Option<(Tags, String)> {
    let mut tags = Tags::default();
    let words: Vec<&str> = name.split('.').collect();
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_digit());
    let Some(place) = words.iter().position(is_number) else {
        return Some((tags, name.to_owned()));
    };
    let number = words[place];
    let index: Option<u32> = number.parse().ok();
    match place.checked_sub(1).map(|before| words[before]) {
        Some("vcpu") => tags.add("vcpu", number),
        Some("net") if place == 1 => {
            tags.add("devtype", "nic");
            tags.add("device", &sample.nics.iter().find(|nic| Some(nic.index) == index)?.name);
        }
        Some("block") if place == 1 => {
            tags.add("devtype", "disk");
            tags.add("device", &sample.disks.iter().find(|it| Some(it.index) == index)?.name);
        }
        _ => tags.add("index", number),
    }
    let words: Vec<&str> =
        words.iter().enumerate().filter(|&(at, _)| at != place).map(|(_, &word)| word).collect();
    Some((tags, words.join(".")))
}

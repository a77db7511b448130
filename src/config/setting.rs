//! The table of settings: each key with its default, what it is in a few words, and how it is read. What is
//! said of unknown and misplaced keys, the list in the sample, the README's table and what tells this
//! program's configuration from Telegraf's come from it.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::extra::Extra;
use super::filter::{STATES, of_devices, of_metadata, parts, patterns, uuids};
use super::preset::PRESETS;
use super::reader::{Complaint, Entry};
use super::{DEADLINE, DeviceTag, Missing, Precision, Settings, check_uri, names};
use crate::schema::{DISK_TAGS, FEATURES, NIC_TAGS};

const WORKERS: RangeInclusive<usize> = 1..=64;
const MAX_STUCK: RangeInclusive<usize> = 1..=64;
const CACHE_TTL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);

/// The tables of the file. Keys in the last two are the user's own.
pub(super) const TABLES: [&str; 5] = ["cache", "domains", "devices", "tags", "metadata_tags"];

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its key, after its table's name and a dot where it is in one.
    pub path: &'static str,
    /// Its default, as it is written in the file.
    pub default: &'static str,
    /// What it is. Empty where the setting before says it for both.
    pub what: &'static str,
    pub(super) read: fn(&mut Settings, &Entry<'_>) -> Result<(), Complaint>,
}

impl Setting {
    /// Its table, which is empty for none, and its key there.
    fn place(&self) -> (&'static str, &'static str) {
        split(self.path)
    }
}

macro_rules! settings {
    ($($path:literal = $default:literal, $what:literal, |$settings:ident, $entry:ident| $read:expr;)*) => {
        /// Every setting, in the order in which they are explained.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            path: $path,
            default: $default,
            what: $what,
            read: |$settings, $entry| {
                $read;
                Ok(())
            },
        }),*];
    };
}

settings! {
    "uris" = r#"["qemu:///system"]"#, "hypervisors to read, as libvirt URIs; without it `$LIBVIRT_DEFAULT_URI`, if that is set",
        |settings, entry| settings.uris = uris(entry)?;
    "deadline" = r#""4s""#, "a collection is printed after this time at the latest, with what has arrived",
        |settings, entry| settings.deadline = entry.time(DEADLINE)?;
    "workers" = "4", "connections per hypervisor that share a collection",
        |settings, entry| settings.workers = entry.whole(WORKERS)?;
    "max_stuck" = "12", "calls that may be stuck in one hypervisor at the same time. With `workers` that is at most 16 of libvirtd's 20 workers",
        |settings, entry| settings.max_stuck = entry.whole(MAX_STUCK)?;
    "missing" = r#""zero""#, "what is printed for a statistic that does not exist: 0, or with `\"omit\"` nothing",
        |settings, entry| {
            settings.missing = entry.one_of(&[("zero", Missing::Zero), ("omit", Missing::Omit)])?;
        };
    "extra" = "[]", "more measurements and fields: see [More, with extra](metrics.md#more-with-extra)",
        |settings, entry| {
            let known = Extra::ALL.map(|extra| (extra.name(), extra));
            settings.extra = entry.all_of(&known)?.into_iter().collect();
        };
    "features" = "[]", "more rates: see [vm_features](metrics.md#vm_features)",
        |settings, entry| {
            let known = FEATURES.each_ref().map(|row| (row.name, row.feature));
            settings.features = entry.all_of(&known)?;
        };
    "device_tags" = "[]", "more tags on vm_devices: see [Tags](metrics.md#tags)",
        |settings, entry| {
            let known = DeviceTag::ALL.map(|tag| (tag.name(), tag));
            settings.device_tags = entry.all_of(&known)?;
        };
    "precision" = r#""1ns""#, "precision of timestamps: `1ns`, `1us`, `1ms` or `1s`, except in vm_events. With `1s` InfluxDB 1 and 2 need [much less disk space](fleet.md#the-configuration)",
        |settings, entry| {
            settings.precision = entry.one_of(&Precision::ALL.map(|it| (it.name(), it)))?;
        };
    "metadata_preset" = r#""""#, "tags from the metadata of a platform: nova, opennebula, ovirt, libosinfo, kubevirt",
        |settings, entry| {
            let presets = PRESETS.iter().map(|preset| (preset.name, Some(preset)));
            let known: Vec<_> = presets.chain([("", None)]).collect();
            settings.metadata_preset = entry.one_of(&known)?;
        };
    "cache.dir" = r#""""#, "folder of the cache; empty: see [The cache](#the-cache)",
        |settings, entry| settings.cache.dir = entry.folder()?;
    "cache.ttl" = r#""300s""#, "how long the device list of a guest is used before it is read again",
        |settings, entry| settings.cache.ttl = entry.time(CACHE_TTL)?;
    "domains.include" = "[]", "guests to read, and to exclude, by name: see [below](#which-guests-and-devices)",
        |settings, entry| settings.domains.names.include = patterns(entry)?;
    "domains.exclude" = "[]", "",
        |settings, entry| settings.domains.names.exclude = patterns(entry)?;
    "domains.include_uuids" = "[]", "the same by UUID",
        |settings, entry| settings.domains.uuids.include = uuids(entry)?;
    "domains.exclude_uuids" = "[]", "",
        |settings, entry| settings.domains.uuids.exclude = uuids(entry)?;
    "domains.include_states" = "[]", "the same by state",
        |settings, entry| settings.domains.states.include = entry.all_of(&STATES)?;
    "domains.exclude_states" = "[]", "",
        |settings, entry| settings.domains.states.exclude = entry.all_of(&STATES)?;
    "domains.include_metadata" = "[]", "the same by metadata",
        |settings, entry| settings.domains.metadata.include = of_metadata(entry)?;
    "domains.exclude_metadata" = "[]", "",
        |settings, entry| settings.domains.metadata.exclude = of_metadata(entry)?;
    "domains.inactive" = "false", "also read guests that do not run",
        |settings, entry| settings.domains.inactive = entry.boolean()?;
    "devices.include_nics" = "[]", "NICs to read, and to exclude",
        |settings, entry| settings.devices.nics.include = of_devices(entry, &parts(NIC_TAGS))?;
    "devices.exclude_nics" = "[]", "",
        |settings, entry| settings.devices.nics.exclude = of_devices(entry, &parts(NIC_TAGS))?;
    "devices.include_disks" = "[]", "disks to read, and to exclude",
        |settings, entry| settings.devices.disks.include = of_devices(entry, &parts(DISK_TAGS))?;
    "devices.exclude_disks" = "[]", "",
        |settings, entry| settings.devices.disks.exclude = of_devices(entry, &parts(DISK_TAGS))?;
}

fn split(path: &'static str) -> (&'static str, &'static str) {
    path.split_once('.').unwrap_or(("", path))
}

/// Every key and table by its path, each table before its keys.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    let of_table = |table: &'static str| {
        let keys = SETTINGS.iter().filter(move |setting| setting.place().0 == table);
        keys.map(|setting| setting.path)
    };
    let tables =
        TABLES.into_iter().flat_map(move |table| [table].into_iter().chain(of_table(table)));
    of_table("").chain(tables)
}

/// What may be outside of all tables: single settings, and the tables themselves.
pub fn top_names() -> impl Iterator<Item = &'static str> {
    paths().filter(|path| !path.contains('.'))
}

/// The setting that an entry of the file is meant for.
pub(super) fn of(entry: &Entry<'_>) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.place() == (entry.table, entry.key))
}

fn uris(entry: &Entry<'_>) -> Result<Vec<String>, Complaint> {
    let mut uris = Vec::new();
    let mut seen = HashSet::new();
    for item in entry.items()? {
        check_uri(item.text)
            .map_err(|why| entry.item_refused(&item, format_args!("but each entry {why}")))?;
        if !seen.insert(item.text) {
            return Err(entry.item_refused(&item, "which is already in the list: omit one"));
        }
        uris.push(item.text.to_owned());
    }
    Ok(uris)
}

/// A setting below a table whose keys are the user's own was meant for the top, when its value would be
/// right there.
pub(super) fn misplaced(entry: &Entry<'_>) -> Option<Complaint> {
    let at_the_top = entry.at_the_top();
    let setting = of(&at_the_top)?;
    let fits = (setting.read)(&mut Settings::default(), &at_the_top).is_ok();
    fits.then(|| {
        let key = entry.key;
        entry.refused(format_args!("is in a table: move {key} above the first [table] line"))
    })
}

/// What is said of a key that is none.
pub(super) fn unknown(entry: &Entry<'_>) -> Complaint {
    if entry.table.is_empty() && TABLES.contains(&entry.key) {
        return entry.no_table();
    }
    let keys = || paths().map(split);
    let beside = || keys().filter(|(table, _)| *table == entry.table).map(|(_, key)| key);
    // `exclude` is of another table, but whoever writes it here means one of this table's.
    let of_this: Vec<&str> =
        beside().filter(|key| key.starts_with(&format!("{}_", entry.key))).collect();
    if !entry.table.is_empty() && !of_this.is_empty() {
        let of_this: Vec<String> = of_this.into_iter().map(str::to_owned).collect();
        return entry.unknown(format!("did you mean {}?", names::listed(&of_this)));
    }
    let meant = keys()
        .find(|(_, key)| *key == entry.key)
        // With the tables, for `cache_dir` too.
        .or_else(|| names::nearest(entry.key, paths()).map(split))
        .or_else(|| names::nearest(entry.key, beside()).map(|key| (entry.table, key)))
        .or_else(|| {
            let near = names::nearest(entry.key, keys().map(|(_, key)| key))?;
            keys().find(|(_, key)| *key == near)
        });
    entry.unknown(match meant {
        Some((table, key)) if table == entry.table => format!("did you mean {key}?"),
        Some(("", key)) => {
            format!("did you mean {key}? It must be above the first [table] line")
        }
        Some((table, key)) => format!("did you mean {key} below [{table}]?"),
        None => format!("known here are {}", beside().collect::<Vec<_>>().join(", ")),
    })
}

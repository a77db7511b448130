//! What may make a fleet cheaper: the same hours of the same guests, each way into a database of its own.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use telegraf_virt::config::{DeviceTag, Feature};
use telegraf_virt::points::Choice;

use crate::database::{Database, Kind};
use crate::telegraf::Telegraf;
use crate::{Size, Way, filled};

const SECOND: i64 = 1_000_000_000;
/// What hardly anybody draws: errors and drops stay in vm_totals.
const RARE_FIELDS: [&str; 6] =
    ["rxerrors", "rxdrops", "txerrors", "txdrops", "errors", "memminor_fault"];

fn ways() -> Vec<(&'static str, Way)> {
    let features = || vec![Feature::Net, Feature::Disk, Feature::Cpu, Feature::Latency];
    let default = Telegraf { namedrop: vec!["vm_collector"], ..Telegraf::default() };
    let rounded = Telegraf { precision_ns: SECOND, ..default.clone() };
    let no_vmid = Telegraf { tagexclude: vec!["VMID"], ..rounded.clone() };
    let of = |telegraf: &Telegraf| Way { telegraf: telegraf.clone(), ..Way::default() };
    let by_alias = Way {
        telegraf: Telegraf { nics_by_alias: true, ..no_vmid.clone() },
        choice: Choice { device_tags: vec![DeviceTag::Alias], ..Choice::DEFAULT },
        ..Way::default()
    };
    let drop = |names: &[&'static str]| {
        let mut telegraf = no_vmid.clone();
        telegraf.namedrop.extend_from_slice(names);
        telegraf
    };
    vec![
        ("as printed", of(&default)),
        ("precision 1s", of(&rounded)),
        ("precision 1s, no VMID", of(&no_vmid)),
        ("precision 1s, no VMID, NICs by alias", by_alias.clone()),
        (
            "no VMID, features beside the counters",
            Way { choice: Choice { features: features(), ..Choice::DEFAULT }, ..of(&no_vmid) },
        ),
        (
            "no VMID, features instead of counters",
            Way {
                choice: Choice { features: features(), ..Choice::DEFAULT },
                ..of(&drop(&["vm_devices", "vm_totals"]))
            },
        ),
        (
            "no VMID, rare fields of devices dropped",
            of(&Telegraf { fielddrop: RARE_FIELDS.to_vec(), ..no_vmid.clone() }),
        ),
        ("no VMID, no vm_metrics", of(&drop(&["vm_metrics"]))),
        ("no VMID, vm_devices every 60 s", Way { rare: Some(("vm_devices", 6)), ..of(&no_vmid) }),
        ("no VMID, everything every 60 s", Way { every: 6, ..of(&no_vmid) }),
        (
            "fleet: alias, vm_devices every 60 s, no vm_metrics, no rare fields",
            Way {
                telegraf: Telegraf {
                    nics_by_alias: true,
                    fielddrop: RARE_FIELDS.to_vec(),
                    ..drop(&["vm_metrics"])
                },
                rare: Some(("vm_devices", 6)),
                ..by_alias
            },
        ),
    ]
}

pub fn measured(kind: Kind, folder: &Path, named: Option<&str>, size: Size, only: &str) -> Value {
    let runs = ways().into_iter().filter(|(name, _)| name.contains(only)).map(|(name, way)| {
        let own = folder.join("variant");
        let _ = fs::remove_dir_all(&own);
        let database = Database::start(kind, &own, named);
        let figures = filled(&database, size, &way);
        database.end();
        let _ = fs::remove_dir_all(&own);
        eprintln!(
            "{name}: {} values, {} series, {} bytes on disk, {} s of CPU",
            figures["values"],
            figures["series"],
            figures["disk_bytes"],
            figures["cpu_s_until_compacted"]
        );
        json!({ "variant": name, "figures": figures })
    });
    json!({ "variants": runs.collect::<Vec<_>>() })
}

//! Tests of which guests and devices pass.

use std::path::Path as File;
use std::time::Duration;

use super::super::{Settings, parse};
use super::*;
use crate::deadline::cpu_time;
use crate::devices::DiskKind;
use crate::sample::words;

const WEB: Uuid = Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
const DB: Uuid = Uuid::from_u128(0x06bf_b061_68db_5c7e_ac62_331b_08b5_15a2);

fn read(text: &str) -> Settings {
    parse(text, File::new("c.toml")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn domains(text: &str) -> DomainFilter {
    read(&format!("[domains]\n{text}")).domains
}

#[test]
fn a_name_passes_that_is_included_and_not_excluded() {
    let takes = |text: &str, name: &str| domains(text).takes(name, &WEB);
    assert!(takes("", "any, name"));
    assert!(takes("include = ['web*']", "web-1"));
    assert!(!takes("include = ['web*']", "db-1"));
    assert!(takes("exclude = ['*-test']", "web"));
    assert!(!takes("exclude = ['*-test']", "web-test"));
    let both = "include = ['web*', '/^db-?[0-9]$/']\nexclude = ['*-test', 'db-0', '/scratch/']";
    let names = ["web-1", "db-1", "db7", "db-0", "db-77", "web-test", "app", "web-scratch-2"];
    let taken = names.map(|name| takes(both, name));
    assert_eq!(taken, [true, true, true, false, false, false, false, false]);
}

#[test]
fn a_uuid_passes_in_every_notation_and_by_pattern() {
    let taken = |list: &str| {
        let filter = domains(&format!("include_uuids = [{list}]"));
        [WEB, DB].map(|uuid| filter.takes("any", &uuid))
    };
    assert_eq!(taken("'550e8400-e29b-41d4-a716-446655440000'"), [true, false]);
    assert_eq!(taken("'550E8400-E29B-41D4-A716-446655440000'"), [true, false]);
    assert_eq!(taken("'550e8400e29b41d4a716446655440000'"), [true, false]);
    assert_eq!(taken("'550E8400-*', '06bfb061-68db-5c7e-ac62-331b08b515a2'"), [true, true]);
    assert_eq!(taken("'/^06BFB061-/'"), [false, true]);
    let filter = domains("exclude_uuids = ['0*']");
    assert_eq!([WEB, DB].map(|uuid| filter.takes("any", &uuid)), [true, false]);
    // Both the name and the UUID must pass.
    let filter = domains("include = ['web']\ninclude_uuids = ['550e8400-*']");
    let both = [("web", WEB), ("web", DB), ("db", WEB)];
    assert_eq!(both.map(|(name, uuid)| filter.takes(name, &uuid)), [true, false, false]);
}

/// The least CPU time of this thread that a few hundred guests took.
fn time_of(filter: &DomainFilter) -> Duration {
    let names: Vec<String> = (0..200).map(|it| format!("web-{it:05}")).collect();
    let once = |_| {
        let before = cpu_time();
        let taken =
            names.iter().zip(0..).filter(|(name, it)| filter.takes(name, &Uuid::from_u128(*it)));
        assert_eq!(taken.count(), 199);
        cpu_time() - before
    };
    (0..50).map(once).min().unwrap()
}

#[test]
fn names_and_uuids_cost_the_same_however_many_they_are() {
    let filter = |names: u128, uuids: u128| {
        let names: String = (0..names).map(|it| format!("'db-{it:05}', ")).collect();
        let uuids: String =
            (0..uuids).map(|it| format!("'{}', ", Uuid::from_u128(1_000 + it))).collect();
        domains(&format!("exclude = [{names}'web-00007']\nexclude_uuids = [{uuids}'{WEB}']"))
    };
    let few = time_of(&filter(1, 1));
    for (names, uuids) in [(500, 100), (20_000, 2_000)] {
        let many = time_of(&filter(names, uuids));
        // Compared one after another, 500 would take a hundred times as long.
        assert!(many < few * 20, "{names} names, {uuids} UUIDs: {many:?}, one of each: {few:?}");
    }
}

#[test]
fn the_states_are_called_as_vm_metrics_calls_them() {
    for (word, state) in STATES {
        assert_eq!(words::state(state.unwrap_or(99)), word);
        let filter = domains(&format!("include_states = ['{word}']\ninactive = true"));
        assert!(filter.takes_state(state.or(Some(99))), "{word}");
        assert!(!filter.takes_state(Some(if state == Some(1) { 3 } else { 1 })), "{word}");
    }
    assert!(!domains("").has_states() && domains("exclude_states = ['paused']").has_states());
    let filter = domains("exclude_states = ['paused', 'unknown']");
    let states = [Some(1), Some(3), Some(8), None];
    assert_eq!(states.map(|state| filter.takes_state(state)), [true, false, false, false]);
}

#[test]
fn metadata_passes_by_its_values_and_none_of_them_fits_nothing() {
    let metadata = |filter: &DomainFilter, inside: &str| {
        let paths: Vec<Path> = filter.paths().cloned().collect();
        let xml = format!("<domain><metadata>{inside}</metadata></domain>");
        filter.takes_metadata(&Metadata::read(&xml, &paths).unwrap())
    };
    let flavor = |name: &str| format!("<n:flavor name='{name}'/><n:user>a=b</n:user>");
    let include = domains("include_metadata = ['//n:flavor/@name=m1.*', '//n:flavor/@name=/^c/']");
    assert!(metadata(&include, &flavor("m1.small")) && metadata(&include, &flavor("c2")));
    assert!(!metadata(&include, &flavor("r1")) && !metadata(&include, ""));
    let exclude = domains("exclude_metadata = ['//n:flavor/@name=m1.*', '//n:user=x=y']");
    assert!(!metadata(&exclude, &flavor("m1.small")) && metadata(&exclude, &flavor("r1")));
    assert!(metadata(&exclude, ""));
    // What stands behind the first = is the pattern.
    let equals = domains("include_metadata = ['//n:user=a=?']");
    assert!(metadata(&equals, &flavor("x")));
    assert!(!domains("").has_metadata() && equals.has_metadata());
}

#[test]
fn each_path_is_looked_for_once() {
    let settings = read(
        "[domains]\ninclude_metadata = ['//a=x', '//a=y', 'b/@c=z']\n\
         [metadata_tags]\nd = '//a'\ne = '//f'",
    );
    let paths = settings.selection().paths;
    assert_eq!(paths.iter().map(Path::as_str).collect::<Vec<_>>(), ["//a", "b/@c", "//f"]);
    assert_eq!(read("[domains]\ninclude = ['x']").selection().paths, []);
}

fn nic() -> NicDevice {
    NicDevice {
        target: Some("vnet0".to_owned()),
        kind: "bridge".to_owned(),
        mac: Some("52:54:00:c0:38:67".to_owned()),
        model: Some("virtio".to_owned()),
        alias: Some("net0".to_owned()),
        network: Some("br-storage".to_owned()),
    }
}

fn disk() -> DiskDevice {
    DiskDevice {
        source_type: None,
        target: "vda".to_owned(),
        kind: DiskKind::Lun,
        bus: Some("scsi".to_owned()),
        model: None,
        alias: Some("scsi0-0-0-0".to_owned()),
        path: Some("/dev/vg/web=1".to_owned()),
        serial: Some("S1".to_owned()),
    }
}

#[test]
fn a_device_passes_by_its_name_and_by_what_the_xml_says_of_it() {
    let nic_cases = [
        ("vnet*", true),
        ("device=/^vnet/", true),
        ("type=bridge", true),
        ("mac=52:54:00:C0:*", true),
        ("model=virtio", true),
        ("alias=net?", true),
        ("network=br-*", true),
        ("eth*", false),
        ("type=user", false),
        // A pattern over the name, since no word stands before the =.
        ("/vnet|a=b/", true),
    ];
    for (pattern, fits) in nic_cases {
        let filter = |list: &str| read(&format!("[devices]\n{list}_nics = ['{pattern}']")).devices;
        assert_eq!(filter("include").takes_nic("vnet0", Some(&nic())), fits, "{pattern}");
        assert_eq!(filter("exclude").takes_nic("vnet0", Some(&nic())), !fits, "{pattern}");
        assert!(filter("exclude").takes_disk("vnet0", Some(&disk())), "{pattern}");
        assert!(!filter("exclude").is_empty());
    }
    let disk_cases = [
        ("vd[ab]", true),
        ("type=lun", true),
        ("type=disk", false),
        ("bus=scsi", true),
        ("model=*", false),
        ("serial=S1", true),
        ("alias=scsi0-*", true),
        ("path=/dev/vg/*=1", true),
        ("path=/^.dev/", true),
        ("*", true),
    ];
    for (pattern, fits) in disk_cases {
        let filter = |list: &str| read(&format!("[devices]\n{list}_disks = ['{pattern}']")).devices;
        assert_eq!(filter("include").takes_disk("vda", Some(&disk())), fits, "{pattern}");
        assert_eq!(filter("exclude").takes_disk("vda", Some(&disk())), !fits, "{pattern}");
        assert!(filter("exclude").takes_nic("vda", Some(&nic())), "{pattern}");
    }
    // Where the XML could not be read, only the name is known.
    let unknown = read("[devices]\ninclude_nics = ['mac=*', 'eth0']").devices;
    assert!(!unknown.takes_nic("vnet0", None) && unknown.takes_nic("eth0", None));
    assert!(DeviceFilter::default().is_empty());
}

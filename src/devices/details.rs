//! What else a domain's XML says that only `extra` prints: what the guest is, what its virtual CPUs are
//! pinned to, its NUMA cells, and the limits that are set for its devices. Which path is which field is in
//! the rows of `schema`.

use quick_xml::events::BytesStart;

use super::walk::{DEVICES_MAX, OpenPath, Stop, Visitor, XmlError, attribute, walk};
pub use crate::schema::{Cell, Details, NodesOfCell, Pin};
use crate::schema::{DiskLimits, NicLimits, Section};

/// Reads the details of a domain alone. `persistent` and `autostart` are not in its XML.
///
/// # Errors
/// As [`super::xml::read`].
pub fn details(xml: &str) -> Result<Details, XmlError> {
    let mut reader = DetailsReader::default();
    walk(xml, &mut reader)?;
    Ok(reader.details)
}

/// Where the limits of a group of disks are.
const THROTTLE_GROUP: &str = "throttlegroups/throttlegroup/";

/// What has been found of the details so far.
#[derive(Default)]
pub(super) struct DetailsReader {
    /// The limits of the device whose element is open.
    nic: NicLimits,
    disk: DiskLimits,
    pub(super) details: Details,
}

/// Fills in the attributes of an element that are in the rows; whether a row wants its text. The paths of the
/// rows begin where this one does.
fn read_element(
    sections: &[Section],
    path: &str,
    tag: &BytesStart<'_>,
    mut fill: impl FnMut(&[u8], &str) -> bool,
) -> Result<bool, Stop> {
    let mut wants_text = false;
    for row in sections.iter().flat_map(|section| section.rows) {
        let Some(rest) = row.statistic.strip_prefix(path.as_bytes()) else { continue };
        wants_text |= rest.is_empty();
        let name = if path.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") };
        let Some(name) = name.and_then(|name| name.strip_prefix(b"@")) else { continue };
        if let Some(value) = attribute(tag, str::from_utf8(name).unwrap_or_default())? {
            fill(row.statistic, &value);
        }
    }
    Ok(wants_text)
}

impl Visitor for DetailsReader {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        let Some(path) = path.as_str().strip_prefix("/domain/") else { return Ok(false) };
        let Self { nic, disk, details } = self;
        let number = |name| attribute(tag, name).map(|value| value?.parse().ok());
        match path {
            "cputune/vcpupin" if details.pins.len() < DEVICES_MAX => {
                if let (Some(vcpu), Some(cpuset)) = (number("vcpu")?, attribute(tag, "cpuset")?) {
                    details.pins.push(Pin { vcpu, cpuset: cpuset.into() });
                }
            }
            "cpu/numa/cell" if details.cells.len() < DEVICES_MAX => {
                let place = u32::try_from(details.cells.len()).unwrap_or(u32::MAX);
                let mut cell = Cell { id: number("id")?.unwrap_or(place), ..Cell::default() };
                read_element(Cell::SECTIONS, "", tag, |field, value| cell.fill(field, value))?;
                if attribute(tag, "unit")?.is_some_and(|unit| unit != "KiB") {
                    cell.memory_kib = None;
                }
                details.cells.push(cell);
            }
            "numatune/memnode" if details.nodes_of_cells.len() < DEVICES_MAX => {
                if let Some(cell) = number("cellid")? {
                    let mut nodes = NodesOfCell { cell, ..NodesOfCell::default() };
                    read_element(NodesOfCell::SECTIONS, "", tag, |it, value| {
                        nodes.fill(it, value)
                    })?;
                    details.nodes_of_cells.push(nodes);
                }
            }
            "throttlegroups/throttlegroup" => *disk = DiskLimits::default(),
            "devices/interface" => *nic = NicLimits::default(),
            "devices/disk" => *disk = DiskLimits::default(),
            "devices/interface/target" => nic.target = attribute(tag, "dev")?.unwrap_or_default(),
            "devices/disk/target" => disk.target = attribute(tag, "dev")?.unwrap_or_default(),
            "devices/disk/throttlefilters/throttlefilter" if disk.filters.len() < DEVICES_MAX => {
                disk.filters.extend(attribute(tag, "group")?);
            }
            _ => {}
        }
        if let Some(limit) = path.strip_prefix(THROTTLE_GROUP) {
            return Ok(!limit.contains('/'));
        }
        // libvirt always writes KiB; anything else would be off by a factor.
        if path.starts_with("memtune/") && attribute(tag, "unit")?.is_some_and(|it| it != "KiB") {
            return Ok(false);
        }
        if let Some(path) = path.strip_prefix("devices/interface/") {
            return read_element(NicLimits::SECTIONS, path, tag, |it, value| nic.fill(it, value));
        }
        if let Some(path) = path.strip_prefix("devices/disk/") {
            return read_element(DiskLimits::SECTIONS, path, tag, |it, value| disk.fill(it, value));
        }
        read_element(Details::SECTIONS, path, tag, |it, value| details.fill(it, value))
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        let Some(path) = path.as_str().strip_prefix("/domain/") else { return };
        let text = text.map_or("", str::trim);
        let Self { nic, disk, details } = self;
        if path == "devices/interface" {
            let nothing = NicLimits { target: nic.target.clone(), ..NicLimits::default() };
            keep_limits(&mut details.nic_limits, std::mem::take(nic), nothing);
        } else if path == "devices/disk" {
            let nothing = DiskLimits { target: disk.target.clone(), ..DiskLimits::default() };
            keep_limits(&mut details.disk_limits, std::mem::take(disk), nothing);
        } else if path == "throttlegroups/throttlegroup" {
            let nothing = DiskLimits { target: disk.target.clone(), ..DiskLimits::default() };
            keep_limits(&mut details.throttle_groups, std::mem::take(disk), nothing);
        } else if let Some(limit) = path.strip_prefix(THROTTLE_GROUP) {
            // A group has the limits that a disk has, by the same names.
            if limit == "group_name" {
                text.clone_into(&mut disk.target);
            } else {
                disk.fill(format!("iotune/{limit}").as_bytes(), text);
            }
        } else if let Some(path) = path.strip_prefix("devices/disk/") {
            disk.fill(path.as_bytes(), text);
        } else if !text.is_empty() {
            details.fill(path.as_bytes(), text);
        }
    }
}

/// Keeps the limits of a device that has a name and any limit.
fn keep_limits<T: PartialEq + Default>(all: &mut Vec<T>, limits: T, nothing: T) {
    if limits != nothing && nothing != T::default() && all.len() < DEVICES_MAX {
        all.push(limits);
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::{DEPTH_MAX, TEXT_MAX, VALUE_MAX};
    use super::*;

    #[test]
    fn what_the_xml_says_is_read() {
        let read = details(
            "<domain type='kvm'><title>A &amp; B &#x41;</title>\
             <metadata><x:title xmlns:x='u'>no</x:title><title>no</title></metadata>\
             <vcpu placement='static' cpuset='0-3'>4</vcpu>\
             <cputune><shares>2048</shares><quota>-1</quota><global_period>100000</global_period>\
             <vcpupin vcpu='1' cpuset='2'/><vcpupin vcpu='x' cpuset='2'/></cputune>\
             <memtune><hard_limit unit='KiB'>9</hard_limit><soft_limit unit='MiB'>8</soft_limit></memtune>\
             <blkiotune><weight>500</weight><device><weight>1</weight></device></blkiotune>\
             <throttlegroups><throttlegroup><total_bytes_sec>7</total_bytes_sec>\
             <group_name>slow</group_name></throttlegroup><throttlegroup/></throttlegroups>\
             <description>two\nlines</description>\
             <numatune><memory mode='strict' nodeset='0'/>\
             <memnode cellid='1' mode='preferred' nodeset='2'/></numatune>\
             <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>\
             <cpu><numa><cell id='0' cpus='0-1' memory='1024' unit='KiB'/>\
             <cell id='1' memory='1' unit='GiB'/></numa></cpu>\
             <devices>\
             <interface type='bridge'><target dev='vnet0'/><bandwidth>\
             <inbound average='1000' peak='5000' floor='200' burst='1024'/>\
             <outbound average='128'/></bandwidth></interface>\
             <interface type='user'><target dev='vnet1'/></interface>\
             <disk><target dev='vda'/><iotune><total_bytes_sec>1000000</total_bytes_sec>\
             <read_iops_sec>x</read_iops_sec><size_iops_sec>3</size_iops_sec>\
             <write_iops_sec_max>6</write_iops_sec_max>\
             <write_iops_sec_max_length>5</write_iops_sec_max_length>\
             <group_name>two</group_name></iotune></disk>\
             <disk><target dev='vdb'/></disk>\
             <disk><target dev='vdc'/><throttlefilters><throttlefilter group='slow'/></throttlefilters></disk></devices></domain>",
        )
        .unwrap();
        let expected = Details {
            title: "A & B A".into(),
            os_type: "hvm".into(),
            machine: "pc-q35-7.2".into(),
            arch: "x86_64".into(),
            cpuset: "0-3".into(),
            pins: vec![Pin { vcpu: 1, cpuset: "2".into() }],
            numa_mode: "strict".into(),
            numa_nodeset: "0".into(),
            cells: vec![
                Cell { id: 0, memory_kib: Some(1024), cpus: "0-1".into() },
                Cell { id: 1, memory_kib: None, cpus: "".into() },
            ],
            nic_limits: vec![NicLimits {
                target: "vnet0".to_owned(),
                inbound_average_kb_s: Some(1000),
                inbound_peak_kb_s: Some(5000),
                inbound_floor_kb_s: Some(200),
                inbound_burst_kib: Some(1024),
                outbound_average_kb_s: Some(128),
                ..NicLimits::default()
            }],
            disk_limits: vec![
                DiskLimits {
                    target: "vda".to_owned(),
                    total_bytes_sec: Some(1_000_000),
                    size_iops_sec: Some(3),
                    write_iops_sec_max: Some(6),
                    write_iops_sec_max_length_s: Some(5),
                    group: "two".into(),
                    ..DiskLimits::default()
                },
                DiskLimits {
                    target: "vdc".to_owned(),
                    filters: vec!["slow".to_owned()],
                    ..DiskLimits::default()
                },
            ],
            throttle_groups: vec![DiskLimits {
                target: "slow".to_owned(),
                total_bytes_sec: Some(7),
                ..DiskLimits::default()
            }],
            cpu_shares: Some(2048),
            global_period_us: Some(100_000),
            memory_hard_kib: Some(9),
            blkio_weight: Some(500),
            description: "two\nlines".into(),
            nodes_of_cells: vec![NodesOfCell {
                cell: 1,
                nodes: "2".into(),
                mode: "preferred".into(),
            }],
            ..Details::default()
        };
        assert_eq!(read, expected);
        assert_eq!([0, 1].map(|vcpu| read.cpuset_of(vcpu)), ["0-3", "2"]);
    }

    #[test]
    fn bad_texts_are_refused_as_the_devices_are() {
        assert_eq!(details("<domain>"), Err(XmlError::Unfinished));
        assert!(matches!(details("<domain></x>"), Err(XmlError::Malformed { .. })));
        let deep = format!("<domain>{}", "<a>".repeat(DEPTH_MAX));
        assert_eq!(details(&deep), Err(XmlError::TooDeep));
        assert_eq!(details(&" ".repeat(TEXT_MAX + 1)), Err(XmlError::TooLong(TEXT_MAX + 1)));
    }

    #[test]
    fn a_text_that_is_too_long_or_has_a_foreign_entity_is_none() {
        let titled = |title: &str| details(&format!("<domain><title>{title}</title></domain>"));
        assert_eq!(titled(&"x".repeat(VALUE_MAX)).unwrap().title, "x".repeat(VALUE_MAX));
        assert_eq!(titled(&"x".repeat(VALUE_MAX + 1)).unwrap().title, "");
        assert_eq!(titled("a&foreign;b").unwrap().title, "");
    }
}

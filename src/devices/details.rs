//! What else a domain's XML says that only `extra` prints: what the guest is, what its virtual CPUs are
//! pinned to, its NUMA cells, and the limits that are set for its devices.
//!
//! A pass of its own over the text, made only where that is wanted, with the bounds of `walk`.

use quick_xml::events::BytesStart;
use serde::{Deserialize, Serialize};

use super::walk::{DEVICES_MAX, Stop, Visitor, XmlError, attribute, keep, walk};

/// What only `extra` prints. What the XML leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Details {
    /// `<title>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `<os><type>`, such as hvm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    /// `<os><type machine>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// `<os><type arch>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Whether libvirt was asked for what it tells beside the XML: `persistent` and `autostart`.
    pub asked_beside: bool,
    /// Whether it is still there when it stops; libvirt tells it beside the XML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<bool>,
    /// Whether it is started with its host; libvirt tells it beside the XML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// `<vcpu cpuset>`: the host CPUs of each virtual CPU that has no pin of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// `<cputune><vcpupin vcpu cpuset>`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// `<numatune><memory mode>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_mode: Option<String>,
    /// `<numatune><memory nodeset>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_nodeset: Option<String>,
    /// `<cpu><numa><cell>`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<Cell>,
    /// NICs whose `<bandwidth>` sets something, in the XML's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nic_limits: Vec<NicLimits>,
    /// Disks whose `<iotune>` sets something, in the XML's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disk_limits: Vec<DiskLimits>,
}

impl Details {
    /// The host CPUs that a virtual CPU may run on, where that is set.
    pub fn cpuset_of(&self, vcpu: u32) -> Option<&str> {
        let pin = self.pins.iter().find(|pin| pin.vcpu == vcpu).map(|pin| &pin.cpuset);
        pin.or(self.cpuset.as_ref()).map(String::as_str)
    }
}

/// The host CPUs that one virtual CPU is pinned to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its number.
    pub vcpu: u32,
    /// The host CPUs, such as `0-3`.
    pub cpuset: String,
}

/// A NUMA cell that the guest sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Its number.
    pub id: u32,
    /// Its memory.
    pub memory_kib: Option<u64>,
    /// Its virtual CPUs, such as `0-1`.
    pub cpus: Option<String>,
}

/// The quality of service that is set for a NIC; kB are 1000 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the names are the XML's, with their unit
pub struct NicLimits {
    /// Its name on the host.
    pub target: String,
    pub inbound_average_kb_s: Option<u64>,
    pub inbound_peak_kb_s: Option<u64>,
    pub inbound_floor_kb_s: Option<u64>,
    pub inbound_burst_kib: Option<u64>,
    pub outbound_average_kb_s: Option<u64>,
    pub outbound_peak_kb_s: Option<u64>,
    pub outbound_burst_kib: Option<u64>,
}

/// The quality of service that is set for a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the names are the XML's
pub struct DiskLimits {
    /// Its target, such as vda.
    pub target: String,
    pub total_bytes_sec: Option<u64>,
    pub read_bytes_sec: Option<u64>,
    pub write_bytes_sec: Option<u64>,
    pub total_iops_sec: Option<u64>,
    pub read_iops_sec: Option<u64>,
    pub write_iops_sec: Option<u64>,
}

/// Reads the details of a domain. `persistent` and `autostart` are not in its XML.
///
/// # Errors
/// As [`super::xml::inventory`], which reads the devices from the same text.
pub fn details(xml: &str) -> Result<Details, XmlError> {
    let mut reading = Reading::default();
    walk(xml, &mut reading)?;
    Ok(reading.details)
}

/// How deep an element may stand that matters.
const STEPS: usize = 5;

#[derive(Default)]
struct Reading {
    /// The names of the open elements, at most [`STEPS`] of them.
    path: Vec<String>,
    /// The text of the element that is open; `None` in it once it cannot be kept.
    text: Option<String>,
    /// The device whose element is open: its target and its limits.
    nic: NicLimits,
    disk: DiskLimits,
    details: Details,
}

impl Visitor for Reading {
    fn open(&mut self, depth: usize, tag: &BytesStart<'_>) -> Result<(), Stop> {
        self.text = Some(String::new());
        if depth > STEPS {
            return Ok(());
        }
        self.path.push(tag.name().0.to_owned());
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let details = &mut self.details;
        let text = |name| attribute(tag, name);
        let number = |name| attribute(tag, name).map(|value| value?.parse().ok());
        match path.as_slice() {
            ["domain", "vcpu"] => details.cpuset = text("cpuset")?,
            ["domain", "os", "type"] => {
                details.arch = text("arch")?;
                details.machine = text("machine")?;
            }
            ["domain", "cputune", "vcpupin"] if details.pins.len() < DEVICES_MAX => {
                let vcpu = text("vcpu")?.and_then(|vcpu| vcpu.parse().ok());
                if let (Some(vcpu), Some(cpuset)) = (vcpu, text("cpuset")?) {
                    details.pins.push(Pin { vcpu, cpuset });
                }
            }
            ["domain", "numatune", "memory"] => {
                details.numa_mode = text("mode")?;
                details.numa_nodeset = text("nodeset")?;
            }
            ["domain", "cpu", "numa", "cell"] if details.cells.len() < DEVICES_MAX => {
                let id = text("id")?.and_then(|id| id.parse().ok());
                let id = id.unwrap_or(u32::try_from(details.cells.len()).unwrap_or(u32::MAX));
                let is_kib = text("unit")?.is_none_or(|unit| unit == "KiB");
                let memory_kib = number("memory")?.filter(|_| is_kib);
                details.cells.push(Cell { id, memory_kib, cpus: text("cpus")? });
            }
            ["domain", "devices", "interface"] => self.nic = NicLimits::default(),
            ["domain", "devices", "interface", "target"] => {
                self.nic.target = text("dev")?.unwrap_or_default();
            }
            ["domain", "devices", "interface", "bandwidth", "inbound"] => {
                self.nic.inbound_average_kb_s = number("average")?;
                self.nic.inbound_peak_kb_s = number("peak")?;
                self.nic.inbound_floor_kb_s = number("floor")?;
                self.nic.inbound_burst_kib = number("burst")?;
            }
            ["domain", "devices", "interface", "bandwidth", "outbound"] => {
                self.nic.outbound_average_kb_s = number("average")?;
                self.nic.outbound_peak_kb_s = number("peak")?;
                self.nic.outbound_burst_kib = number("burst")?;
            }
            ["domain", "devices", "disk"] => self.disk = DiskLimits::default(),
            ["domain", "devices", "disk", "target"] => {
                self.disk.target = text("dev")?.unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, depth: usize) {
        if depth <= STEPS {
            self.take();
            self.path.pop();
        }
        self.text = None;
    }

    fn text(&mut self, _depth: usize, text: &str) {
        keep(&mut self.text, text);
    }

    fn unreadable(&mut self, _depth: usize) {
        self.text = None;
    }
}

impl Reading {
    /// Takes what the element that ends has said.
    fn take(&mut self) {
        let text = self.text.take().map(|text| text.trim().to_owned()).filter(|it| !it.is_empty());
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let details = &mut self.details;
        match path.as_slice() {
            ["domain", "title"] => details.title = text,
            ["domain", "os", "type"] => details.os_type = text,
            ["domain", "devices", "interface"] => {
                let limits = std::mem::take(&mut self.nic);
                let nothing = NicLimits { target: limits.target.clone(), ..NicLimits::default() };
                if limits != nothing && !limits.target.is_empty() {
                    details.nic_limits.push(limits);
                    details.nic_limits.truncate(DEVICES_MAX);
                }
            }
            ["domain", "devices", "disk", "iotune", limit] => {
                let number = text.and_then(|text| text.parse().ok());
                match *limit {
                    "total_bytes_sec" => self.disk.total_bytes_sec = number,
                    "read_bytes_sec" => self.disk.read_bytes_sec = number,
                    "write_bytes_sec" => self.disk.write_bytes_sec = number,
                    "total_iops_sec" => self.disk.total_iops_sec = number,
                    "read_iops_sec" => self.disk.read_iops_sec = number,
                    "write_iops_sec" => self.disk.write_iops_sec = number,
                    _ => {}
                }
            }
            ["domain", "devices", "disk"] => {
                let limits = std::mem::take(&mut self.disk);
                let nothing = DiskLimits { target: limits.target.clone(), ..DiskLimits::default() };
                if limits != nothing && !limits.target.is_empty() {
                    details.disk_limits.push(limits);
                    details.disk_limits.truncate(DEVICES_MAX);
                }
            }
            _ => {}
        }
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
             <cputune><vcpupin vcpu='1' cpuset='2'/><vcpupin vcpu='x' cpuset='2'/></cputune>\
             <numatune><memory mode='strict' nodeset='0'/></numatune>\
             <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>\
             <cpu><numa><cell id='0' cpus='0-1' memory='1024' unit='KiB'/>\
             <cell id='1' memory='1' unit='GiB'/></numa></cpu>\
             <devices>\
             <interface type='bridge'><target dev='vnet0'/><bandwidth>\
             <inbound average='1000' peak='5000' floor='200' burst='1024'/>\
             <outbound average='128'/></bandwidth></interface>\
             <interface type='user'><target dev='vnet1'/></interface>\
             <disk><target dev='vda'/><iotune><total_bytes_sec>1000000</total_bytes_sec>\
             <read_iops_sec>x</read_iops_sec><size_iops_sec>3</size_iops_sec></iotune></disk>\
             <disk><target dev='vdb'/></disk></devices></domain>",
        )
        .unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = Details {
            title: text("A & B A"),
            os_type: text("hvm"),
            machine: text("pc-q35-7.2"),
            arch: text("x86_64"),
            cpuset: text("0-3"),
            pins: vec![Pin { vcpu: 1, cpuset: "2".to_owned() }],
            numa_mode: text("strict"),
            numa_nodeset: text("0"),
            cells: vec![
                Cell { id: 0, memory_kib: Some(1024), cpus: text("0-1") },
                Cell { id: 1, memory_kib: None, cpus: None },
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
            disk_limits: vec![DiskLimits {
                target: "vda".to_owned(),
                total_bytes_sec: Some(1_000_000),
                ..DiskLimits::default()
            }],
            ..Details::default()
        };
        assert_eq!(read, expected);
        assert_eq!([0, 1].map(|vcpu| read.cpuset_of(vcpu)), [Some("0-3"), Some("2")]);
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
        assert_eq!(titled(&"x".repeat(VALUE_MAX)).unwrap().title, Some("x".repeat(VALUE_MAX)));
        assert_eq!(titled(&"x".repeat(VALUE_MAX + 1)).unwrap().title, None);
        assert_eq!(titled("a&foreign;b").unwrap().title, None);
    }
}

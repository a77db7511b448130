//! Any text is a domain's XML or none. What comes back is within the documented bounds and, where
//! another XML parser accepts the text too, what a plain walk over that parser's tree finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roxmltree::{Document, Node};
use telegraf_virt::devices::walk::{DEVICES_MAX, TEXT_MAX, VALUE_MAX, XmlError};
use telegraf_virt::devices::xml::inventory;
use telegraf_virt::devices::{DiskDevice, DiskKind, NicDevice};
use telegraf_virt_fuzz::xml::{attribute, comparable, elements, name};

fuzz_target!(|text: &str| {
    let found = inventory(text);
    match &found {
        Ok((nics, disks)) => assert_bounds(nics, disks),
        Err(XmlError::TooLong(bytes)) => assert!(*bytes > TEXT_MAX),
        Err(_) => {}
    }
    // Which bound is met first depends on the way of walking.
    if matches!(found, Err(XmlError::TooDeep | XmlError::TooManyDevices | XmlError::TooLong(_))) {
        return;
    }
    if let Some(document) = comparable(text) {
        // What a source is made of several attributes for is held by tests of the crate.
        let found = found.map(|(mut nics, mut disks)| {
            nics.iter_mut().for_each(|nic| nic.network = None);
            disks.iter_mut().for_each(|disk| disk.path = None);
            (nics, disks)
        });
        match devices(&document) {
            Some(expected) => assert_eq!(found, Ok(expected)),
            None => assert_eq!(found, Err(XmlError::NotADomain)),
        }
    }
});

fn assert_bounds(nics: &[NicDevice], disks: &[DiskDevice]) {
    assert!(nics.len() + disks.len() <= DEVICES_MAX);
    let kept = |value: &Option<String>| {
        value.as_ref().is_none_or(|value| !value.is_empty() && value.len() <= VALUE_MAX)
    };
    for nic in nics {
        assert!(nic.kind.len() <= VALUE_MAX);
        let values = [&nic.target, &nic.mac, &nic.model, &nic.alias, &nic.network];
        assert!(values.into_iter().all(kept), "{nic:?}");
    }
    for disk in disks {
        assert!(!disk.target.is_empty() && disk.target.len() <= VALUE_MAX);
        let values =
            [&disk.bus, &disk.model, &disk.alias, &disk.path, &disk.serial, &disk.source_type];
        assert!(values.into_iter().all(kept), "{disk:?}");
    }
}

fn devices(document: &Document<'_>) -> Option<(Vec<NicDevice>, Vec<DiskDevice>)> {
    let root = document.root_element();
    if name(root) != "domain" {
        return None;
    }
    let (mut nics, mut disks) = (Vec::new(), Vec::new());
    let lists = elements(root).filter(|list| name(*list) == "devices");
    for device in lists.flat_map(elements) {
        match name(device) {
            "interface" => nics.push(nic(device)),
            "disk" => disks.extend(disk(device)),
            _ => {}
        }
    }
    Some((nics, disks))
}

fn nic(device: Node<'_, '_>) -> NicDevice {
    NicDevice {
        target: first(device, "target", &["dev"]),
        kind: attribute(device, "type").unwrap_or_default(),
        mac: first(device, "mac", &["address"]),
        model: first(device, "model", &["type"]),
        alias: first(device, "alias", &["name"]),
        network: None,
    }
}

fn disk(device: Node<'_, '_>) -> Option<DiskDevice> {
    let kind = match attribute(device, "device").as_deref() {
        None | Some("disk") => DiskKind::Disk,
        Some("lun") => DiskKind::Lun,
        Some("cdrom") => DiskKind::Cdrom,
        Some("floppy") => DiskKind::Floppy,
        Some(_) => return None,
    };
    let serials = elements(device).filter(|child| name(*child) == "serial");
    let serial = serials
        .map(|serial| serial.children().filter(Node::is_text).filter_map(|text| text.text()))
        .map(|texts| texts.collect::<String>())
        .find(|serial| !serial.is_empty() && serial.len() <= VALUE_MAX);
    Some(DiskDevice {
        target: first(device, "target", &["dev"])?,
        kind,
        bus: first(device, "target", &["bus"]),
        model: attribute(device, "model"),
        alias: first(device, "alias", &["name"]),
        path: None,
        serial,
        source_type: attribute(device, "type"),
    })
}

/// The first of the children of this name that has one of these attributes.
fn first(device: Node<'_, '_>, child: &str, keys: &[&str]) -> Option<String> {
    let children = elements(device).filter(|element| name(*element) == child);
    children.flat_map(|child| keys.iter().filter_map(move |key| attribute(child, key))).next()
}

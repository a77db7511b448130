//! A domain's XML: libvirt's own elements and words stay, every other value is replaced, and in the
//! metadata the elements' names too unless they are of a project that many use. Comments and processing
//! instructions go, since they say nothing to libvirt.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::words::{Pseudonyms, is_number, is_word};
use crate::devices::walk::{DEPTH_MAX, TEXT_MAX};

/// Attributes whose values are words of libvirt's enums, anywhere.
const ENUMS: &[&str] = &[
    "action",
    "arch",
    "ats",
    "autoport",
    "bus",
    "cache",
    "cacheID",
    "cellid",
    "check",
    "clock",
    "copy_on_read",
    "cpus",
    "cpuset",
    "device",
    "discard",
    "detect_zeroes",
    "driftfix",
    "dumpCore",
    "enabled",
    "error_policy",
    "event_idx",
    "fallback",
    "format",
    "hotpluggable",
    "heads",
    "io",
    "ioeventfd",
    "iommu",
    "keymap",
    "machine",
    "managed",
    "match",
    "memAccess",
    "memnode",
    "migratable",
    "mode",
    "model",
    "multifunction",
    "nodeset",
    "offset",
    "packed",
    "placement",
    "policy",
    "present",
    "primary",
    "protocol",
    "rawio",
    "readonly",
    "relabel",
    "removable",
    "rerror_policy",
    "secure",
    "sgio",
    "shareable",
    "snapshot",
    "startupPolicy",
    "state",
    "supported",
    "tickpolicy",
    "track",
    "transport",
    "trustGuestRxFilters",
    "txmode",
    "type",
    "unit",
    "vcpus",
    "volatile",
    "wrpolicy",
];
/// Values that stay in one place only: the element, the attribute.
const PLACES: &[(&str, &str)] = &[
    ("address", "bus"),
    ("backend", "model"),
    ("boot", "dev"),
    ("codec", "type"),
    ("driver", "name"),
    ("feature", "name"),
    ("image", "compression"),
    ("link", "state"),
    ("parameter", "type"),
    ("timer", "name"),
];
/// Attributes whose value is somebody's even where it is a number.
const NAMES: &[&str] = &["serial", "wwn", "name", "uuid", "value", "passwd", "address"];
/// Elements whose text is a word of libvirt's.
const TEXTS: &[&str] = &[
    "type",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "on_lockfailure",
    "model",
    "vcpu",
    "access",
    "allocation",
];
/// Elements whose text is somebody's even where it is a number.
const NAME_TEXTS: &[&str] = &[
    "name",
    "uuid",
    "genid",
    "title",
    "description",
    "serial",
    "wwn",
    "vendor",
    "product",
    "label",
    "baselabel",
    "imagelabel",
    "entry",
];
/// Namespaces that say nothing of who uses them.
const NAMESPACES: &[&str] = &[
    "http://libvirt.org/schemas/domain/qemu/1.0",
    "http://openstack.org/xmlns/libvirt/nova/1.0",
    "http://openstack.org/xmlns/libvirt/nova/1.1",
    "http://libosinfo.org/xmlns/libvirt/domain/1.0",
    "http://libguestfs.org/clean-traffic/1.0",
    "http://ovirt.org/vm/1.0",
    "http://ovirt.org/vm/tune/1.0",
];
/// Names of channels that agents everywhere have.
const CHANNELS: [&str; 4] =
    ["org.qemu.", "com.redhat.spice.", "org.spice-space.", "org.libguestfs."];

/// The XML with its values replaced; `None` where it is not well-formed.
pub(super) fn anonymized(text: &str, words: &mut Pseudonyms) -> Option<String> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let mut reader = Reader::from_str(text);
    let mut page = XmlPage {
        text: String::with_capacity(text.len()),
        path: Vec::new(),
        known_prefixes: Vec::new(),
        words,
        value: None,
    };
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let name = page.open(&tag, ">")?;
                page.path.push(name);
                if page.path.len() > DEPTH_MAX {
                    return None;
                }
            }
            Event::Empty(tag) => {
                page.open(&tag, "/>")?;
            }
            Event::End(_) => {
                page.end_value();
                let name = page.path.pop()?;
                page.text.push_str(&format!("</{name}>"));
            }
            Event::Text(text) => page.value.get_or_insert_default().push_str(&text),
            Event::CData(text) => page.value.get_or_insert_default().push_str(&text),
            Event::GeneralRef(reference) => {
                let character = resolved(&reference)?;
                page.value.get_or_insert_default().push(character);
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof if page.path.is_empty() => {
                page.end_value();
                return Some(page.text);
            }
            Event::Eof => return None,
        }
    }
}

fn resolved(reference: &BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    resolve_predefined_entity(reference).and_then(|text| text.chars().next())
}

struct XmlPage<'a> {
    text: String,
    /// The elements that are open, as they are written.
    path: Vec<String>,
    /// Prefixes of namespaces that say nothing of who uses them.
    known_prefixes: Vec<String>,
    words: &'a mut Pseudonyms,
    /// The text that is being read.
    value: Option<String>,
}

impl XmlPage<'_> {
    /// Writes an element's begin; returns its name as it is written.
    fn open(&mut self, tag: &BytesStart<'_>, end: &str) -> Option<String> {
        self.end_value();
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.ok()?;
            let (key, value) = (attribute.key.0, unescape(&attribute.value).ok()?.into_owned());
            if let Some(prefix) = key.strip_prefix("xmlns:")
                && NAMESPACES.contains(&value.as_str())
            {
                self.known_prefixes.push(prefix.to_owned());
            }
            attributes.push((key, value));
        }
        let element = tag.name().0;
        let is_foreign = self.is_foreign(element);
        let name = if is_foreign { self.name(element) } else { element.to_owned() };
        self.text.push('<');
        self.text.push_str(&name);
        for (key, value) in attributes {
            let value = self.attribute(element, key, &value);
            let is_theirs = is_foreign && !self.is_known(element) || key.contains(':');
            let key = if is_theirs { self.name(key) } else { key.to_owned() };
            self.text.push_str(&format!(" {key}='{}'", escape(value.as_str())));
        }
        self.text.push_str(end);
        Some(name)
    }

    /// The name of an element or attribute that is not libvirt's: it stays where its namespace is known
    /// to say nothing of who uses it.
    fn name(&mut self, name: &str) -> String {
        if name == "xmlns" || self.is_known(name) {
            return name.to_owned();
        }
        match name.split_once(':') {
            Some(("xmlns", prefix)) if self.known_prefixes.iter().any(|it| it == prefix) => {
                name.to_owned()
            }
            Some(("xmlns", prefix)) => format!("xmlns:{}", self.words.of(prefix)),
            Some((prefix, local)) => format!("{}:{}", self.words.of(prefix), self.words.of(local)),
            None => self.words.of(name),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        let prefix = name.split_once(':').map(|(prefix, _)| prefix);
        prefix.is_some_and(|prefix| self.known_prefixes.iter().any(|it| it == prefix))
    }

    fn attribute(&mut self, element: &str, key: &str, value: &str) -> String {
        if key == "xmlns" || key.starts_with("xmlns:") {
            return if NAMESPACES.contains(&value) {
                value.to_owned()
            } else {
                format!("http://example.invalid/{}", self.words.of(value))
            };
        }
        if self.is_foreign(element) {
            return self.words.of(value);
        }
        match (element, key) {
            ("target", "dev") => return self.words.device(value),
            ("alias", "name") if !value.starts_with("ua-") && is_word(value) => {
                return value.to_owned();
            }
            ("target", "name")
                if CHANNELS.iter().any(|it| value.starts_with(it)) && is_word(value) =>
            {
                return value.to_owned();
            }
            ("host", "name") => return self.words.host(value),
            _ => {}
        }
        let is_harmless = (is_number(value) && !NAMES.contains(&key))
            || ((ENUMS.contains(&key) || PLACES.contains(&(element, key))) && is_enum(value));
        if is_harmless { value.to_owned() } else { self.words.of(value) }
    }

    fn end_value(&mut self) {
        let Some(value) = self.value.take() else { return };
        if value.trim().is_empty() {
            self.text.push_str(&value);
            return;
        }
        let element = self.path.last().map_or("", String::as_str);
        let is_harmless = !self.is_foreign(element)
            && ((is_number(&value) && !NAME_TEXTS.contains(&element))
                || (TEXTS.contains(&element) && is_word(&value)));
        let value = if is_harmless { value } else { self.words.of(&value) };
        self.text.push_str(&escape(value.as_str()));
    }

    /// Whether the element is not libvirt's: in the metadata, which are the users' own, or of another
    /// namespace, such as QEMU's arguments.
    fn is_foreign(&self, element: &str) -> bool {
        element.contains(':') || self.path.iter().any(|it| it == "metadata" || it.contains(':'))
    }
}

/// A word, or a set of numbers such as 0-3,^2.
fn is_enum(value: &str) -> bool {
    let is_set = value.bytes().all(|it| it.is_ascii_digit() || b",-^".contains(&it));
    is_word(value) || (is_set && value.len() <= 1000)
}

//! A guest's balloon, from its XML: without it, or without a period, libvirt has no memory figures of
//! the guest's own. Reads the text it is given and asks libvirt for nothing.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::devices::xml::{DEPTH_MAX, TEXT_MAX};

/// What the XML says of the balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memballoon {
    /// The guest has none.
    Absent,
    /// It is never asked for the guest's figures.
    WithoutPeriod,
    /// It is asked for them every so many seconds.
    WithPeriod(u64),
}

/// The balloon of a domain; `None` where its XML cannot be read.
pub(super) fn of(xml: &str) -> Option<Memballoon> {
    if xml.len() > TEXT_MAX {
        return None;
    }
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    let mut found = Memballoon::Absent;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                path.push(name(&tag));
                look(&path, &tag, &mut found);
            }
            Event::Empty(tag) => {
                path.push(name(&tag));
                look(&path, &tag, &mut found);
                path.pop();
            }
            Event::End(_) => {
                path.pop();
                if path.is_empty() {
                    return Some(found);
                }
            }
            Event::Eof => return None,
            _ => {}
        }
        if path.len() > DEPTH_MAX {
            return None;
        }
    }
}

fn look(path: &[String], tag: &BytesStart<'_>, found: &mut Memballoon) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["domain", "devices", "memballoon"] => {
            let is_none = attribute(tag, "model").is_none_or(|model| model == "none");
            *found = if is_none { Memballoon::Absent } else { Memballoon::WithoutPeriod };
        }
        ["domain", "devices", "memballoon", "stats"] if *found != Memballoon::Absent => {
            let period = attribute(tag, "period").and_then(|period| period.parse().ok());
            if let Some(period) = period.filter(|period| *period > 0) {
                *found = Memballoon::WithPeriod(period);
            }
        }
        _ => {}
    }
}

fn name(tag: &BytesStart<'_>) -> String {
    tag.name().0.to_owned()
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().with_checks(false).flatten().find(|it| it.key.0 == name)?;
    Some(found.value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balloon_is_read_from_its_place_in_the_xml_alone() {
        let of = |devices: &str| {
            of(&format!(
                "<domain><metadata><memballoon model='virtio'><stats period='9'/></memballoon>\
                 </metadata><devices>{devices}</devices></domain>"
            ))
        };
        assert_eq!(of(""), Some(Memballoon::Absent));
        assert_eq!(of("<memballoon model='none'/>"), Some(Memballoon::Absent));
        assert_eq!(of("<memballoon model='virtio'/>"), Some(Memballoon::WithoutPeriod));
        let zero = "<memballoon model='virtio'><stats period='0'/></memballoon>";
        assert_eq!(of(zero), Some(Memballoon::WithoutPeriod));
        let period = "<memballoon model='virtio'><stats period='10'/><address/></memballoon>";
        assert_eq!(of(period), Some(Memballoon::WithPeriod(10)));
        assert_eq!(of("<memballoon"), None);
        assert_eq!(super::of(&"<a>".repeat(1000)), None);
    }
}

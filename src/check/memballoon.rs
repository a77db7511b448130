//! A guest's balloon, from its XML: without it, or without a period, libvirt has no memory figures of
//! the guest's own. Reads the text it is given and asks libvirt for nothing.

use quick_xml::events::BytesStart;

use crate::devices::walk::{OpenPath, Stop, Visitor, attribute, walk};

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
    let mut search = BalloonSearch(Memballoon::Absent);
    walk(xml, &mut search).ok()?;
    Some(search.0)
}

struct BalloonSearch(Memballoon);

impl Visitor for BalloonSearch {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        match path.as_str() {
            "/domain/devices/memballoon" => {
                let model = attribute(tag, "model")?.filter(|model| model != "none");
                self.0 = model.map_or(Memballoon::Absent, |_| Memballoon::WithoutPeriod);
            }
            "/domain/devices/memballoon/stats" if self.0 != Memballoon::Absent => {
                let period = attribute(tag, "period")?.and_then(|period| period.parse().ok());
                if let Some(period) = period.filter(|period| *period > 0) {
                    self.0 = Memballoon::WithPeriod(period);
                }
            }
            _ => {}
        }
        Ok(false)
    }
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

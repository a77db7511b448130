//! One walk over a domain's XML, event by event, for whoever looks for something in it. The text may be
//! written by strangers (titles, metadata, aliases, paths), so size, depth and length of a kept value
//! are bounded, and an entity is never expanded: the five predefined ones and character references
//! are read, and whoever keeps a text hears of any other. Nothing here asks libvirt or touches a file.

use std::fmt;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesStart, Event};

/// Longest text that is read, in bytes. A guest with 100 devices has about 50 KiB.
pub const TEXT_MAX: usize = 8 * 1024 * 1024;
/// Deepest nesting of elements: as deep as libvirt itself can read, since libxml2 stops there. A disk
/// uses one level for each layer of its backing chain, and QEMU takes 200 layers.
pub const DEPTH_MAX: usize = 256;
/// Most NICs and disks of one domain, together.
pub const DEVICES_MAX: usize = 4096;
/// Longest value that is kept, in bytes; a longer one counts as absent.
pub const VALUE_MAX: usize = 4096;

/// Why a domain's XML gives no inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// Longer than [`TEXT_MAX`]: this many bytes.
    TooLong(usize),
    /// Elements nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More NICs and disks than [`DEVICES_MAX`].
    TooManyDevices,
    /// Its root is no `<domain>`.
    NotADomain,
    /// It ends before `</domain>`.
    Unfinished,
    /// No well-formed XML.
    Malformed {
        /// Where, in bytes from the start.
        at: u64,
        /// What the parser says.
        cause: String,
    },
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "the domain XML has {bytes} bytes, more than {TEXT_MAX}")
            }
            Self::TooDeep => write!(f, "the domain XML is nested deeper than {DEPTH_MAX} elements"),
            Self::TooManyDevices => {
                write!(f, "the domain XML has more than {DEVICES_MAX} NICs and disks")
            }
            Self::NotADomain => write!(f, "the domain XML does not start with <domain>"),
            Self::Unfinished => write!(f, "the domain XML ends before </domain>"),
            Self::Malformed { at, cause } => {
                write!(f, "the domain XML is not well-formed at byte {at}: {cause}")
            }
        }
    }
}

impl std::error::Error for XmlError {}

/// Why the walk ends early.
pub(crate) enum Stop {
    /// A bound is passed.
    Bound(XmlError),
    /// A tag is not well-formed: what is wrong with it.
    Malformed(String),
}

impl From<AttrError> for Stop {
    fn from(cause: AttrError) -> Self {
        Self::Malformed(cause.to_string())
    }
}

/// The elements that are open, from `<domain>` on, as a path: `/domain/devices/disk`.
#[derive(Default)]
pub(crate) struct OpenPath {
    text: String,
    /// Where each name ends.
    ends: Vec<usize>,
}

impl OpenPath {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// How many elements are open: 1 in `<domain>`.
    pub(crate) fn depth(&self) -> usize {
        self.ends.len()
    }

    fn push(&mut self, name: &str) {
        self.text.push('/');
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    fn pop(&mut self) {
        self.ends.pop();
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

/// What looks for something in a domain.
pub(crate) trait Visitor {
    /// An element begins; whether its text is wanted.
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop>;

    /// It ends. `text` is its own, without that of the elements in it, where it is wanted: none where it is
    /// too long, or has an entity that XML itself does not have.
    fn close(&mut self, _path: &OpenPath, _text: Option<&str>) {}

    /// Whether all was found before the end.
    fn is_done(&self) -> bool {
        false
    }
}

/// The texts of open elements that are wanted, with the depth of each.
#[derive(Default)]
struct Texts(Vec<(usize, Option<String>)>);

impl Texts {
    /// Adds to the innermost element's text. One that becomes too long is none.
    fn add(&mut self, depth: usize, more: Option<&str>) {
        let Some((at, text)) = self.0.last_mut() else { return };
        if *at != depth {
            return;
        }
        match (text.as_mut(), more) {
            (Some(all), Some(more)) if all.len() + more.len() <= VALUE_MAX => all.push_str(more),
            _ => *text = None,
        }
    }
}

/// Walks over a domain to its end, or until all was found.
pub(crate) fn walk(xml: &str, visitor: &mut impl Visitor) -> Result<(), XmlError> {
    walk_root("domain", xml, visitor)
}

/// The same of a text of libvirt's whose outermost element has this name.
pub(crate) fn walk_root(root: &str, xml: &str, visitor: &mut impl Visitor) -> Result<(), XmlError> {
    if xml.len() > TEXT_MAX {
        return Err(XmlError::TooLong(xml.len()));
    }
    let mut reader = Reader::from_str(xml);
    let mut path = OpenPath::default();
    let mut texts = Texts::default();
    loop {
        let event = reader.read_event().map_err(|cause| XmlError::Malformed {
            at: reader.error_position(),
            cause: cause.to_string(),
        })?;
        let ends = matches!(event, Event::Empty(_) | Event::End(_));
        match event {
            Event::Start(tag) | Event::Empty(tag) => {
                let opened = open(root, &mut path, &tag, visitor).map_err(|stop| match stop {
                    Stop::Bound(error) => error,
                    Stop::Malformed(cause) => {
                        XmlError::Malformed { at: reader.buffer_position(), cause }
                    }
                })?;
                if opened {
                    texts.0.push((path.depth(), Some(String::new())));
                }
            }
            Event::Text(text) => texts.add(path.depth(), Some(&text)),
            Event::CData(text) => texts.add(path.depth(), Some(&text)),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(it)) => texts.add(path.depth(), Some(it.encode_utf8(&mut [0; 4]))),
                Ok(None) => texts.add(path.depth(), resolve_predefined_entity(&reference)),
                Err(_) => texts.add(path.depth(), None),
            },
            // A document type may declare entities; it is passed over, so they stay unknown.
            Event::End(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
            Event::Eof => return Err(XmlError::Unfinished),
        }
        if ends {
            let text = texts.0.pop_if(|(depth, _)| *depth == path.depth());
            visitor.close(&path, text.and_then(|(_, text)| text).as_deref());
            path.pop();
            if path.depth() == 0 || visitor.is_done() {
                return Ok(());
            }
        }
    }
}

fn open(
    root: &str,
    path: &mut OpenPath,
    tag: &BytesStart<'_>,
    visitor: &mut impl Visitor,
) -> Result<bool, Stop> {
    let name = tag.name();
    if path.depth() >= DEPTH_MAX {
        return Err(Stop::Bound(XmlError::TooDeep));
    }
    if path.depth() == 0 && name.0 != root {
        return Err(Stop::Bound(XmlError::NotADomain));
    }
    if name.0.contains('/') {
        return Err(Stop::Malformed("an element's name has a slash".to_owned()));
    }
    path.push(name.0);
    visitor.open(path, tag)
}

/// An attribute's value; `None` where it is absent, empty, too long or holds an unknown entity.
///
/// White space stays as it is written: libvirt writes a tab or a newline in a name as it is, and the
/// name must equal the one in the statistics.
pub(crate) fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, AttrError> {
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute?;
        if attribute.key.0 == name {
            let value = unescape(&attribute.value).ok();
            return Ok(value
                .filter(|value| !value.is_empty() && value.len() <= VALUE_MAX)
                .map(|value| value.into_owned()));
        }
    }
    Ok(None)
}

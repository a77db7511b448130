//! One walk over a domain's XML, event by event, for whoever looks for something in it. The text may be
//! written by strangers (titles, metadata, aliases, paths), so size, depth and length of a kept value
//! are bounded, and an entity is never expanded: the five predefined ones and character references
//! are read, and whoever keeps a text hears of any other. Nothing here asks libvirt or touches a file.

use std::fmt;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};

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
    /// An attribute is not well-formed.
    Attribute(AttrError),
}

impl From<AttrError> for Stop {
    fn from(cause: AttrError) -> Self {
        Self::Attribute(cause)
    }
}

/// What looks for something. `depth` counts the elements that are open, the one that it is about among
/// them: 1 is `<domain>`.
pub(crate) trait Visitor {
    /// An element begins.
    fn open(&mut self, depth: usize, tag: &BytesStart<'_>) -> Result<(), Stop>;

    /// The innermost element ends.
    fn close(&mut self, _depth: usize) {}

    /// A piece of the innermost element's own text.
    fn text(&mut self, _depth: usize, _text: &str) {}

    /// Something stands in the innermost element's text that is not read.
    fn unreadable(&mut self, _depth: usize) {}

    /// Whether all was found before the end.
    fn is_done(&self) -> bool {
        false
    }
}

/// Walks over a domain to its end, or until all was found.
pub(crate) fn walk(xml: &str, visitor: &mut impl Visitor) -> Result<(), XmlError> {
    if xml.len() > TEXT_MAX {
        return Err(XmlError::TooLong(xml.len()));
    }
    let mut reader = Reader::from_str(xml);
    let mut depth = 0;
    loop {
        let event = reader.read_event().map_err(|cause| XmlError::Malformed {
            at: reader.error_position(),
            cause: cause.to_string(),
        })?;
        let ends = matches!(event, Event::Empty(_) | Event::End(_));
        match event {
            Event::Start(tag) | Event::Empty(tag) => {
                depth += 1;
                open(depth, &tag, visitor).map_err(|stop| match stop {
                    Stop::Bound(error) => error,
                    Stop::Attribute(cause) => XmlError::Malformed {
                        at: reader.buffer_position(),
                        cause: cause.to_string(),
                    },
                })?;
            }
            Event::Text(text) => visitor.text(depth, &text),
            Event::CData(text) => visitor.text(depth, &text),
            Event::GeneralRef(reference) => resolve(depth, &reference, visitor),
            // A document type may declare entities; it is passed over, so they stay unknown.
            Event::End(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
            Event::Eof => return Err(XmlError::Unfinished),
        }
        if ends {
            visitor.close(depth);
            // An end without its start is an error of the reader, long before this.
            depth = depth.saturating_sub(1);
            if depth == 0 || visitor.is_done() {
                return Ok(());
            }
        }
    }
}

fn open(depth: usize, tag: &BytesStart<'_>, visitor: &mut impl Visitor) -> Result<(), Stop> {
    if depth > DEPTH_MAX {
        return Err(Stop::Bound(XmlError::TooDeep));
    }
    if depth == 1 && tag.name().0 != "domain" {
        return Err(Stop::Bound(XmlError::NotADomain));
    }
    visitor.open(depth, tag)
}

fn resolve(depth: usize, reference: &BytesRef<'_>, visitor: &mut impl Visitor) {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => visitor.text(depth, character.encode_utf8(&mut [0; 4])),
        Ok(None) => match resolve_predefined_entity(reference) {
            Some(text) => visitor.text(depth, text),
            None => visitor.unreadable(depth),
        },
        Err(_) => visitor.unreadable(depth),
    }
}

/// Adds to a text that is kept; one that becomes too long is none.
pub(crate) fn keep(kept: &mut Option<String>, text: &str) {
    match kept {
        Some(all) if all.len() + text.len() <= VALUE_MAX => all.push_str(text),
        _ => *kept = None,
    }
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

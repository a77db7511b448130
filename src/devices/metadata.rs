//! Values out of a guest's own metadata: the paths that a user writes, and what a domain's XML has
//! there. No XPath: a path is names of elements, and at its end perhaps an attribute's.
//!
//! The text is walked over with the bounds of `walk`, and for this only where it is wanted.

use std::fmt;

use quick_xml::events::BytesStart;
use serde::{Deserialize, Serialize};

use super::walk::{OpenPath, Stop, Visitor, XmlError, attribute, walk};

/// Longest path, in bytes.
pub const PATH_MAX: usize = 512;
/// Most paths that are looked for in one domain: so many values fit into a line of the cache.
pub const PATHS_MAX: usize = 64;

/// Where in a guest's `<metadata>` a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// As it was written.
    text: String,
    /// Whether its first step may stand at any depth, and not only right below `<metadata>`.
    anywhere: bool,
    /// Names of elements, each inside the one before, with the prefixes that the XML has.
    steps: Vec<String>,
    /// The attribute of the last one; else its text is meant.
    attribute: Option<String>,
}

impl Path {
    /// Reads a path: `nova:instance/nova:name` from `<metadata>` on, `//nova:user` at any depth below
    /// it, `//nova:project/@uuid` for an attribute. `/domain/metadata/...` is the first of these.
    ///
    /// # Errors
    /// What is wrong with it, to be put after "the path X".
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: write one such as //nova:project/@uuid".to_owned());
        }
        if text.len() > PATH_MAX {
            return Err(format!("is longer than {PATH_MAX} bytes"));
        }
        let (anywhere, steps) = match (text.strip_prefix("//"), text.strip_prefix("/")) {
            (Some(rest), _) => (true, rest),
            (None, Some(whole)) => match whole.strip_prefix("domain/metadata/") {
                Some(rest) => (false, rest),
                None => {
                    return Err(
                        "starts with one /, which only /domain/metadata/ may: write // for \
                                any depth, or nothing before the first name"
                            .to_owned(),
                    );
                }
            },
            (None, None) => (false, text),
        };
        let mut steps: Vec<String> = steps.split('/').map(str::to_owned).collect();
        let attribute = steps.pop_if(|last| last.starts_with('@')).map(|last| last[1..].to_owned());
        if steps.is_empty() {
            return Err("names no element before its @attribute".to_owned());
        }
        for name in steps.iter().chain(&attribute) {
            if name.is_empty() {
                return Err("has a step without a name".to_owned());
            }
            if !is_name(name) {
                let shown: String = name.escape_debug().take(40).collect();
                return Err(format!(
                    "has the step {shown}, which is none: a step is an element's name, and the last \
                     one may be an @attribute; there are no [conditions], * or functions"
                ));
            }
        }
        Ok(Self { text: text.to_owned(), anywhere, steps, attribute })
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it leads to the last of these elements, each of which stands in the one before and the
    /// first in `<metadata>`.
    fn leads_to(&self, open: &OpenPath) -> bool {
        // Not <domain>, and not <metadata>.
        let places = open.depth() - 2;
        let fits =
            if self.anywhere { places >= self.steps.len() } else { places == self.steps.len() };
        fits && self.steps.iter().rev().zip(open.innermost_first()).all(|(step, name)| step == name)
    }
}

/// Whether XML can have an element or an attribute of this name; a prefix is a part of it.
fn is_name(name: &str) -> bool {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '\u{b7}');
    name.starts_with(starts) && name.chars().all(goes_on) && !name.ends_with(':')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a domain's metadata has at some paths: each path, and its value where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata(Vec<(String, Option<String>)>);

impl Metadata {
    /// Looks for these paths in a domain's XML. Of each, the value is that of the first element or
    /// attribute there, in the text's order, that has one: not empty but for white space, not longer
    /// than [`super::walk::VALUE_MAX`], without an entity that XML itself does not have. An element's value is its own
    /// text, without that of the elements in it, and without white space around it.
    ///
    /// # Errors
    /// Where the text is no domain's XML, or too long or too deep.
    pub fn read(xml: &str, paths: &[Path]) -> Result<Self, XmlError> {
        let mut search = MetadataSearch::new(paths);
        walk(xml, &mut search)?;
        Ok(search.found())
    }

    /// The value at a path.
    pub fn value(&self, path: &Path) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(text, _)| *text == path.text)?;
        value.as_deref()
    }

    /// Whether all of these paths were looked for.
    pub fn has(&self, paths: &[Path]) -> bool {
        // Nearly always they are the very same, in the same order.
        let is_same = self.0.len() == paths.len()
            && self.0.iter().zip(paths).all(|((text, _), path)| *text == path.text);
        is_same || paths.iter().all(|path| self.0.iter().any(|(text, _)| *text == path.text))
    }
}

/// An open element whose text is a path's.
struct Element {
    path: usize,
    depth: usize,
    /// What an element inside it has at the same path: its own text comes first.
    inside: Option<String>,
}

/// What has been found of the metadata so far.
pub(super) struct MetadataSearch<'p> {
    paths: &'p [Path],
    /// The last step of each path, and its place; sorted, since each element is held against them.
    last_steps: Vec<(&'p str, usize)>,
    values: Vec<Option<String>>,
    elements: Vec<Element>,
    is_done: bool,
}

impl Visitor for MetadataSearch<'_> {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        if self.is_done || !path.as_str().starts_with("/domain/metadata/") {
            return Ok(false);
        }
        let name = tag.name();
        let first = self.last_steps.partition_point(|(step, _)| *step < name.0);
        let open = self.elements.len();
        for &(_, place) in self.last_steps[first..].iter().take_while(|(step, _)| *step == name.0) {
            let wanted = &self.paths[place];
            if self.values[place].is_some() || !wanted.leads_to(path) {
                continue;
            }
            match &wanted.attribute {
                Some(name) => self.values[place] = attribute(tag, name)?.and_then(trimmed),
                None => {
                    self.elements.push(Element { path: place, depth: path.depth(), inside: None })
                }
            }
        }
        Ok(self.elements.len() > open)
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        // libvirt writes one, and what is asked for stands in it.
        self.is_done |= path.as_str() == "/domain/metadata";
        while let Some(element) = self.elements.pop_if(|it| it.depth == path.depth()) {
            let own = text.map(str::to_owned).and_then(trimmed);
            let value = own.or(element.inside);
            let outer = self.elements.iter_mut().rfind(|it| it.path == element.path);
            let slot = match outer {
                Some(outer) => &mut outer.inside,
                None => &mut self.values[element.path],
            };
            *slot = slot.take().or(value);
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

impl<'p> MetadataSearch<'p> {
    pub(super) fn new(paths: &'p [Path]) -> Self {
        let last_step = |path: &'p Path| path.steps.last().map_or("", String::as_str);
        let mut last_steps: Vec<(&str, usize)> = paths.iter().map(last_step).zip(0..).collect();
        last_steps.sort_unstable();
        let (values, elements) = (vec![None; paths.len()], Vec::new());
        Self { paths, last_steps, values, elements, is_done: false }
    }

    pub(super) fn found(self) -> Metadata {
        let texts = self.paths.iter().map(|path| path.text.clone());
        Metadata(texts.zip(self.values).collect())
    }
}

/// A value without white space around it; none where nothing is left.
fn trimmed(value: String) -> Option<String> {
    match value.trim() {
        "" => None,
        inner if inner.len() == value.len() => Some(value),
        inner => Some(inner.to_owned()),
    }
}

#[cfg(test)]
mod tests;

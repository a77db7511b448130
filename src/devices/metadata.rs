//! Values out of a guest's own metadata: what a domain's XML has at the paths that a user writes (see
//! `metadata_path`).
//!
//! The text is walked over with the bounds of `walk`, and for this only where it is wanted.

use quick_xml::events::BytesStart;
use serde::{Deserialize, Serialize};

use super::metadata_path::{Alternative, Start};
pub use super::metadata_path::{PATH_MAX, PATHS_MAX, Path};
use super::walk::{OpenPath, Stop, Visitor, XmlError, attribute, walk};

/// What a domain's metadata has at some paths: each path, and its value where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata(Vec<(String, Option<String>)>);

impl Metadata {
    /// Looks for these paths in a domain's XML. Of each, the value is that of its first alternative that has one,
    /// and of this that of the first element or attribute there, in the text's order, that has one: not empty but for white space, not longer
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

/// An open element whose text is an alternative's.
struct Element {
    alternative: usize,
    depth: usize,
    /// What an element inside it has at the same place: its own text comes first.
    inside: Option<String>,
}

/// A step of an alternative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    alternative: usize,
    step: usize,
    /// Its number among the steps of all alternatives.
    number: usize,
}

/// A declaration of a namespace on an open element; an empty prefix is the default one.
struct Namespace {
    depth: usize,
    prefix: String,
    uri: String,
}

/// What has been found of the metadata so far.
pub(super) struct MetadataSearch<'p> {
    paths: &'p [Path],
    /// The alternatives of all paths, one after another.
    alternatives: Vec<&'p Alternative>,
    /// The name of each step, without a prefix where it has a namespace's URI; sorted, since each element is
    /// held against them.
    steps: Vec<(&'p str, Place)>,
    has_namespaces: bool,
    /// Whether anything is looked for outside of `<metadata>`.
    is_beside: bool,
    namespaces: Vec<Namespace>,
    /// For each depth, the numbers of the steps that lead to the element that is open there, as bits.
    reached: Vec<Vec<u64>>,
    /// The value of each alternative.
    values: Vec<Option<String>>,
    elements: Vec<Element>,
    is_done: bool,
}

impl Visitor for MetadataSearch<'_> {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        let depth = path.depth();
        let in_metadata = path.as_str().starts_with("/domain/metadata/");
        let is_outside = path.as_str() == "/domain" || path.as_str() == "/domain/metadata";
        if self.is_done || !(in_metadata || self.is_beside || is_outside) {
            return Ok(false);
        }
        if self.has_namespaces {
            self.declare(depth, tag)?;
        }
        self.reached.resize(self.reached.len().max(depth + 1), Vec::new());
        self.reached[depth].clear();
        if is_outside {
            return Ok(false);
        }
        let name = tag.name().0;
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        let open = self.elements.len();
        self.reach(name, false, depth, in_metadata, tag)?;
        if self.has_namespaces {
            self.reach(local, true, depth, in_metadata, tag)?;
        }
        Ok(self.elements.len() > open)
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        // libvirt writes one, and what is asked for is in it.
        self.is_done |= !self.is_beside && path.as_str() == "/domain/metadata";
        let depth = path.depth();
        while self.namespaces.pop_if(|it| it.depth == depth).is_some() {}
        while let Some(element) = self.elements.pop_if(|it| it.depth == depth) {
            let own = text.map(str::to_owned).and_then(trimmed);
            let value = own.or(element.inside);
            let mut outer = self.elements.iter_mut();
            let slot = match outer.rfind(|it| it.alternative == element.alternative) {
                Some(outer) => &mut outer.inside,
                None => &mut self.values[element.alternative],
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
        let alternatives: Vec<&Alternative> =
            paths.iter().flat_map(|path| &path.alternatives).collect();
        let all = alternatives.iter().enumerate().flat_map(|(alternative, it)| {
            it.steps.iter().enumerate().map(move |(step, it)| (it.name.as_str(), alternative, step))
        });
        let place =
            |(number, (name, alternative, step))| (name, Place { alternative, step, number });
        let mut steps: Vec<(&str, Place)> = all.enumerate().map(place).collect();
        steps.sort_unstable();
        let has_namespaces =
            alternatives.iter().flat_map(|it| &it.steps).any(|it| it.namespace.is_some());
        let is_beside = alternatives.iter().any(|it| it.start == Start::Domain);
        let values = vec![None; alternatives.len()];
        let (namespaces, reached, elements) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            paths,
            alternatives,
            steps,
            has_namespaces,
            is_beside,
            namespaces,
            reached,
            values,
            elements,
            is_done: false,
        }
    }

    /// Takes the declarations of namespaces that an element has.
    fn declare(&mut self, depth: usize, tag: &BytesStart<'_>) -> Result<(), Stop> {
        for found in tag.attributes().with_checks(false) {
            let found = found?;
            let Some(rest) = found.key.0.strip_prefix("xmlns") else { continue };
            let prefix = match rest.strip_prefix(':') {
                Some(prefix) => prefix,
                None if rest.is_empty() => "",
                None => continue,
            };
            let uri = attribute(tag, found.key.0)?.unwrap_or_default();
            self.namespaces.push(Namespace { depth, prefix: prefix.to_owned(), uri });
        }
        Ok(())
    }

    fn has_reached(&self, depth: usize, number: usize) -> bool {
        let bits = self.reached.get(depth).and_then(|bits| bits.get(number / 64));
        bits.is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    fn namespace(&self, name: &str) -> Option<&str> {
        let prefix = name.split_once(':').map_or("", |(prefix, _)| prefix);
        let found = self.namespaces.iter().rev().find(|it| it.prefix == prefix);
        found.map(|it| it.uri.as_str())
    }

    /// Notes the steps that lead to an element of this name; with a namespace's URI, or without.
    fn reach(
        &mut self,
        name: &str,
        by_namespace: bool,
        depth: usize,
        in_metadata: bool,
        tag: &BytesStart<'_>,
    ) -> Result<(), Stop> {
        let first = self.steps.partition_point(|(step, _)| *step < name);
        for index in first..self.steps.len() {
            let (step_name, place) = self.steps[index];
            if step_name != name {
                break;
            }
            let alternative = place.alternative;
            let wanted = self.alternatives[alternative];
            let step = &wanted.steps[place.step];
            if self.values[alternative].is_some() || step.namespace.is_some() != by_namespace {
                continue;
            }
            let is_there = match place.step {
                1.. => self.has_reached(depth - 1, place.number - 1),
                0 => match wanted.start {
                    Start::Anywhere => in_metadata,
                    Start::Metadata => in_metadata && depth == 3,
                    Start::Domain => depth == 2,
                },
            };
            let is_it = is_there
                && step
                    .namespace
                    .as_deref()
                    .is_none_or(|uri| self.namespace(tag.name().0) == Some(uri))
                && step.fits(tag)?;
            if !is_it {
                continue;
            }
            if place.step + 1 < wanted.steps.len() {
                let bits = &mut self.reached[depth];
                bits.resize(bits.len().max(place.number / 64 + 1), 0);
                bits[place.number / 64] |= 1 << (place.number % 64);
                continue;
            }
            match &wanted.attribute {
                Some(name) => self.values[alternative] = attribute(tag, name)?.and_then(trimmed),
                None => self.elements.push(Element { alternative, depth, inside: None }),
            }
        }
        Ok(())
    }

    pub(super) fn found(self) -> Metadata {
        let mut values = self.values.into_iter();
        let value = |path: &Path| {
            let of_path = values.by_ref().take(path.alternatives.len());
            // All are taken, whichever of them counts.
            let value = of_path.fold(None, |first: Option<String>, value| first.or(value));
            (path.text.clone(), value)
        };
        Metadata(self.paths.iter().map(value).collect())
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

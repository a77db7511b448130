//! Paths into a guest's own metadata, as a user writes them. No XPath: a path is names of elements, each with
//! conditions on its attributes, and at its end perhaps an attribute's name; of several, parted by `|`, the first
//! that has a value counts.
//!
//! ```text
//! //nova:project/@uuid                                  an attribute, of an element at any depth
//! nova:instance/nova:name                               from <metadata> on
//! //nova:property[@name='os_distro']                    the text of one with this attribute
//! //{http://openstack.org/xmlns/libvirt/nova/1.1}name   any prefix of this namespace
//! //a/@b | /domain/title                                the first of several
//! /domain/sysinfo/system/entry[@name='serial']          what the XML says beside <metadata>
//! ```

use std::fmt;

use quick_xml::events::BytesStart;
use quick_xml::events::attributes::AttrError;

use super::walk::attribute;

/// Longest path, in bytes.
pub const PATH_MAX: usize = 512;
/// Most paths that are looked for in one domain: so many values fit into a line of the cache.
pub const PATHS_MAX: usize = 64;
/// What is read beside `<metadata>`.
const BESIDE: [&str; 3] = ["title", "description", "sysinfo"];

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// As it was written.
    pub(super) text: String,
    /// At least one.
    pub(super) alternatives: Vec<Alternative>,
}

/// One of the places of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) start: Start,
    /// Elements, each inside the one before.
    pub(super) steps: Vec<PathStep>,
    /// The attribute of the last one; else its text is meant.
    pub(super) attribute: Option<String>,
}

/// Where the first step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At any depth below `<metadata>`.
    Anywhere,
    /// Right below `<metadata>`.
    Metadata,
    /// Right below `<domain>`.
    Domain,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathStep {
    /// The URI of its namespace; `None` where the name has the prefix that the XML has.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    conditions: Vec<Condition>,
}

/// An attribute that an element must have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    attribute: String,
    /// The value that it must have; `None` for any.
    value: Option<String>,
}

impl PathStep {
    /// Whether the element has the attributes that it must have.
    pub(super) fn fits(&self, tag: &BytesStart<'_>) -> Result<bool, AttrError> {
        for Condition { attribute: name, value } in &self.conditions {
            let found = attribute(tag, name)?;
            if found.is_none() || value.as_ref().is_some_and(|value| found.as_ref() != Some(value))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Path {
    /// Reads a path.
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
        let parts = split(text, '|');
        let alternatives: Result<_, _> = match parts.as_slice() {
            // White space is part of the syntax only around a |.
            [only] => alternative(only).map(|only| vec![only]),
            parts => parts.iter().map(|part| alternative(part.trim())).collect(),
        };
        Ok(Self { text: text.to_owned(), alternatives: alternatives? })
    }

    /// The path before the first `=` that is not in a condition or a URI, and what is after it.
    pub fn split_pattern(text: &str) -> (&str, Option<&str>) {
        match position(text, '=') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        }
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a character is first that is neither in brackets, braces nor quotes.
fn position(text: &str, wanted: char) -> Option<usize> {
    let (mut is_uri, mut is_condition, mut quote) = (false, false, None);
    text.char_indices().find_map(|(at, c)| {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('}', None) if is_uri => is_uri = false,
            (_, None) if is_uri => {}
            ('\'' | '"', None) if is_condition => quote = Some(c),
            (']', None) => is_condition = false,
            (_, None) if is_condition => {}
            (c, None) if c == wanted => return Some(at),
            ('{', None) => is_uri = true,
            ('[', None) => is_condition = true,
            _ => {}
        }
        None
    })
}

/// The parts between these characters where they are neither in brackets, braces nor quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(end) = position(rest, at) {
        parts.push(&rest[..end]);
        rest = &rest[end + at.len_utf8()..];
    }
    parts.push(rest);
    parts
}

fn alternative(text: &str) -> Result<Alternative, String> {
    let (start, steps) = match (text.strip_prefix("//"), text.strip_prefix('/')) {
        (Some(rest), _) => (Start::Anywhere, rest),
        (None, Some(whole)) => match whole.strip_prefix("domain/") {
            Some(inside) if inside.starts_with("metadata/") => {
                (Start::Metadata, &inside["metadata/".len()..])
            }
            Some(inside) if is_beside(inside) => (Start::Domain, inside),
            _ => {
                return Err("starts with one /, which only /domain/metadata/ may, /domain/title, \
                            /domain/description and /domain/sysinfo/: write // for any depth, or nothing \
                            before the first name"
                    .to_owned());
            }
        },
        (None, None) => (Start::Metadata, text),
    };
    let mut steps = split(steps, '/');
    let attribute = steps.pop_if(|last| last.starts_with('@')).map(|last| &last[1..]);
    if steps.is_empty() {
        return Err("names no element before its @attribute".to_owned());
    }
    if let Some(name) = attribute {
        check_name(name, name)?;
    }
    let steps: Result<_, _> = steps.into_iter().map(step).collect();
    Ok(Alternative { start, steps: steps?, attribute: attribute.map(str::to_owned) })
}

/// Whether a path from `<domain>` on leads to what may be read there.
fn is_beside(inside: &str) -> bool {
    let end = inside.find(['/', '[']).unwrap_or(inside.len());
    BESIDE.contains(&&inside[..end])
}

fn step(text: &str) -> Result<PathStep, String> {
    let (namespace, rest) = match text.strip_prefix('{') {
        Some(rest) => match rest.split_once('}') {
            Some((uri, rest)) if !uri.trim().is_empty() => (Some(uri.to_owned()), rest),
            _ => return Err(no_step(text)),
        },
        None => (None, text),
    };
    let (name, mut rest) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
    check_name(name, text)?;
    if namespace.is_some() && name.contains(':') {
        return Err(no_step(text));
    }
    let mut conditions = Vec::new();
    while !rest.is_empty() {
        let (condition, more) = condition(rest).ok_or_else(|| no_step(text))?;
        conditions.push(condition);
        rest = more;
    }
    Ok(PathStep { namespace, name: name.to_owned(), conditions })
}

/// A condition at the beginning of a text, and what is after it.
fn condition(text: &str) -> Option<(Condition, &str)> {
    let inside = text.strip_prefix('[')?.trim_start().strip_prefix('@')?;
    let (name, rest) = inside.split_at(inside.find(['=', ']', ' '])?);
    let rest = rest.trim_start();
    let (value, rest) = match rest.strip_prefix('=') {
        Some(rest) => {
            let rest = rest.trim_start();
            let quote = rest.chars().next().filter(|first| ['\'', '"'].contains(first))?;
            let (value, rest) = rest[1..].split_once(quote)?;
            (Some(value.to_owned()), rest)
        }
        None => (None, rest),
    };
    let rest = rest.trim_start().strip_prefix(']')?;
    is_name(name).then(|| (Condition { attribute: name.to_owned(), value }, rest))
}

fn check_name(name: &str, step: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("has a step without a name".to_owned());
    }
    if is_name(name) { Ok(()) } else { Err(no_step(step)) }
}

fn no_step(text: &str) -> String {
    let shown: String =
        text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!(
        "has the step {shown}, which is none: a step is an element's name, with {{URI}} before it or \
         [@name='value'] after it where that is wanted, and the last one may be an @attribute"
    )
}

/// Whether XML can have an element or an attribute of this name; a prefix is a part of it.
fn is_name(name: &str) -> bool {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '\u{b7}');
    name.starts_with(starts) && name.chars().all(goes_on) && !name.ends_with(':')
}

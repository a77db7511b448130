//! Fields whose names are libvirt's.

use std::collections::{HashMap, HashSet};

use crate::libvirt::OwnedValue;
use crate::line_protocol::Fields;
use crate::schema::is_taken;

/// Names that libvirt may bring and that are remembered for their type.
const MOST_NAMES: usize = 10_000;

/// The type of each field that libvirt names, by measurement and field: it never changes.
#[derive(Default)]
pub(super) struct Types(HashMap<(&'static str, String), u8>);

impl Types {
    /// Writes a field whose name and type are libvirt's, unless it had another type before.
    fn write(
        &mut self,
        fields: &mut Fields<'_>,
        measurement: &'static str,
        name: String,
        value: &OwnedValue,
    ) {
        let kind = match value {
            OwnedValue::Int(_) | OwnedValue::Uint(_) => b'i',
            OwnedValue::Float(_) => b'f',
            OwnedValue::Bool(_) => b'b',
            OwnedValue::Text(_) => b's',
        };
        let known = self.0.len();
        let entry = self.0.entry((measurement, name));
        if matches!(entry, std::collections::hash_map::Entry::Vacant(_)) && known >= MOST_NAMES {
            return;
        }
        let name = entry.key().1.clone();
        if *entry.or_insert(kind) != kind {
            return;
        }
        write_value(fields, &name, value);
    }
}

/// Writes a field whose type is the value's.
pub fn write_value(fields: &mut Fields<'_>, name: &str, value: &OwnedValue) {
    match value {
        OwnedValue::Int(number) => fields.integer(name, *number),
        OwnedValue::Uint(number) => fields.unsigned(name, *number),
        OwnedValue::Float(number) => fields.float(name, *number),
        OwnedValue::Bool(truth) => fields.boolean(name, *truth),
        OwnedValue::Text(text) => fields.text(name, text),
    }
}

/// libvirt's name as a field's: every character but letters and digits becomes `_`. `None` where
/// nothing is left, or the name is taken.
fn field_name(name: &str) -> Option<String> {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    (!name.is_empty() && !is_taken(&name)).then_some(name)
}

/// The fields of one line whose names are libvirt's: of two that become one the first stays, and none
/// has the name of a tag of the user's, since no line may have both.
pub(super) struct Named<'a> {
    fields: Vec<(String, &'a OwnedValue)>,
    seen: HashSet<String>,
    user_tags: &'a [String],
}

impl<'a> Named<'a> {
    pub(super) fn beside(user_tags: &'a [String]) -> Self {
        Self { fields: Vec::new(), seen: HashSet::new(), user_tags }
    }

    pub(super) fn add(&mut self, name: &str, value: &'a OwnedValue) {
        if let Some(name) = field_name(name)
            && !self.user_tags.contains(&name)
            && self.seen.insert(name.clone())
        {
            self.fields.push((name, value));
        }
    }

    pub(super) fn write(
        self,
        fields: &mut Fields<'_>,
        measurement: &'static str,
        types: &mut Types,
    ) {
        for (name, value) in self.fields {
            types.write(fields, measurement, name, value);
        }
    }
}

//! The tags that the user configured: the same on every line, and those that each guest's metadata
//! has the value of. They are last on a line, sorted by name.

use crate::devices::metadata::{Metadata, Path};
use crate::line_protocol::Tags;

/// The user's tags. Keeps the memory of a guest's from one guest to the next.
#[derive(Debug, Default)]
pub struct UserTags {
    /// All that are the same for every guest.
    fixed: Tags,
    /// Each tag out of metadata, with the fixed ones that come before it.
    from_metadata: Vec<(Tags, String, Path)>,
    /// The fixed ones that come after all of these.
    last: Tags,
    /// Those of the guest that is being written.
    guest: Tags,
}

impl UserTags {
    /// Fixed tags, and names of tags with the places of their values; each sorted by name.
    pub fn new(fixed: &[(String, String)], from_metadata: &[(String, Path)]) -> Self {
        let mut tags = Self::default();
        let mut rest = fixed.iter().peekable();
        for (name, path) in from_metadata {
            let mut before = Tags::default();
            while let Some((key, value)) = rest.next_if(|(key, _)| key < name) {
                before.add(key, value);
            }
            tags.from_metadata.push((before, name.clone(), path.clone()));
        }
        rest.for_each(|(key, value)| tags.last.add(key, value));
        fixed.iter().for_each(|(key, value)| tags.fixed.add(key, value));
        tags
    }

    /// Those that are the same for every guest: for lines that are of none.
    pub fn fixed(&self) -> &Tags {
        &self.fixed
    }

    /// The tags of a guest's lines, after `first`. What its metadata does not have is omitted.
    pub fn of_guest(&mut self, first: &Tags, metadata: Option<&Metadata>) -> &Tags {
        let Self { from_metadata, last, guest, .. } = self;
        guest.clear();
        guest.append(first);
        for (before, name, path) in from_metadata {
            guest.append(before);
            if let Some(value) = metadata.and_then(|metadata| metadata.value(path)) {
                guest.add(name, value);
            }
        }
        guest.append(last);
        guest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_protocol::Lines;

    fn text(tags: &Tags) -> String {
        let mut lines = Lines::default();
        lines.start(1);
        lines.line("m", &[tags], |fields| fields.integer("f", 1));
        String::from_utf8(lines.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn fixed_tags_and_those_from_metadata_stand_sorted_behind_the_source() {
        let path = |text: &str| Path::parse(text).unwrap();
        let fixed = [("b", "1"), ("d", "2"), ("f", "3")];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let from_metadata = [("a", "//x/@a"), ("c", "//x/@c"), ("e", "//x/@e")];
        let from_metadata = from_metadata.map(|(name, text)| (name.to_owned(), path(text)));
        let paths: Vec<Path> = from_metadata.iter().map(|(_, path)| path.clone()).collect();
        let xml = "<domain><metadata><x a='one, two' c='three\\'/></metadata></domain>";
        let metadata = Metadata::read(xml, &paths).unwrap();
        let mut tags = UserTags::new(&fixed, &from_metadata);
        let mut source = Tags::default();
        source.add("source", "kvm1");
        let of_guest = text(tags.of_guest(&source, Some(&metadata)));
        assert_eq!(of_guest, "m,source=kvm1,a=one\\,\\ two,b=1,c=three/,d=2,f=3 f=1i 1\n");
        // Of another guest, that has no metadata, nothing is left.
        assert_eq!(text(tags.of_guest(&Tags::default(), None)), "m,b=1,d=2,f=3 f=1i 1\n");
        assert_eq!(text(tags.fixed()), "m,b=1,d=2,f=3 f=1i 1\n");
    }
}

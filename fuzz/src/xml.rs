//! XML as another parser sees it, by the names that it is written with.

use roxmltree::{Document, Node};
use telegraf_virt::devices::walk::VALUE_MAX;

/// The text as the other parser sees it; none where the two mean to differ: on white space in values,
/// which ours keeps as it is written, on references to what is no character, for which the other one
/// puts U+FFFD, on empty prefixes, which the other one forgets, and on a byte order mark.
pub fn comparable(text: &str) -> Option<Document<'_>> {
    if text.contains(['\r', '\u{feff}']) || text.contains("<:") || text.contains("</:") {
        return None;
    }
    let document = Document::parse(text).ok()?;
    let kept = document.descendants().all(|node| {
        let mut attributes = node.attributes();
        !node.text().is_some_and(|text| text.contains('\u{fffd}'))
            && attributes.all(|attribute| {
                !attribute.value().contains('\u{fffd}')
                    && !text[attribute.range_value()].contains(['\n', '\t'])
            })
    });
    kept.then_some(document)
}

/// The elements right in a node.
pub fn elements<'a, 'i: 'a>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// An element's name as it is written, prefix and all.
pub fn name<'i>(element: Node<'_, 'i>) -> &'i str {
    let text = &element.document().input_text()[element.range()];
    let end = |c: char| c.is_ascii_whitespace() || c == '/' || c == '>';
    text[1..].split(end).next().unwrap_or_default()
}

/// An attribute, where it is neither empty nor too long.
pub fn attribute(element: Node<'_, '_>, key: &str) -> Option<String> {
    let text = element.document().input_text();
    let found = element.attributes().find(|attribute| text[attribute.range_qname()] == *key)?;
    let value = found.value();
    (!value.is_empty() && value.len() <= VALUE_MAX).then(|| value.to_owned())
}

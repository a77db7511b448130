//! Any text is a path into metadata or is refused in one short line, and what a domain's XML has there
//! is within bounds and, where another XML parser accepts the text too, what a plain walk over that
//! parser's tree finds. The input is paths, one a line, up to an empty line, and then the XML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roxmltree::{Document, Node};
use telegraf_virt::devices::metadata::{Metadata, PATH_MAX, PATHS_MAX, Path};
use telegraf_virt::devices::walk::{TEXT_MAX, VALUE_MAX, XmlError};
use telegraf_virt_fuzz::xml::{attribute, comparable, elements, name};

fuzz_target!(|text: &str| {
    let (head, xml) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut paths = Vec::new();
    for line in head.lines().take(PATHS_MAX) {
        match Path::parse(line) {
            Ok(path) => {
                assert!(line.len() <= PATH_MAX && path.as_str() == line);
                paths.push(path);
            }
            Err(why) => assert!(why.len() < 400 && !why.contains(char::is_control), "{why:?}"),
        }
    }
    let found = match Metadata::read(xml, &paths) {
        Ok(found) => found,
        Err(XmlError::TooLong(bytes)) => return assert!(bytes > TEXT_MAX),
        Err(_) => return,
    };
    assert!(found.has(&paths));
    for value in paths.iter().filter_map(|path| found.value(path)) {
        assert!(
            !value.is_empty() && value.len() <= VALUE_MAX && value.trim() == value,
            "{value:?}"
        );
    }
    let written = serde_json::to_string(&found).expect("JSON");
    assert_eq!(serde_json::from_str::<Metadata>(&written).expect("what was written"), found);
    if let Some(document) = comparable(xml) {
        // The other parser takes the declarations of prefixes for no attributes.
        for path in paths.iter().filter(|path| !path.as_str().contains("/@xmlns")) {
            let text = path.as_str();
            // Conditions and URIs are for `src/devices/metadata/tests.rs`: here they must only be bounded.
            if text.contains(['[', '{']) {
                continue;
            }
            let mut alternatives = text.split('|');
            let is_one = !text.contains('|');
            let expected = alternatives
                .find_map(|it| expected(&document, if is_one { it } else { it.trim() }));
            assert_eq!(found.value(path), expected.as_deref(), "{path}");
        }
    }
});

/// What stands at a path, by its words alone.
fn expected(document: &Document<'_>, path: &str) -> Option<String> {
    let root = document.root_element();
    let beside = path.strip_prefix("/domain/").filter(|inner| !inner.starts_with("metadata/"));
    let metadata = match beside {
        Some(_) => root,
        None => elements(root).find(|list| name(*list) == "metadata")?,
    };
    let inner = beside.unwrap_or(path.strip_prefix("/domain/metadata/").unwrap_or(path));
    let mut steps: Vec<&str> = inner.trim_start_matches('/').split('/').collect();
    let key = steps.pop_if(|last| last.starts_with('@')).map(|last| &last[1..]);
    let leads_to = |node: &Node<'_, '_>| {
        let mut above = node.ancestors().take_while(|it| *it != metadata);
        let fits = steps.iter().rev().all(|step| above.next().is_some_and(|it| name(it) == *step));
        fits && (inner.starts_with("//") || above.next().is_none())
    };
    let value = |node: Node<'_, '_>| {
        let value = match key {
            Some(key) => attribute(node, key)?,
            None => node.children().filter(Node::is_text).filter_map(|it| it.text()).collect(),
        };
        Some(value).filter(|value| value.len() <= VALUE_MAX)
    };
    let places = metadata.descendants().filter(|it| it.is_element() && *it != metadata);
    let values = places.filter(leads_to).filter_map(value);
    values.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
}

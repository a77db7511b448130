//! Which licences the crates in the program have, what the package says of them, and its bill of materials.

#[path = "../../packaging/licences.rs"]
mod made;

use std::collections::BTreeSet;

use made::{ALLOWED, Crate, EXCEPTIONS, bill, copyright, crates, expression};

/// What crates may have that only build or test the program, and are no part of it.
const BESIDE: [&str; 2] = ["BSD-2-Clause", "ISC"];

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let (inside, beside) = crates().unwrap();
    assert!(inside.len() > 30 && beside.len() > 20, "{} and {}", inside.len(), beside.len());
    let refused = |of: &&Crate| of.chosen().is_none();
    let named = |of: &Crate| format!("{} {}: {}", of.name, of.version, of.expression);
    let wrong: Vec<String> = inside.iter().filter(refused).map(named).collect();
    assert_eq!(wrong, [""; 0], "read the licence, then add it to ALLOWED in packaging/licences.rs");
    let is_fine = |of: &&Crate| !BESIDE.contains(&of.expression.as_str());
    let wrong: Vec<String> = beside.iter().filter(refused).filter(is_fine).map(named).collect();
    assert_eq!(wrong, [""; 0]);
    for (name, licence) in EXCEPTIONS {
        let of = inside.iter().find(|of| of.name == name).unwrap();
        assert_eq!(of.chosen().unwrap(), BTreeSet::from([licence.to_owned()]));
    }
}

#[test]
fn an_expression_is_read_as_spdx_has_it() {
    let (inside, _) = crates().unwrap();
    let chosen = |expression: &str| {
        let mut of = inside[0].clone();
        (of.name, of.expression) = ("x".to_owned(), expression.to_owned());
        of.chosen().map(|chosen| chosen.into_iter().collect::<Vec<_>>().join(", "))
    };
    for (expression, licences) in [
        ("Apache-2.0 OR MIT", "MIT"),
        ("Apache-2.0 / MIT", "MIT"),
        ("GPL-3.0 OR Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", "MIT, Unicode-3.0"),
        ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", "MIT"),
    ] {
        assert_eq!(chosen(expression).as_deref(), Some(licences), "{expression}");
    }
    for refused in [
        "GPL-3.0",
        "LGPL-2.1",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND SSPL-1.0",
        "",
        "MIT MIT",
    ] {
        assert_eq!(chosen(refused), None, "{refused}");
    }
    assert!(ALLOWED.iter().all(|licence| !licence.contains("GPL")));
}

#[test]
fn the_licences_together_are_one_expression() {
    let (inside, _) = crates().unwrap();
    let together = expression(&inside);
    let words: Vec<&str> = together.split(" AND ").collect();
    assert_eq!(words[0], "MIT", "{together}");
    assert!(words.contains(&"LGPL-2.1-only"), "{together}");
    let unique: BTreeSet<&str> = words.iter().copied().collect();
    assert_eq!(unique.len(), words.len(), "{together}");
    let is_known = |word: &&str| ALLOWED.contains(word) || *word == "LGPL-2.1-only";
    assert!(words.iter().all(is_known), "{together}");
}

#[test]
fn the_copyright_file_names_each_crate_with_the_text_of_its_licence() {
    let (inside, _) = crates().unwrap();
    let text = copyright(&inside).unwrap();
    let stanzas: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(stanzas.len(), inside.len() + 3);
    for of in &inside {
        let start = format!("Files: crates/{}-{}/*\nCopyright: ", of.name, of.version);
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with(&start)).unwrap();
        assert!(stanza.lines().count() > 15 && stanza.contains("\nLicense: "), "{stanza}");
    }
    let of_virt =
        stanzas.iter().find(|stanza| stanza.starts_with("Files: crates/virt-sys-")).unwrap();
    assert!(of_virt.contains("GNU LESSER GENERAL PUBLIC LICENSE"));
    assert!(
        stanzas[0].contains("link the program with them again")
            && stanzas[0].contains("Cargo.lock")
    );
    // Each line is a field, goes on with one, or is between two stanzas.
    let is_whole = |line: &str| {
        line.is_empty() || line.starts_with(' ') || line.contains(": ") || line == "Comment:"
    };
    assert!(text.lines().all(is_whole));
}

#[test]
fn the_bill_of_materials_names_each_crate_and_what_it_needs() {
    let (inside, _) = crates().unwrap();
    let bill = bill(&inside);
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bill["components"].as_array().unwrap();
    assert_eq!(components.len(), inside.len());
    let refs: BTreeSet<&str> =
        components.iter().map(|it| it["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(refs.len(), inside.len());
    for component in components {
        assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{component}");
        assert!(
            !component["licenses"][0]["expression"].as_str().unwrap().contains('/'),
            "{component}"
        );
    }
    let needs = |it: &serde_json::Value| it["dependsOn"].as_array().unwrap().clone();
    let dependencies = bill["dependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), inside.len() + 1);
    assert!(
        needs(&dependencies[0])
            .iter()
            .any(|it| it.as_str().unwrap().starts_with("pkg:cargo/virt@"))
    );
    for needed in dependencies.iter().flat_map(needs) {
        assert!(refs.contains(needed.as_str().unwrap()), "{needed}");
    }
}

//! The tables of other tools' names: what they call ours must be ours. Whether theirs are theirs, and
//! whether ours follow from them, is in tests/system/migration.rs, which runs the tools.

use std::collections::BTreeSet;

use telegraf_virt::schema::{DeviceTag, GUEST_TAGS, output_fields};

use super::read;
use crate::support::migration;

/// Every field of the schema, as `measurement.field`, and every tag.
pub fn ours() -> BTreeSet<String> {
    let fields = output_fields().iter();
    let fields = fields.flat_map(|it| {
        let field = format!("{}.{}", it.measurement, it.row.name);
        it.tags.iter().map(ToString::to_string).chain([field])
    });
    let tags = GUEST_TAGS.into_iter().chain(DeviceTag::ALL.map(DeviceTag::name));
    fields.chain(tags.map(str::to_owned)).collect()
}

#[test]
fn what_the_tables_of_other_tools_call_ours_is_ours() {
    let ours = ours();
    let page = read("docs/migrating.md");
    let headings = page.lines().filter(|line| line.starts_with("## "));
    let mut counted = 0;
    for heading in headings {
        let mut theirs = BTreeSet::new();
        for row in migration::rows(heading) {
            assert!(row.ours.iter().all(|name| ours.contains(name)), "{heading}: {row:?}");
            for pair in row.pairs() {
                assert!(theirs.insert(pair.theirs.clone()), "{heading}: twice: {pair:?}");
                counted += 1;
            }
        }
    }
    assert!(counted > 150, "{counted}");
}

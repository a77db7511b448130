//! Names that others chose, in a row of the table.

use crate::printable::printable;

/// So much of a name is shown at most, in characters; no terminal is wider.
const LONGEST: usize = 500;

/// A name as it may be in a row: one that cannot be wider on the terminal than was counted.
pub(super) fn shown(name: &str) -> String {
    name.chars().filter_map(printable).take(LONGEST).collect()
}

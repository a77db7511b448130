//! Guest names that strain line protocol.

/// Names that libvirt accepts, and the tag that stands for each: in a tag a backslash at the end, or
/// before a backslash, comma, equals sign or space, is written as a slash.
pub const ODD_NAMES: [(&str, &str); 16] = [
    ("plain", "plain"),
    ("a space", "a space"),
    ("a,comma", "a,comma"),
    ("an=equals", "an=equals"),
    ("\"quoted\"", "\"quoted\""),
    ("in\\side", "in\\side"),
    ("at the end\\", "at the end/"),
    ("before a\\,comma", "before a/,comma"),
    ("before an\\=equals", "before an/=equals"),
    ("before a\\ space", "before a/ space"),
    ("two\\\\inside", "two/\\inside"),
    ("two at the end\\\\", "two at the end//"),
    ("Größe 日本 🦀", "Größe 日本 🦀"),
    ("#<'&'>", "#<'&'>"),
    ("vm_totals,name=x y=1i 1", "vm_totals,name=x y=1i 1"),
    ("-c=,\\", "-c=,/"),
];

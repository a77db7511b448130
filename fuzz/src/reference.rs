//! The reference parser of line protocol, InfluxDB's own, and what the schema's replacements make of
//! a text before it gets there.

use influxdb_line_protocol::{ParsedLine, parse_lines};

/// What becomes of a tag's key or value: control characters are spaces, and a backslash that could
/// be taken for an escape is a slash.
pub fn as_tag(text: &str) -> String {
    let spaced: Vec<char> = as_field(text).chars().collect();
    let replaced = spaced.iter().enumerate().map(|(index, &it)| {
        let next = spaced.get(index + 1);
        if it == '\\' && matches!(next, None | Some('\\' | ',' | '=' | ' ')) { '/' } else { it }
    });
    replaced.collect()
}

/// What becomes of a string field: control characters are spaces.
pub fn as_field(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// The points of an output, which must be whole lines: one newline a point.
pub fn points_of(output: &[u8]) -> Vec<ParsedLine<'_>> {
    let text = std::str::from_utf8(output).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "it ends within a line: {text:?}");
    let points = parse_lines(text).collect::<Result<Vec<_>, _>>();
    let points = points.unwrap_or_else(|error| panic!("{error}: {text:?}"));
    // A newline in a string would be legal, and make two lines of one for whoever counts.
    assert_eq!(points.len(), text.matches('\n').count(), "points and lines of {text:?}");
    points
}

/// A point's tags in the order in which they were written.
pub fn tags_of(point: &ParsedLine<'_>) -> Vec<(String, String)> {
    let tags = point.series.tag_set.iter().flatten();
    tags.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

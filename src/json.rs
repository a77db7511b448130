//! Lines as JSON: one object a line, for scripts. It is made of the lines themselves, so that both always say
//! the same.

use serde_json::{Map, Number, Value};

/// Each line as an object on a line of its own: measurement, tags, fields, timestamp. `lines` are as
/// `line_protocol` writes them.
pub fn objects(lines: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(lines);
    let objects = text.lines().filter_map(|line| object(line).map(|object| format!("{object}\n")));
    objects.collect::<String>().into_bytes()
}

fn object(line: &str) -> Option<Value> {
    let (head, rest) = split_at(line, ' ', false)?;
    let (fields, timestamp) = rest.rsplit_once(' ')?;
    let mut parts = pieces(head, false).into_iter();
    let measurement = parts.next()?;
    let pair = |part: &str, has_texts: bool| {
        let (key, value) = split_at(part, '=', has_texts)?;
        Some((plain(key), value.to_owned()))
    };
    let tags: Map<String, Value> = parts
        .filter_map(|part| pair(part, false))
        .map(|(key, value)| (key, Value::String(plain(&value))))
        .collect();
    let fields: Map<String, Value> = pieces(fields, true)
        .into_iter()
        .filter_map(|part| pair(part, true))
        .filter_map(|(key, text)| Some((key, value(&text)?)))
        .collect();
    let timestamp: i64 = timestamp.parse().ok()?;
    Some(serde_json::json!({
        "measurement": measurement,
        "tags": tags,
        "fields": fields,
        "timestamp": timestamp,
    }))
}

/// The text at the first such character that is not escaped, nor within a field's text, where there are any.
fn split_at(text: &str, at: char, has_texts: bool) -> Option<(&str, &str)> {
    let (mut is_escaped, mut is_text) = (false, false);
    for (place, character) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if character == '"' && has_texts {
            is_text = !is_text;
        } else if character == at && !is_text {
            return Some((text.get(..place)?, text.get(place + at.len_utf8()..)?));
        }
    }
    None
}

fn pieces(text: &str, has_texts: bool) -> Vec<&str> {
    let mut rest = text;
    let mut pieces = Vec::new();
    while let Some((piece, after)) = split_at(rest, ',', has_texts) {
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Without what escapes a key or a tag. A backslash that escapes nothing is one.
fn plain(text: &str) -> String {
    let mut characters = text.chars().peekable();
    let mut plain = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(&next @ (',' | '=' | ' '))) => {
                plain.push(next);
                characters.next();
            }
            _ => plain.push(character),
        }
    }
    plain
}

/// A field's text without what escapes quotes and backslashes.
fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

fn value(text: &str) -> Option<Value> {
    if let Some(text) = text.strip_prefix('"') {
        let text = text.strip_suffix('"')?;
        return Some(Value::String(unescaped(text)));
    }
    if let Some(integer) = text.strip_suffix('i') {
        return integer.parse::<i64>().ok().map(Value::from);
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => Number::from_f64(text.parse().ok()?).map(Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_protocol::{Lines, Tags};

    #[test]
    fn every_character_comes_through() {
        let odd = r#"a, b=c "d" \ e"#;
        let mut tags = Tags::default();
        tags.add("name", "a, b=c \"d\"");
        tags.add_number("VMID", -1);
        let mut lines = Lines::default();
        lines.start(1_700_000_000_000_000_123);
        lines.line("vm_metrics", &[&tags], |fields| {
            fields.text("state", odd);
            fields.integer("n", i64::MIN);
            fields.float("rate", -0.5);
            fields.float("whole", 2.0);
            fields.boolean("up", true);
        });
        lines.line("m", &[], |fields| fields.text("empty", ""));
        let text = String::from_utf8(objects(lines.as_bytes())).unwrap();
        let objects: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = serde_json::json!({
            "measurement": "vm_metrics",
            "tags": {"VMID": "-1", "name": "a, b=c \"d\""},
            "fields": {"state": odd, "n": i64::MIN, "rate": -0.5, "whole": 2.0, "up": true},
            "timestamp": 1_700_000_000_000_000_123_i64,
        });
        assert_eq!(objects[0], first);
        assert_eq!(objects[1]["fields"], serde_json::json!({"empty": ""}));
        assert_eq!(objects[1]["tags"], serde_json::json!({}));
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        assert!(objects(b"vm_metrics,a=b\n\nm f=1i\nm f=1i x\n").is_empty());
    }
}

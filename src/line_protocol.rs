//! InfluxDB line protocol: escaping and numbers, into one buffer that is used again. Knows nothing
//! of libvirt, and no measurement or field by name.
//!
//! Three parsers have to agree on what is written here (InfluxDB 1.x, InfluxDB's own crate and
//! Telegraf), and they disagree about backslashes in tags: so none is written where it would be
//! before anything that could be escaped.
//! <https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/>

/// Tags, escaped once and written on many lines: `,VMID=1,name=web`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags(Vec<u8>);

impl Tags {
    /// Forgets all tags, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a tag. An empty value has no form in line protocol: the tag is omitted.
    pub fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.0.push(b',');
        escape_tag(&mut self.0, key);
        self.0.push(b'=');
        escape_tag(&mut self.0, value);
    }

    /// Adds the other's tags behind these.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Adds a tag with a number.
    pub fn add_number(&mut self, key: &str, value: i64) {
        self.add(key, itoa::Buffer::new().format(value));
    }
}

/// The lines of one collection, which all carry one timestamp.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// ` 1699868400000000000\n`: how each line ends.
    end: Vec<u8>,
    count: usize,
}

impl Lines {
    /// Empties the buffer for a collection that starts at this time, in Unix nanoseconds.
    pub fn start(&mut self, timestamp_ns: i64) {
        self.buffer.clear();
        self.count = 0;
        self.stamp(timestamp_ns);
    }

    /// Makes room for about so many bytes, so that the buffer need not grow step by step.
    pub fn reserve(&mut self, bytes: usize) {
        self.buffer.reserve(bytes);
    }

    /// Gives the lines from here on this time, in Unix nanoseconds.
    pub fn stamp(&mut self, timestamp_ns: i64) {
        self.end.clear();
        self.end.push(b' ');
        self.end.extend_from_slice(itoa::Buffer::new().format(timestamp_ns).as_bytes());
        self.end.push(b'\n');
    }

    /// Writes one line, with the fields that `fill` gives it; none where it gives no field, since a
    /// line always has one.
    #[inline(always)]
    pub fn line(&mut self, measurement: &str, tags: &[&Tags], fill: impl FnOnce(&mut Fields<'_>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(measurement.as_bytes());
        for tags in tags.iter().filter(|tags| !tags.0.is_empty()) {
            self.buffer.extend_from_slice(&tags.0);
        }
        self.buffer.push(b' ');
        let first = self.buffer.len();
        fill(&mut Fields(&mut self.buffer));
        if self.buffer.len() == first {
            self.buffer.truncate(start);
            return;
        }
        // Each field ends in a comma; the last one's gives way to the timestamp.
        self.buffer.pop();
        self.buffer.extend_from_slice(&self.end);
        self.count += 1;
    }

    /// What was written: whole lines, each with its newline.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// How many lines were written.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The fields of the line that is being written. Keys are ours and need no escaping.
pub struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    // Where a key is written out in the code, its few bytes are copied without a call.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
    }

    /// An integer field, `1i`.
    #[inline(always)]
    pub fn integer(&mut self, key: &str, value: i64) {
        self.key(key);
        self.number(value);
    }

    fn number(&mut self, value: i64) {
        // Errors and drops nearly always are.
        if value == 0 {
            self.0.extend_from_slice(b"0i,");
            return;
        }
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.0.extend_from_slice(b"i,");
    }

    /// An integer field of a value that may pass line protocol's signed 64 bits: clamped then.
    #[inline(always)]
    pub fn unsigned(&mut self, key: &str, value: u64) {
        self.integer(key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A float field; what is not finite has no form in line protocol and is omitted.
    pub fn float(&mut self, key: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.key(key);
        self.0.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        self.0.push(b',');
    }

    /// A boolean field.
    pub fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.0.extend_from_slice(if value { b"true," } else { b"false," });
    }

    /// A string field.
    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.push(b'"');
        for character in value.chars() {
            match character {
                '"' | '\\' => self.0.extend_from_slice(&[b'\\', character as u8]),
                _ => push(self.0, printable(character)),
            }
        }
        self.0.extend_from_slice(b"\",");
    }
}

/// Writes a tag's key or value. A backslash where a parser may take it for an escape
/// (at the end, or before a backslash, comma, equals sign or space) becomes a slash.
fn escape_tag(buffer: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        buffer.extend_from_slice(text.as_bytes());
        return;
    }
    let mut characters = text.chars().map(printable).peekable();
    while let Some(character) = characters.next() {
        match character {
            ',' | '=' | ' ' => buffer.extend_from_slice(&[b'\\', character as u8]),
            '\\' if matches!(characters.peek(), None | Some('\\' | ',' | '=' | ' ')) => {
                buffer.push(b'/');
            }
            _ => push(buffer, character),
        }
    }
}

/// Whether a byte is written as it is in a tag, wherever it is: a table, since most names are of such
/// bytes alone and every one of them is looked at.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        let character = byte as u8;
        plain[byte] = character.is_ascii_alphanumeric()
            || matches!(character, b'-' | b'_' | b'.' | b':' | b'/');
        byte += 1;
    }
    plain
};

/// Control characters, a newline above all, become spaces: a name never ends a line.
fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

fn push(buffer: &mut Vec<u8>, character: char) {
    buffer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(value: &str) -> String {
        let mut tags = Tags::default();
        tags.add("name", value);
        String::from_utf8(tags.0).unwrap()
    }

    #[test]
    fn a_tag_escapes_comma_equals_sign_and_space() {
        assert_eq!(tag("a,b=c d"), r",name=a\,b\=c\ d");
        assert_eq!(tag("plain-1.2_3"), ",name=plain-1.2_3");
        assert_eq!(tag("größe\u{1F980}"), ",name=größe\u{1F980}");
        assert_eq!(tag(r#"say "hi""#), r#",name=say\ "hi""#);
        assert_eq!(tag(""), "");
    }

    #[test]
    fn a_backslash_that_could_escape_something_becomes_a_slash() {
        assert_eq!(tag(r"a\b"), r",name=a\b");
        assert_eq!(tag(r"a\"), r",name=a/");
        assert_eq!(tag(r"a\\b"), r",name=a/\b");
        assert_eq!(tag(r"a\,b"), r",name=a/\,b");
        assert_eq!(tag("a\\\tb"), r",name=a/\ b");
        assert_eq!(tag(r"\"), ",name=/");
    }

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(tag("a\nvm_metrics x=1i"), r",name=a\ vm_metrics\ x\=1i");
        let mut lines = Lines::default();
        lines.start(1);
        lines.line("m", &[], |fields| fields.text("s", "a\"b\\c\r\nd"));
        assert_eq!(lines.as_bytes(), b"m s=\"a\\\"b\\\\c  d\" 1\n");
    }

    #[test]
    fn numbers_are_clamped_and_finite() {
        let mut lines = Lines::default();
        lines.start(-5);
        lines.line("m", &[], |fields| {
            fields.unsigned("u", u64::MAX);
            fields.integer("i", i64::MIN);
            fields.float("nan", f64::NAN);
            fields.float("inf", f64::INFINITY);
            fields.float("f", -0.5);
            fields.float("big", 1e300);
        });
        let expected = "m u=9223372036854775807i,i=-9223372036854775808i,f=-0.5,big=1e+300 -5\n";
        assert_eq!(std::str::from_utf8(lines.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_line_without_a_field_is_not_written() {
        let mut lines = Lines::default();
        lines.start(1);
        lines.line("m", &[], |_| {});
        lines.line("m", &[], |fields| fields.float("f", f64::NAN));
        assert_eq!((lines.as_bytes(), lines.count()), (&b""[..], 0));
    }
}

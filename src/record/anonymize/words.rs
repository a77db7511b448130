//! What stands for what: each original has one replacement, which has the shape of the original where
//! that matters to whoever reads it (a UUID, an address, a path).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uuid::Uuid;

/// Originals shorter than this are too common to be looked for in messages, unless they are names.
const SHORTEST: usize = 3;
/// An original of so many bytes is replaced in the middle of other words, too.
const LONG: usize = 6;

/// The replacements made so far.
#[derive(Default)]
pub(super) struct Words {
    known: HashMap<String, String>,
    /// Guests' names: looked for in messages however short they are.
    names: Vec<String>,
    /// The known originals, longest first, for messages; empty where it is to be made anew.
    by_length: Vec<String>,
    counts: HashMap<&'static str, u32>,
}

impl Words {
    /// Sets the replacement of a guest's name.
    pub(super) fn name(&mut self, name: &str, replacement: String) {
        self.names.push(name.to_owned());
        self.known.insert(name.to_owned(), replacement);
    }

    /// The replacement of a UUID.
    pub(super) fn uuid(&mut self, uuid: Uuid) -> Uuid {
        let replaced = self.of(&uuid.to_string());
        Uuid::parse_str(&replaced).unwrap_or_default()
    }

    /// Makes a host's name known, and its first label, by which it goes too.
    pub(super) fn host(&mut self, name: &str) -> String {
        if name.is_empty() || name == "localhost" || name.parse::<IpAddr>().is_ok() {
            return self.of(name);
        }
        let replacement = match self.known.get(name) {
            Some(known) => return known.clone(),
            None => self.numbered("host"),
        };
        if let Some((label, _)) = name.split_once('.')
            && label.len() >= SHORTEST
            && !self.known.contains_key(label)
        {
            self.insert(label, replacement.clone());
        }
        self.insert(name, replacement.clone());
        replacement
    }

    /// The replacement of a text that is not harmless.
    pub(super) fn of(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let (key, replacement) = self.shaped(text);
        self.insert(&key, replacement.clone());
        self.insert(text, replacement.clone());
        replacement
    }

    /// The replacement of a device's target; one that says nothing, such as vda, stays.
    pub(super) fn device(&mut self, target: &str) -> String {
        if is_device(target) || target.is_empty() {
            return target.to_owned();
        }
        if let Some(known) = self.known.get(target) {
            return known.clone();
        }
        let replacement = self.numbered("device");
        self.insert(target, replacement.clone());
        replacement
    }

    /// A URI of libvirt's, of which only the driver and the daemon stay.
    pub(super) fn uri(&mut self, uri: &str) -> String {
        let Some((scheme, rest)) = uri.split_once("://") else { return self.of(uri) };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let scheme = if is_word(scheme) { scheme.to_owned() } else { self.of(scheme) };
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = if host.is_empty() { String::new() } else { self.host(host) };
        let path = match path {
            "" | "/" | "/system" | "/session" | "/default" => path.to_owned(),
            other => self.of(other),
        };
        format!("{scheme}://{host}{path}")
    }

    /// A message of libvirt's: what is known is replaced in it, and what looks like a UUID, an address
    /// or a path.
    pub(super) fn message(&mut self, message: &str) -> String {
        let message = self.without_shapes(message);
        if self.by_length.is_empty() {
            let is_sought = |it: &&String| it.len() >= SHORTEST && !is_number(it);
            let known = self.known.keys().filter(is_sought).chain(&self.names);
            self.by_length = known.cloned().collect();
            self.by_length.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
            self.by_length.dedup();
        }
        let mut parts = vec![Part::Text(message)];
        for original in &self.by_length {
            let Some(replacement) = self.known.get(original) else { continue };
            parts = parts.into_iter().flat_map(|part| part.split(original, replacement)).collect();
        }
        parts.into_iter().map(Part::into_text).collect()
    }

    /// Replaces the words of a message that have the shape of an address or a path.
    fn without_shapes(&mut self, message: &str) -> String {
        let is_end = |it: char| it.is_whitespace() || "'\"`,;()[]<>".contains(it);
        let mut text = String::new();
        for token in message.split_inclusive(is_end) {
            let word = token.trim_end_matches(is_end);
            let end = &token[word.len()..];
            let word_alone = word.trim_end_matches([':', '.']);
            let end_alone = &word[word_alone.len()..];
            text.push_str(&self.without_shape(word_alone));
            text.push_str(end_alone);
            text.push_str(end);
        }
        text
    }

    fn without_shape(&mut self, word: &str) -> String {
        if is_shaped(word) {
            return self.of(word);
        }
        // A path behind something, as in file=/a/b.
        let path = word.char_indices().find(|&(at, it)| {
            it == '/' && at + 1 < word.len() && word[..at].ends_with(['=', ':', '/'])
        });
        if let Some((at, _)) = path {
            let (before, path) = word.split_at(at);
            return format!("{before}{}", self.of(path));
        }
        // An address with its port.
        if let Some((address, port)) = word.rsplit_once(':')
            && is_number(port)
            && is_shaped(address.trim_matches(['[', ']']))
        {
            return format!("{}:{port}", self.of(address.trim_matches(['[', ']'])));
        }
        word.to_owned()
    }

    /// A new replacement of the shape of this text, and the form under which it is known.
    fn shaped(&mut self, text: &str) -> (String, String) {
        if let Ok(uuid) = Uuid::parse_str(text) {
            let key = uuid.to_string();
            if let Some(known) = self.known.get(&key) {
                return (key, known.clone());
            }
            let number = self.next("uuid");
            let uuid = format!("00000000-0000-4000-8000-{number:012x}");
            return (key, uuid);
        }
        if is_mac(text) {
            let key = text.to_ascii_lowercase();
            if let Some(known) = self.known.get(&key) {
                return (key, known.clone());
            }
            let [_, a, b, c] = self.next("mac").to_be_bytes();
            return (key, format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"));
        }
        match text.parse() {
            Ok(IpAddr::V4(ip)) if ip.is_loopback() || ip.is_unspecified() => {
                return (text.to_owned(), text.to_owned());
            }
            Ok(IpAddr::V6(ip)) if ip.is_loopback() || ip.is_unspecified() => {
                return (text.to_owned(), text.to_owned());
            }
            // Of the networks that are kept for documentation and for tests of benchmarks.
            Ok(IpAddr::V4(_)) => {
                let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
                let address = Ipv4Addr::from(first + self.next("ipv4") % (1 << 17));
                return (text.to_owned(), address.to_string());
            }
            Ok(IpAddr::V6(ip)) => {
                let [.., c, d] = [0, 0].map(|_: u16| 0);
                let number = self.next("ipv6");
                let (high, low) = ((number >> 16) as u16, (number & 0xffff) as u16);
                let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, c, d, high, low);
                return (ip.to_string(), address.to_string());
            }
            Err(_) => {}
        }
        let replacement = match text.strip_prefix('/') {
            Some(_) => format!("/path/{}", self.next("path")),
            None => self.numbered("text"),
        };
        (text.to_owned(), replacement)
    }

    fn insert(&mut self, original: &str, replacement: String) {
        self.by_length.clear();
        self.known.insert(original.to_owned(), replacement);
    }

    fn numbered(&mut self, kind: &'static str) -> String {
        format!("{kind}-{}", self.next(kind))
    }

    fn next(&mut self, kind: &'static str) -> u32 {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        *count
    }
}

/// A part of a message.
enum Part {
    /// As it was.
    Text(String),
    /// A replacement, in which nothing is replaced again.
    Replaced(String),
}

impl Part {
    fn split(self, original: &str, replacement: &str) -> Vec<Part> {
        let Self::Text(text) = self else { return vec![self] };
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        let mut from = 0;
        while let Some(at) = rest[from..].find(original).map(|at| at + from) {
            let (before, after) = (&rest[..at], &rest[at + original.len()..]);
            let is_alone =
                |it: Option<char>| it.is_none_or(|it| !it.is_alphanumeric() && it != '_');
            if original.len() >= LONG
                || is_alone(before.chars().next_back()) && is_alone(after.chars().next())
            {
                parts.push(Self::Text(before.to_owned()));
                parts.push(Self::Replaced(replacement.to_owned()));
                rest = after;
                from = 0;
            } else {
                from = at + original.len();
            }
        }
        parts.push(Self::Text(rest.to_owned()));
        parts
    }

    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Replaced(text) => text,
        }
    }
}

/// Whether a text has the shape of a UUID, an address or a path.
fn is_shaped(text: &str) -> bool {
    let is_path = text.len() > 1 && text.starts_with('/');
    let is_uuid = text.len() >= 32 && Uuid::parse_str(text).is_ok();
    is_path || is_uuid || is_mac(text) || text.parse::<IpAddr>().is_ok()
}

fn is_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split([':', '-']).collect();
    bytes.len() == 6
        && bytes.iter().all(|it| it.len() == 2 && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

pub(super) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_digit =
        |it: u8| it.is_ascii_digit() || (digits.len() < text.len() && it.is_ascii_hexdigit());
    !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(is_digit)
}

/// Whether a text looks like a word of libvirt's or QEMU's, such as pc-q35-7.2.
pub(super) fn is_word(text: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || b"_.+-".contains(&it);
    !text.is_empty() && text.len() <= 40 && text.bytes().all(is_part)
}

/// Whether a device's target is of those that a hypervisor or libvirt numbers.
pub(super) fn is_device(target: &str) -> bool {
    const DISKS: [&str; 8] = ["hd", "sd", "vd", "xvd", "fd", "ubd", "nvme", "sr"];
    const NICS: [&str; 8] = ["vnet", "testnet", "tap", "macvtap", "macvlan", "vif", "veth", "eth"];
    let disk = |prefix: &&str| {
        let rest = target.strip_prefix(*prefix);
        rest.is_some_and(|it| !it.is_empty() && it.len() <= 3 && it.bytes().all(is_lower_or_digit))
    };
    let nic = |prefix: &&str| {
        let rest = target.strip_prefix(*prefix);
        rest.is_some_and(|it| {
            let is_part = |it: u8| it.is_ascii_digit() || it == b'.';
            !it.is_empty() && it.len() <= 5 && it.bytes().all(is_part)
        })
    };
    DISKS.iter().any(disk) || NICS.iter().any(nic)
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

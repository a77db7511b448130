//! The replacements: each original has one replacement, which has the shape of the original where
//! that matters to whoever reads it (a UUID, an address, a path).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uuid::Uuid;

/// Originals shorter than this are too common to be looked for in messages, unless they are names.
const SHORTEST: usize = 3;
/// An original of so many bytes is replaced in the middle of other words, too.
const LONG: usize = 6;

/// 00000000-0000-4000-8000-000000000000: random as libvirt's are, by its version, and yet plainly none.
const FIRST_UUID: u128 = 0x4000_8000_0000_0000_0000;

/// The replacements made so far.
#[derive(Default)]
pub(super) struct Pseudonyms {
    known: HashMap<String, String>,
    /// Guests' names: looked for in messages however short they are.
    names: HashSet<String>,
    /// How long the known originals are.
    lengths: BTreeSet<usize>,
    uuids: HashMap<Uuid, Uuid>,
    counts: HashMap<&'static str, u32>,
}

impl Pseudonyms {
    /// Sets the replacement of a guest's name.
    pub(super) fn name(&mut self, name: &str, replacement: String) {
        self.names.insert(name.to_owned());
        self.insert(name, replacement);
    }

    /// The replacement of a UUID; each has its own.
    pub(super) fn uuid(&mut self, uuid: Uuid) -> Uuid {
        if let Some(known) = self.uuids.get(&uuid) {
            return *known;
        }
        let number = self.next("uuid");
        let replacement = Uuid::from_u128(FIRST_UUID | u128::from(number));
        self.uuids.insert(uuid, replacement);
        replacement
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
        let mut text = String::new();
        let mut rest = message.as_str();
        while let Some(next) = rest.chars().next() {
            let before = text.chars().next_back();
            let (replaced, length) = match self.known_at(rest, before) {
                Some((original, replacement)) => (replacement, original.len()),
                None => (&rest[..next.len_utf8()], next.len_utf8()),
            };
            text.push_str(replaced);
            rest = &rest[length..];
        }
        text
    }

    /// The longest original that a text begins with, and its replacement.
    fn known_at<'a>(&'a self, text: &'a str, before: Option<char>) -> Option<(&'a str, &'a str)> {
        let is_alone = |it: Option<char>| it.is_none_or(|it| !it.is_alphanumeric() && it != '_');
        self.lengths.iter().rev().find_map(|&length| {
            let original = text.get(..length)?;
            let replacement = self.known.get(original)?;
            let is_sought = self.names.contains(original)
                || (length >= SHORTEST && !is_number(original) && original != replacement);
            let is_whole =
                length >= LONG || (is_alone(before) && is_alone(text[length..].chars().next()));
            (is_sought && is_whole).then_some((original, replacement.as_str()))
        })
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
            return (uuid.to_string(), self.uuid(uuid).to_string());
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
                if let Some(known) = self.known.get(&ip.to_string()) {
                    return (text.to_owned(), known.clone());
                }
                let number = self.next("ipv6");
                let (high, low) = ((number >> 16) as u16, (number & 0xffff) as u16);
                let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, high, low);
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
        self.lengths.insert(original.len());
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

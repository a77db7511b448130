//! The form of the cache's files, written once more: it must never change.

/// The file's lines without a header and a closing line, where it has them.
pub fn inner_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if lines.first().is_some_and(|line| line.starts_with(b"{\"telegraf-virt\"")) {
        lines.remove(0);
    }
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if lines.last().is_some_and(|line| line.starts_with(b"{\"lines\"")) {
        lines.pop();
    }
    lines
}

/// A whole file of these lines.
pub fn sealed(header: &str, lines: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("{header}\n").into_bytes();
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    let (count, checksum) = (lines.len(), checksum(&bytes));
    bytes.extend(format!("{{\"lines\":{count},\"checksum\":\"{checksum:016x}\"}}\n").into_bytes());
    bytes
}

/// The checksum.
pub fn checksum(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = |hash: u64, word: &[u8]| {
        let mut group = [0; 8];
        group[..word.len()].copy_from_slice(word);
        (hash ^ u64::from_le_bytes(group)).wrapping_mul(MULTIPLIER).rotate_left(29)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let start = (bytes.len() as u64 + 1).wrapping_mul(MULTIPLIER);
    let hash = words.iter().fold(start, |hash, word| mixed(hash, word));
    let hash = mixed(hash, rest);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

//! A stable hash: the same on every machine and in every version, since file names and the checksum
//! in a cache file are made of it. No protection against somebody who wants two equal hashes: what
//! is not our own user's is refused before a byte of it is read.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of these bytes.
///
/// Every step can be undone, so two texts of one length that differ within one aligned group of eight
/// bytes never have the same hash: a flipped bit is always found.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut hash = (bytes.len() as u64 + 1).wrapping_mul(MULTIPLIER);
    let (words, remainder) = bytes.as_chunks::<8>();
    for word in words {
        hash = mixed(hash ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (byte, rest) in last.iter_mut().zip(remainder) {
        *byte = *rest;
    }
    hash = mixed(hash ^ u64::from_le_bytes(last));
    // The high bits know of every byte, the low ones do not yet.
    hash = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

fn mixed(hash: u64) -> u64 {
    hash.wrapping_mul(MULTIPLIER).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(digest(b""), 0x98d6_45b8_b7ff_cbec);
        assert_eq!(digest(b"qemu:///system"), 0x3af6_0887_202d_a8ed);
        assert_eq!(digest(b"qemu:///session"), 0x81f2_5c2a_a94c_c46b);
    }

    #[test]
    fn each_flipped_bit_gives_another_hash() {
        let text: Vec<u8> = (0..99).collect();
        let whole = digest(&text);
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest(&flipped), whole, "bit {bit}");
        }
        for end in 0..text.len() {
            assert_ne!(digest(&text[..end]), whole, "cut at {end}");
        }
    }
}

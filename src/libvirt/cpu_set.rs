//! Sets of CPUs as libvirt writes them.

/// These numbers, which only grow, such as `0-3,8`.
pub fn cpu_set(numbers: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last): (u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// The numbers of the bits that are set in a map.
pub(super) fn bits(map: &[u8]) -> impl Iterator<Item = u32> {
    let of_byte = |(place, byte): (usize, &u8)| {
        let (place, byte) = (u32::try_from(place).unwrap_or(u32::MAX), *byte);
        (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| place * 8 + bit)
    };
    map.iter().enumerate().flat_map(of_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_cpus_is_written_as_libvirt_writes_sets() {
        let text = |map: &[u8]| cpu_set(bits(map));
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[0, 0]), "");
        assert_eq!(text(&[0b1]), "0");
        assert_eq!(text(&[0b1010_1111, 0b11]), "0-3,5,7-9");
        assert_eq!(text(&[0xff; 512]), "0-4095");
        assert_eq!(cpu_set([0, u32::MAX].into_iter()), "0,4294967295");
    }
}

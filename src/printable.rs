//! Text that others wrote, made harmless for a terminal: names of guests, paths, libvirt's words. Whatever a
//! person reads goes through here; line protocol and JSON have rules of their own.

/// The text on one line, without what moves the cursor, turns the writing round, or has no shape: what
/// separates lines or columns becomes a space, the rest a question mark.
pub fn sanitize(text: &str) -> String {
    text.chars().filter_map(printable).collect()
}

/// A character as it may be printed; `None` for one that only changes another one's picture.
pub fn printable(character: char) -> Option<char> {
    if is_joint(character) {
        None
    } else if !is_unprintable(character) {
        Some(character)
    } else if character.is_whitespace() {
        Some(' ')
    } else {
        Some('?')
    }
}

/// What makes one picture of several, or another of one: terminals do not agree how wide that is, but
/// they do without.
fn is_joint(character: char) -> bool {
    matches!(character,
        '\u{200d}' // zero width joiner
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' // variation selectors
        | '\u{1f3fb}'..='\u{1f3ff}') // skin tones
}

/// Control and format characters, and what separates lines: nothing of it has a shape.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}'
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_shape_stays() {
        for name in ["web-01", "a space", "Größe", "日本語", "🦀", "e\u{301}", "\u{5d0}", ""]
        {
            assert_eq!(sanitize(name), name);
        }
    }

    #[test]
    fn what_moves_the_cursor_or_turns_the_writing_round_is_replaced() {
        for (name, text) in [
            ("a\tb\nc\rd", "a b c d"),
            ("\u{1b}[31mred\u{1b}[0m\u{7}", "?[31mred?[0m?"),
            ("c1\u{9b}2J", "c1?2J"),
            ("\u{202e}desrever\u{2066}x", "?desrever?x"),
            ("zero\u{200b}width\u{feff}", "zero?width?"),
        ] {
            assert_eq!(sanitize(name), text, "{name:?}");
        }
    }

    #[test]
    fn joined_pictures_are_taken_apart() {
        assert_eq!(sanitize("👩\u{200d}👧 ❤\u{fe0f} 👍\u{1f3fd}"), "👩👧 ❤ 👍");
    }
}

//! Names that others chose, made harmless: they may hold anything that XML can.

/// So much of a name is shown at most, in characters; no terminal is wider.
const LONGEST: usize = 500;

/// A name as it may stand in a row: one that cannot move the cursor, turn the writing round, or be
/// wider on the terminal than was counted.
pub(super) fn shown(name: &str) -> String {
    let kept = name.chars().filter(|&character| !is_joint(character)).take(LONGEST);
    kept.map(|character| if is_unprintable(character) { '?' } else { character }).collect()
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
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn what_moves_the_cursor_or_turns_the_writing_round_is_replaced() {
        for (name, text) in [
            ("a\tb\nc\rd", "a?b?c?d"),
            ("\u{1b}[31mred\u{1b}[0m\u{7}", "?[31mred?[0m?"),
            ("c1\u{9b}2J", "c1?2J"),
            ("\u{202e}desrever\u{2066}x", "?desrever?x"),
            ("zero\u{200b}width\u{feff}", "zero?width?"),
        ] {
            assert_eq!(shown(name), text, "{name:?}");
        }
    }

    #[test]
    fn joined_pictures_are_taken_apart() {
        assert_eq!(shown("👩\u{200d}👧 ❤\u{fe0f} 👍\u{1f3fd}"), "👩👧 ❤ 👍");
    }
}

//! A terminal on which a table is drawn again and again, and the keys that end it.

use std::cell::Cell;
use std::io::{self, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::printable::sanitize;
use crate::trigger::Triggers;

/// To the first column of the first line.
const HOME: &str = "\x1b[H";
/// The rest of the line, and of the screen, becomes empty.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// All of the screen becomes empty.
const CLEAR: &str = "\x1b[2J";

/// Standard output and standard input as they are used while a table is watched.
pub(super) struct Screen {
    /// Whether the table is drawn in place.
    pub(super) is_terminal: bool,
    /// How the terminal was set before keys were read one by one.
    before: Option<Termios>,
    is_drawn: Cell<bool>,
    reads_keys: Cell<bool>,
}

impl Screen {
    /// Takes keys as they are pressed, where standard input is a terminal.
    pub(super) fn begin() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal() && is_terminal);
        if let Some(before) = &before {
            let mut keys = before.clone();
            // Ctrl-C still is the signal that it always is.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            // Without it a q must be followed by Enter.
            let _ = tcsetattr(&stdin, OptionalActions::Now, &keys);
        }
        Self { is_terminal, before, is_drawn: Cell::new(false), reads_keys: Cell::new(false) }
    }

    /// The table, with what makes a terminal draw it over the one before.
    pub(super) fn draw(&self, text: &str, notes: &[String]) -> String {
        if !self.is_terminal {
            let gap = if self.is_drawn.replace(true) { "\n" } else { "" };
            return format!("{gap}{text}");
        }
        let start =
            if self.is_drawn.replace(true) { HOME.to_owned() } else { format!("{CLEAR}{HOME}") };
        let notes = notes.iter().map(|note| sanitize(note));
        let lines = text.lines().map(str::to_owned).chain(notes);
        let lines: Vec<String> = lines.map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        format!("{start}{}{CLEAR_BELOW}", lines.concat())
    }

    /// Reads keys from now on, on a thread of their own.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub(super) fn read_keys(&self, triggers: &Triggers) -> Result<(), String> {
        if self.reads_keys.replace(true) { Ok(()) } else { triggers.read_keys() }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

//! Messages on standard error: one line each, with the level in front as Telegraf reads it.
//!
//! `once` keeps its messages until its end and prints the gravest first, since Telegraf's
//! inputs.exec shows only the first line or 512 bytes; `execd` prints each at once.

use std::collections::HashMap;
use std::io::{StderrLock, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fmt, panic};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::printable::printable;

/// How grave a message is, in Telegraf's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `E! `: something is lost.
    Error,
    /// `W! `: something is wrong, or is about to be lost.
    Warn,
    /// `I! `: what happens, once.
    Info,
    /// `D! `: for whoever looks for a fault.
    Debug,
}

impl Level {
    fn mark(self) -> &'static str {
        match self {
            Self::Error => "E! ",
            Self::Warn => "W! ",
            Self::Info => "I! ",
            Self::Debug => "D! ",
        }
    }
}

/// A line on standard error stays below 4 KiB, its newline included, so that a pipe takes it whole.
const LINE_MAX: usize = 4095;
/// The first line of `once` stays below 500 bytes, since Telegraf keeps 512.
const FIRST_LINE_MAX: usize = 499;
/// Messages that `once` keeps until its end; later ones are only counted. A hypervisor with thousands of guests
/// that fail must not fill the memory.
const KEPT_MAX: usize = 1000;
/// Lasting conditions that are remembered, so that guests that come and go do not fill the memory.
const LASTING_MAX: usize = 10_000;
/// A reader of standard error that does not read is waited for so long in each collection, for all messages
/// together. What has no space then is dropped and counted, so that the lines keep their deadline.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where messages go. Shared by every thread; never fails, since there is nobody to tell.
pub struct Log {
    level: Level,
    state: Mutex<LogState>,
    printer: Mutex<Printer>,
}

#[derive(Default)]
struct LogState {
    /// Messages of `once`, until its end; `None` when each is printed at once.
    kept: Option<Vec<(Level, String)>>,
    left_out: usize,
    /// Lasting conditions that have been told and not ended, and how many had begun before each.
    lasting: HashMap<String, u64>,
    begun: u64,
}

impl LogState {
    /// Whether this condition begins only now. Of too many the older half is forgotten, and would be
    /// told of again: a hypervisor may have other guests each time.
    fn begins(&mut self, key: &str) -> bool {
        if self.lasting.contains_key(key) {
            return false;
        }
        if self.lasting.len() >= LASTING_MAX {
            let mut begun: Vec<u64> = self.lasting.values().copied().collect();
            let (_, middle, _) = begun.select_nth_unstable(LASTING_MAX / 2);
            let middle = *middle;
            self.lasting.retain(|_, begun| *begun >= middle);
        }
        self.begun += 1;
        self.lasting.insert(key.to_owned(), self.begun);
        true
    }
}

impl Log {
    /// A log that prints each message as it comes.
    pub fn immediate(level: Level) -> Self {
        Self { level, state: Mutex::default(), printer: Mutex::default() }
    }

    /// A log that keeps its messages until [`Log::flush`], gravest first.
    pub fn kept(level: Level) -> Self {
        let state = LogState { kept: Some(Vec::new()), ..LogState::default() };
        Self { level, state: Mutex::new(state), printer: Mutex::default() }
    }

    /// From here on it is another collection: a reader of standard error is waited for again.
    pub fn collection_begins(&self) {
        self.printer().patience = PATIENCE;
    }

    /// Whether a message of this level would be printed.
    pub fn has(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Something is lost.
    pub fn error(&self, message: impl fmt::Display) {
        self.say(Level::Error, message);
    }

    /// Something is wrong.
    pub fn warn(&self, message: impl fmt::Display) {
        self.say(Level::Warn, message);
    }

    /// Something happened that users may want to know.
    pub fn info(&self, message: impl fmt::Display) {
        self.say(Level::Info, message);
    }

    /// Something that helps to find a fault.
    pub fn debug(&self, message: impl fmt::Display) {
        self.say(Level::Debug, message);
    }

    /// Tells of a lasting condition when it begins: `key` names it until [`Log::ends`].
    pub fn begins(&self, key: &str, level: Level, message: impl fmt::Display) {
        if self.lock().begins(key) {
            self.say(level, message);
        }
    }

    /// Tells that a lasting condition is over, if it had begun.
    pub fn ends(&self, key: &str, message: impl fmt::Display) {
        if self.lock().lasting.remove(key).is_some() {
            self.say(Level::Info, message);
        }
    }

    /// Forgets the lasting conditions whose key starts so, without a word: their subject is gone.
    pub fn forget(&self, prefix: &str) {
        self.lock().lasting.retain(|key, _| !key.starts_with(prefix));
    }

    fn say(&self, level: Level, message: impl fmt::Display) {
        if !self.has(level) {
            return;
        }
        let text = message.to_string();
        let mut state = self.lock();
        let Some(kept) = &mut state.kept else {
            drop(state);
            self.printer().print(&line(level, &text, LINE_MAX));
            return;
        };
        if kept.len() < KEPT_MAX {
            kept.push((level, text));
            return;
        }
        // A graver one takes the place of the last of the least grave.
        let least = kept.iter().map(|(level, _)| *level).max().unwrap_or(level);
        if level < least
            && let Some(place) = kept.iter().rposition(|(level, _)| *level == least)
        {
            kept.remove(place);
            kept.push((level, text));
        }
        state.left_out += 1;
    }

    /// Takes what was kept, gravest first and else in order.
    pub fn take(&self) -> Vec<(Level, String)> {
        let mut state = self.lock();
        let left_out = std::mem::take(&mut state.left_out);
        let mut kept = state.kept.as_mut().map(std::mem::take).unwrap_or_default();
        drop(state);
        if left_out > 0 {
            kept.push((Level::Warn, format!("{left_out} more messages are omitted")));
        }
        kept.sort_by_key(|(level, _)| *level);
        kept
    }

    /// Prints what was kept, gravest first and else in order.
    pub fn flush(&self) {
        let kept = self.take();
        let mut text = String::new();
        for (level, message) in &kept {
            let most = if text.is_empty() { FIRST_LINE_MAX } else { LINE_MAX };
            text.push_str(&line(*level, message, most));
        }
        self.printer().print(&text);
    }

    fn printer(&self) -> MutexGuard<'_, Printer> {
        self.printer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        // A thread that panicked while it held the lock has left whole messages behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a message of each panic, where Rust would print several lines without a level. Whoever sets RUST_BACKTRACE
/// gets Rust's own words, with the backtrace.
pub fn print_panics() {
    if env::var_os("RUST_BACKTRACE").is_none() {
        panic::set_hook(Box::new(|panic| {
            Log::immediate(Level::Error)
                .error(format_args!("a bug in telegraf-virt, please report it: {panic}"));
        }));
    }
}

/// One line of at most `most` bytes, its newline included, without what could write on a terminal; what is
/// too long ends in "…".
fn line(level: Level, message: &str, most: usize) -> String {
    let mut line = String::with_capacity(message.len().min(most) + 4);
    line.push_str(level.mark());
    for character in message.chars().filter_map(printable) {
        if line.len() + character.len_utf8() + "…\n".len() > most {
            line.push('…');
            break;
        }
        line.push(character);
    }
    line.push('\n');
    line
}

/// Prints lines on standard error.
struct Printer {
    /// How long a reader that makes no room is still waited for.
    patience: Duration,
    /// Messages that found no room, and of which nobody was told.
    dropped: usize,
}

impl Default for Printer {
    fn default() -> Self {
        Self { patience: PATIENCE, dropped: 0 }
    }
}

impl Printer {
    fn print(&mut self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        for line in text.split_inclusive('\n') {
            if self.tells_of_dropped(&mut stderr) && self.waits_for_room(stderr.as_fd()) {
                write(&mut stderr, line);
            } else {
                self.dropped += 1;
            }
        }
        self.tells_of_dropped(&mut stderr);
    }

    /// Whether all that was dropped is told of by now.
    fn tells_of_dropped(&mut self, stderr: &mut StderrLock<'_>) -> bool {
        if self.dropped > 0 && self.waits_for_room(stderr.as_fd()) {
            let told = format!("{} messages were dropped: nobody read them", self.dropped);
            self.dropped = 0;
            write(stderr, &line(Level::Warn, &told, LINE_MAX));
        }
        self.dropped == 0
    }

    /// Whether there is room for a line. A pipe has some only where it takes a line whole.
    fn waits_for_room(&mut self, stderr: BorrowedFd<'_>) -> bool {
        let began = Instant::now();
        let mut asked = [PollFd::new(stderr, PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(self.patience).unwrap_or(PollTimeout::ZERO);
        let has_room = poll(&mut asked, timeout);
        self.patience = self.patience.saturating_sub(began.elapsed());
        has_room != Ok(0)
    }
}

/// Standard error may be closed, or its reader gone: then nobody can be told, and the metrics still count.
fn write(mut to: impl Write, line: &str) {
    let _ = to.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        assert_eq!(line(Level::Warn, "a\nE! b\r\u{85}c", LINE_MAX), "W! a E! b  c\n");
        let name = "\u{202e}gpj.exe\u{200b}\u{1b}[2J";
        assert_eq!(line(Level::Warn, name, LINE_MAX), "W! ?gpj.exe??[2J\n");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let cut = line(Level::Error, &"ä".repeat(4000), FIRST_LINE_MAX);
        assert!(cut.len() <= FIRST_LINE_MAX, "{} bytes", cut.len());
        assert!(cut.ends_with("ä…\n"));
        let whole = "x".repeat(LINE_MAX - "E! …\n".len());
        assert_eq!(line(Level::Error, &whole, LINE_MAX), format!("E! {whole}\n"));
    }

    #[test]
    fn the_gravest_is_kept_however_many_came_before() {
        let log = Log::kept(Level::Debug);
        (0..2 * KEPT_MAX).for_each(|number| log.debug(number));
        log.error("grave");
        let kept = log.take();
        assert_eq!(kept[0], (Level::Error, "grave".to_owned()));
        assert_eq!(kept[1].1, format!("{} more messages are omitted", KEPT_MAX + 1));
        assert_eq!(kept.len(), KEPT_MAX + 1);
    }

    #[test]
    fn of_too_many_lasting_conditions_the_newer_half_is_remembered() {
        let mut state = LogState::default();
        for number in 0..10 * LASTING_MAX {
            assert!(state.begins(&number.to_string()));
            assert!(state.lasting.len() <= LASTING_MAX);
        }
        assert!(!state.begins(&(10 * LASTING_MAX - 1).to_string()));
        assert!(state.begins("0"));
    }

    #[test]
    fn a_lasting_condition_is_told_once_until_it_ends() {
        let log = Log::kept(Level::Info);
        log.begins("down", Level::Error, "down");
        log.begins("down", Level::Error, "down again");
        log.ends("down", "up");
        log.ends("down", "up again");
        log.begins("down", Level::Error, "down once more");
        let kept = log.take();
        let texts: Vec<&str> = kept.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["down", "down once more", "up"]);
    }
}

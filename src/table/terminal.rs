//! Standard output as it is looked at: how wide, and whether with colours.

use std::env;
use std::io::{self, IsTerminal};

use super::columns::Column;

/// How a table is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The most columns of characters; `None` for no limit.
    pub width: Option<u16>,
    /// Whether to use colours.
    pub colours: bool,
    /// The lines of the terminal; `None` for no limit.
    pub height: Option<u16>,
    /// The guests with most of this come first.
    pub sort: Option<Column>,
    /// So many guests are shown at most.
    pub top: Option<usize>,
}

impl Look {
    /// That of the process's standard output. `$COLUMNS` is the width, else the terminal's own; into
    /// a pipe or file there is no limit. Colours only on a terminal that has them, and not with
    /// `$NO_COLOR` (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let told = env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
        let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| is_terminal);
        let measured = || size.map(|size| size.ws_col);
        let height = size.map(|size| size.ws_row).filter(|&height| height > 0);
        let width = told.filter(|&width: &u16| width > 0);
        // A terminal that does not know its width says 0.
        let width = width.or_else(|| measured().filter(|&width| width > 0));
        let colours =
            is_terminal && !anstyle_query::no_color() && anstyle_query::term_supports_color();
        Self { width, colours, height, sort: None, top: None }
    }
}

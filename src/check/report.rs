//! The findings as a person reads them: a heading for each area, 80 columns, what is lost and what
//! fixes it below each finding, one line of verdict at the end. On a terminal with marks and colours.

use std::collections::HashSet;
use std::env;
use std::fmt::Write as _;
use std::io::IsTerminal;

use super::finding::{Area, AreaFindings, Finding, Verdict, counted};
use super::verdict;
use crate::printable::sanitize;

/// A line has at most so many columns, unless a word or a command is longer.
const WIDTH: usize = 80;
/// Names of guests that a finding shows take at most about so many columns.
const NAMES_WIDTH: usize = 140;

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Colours and bold letters.
    colours: bool,
    /// A mark before each finding.
    marks: bool,
}

impl Style {
    /// Plain, without anything but text: what a pipe gets.
    const PLAIN: Self = Self { colours: false, marks: false };

    /// What suits standard output. <https://no-color.org>
    pub(super) fn of_stdout() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        if !std::io::stdout().is_terminal() || !anstyle_query::term_supports_color() {
            return Self::PLAIN;
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
        let locale = locale.unwrap_or_default().to_string_lossy().to_uppercase();
        Self {
            colours: !anstyle_query::no_color(),
            marks: locale.contains("UTF-8") || locale.contains("UTF8"),
        }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The word for a verdict, with its mark and colour, always as wide.
    fn word(self, verdict: Verdict) -> String {
        let (colour, mark, word) = match verdict {
            Verdict::Good => ("32", "✓ ", "ok  "),
            Verdict::Advice => ("33", "! ", "note"),
            Verdict::Lost => ("1;31", "✗ ", "LOST"),
        };
        let mark = if self.marks { mark } else { "" };
        self.paint(colour, &format!("{mark}{word}"))
    }

    /// Where the text begins.
    fn indent(self) -> usize {
        if self.marks { 10 } else { 8 }
    }
}

/// The first line.
pub(super) fn heading(user: &str, style: Style) -> String {
    let title = style.bold(concat!("telegraf-virt ", env!("CARGO_PKG_VERSION"), " check"));
    format!("{title}, as {user}\n")
}

/// One area.
pub(super) fn section(section: &AreaFindings, style: Style) -> String {
    let mut title = section.area.title().to_owned();
    if let Some(about) = &section.about {
        let _ = write!(title, " {}", sanitize(about));
    }
    let mut text = format!("\n{}\n", style.bold(&title));
    for finding in &section.findings {
        write_finding(&mut text, finding, style);
    }
    text
}

fn write_finding(text: &mut String, finding: &Finding, style: Style) {
    let indent = style.indent();
    let mut body = finding.text.clone();
    if !finding.guests.is_empty() {
        let _ = write!(body, ": {}", names(&finding.guests));
    }
    let lines = wrapped(&body, indent);
    let (first, more) = lines.split_first().map_or(("", &[][..]), |(first, more)| (first, more));
    let _ = writeln!(text, "  {}  {first}", style.word(finding.verdict));
    let mut add = |line: &str| {
        let _ = writeln!(text, "{:indent$}{line}", "");
    };
    more.iter().for_each(|line| add(line));
    if let Some(lost) = &finding.lost {
        wrapped(&format!("Lost: {lost}."), indent).iter().for_each(|line| add(line));
    }
    if let Some(mend) = &finding.mend {
        let end = if finding.commands.is_empty() { "." } else { ":" };
        wrapped(&format!("Fix: {mend}{end}"), indent).iter().for_each(|line| add(line));
    }
    // As they are, however long, so that they can be copied.
    for command in &finding.commands {
        add(&format!("  {}", style.paint("36", &sanitize(command))));
    }
}

/// The last line.
pub(super) fn verdict_line(sections: &[AreaFindings], is_whole: bool, style: Style) -> String {
    let colour = match verdict(sections) {
        _ if !is_whole => "1;33",
        Verdict::Good | Verdict::Advice => "1;32",
        Verdict::Lost => "1;31",
    };
    let lines = wrapped(&summary(sections, is_whole), 0);
    let lines: Vec<String> = lines.iter().map(|line| style.paint(colour, line)).collect();
    format!("\n{}\n", lines.join("\n"))
}

/// All of it in one sentence.
pub(super) fn summary(sections: &[AreaFindings], is_whole: bool) -> String {
    let all = || sections.iter().flat_map(|section| &section.findings);
    let notes = all().filter(|finding| finding.verdict == Verdict::Advice).count();
    // Several findings may be about one hypervisor or guest, which is lost once.
    let (mut hypervisors, mut guests, mut unnamed) = (HashSet::new(), HashSet::new(), false);
    for section in sections {
        for finding in lost_in(std::slice::from_ref(section), section.area) {
            let host = section.about.as_deref().or(finding.about.as_deref());
            match section.area {
                Area::Hypervisor => _ = hypervisors.insert(host),
                Area::Guests if finding.id == "gone-down" => _ = hypervisors.insert(host),
                Area::Guests if finding.guests.is_empty() => unnamed = true,
                Area::Guests => guests.extend(finding.guests.iter().map(|guest| (host, guest))),
                _ => {}
            }
        }
    }
    let mut lost = Vec::new();
    if !hypervisors.is_empty() {
        lost.push(counted(hypervisors.len(), "hypervisor"));
    }
    if !guests.is_empty() {
        lost.push(counted(guests.len(), "guest"));
    } else if unnamed {
        lost.push("data of guests".to_owned());
    }
    if lost_in(sections, Area::Cache).next().is_some() {
        lost.push("the cache".to_owned());
    }
    let of_telegraf = [Area::Telegraf, Area::TelegrafUser];
    if of_telegraf.into_iter().any(|area| lost_in(sections, area).next().is_some()) {
        lost.push("what Telegraf would collect".to_owned());
    }
    let notes_above = match notes {
        0 => String::new(),
        1 => "; see also the note above".to_owned(),
        _ => format!("; see also the {notes} notes above"),
    };
    if !is_whole {
        return "Ended before everything was checked: run it again, and let it finish.".to_owned();
    }
    match lost.as_slice() {
        [] => format!("A collection delivers everything that the guests offer{notes_above}."),
        lost => format!(
            "Lost: {}. Fix what is marked LOST, and run this again{notes_above}.",
            lost.join(", ")
        ),
    }
}

fn lost_in(sections: &[AreaFindings], area: Area) -> impl Iterator<Item = &Finding> {
    let of_area = sections.iter().filter(move |section| section.area == area);
    let findings = of_area.flat_map(|section| &section.findings);
    findings.filter(|finding| finding.verdict == Verdict::Lost)
}

/// As many names as have room, and how many more there are.
fn names(guests: &[String]) -> String {
    let mut text = String::new();
    for (place, name) in guests.iter().enumerate() {
        if place > 0 && text.chars().count() + name.chars().count() > NAMES_WIDTH {
            let _ = write!(text, " and {} more", guests.len() - place);
            return text;
        }
        if place > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    text
}

/// The text in lines that have room behind the indent; a longer word is alone on its line.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let text = sanitize(text);
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if indent + line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<AreaFindings> {
        let lost = Finding {
            lost: Some("what only they can tell".to_owned()),
            mend: Some("look at them".to_owned()),
            commands: vec!["virsh list".to_owned()],
            ..Finding::new(Verdict::Lost, "a", "2 guests do not answer".to_owned())
        };
        let lost = lost.of_guests(vec!["one\x1b[2J".to_owned(), "two".to_owned()]);
        let good = Finding::new(Verdict::Good, "b", "all is well ".repeat(10));
        let findings = vec![good, lost];
        vec![AreaFindings { area: Area::Guests, about: Some("x:///".to_owned()), findings }]
    }

    #[test]
    fn a_section_says_what_is_lost_and_what_mends_it_in_80_columns() {
        let expected = "\nGuests of x:///
  ok    all is well all is well all is well all is well all is well all is well
        all is well all is well all is well all is well
  LOST  2 guests do not answer: one?[2J, two
        Lost: what only they can tell.
        Fix: look at them:
          virsh list\n";
        assert_eq!(section(&sections()[0], Style::PLAIN), expected);
    }

    #[test]
    fn a_terminal_gets_marks_and_colours_and_the_columns_stay() {
        let style = Style { colours: true, marks: true };
        let text = section(&sections()[0], style);
        assert!(text.contains("\n  \x1b[1;31m✗ LOST\x1b[0m  2 guests"), "{text}");
        assert!(text.contains("\n            \x1b[36mvirsh list\x1b[0m\n"), "{text}");
        let marks = Style { colours: false, marks: true };
        assert!(section(&sections()[0], marks).contains("\n  ✗ LOST  2 guests"));
    }

    #[test]
    fn the_last_line_counts_what_is_lost() {
        let lost = "Lost: 2 guests. Fix what is marked LOST, and run this again.";
        assert_eq!(summary(&sections(), true), lost);
        // The same guest in another finding is lost once; one of the same name elsewhere is another.
        let mut more = sections();
        let again = more[0].findings[1].clone().of_guests(vec!["two".into(), "two".into()]);
        assert_eq!(again.guests, ["two"]);
        more[0].findings.push(again);
        assert_eq!(summary(&more, true), lost);
        let other = AreaFindings { about: Some("y:///".to_owned()), ..more[0].clone() };
        more.push(other);
        assert_eq!(summary(&more, true), lost.replace('2', "4"));
        let telegraf = |area| {
            let finding = Finding::new(Verdict::Lost, "c", "it never asks".to_owned());
            vec![AreaFindings { area, about: None, findings: vec![finding] }]
        };
        for area in [Area::Telegraf, Area::TelegrafUser] {
            let lost = lost.replace("2 guests", "what Telegraf would collect");
            assert_eq!(summary(&telegraf(area), true), lost);
        }
        let unnamed = lost.replace("2 guests", "data of guests");
        assert_eq!(summary(&telegraf(Area::Guests), true), unnamed);
        assert_eq!(summary(&[], true), "A collection delivers everything that the guests offer.");
        assert!(summary(&[], false).starts_with("Ended before everything was checked"));
    }

    #[test]
    fn of_many_names_the_first_are_shown() {
        let guests: Vec<String> = (0..500).map(|number| format!("guest-{number:03}")).collect();
        let shown = names(&guests);
        assert!(shown.starts_with("guest-000, guest-001, ") && shown.len() < 170, "{shown}");
        assert!(shown.ends_with(" and 487 more"), "{shown}");
    }
}

//! What `check` looks at: all that a collection needs, one file an area, each finding with its
//! remedy. It reads only what a collection reads, and Telegraf's configuration, and changes nothing but
//! the cache's folder.

mod cache;
mod hypervisor;
mod telegraf;

use std::fmt::Write;

pub use telegraf::FILE_VARIABLE as TELEGRAF_FILE_VARIABLE;

use crate::config::Settings;
use crate::deadline::Ending;

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// What was found, in one sentence.
    pub text: String,
    /// The command or setting that mends it.
    pub remedy: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Good,
    /// Nothing is lost, but there is a better way.
    Advice,
    /// A hypervisor, a guest or the cache is lost.
    Lost,
}

impl Finding {
    fn good(text: String) -> Self {
        Self { verdict: Verdict::Good, text, remedy: None }
    }

    fn advice(text: String, remedy: String) -> Self {
        Self { verdict: Verdict::Advice, text, remedy: Some(remedy) }
    }

    fn lost(text: String, remedy: String) -> Self {
        Self { verdict: Verdict::Lost, text, remedy: Some(remedy) }
    }
}

/// Looks at everything these settings need, until the end is ordered.
pub fn findings(settings: &Settings, ending: &Ending) -> Vec<Finding> {
    let mut findings = cache::findings(settings);
    for uri in &settings.uris {
        if ending.since().is_none() {
            findings.extend(hypervisor::findings(uri, settings, ending));
        }
    }
    findings.extend(telegraf::findings(settings));
    findings
}

/// Whether anything is lost.
pub fn is_lost(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Lost)
}

/// Findings as a person reads them, a remedy below what it mends.
pub fn report(findings: &[Finding]) -> String {
    let mut report = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Advice => "note",
            Verdict::Lost => "LOST",
        };
        let _ = writeln!(report, "{mark}  {}", printable(&finding.text));
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(report, "      to mend it: {}", printable(remedy));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let _ = match (count(Verdict::Lost), count(Verdict::Advice)) {
        (0, 0) => writeln!(report, "\na collection delivers everything that the guests offer"),
        (0, _) => writeln!(
            report,
            "\na collection delivers everything that the guests offer; whether it arrives, the \
             notes above say"
        ),
        (1, _) => writeln!(report, "\n1 thing is lost"),
        (lost, _) => writeln!(report, "\n{lost} things are lost"),
    };
    report
}

/// Guests are named by strangers: a name cannot write on the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_lost_and_what_mends_it() {
        let findings = [
            Finding::good("a".to_owned()),
            Finding::advice("d".to_owned(), "do e".to_owned()),
            Finding::lost("b\x1b[2J".to_owned(), "do c".to_owned()),
        ];
        let expected = "ok    a\nnote  d\n      to mend it: do e\nLOST  b [2J\n      to mend it: \
                        do c\n\n1 thing is lost\n";
        assert_eq!(report(&findings), expected);
    }
}

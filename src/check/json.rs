//! The findings as JSON: the README has the keys, which stay; new ones may come.

use serde::Serialize;

use super::finding::{AreaFindings, Finding, Verdict};
use super::{report, verdict};

/// Counts up when a key changes its meaning or goes.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    program: &'static str,
    user: &'a str,
    verdict: Verdict,
    complete: bool,
    summary: String,
    findings: Vec<JsonFinding<'a>>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    area: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) fn report(sections: &[AreaFindings], user: &str, is_whole: bool) -> String {
    let mut findings = Vec::new();
    for section in sections {
        let area = section.area.name();
        findings.extend(section.findings.iter().map(|finding| JsonFinding { area, finding }));
    }
    let report = JsonReport {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION"),
        user,
        verdict: verdict(sections),
        complete: is_whole,
        summary: report::summary(sections, is_whole),
        findings,
    };
    // Numbers, words and lists of them: there is nothing that cannot be written.
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}

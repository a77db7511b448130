//! Which configuration file counts, and why; which hypervisors, and why. A file that cannot be used is
//! told before any check, as of every command.

use std::env;
use std::path::Path;

use super::CheckContext;
use super::catalogue::configuration as kinds;
use super::finding::{Finding, counted};
use crate::config::{DEFAULT_URI, FILE_VARIABLE, SYSTEM_FILE, URI_VARIABLE};

pub(super) fn findings(context: &CheckContext) -> Vec<Finding> {
    let mut findings = vec![file(context)];
    if context.settings.uris.len() > 1 {
        let count = counted(context.settings.uris.len(), "hypervisor");
        findings.push(kinds::hypervisors(count, namer(context)));
    } else {
        let uri = context.settings.uris.first().map_or(DEFAULT_URI, String::as_str);
        findings.push(kinds::hypervisor(uri, namer(context)));
    }
    findings
}

fn file(context: &CheckContext) -> Finding {
    let Some(path) = &context.file else {
        return kinds::no_file(SYSTEM_FILE, FILE_VARIABLE);
    };
    let namer = if context.cli.config.is_some() {
        "as --config says".to_owned()
    } else if env::var_os(FILE_VARIABLE).is_some_and(|value| !value.is_empty()) {
        format!("as ${FILE_VARIABLE} says")
    } else {
        "the default path".to_owned()
    };
    let system = Path::new(SYSTEM_FILE);
    let instead = if path != system && system.exists() {
        format!(", instead of {SYSTEM_FILE}")
    } else {
        String::new()
    };
    kinds::file(path.display(), namer, instead).about(path.display().to_string())
}

/// Who names the hypervisors.
fn namer(context: &CheckContext) -> String {
    if !context.cli.uris.is_empty() {
        return "as --uri says".to_owned();
    }
    let variable = env::var(URI_VARIABLE).ok().filter(|value| !value.is_empty());
    let unnamed = variable.as_deref().unwrap_or(DEFAULT_URI);
    if context.settings.uris != [unnamed] {
        return "as set in the configuration".to_owned();
    }
    match variable {
        Some(_) => format!("as ${URI_VARIABLE} says"),
        None => "the default".to_owned(),
    }
}

//! The command `record`: from a host, or from a recording of one, to a file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::REPLAY;
use super::{NewFile, Orders, Recording, anonymize, capture, read};
use crate::deadline::Ending;
use crate::log::Log;

/// Standard output, as a file's name.
const STANDARD_OUTPUT: &str = "-";
/// Moments that are recorded unless told otherwise: rates need two.
const MOMENTS: usize = 2;
const EVERY: Duration = Duration::from_secs(1);

/// What `record` is told.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Of which hypervisor.
    pub uri: &'a str,
    /// Into which file.
    pub file: &'a Path,
    /// How many moments.
    pub moments: Option<usize>,
    /// From the start of one moment to that of the next.
    pub every: Option<Duration>,
    /// How long an answer is waited for.
    pub patience: Duration,
    /// Calls that may be stuck in hung guests.
    pub max_stuck: usize,
    /// Whether names and addresses are replaced.
    pub anonymize: bool,
}

impl Command<'_> {
    /// Writes the recording. Returns its text where that belongs on standard output.
    ///
    /// # Errors
    /// What stands in the way, in one line; then there is no file.
    pub fn run(&self, ending: &Ending, log: &Arc<Log>) -> Result<String, String> {
        let file = match self.file.as_os_str() == STANDARD_OUTPUT {
            true => None,
            false => Some(NewFile::beside(self.file).map_err(|error| error.to_string())?),
        };
        let mut recording = self.recording(ending, log)?;
        if self.anonymize {
            anonymize(&mut recording);
        }
        let text = recording.to_text().map_err(|error| self.failed(&error))?;
        let Some(file) = file else { return Ok(text) };
        file.finish(&text).map_err(|error| error.to_string())?;
        let guests = recording.moments.last().map_or(0, |moment| moment.guests.len());
        let (moments, path) = (recording.moments.len(), self.file.display());
        let names = match self.anonymize {
            true => "names and addresses in it are replaced",
            false => "it holds names, addresses and paths, which --anonymize replaces",
        };
        log.info(format_args!(
            "{path} holds {} of {} at {}; {names}",
            counted(guests, "guest"),
            self.uri,
            counted(moments, "moment")
        ));
        Ok(String::new())
    }

    fn recording(&self, ending: &Ending, log: &Arc<Log>) -> Result<Recording, String> {
        if let Some(path) = self.uri.strip_prefix(REPLAY) {
            return read(Path::new(path)).map_err(|error| self.failed(&error));
        }
        let orders = Orders {
            uri: self.uri,
            moments: self.moments.unwrap_or(MOMENTS),
            every: self.every.unwrap_or(EVERY),
            patience: self.patience,
            max_stuck: self.max_stuck,
        };
        capture(&orders, ending, log).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn fmt::Display) -> String {
        format!("cannot record {}: {error}; nothing is written", self.uri)
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

//! The command `record`: from a host, or from a recording of one, to a file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{CaptureOptions, NewFile, Recording, anonymize, capture, read};
use super::{RECORDING_WITHIN, REPLAY};
use crate::deadline::{Deadline, Ending};
use crate::log::Log;
use crate::plain_file;
use crate::pool::{NO_ANSWER, answer_by};

/// Standard output, as a file's name.
const STANDARD_OUTPUT: &str = "-";
/// Moments that are recorded unless told otherwise: rates need two.
const MOMENTS: usize = 2;
const EVERY: Duration = Duration::from_secs(1);
/// A file can be made or opened within this time, or its mount is gone.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// What is under way when the end is ordered gets so much time.
const GRACE: Duration = Duration::from_secs(1);
const ENDED: &str = "told to end before it was done";

/// What `record` is told.
#[derive(Clone, Copy, Debug)]
pub struct RecordCommand<'a> {
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

impl RecordCommand<'_> {
    /// Writes the recording. Returns its text where that belongs on standard output.
    ///
    /// # Errors
    /// What prevents it, in one line; then there is no file.
    pub fn run(&self, ending: &Ending, log: &Arc<Log>) -> Result<String, String> {
        let file = match self.file.as_os_str() == STANDARD_OUTPUT {
            true => None,
            false => {
                let path = self.file.to_owned();
                let opened = answer(OPENED_WITHIN, ending, move || NewFile::beside(&path));
                let opened = opened.map_err(|why| self.unwritten(&why))?;
                Some(opened.map_err(|error| error.to_string())?)
            }
        };
        let mut recording = self.recording(ending, log)?;
        if self.anonymize {
            anonymize(&mut recording);
        }
        let text = recording.to_text().map_err(|error| self.failed(&error))?;
        let Some(file) = file else { return Ok(text) };
        let finished = answer(RECORDING_WITHIN, ending, move || file.finish(&text));
        let finished = finished.map_err(|why| self.unwritten(&why))?;
        finished.map_err(|error| error.to_string())?;
        let guests = recording.moments.last().map_or(0, |moment| moment.guests.len());
        let (moments, path) = (recording.moments.len(), self.file.display());
        let names = match self.anonymize {
            true => "names and addresses in it are replaced",
            false => "it contains names, addresses and paths, which --anonymize replaces",
        };
        log.info(format_args!(
            "{path} has {} of {} at {}; {names}",
            counted(guests, "guest"),
            self.uri,
            counted(moments, "moment")
        ));
        Ok(String::new())
    }

    fn recording(&self, ending: &Ending, log: &Arc<Log>) -> Result<Recording, String> {
        if let Some(path) = self.uri.strip_prefix(REPLAY) {
            let path = PathBuf::from(path);
            let probed = path.clone();
            // What is wrong with it, reading it tells.
            let opened = answer(OPENED_WITHIN, ending, move || plain_file::open(&probed).is_ok());
            let recording =
                opened.and_then(|_| answer(RECORDING_WITHIN, ending, move || read(&path)));
            return recording
                .map_err(|why| self.failed(&why))?
                .map_err(|error| self.failed(&error));
        }
        let options = CaptureOptions {
            uri: self.uri,
            moments: self.moments.unwrap_or(MOMENTS),
            every: self.every.unwrap_or(EVERY),
            patience: self.patience,
            max_stuck: self.max_stuck,
        };
        capture(&options, ending, log).map_err(|error| self.failed(&error))
    }

    fn unwritten(&self, why: &str) -> String {
        format!("cannot write {}: {why}", self.file.display())
    }

    fn failed(&self, error: &dyn fmt::Display) -> String {
        format!("cannot record {}: {error}; nothing is written", self.uri)
    }
}

/// What comes of a call to files, or why nothing does: those on a mount that is gone never answer, and are left
/// behind.
fn answer<T: Send + 'static>(
    time: Duration,
    ending: &Ending,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let deadline = Deadline::within(time, ending, GRACE);
    match answer_by("recording", &deadline, call) {
        Some(answer) => answer.map_err(|error| error.to_string()),
        None if deadline.is_ending() => Err(ENDED.to_owned()),
        None => Err(NO_ANSWER.to_owned()),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

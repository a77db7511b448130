//! What `anomalies` learned of a hypervisor's guests, in a file of its own: it is larger than the state, and
//! written seldom. A line a guest; two writers' files are merged, of two lines of a guest the newer one stays.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde::Deserialize;
use uuid::Uuid;

use super::error::{CacheWarning, FileError};
use super::lines::{FileHeader, FileKind, Flaw, LINES_MAX, line_of, open, read_line, sealed};
use super::place::CacheDir;
use super::slug;
use crate::anomalies::{GuestModel, KEPT_S, SavedGuest};

/// How far in the future a line may be dated, in seconds: another writer made it after our `now`.
const AHEAD_S: u64 = 60;

/// The file of one hypervisor.
#[derive(Clone, Debug)]
pub struct ModelFile {
    folder: CacheDir,
    uri: String,
    name: String,
}

/// As much of a line as merging needs.
#[derive(Deserialize)]
struct ModelKey<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    uuid: Uuid,
    at: u64,
}

impl ModelFile {
    /// The file of the hypervisor with this URI.
    pub fn new(folder: CacheDir, uri: &str) -> Self {
        let name = format!("anomalies-{}.jsonl", slug(uri));
        Self { folder, uri: uri.to_owned(), name }
    }

    /// Where it is, or will be.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The guests that were seen in the 14 days before `now_unix_s`, and what is wrong with the file.
    pub fn load(&self, now_unix_s: u64) -> (Vec<GuestModel>, Option<CacheWarning>) {
        let directory = match self.folder.directory() {
            Ok(directory) => directory,
            Err(error) => return (Vec::new(), Some(error.into())),
        };
        match directory.read(&self.name) {
            Ok(Some(contents)) => match models(&contents.bytes, &self.uri, now_unix_s) {
                Ok(models) => (models, None),
                Err(flaw) => (Vec::new(), Some(flaw.in_file(&directory, &self.name))),
            },
            Ok(None) => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error.into())),
        }
    }

    /// What is to be written of these guests.
    pub fn prepare<'a>(
        &self,
        guests: impl Iterator<Item = &'a GuestModel>,
        now_unix_s: u64,
    ) -> ModelWrite {
        let lines = guests.filter_map(|guest| {
            let line = line_of(&SavedGuest::from(guest))?;
            Some(ModelLine {
                name: guest.name().to_owned(),
                uuid: guest.uuid(),
                at: guest.seen_unix_s(),
                line,
            })
        });
        ModelWrite { file: self.clone(), lines: lines.collect(), now_unix_s }
    }
}

/// What is to be written into the file of a hypervisor: all of it is here, so that it can be written on
/// another thread.
pub struct ModelWrite {
    file: ModelFile,
    lines: Vec<ModelLine>,
    now_unix_s: u64,
}

/// A guest's line, and of what it says as much as merging needs.
struct ModelLine {
    name: String,
    uuid: Uuid,
    at: u64,
    line: String,
}

impl ModelWrite {
    /// Replaces the file. Lines of guests that others wrote stay for 14 days.
    ///
    /// # Errors
    /// Where the folder or the file cannot be used, or another writer has it.
    pub fn run(self) -> Result<(), FileError> {
        let Self { file: ModelFile { folder, uri, name }, mut lines, now_unix_s } = self;
        let directory = folder.directory()?;
        let lock = directory.lock(&format!("{name}.lock"))?;
        let standing = match directory.read(&name) {
            Ok(contents) => contents.map(|contents| contents.bytes).unwrap_or_default(),
            Err(error) if error.is_foreign() => return Err(error),
            // Ours, but nothing in it can be kept.
            Err(_) => Vec::new(),
        };
        let theirs = others(&standing, &uri, &lines, now_unix_s).unwrap_or_default();
        drop(standing);
        let kept: HashSet<Uuid> = theirs.iter().map(|line| line.uuid).collect();
        lines.retain(|line| !kept.contains(&line.uuid));
        lines.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
        lines.truncate(LINES_MAX.saturating_sub(theirs.len()));
        let header = FileHeader::new(FileKind::Anomalies, &uri, None);
        let size = lines.iter().chain(&theirs).map(|line| line.line.len() + 1).sum();
        // Each is let go of as soon as it is in the file's bytes.
        let bytes = sealed(&header, lines.into_iter().chain(theirs).map(|line| line.line), size);
        directory.replace(&name, &bytes, &lock)
    }
}

fn model(line: &str, number: usize) -> Result<GuestModel, Flaw> {
    let saved: SavedGuest = read_line(line, number)?;
    saved.model().ok_or_else(|| Flaw::of_line(number, "a series that is none"))
}

fn models(bytes: &[u8], uri: &str, now_unix_s: u64) -> Result<Vec<GuestModel>, Flaw> {
    let file = open(bytes, FileKind::Anomalies, uri)?;
    let mut models: HashMap<Uuid, GuestModel> = HashMap::new();
    for (number, line) in file.lines() {
        let model = model(line, number)?;
        if models.insert(model.uuid(), model).is_some() {
            return Err(Flaw::of_line(number, "a guest that was there before"));
        }
    }
    let is_recent = |model: &GuestModel| is_kept(model.seen_unix_s(), now_unix_s);
    Ok(models.into_values().filter(is_recent).collect())
}

fn is_kept(at: u64, now_unix_s: u64) -> bool {
    (now_unix_s.saturating_sub(KEPT_S)..=now_unix_s.saturating_add(AHEAD_S)).contains(&at)
}

/// The lines of a file that a save keeps: of other guests, or newer ones.
fn others(
    bytes: &[u8],
    uri: &str,
    ours: &[ModelLine],
    now_unix_s: u64,
) -> Result<Vec<ModelLine>, Flaw> {
    let ours: HashMap<Uuid, u64> = ours.iter().map(|line| (line.uuid, line.at)).collect();
    let file = open(bytes, FileKind::Anomalies, uri)?;
    let mut others = Vec::new();
    for (number, line) in file.lines() {
        let ModelKey { name, uuid, at } = read_line(line, number)?;
        let has_newer = ours.get(&uuid).is_some_and(|ours| *ours >= at);
        if !has_newer && is_kept(at, now_unix_s) {
            model(line, number)?;
            others.push(ModelLine { name: name.into_owned(), uuid, at, line: line.to_owned() });
        }
    }
    Ok(others)
}

#[cfg(test)]
mod tests;

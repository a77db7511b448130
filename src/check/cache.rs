//! The cache: which folder and why, whose, whether it can be written, what is in it and how old that is,
//! and which of its files cannot be used.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use uuid::Uuid;

use super::catalogue::cache as kinds;
use super::finding::{Finding, counted};
use super::{CheckContext, shell, user, user_name, within_time};
use crate::cache::{
    CacheDir, CacheEnv, CacheTime, CacheWarning, FileError, FileFault, NoCacheDir, StateFile,
};
use crate::config::Settings;
use crate::host::REPLAY;

/// Less room than this is none: a file of 500 guests has some 500 KiB, and is written beside the old.
const ROOM_MIN: u64 = 1 << 20;

pub(super) fn findings(context: &CheckContext) -> Vec<Finding> {
    let shared = context.clone();
    within_time(move || look(&shared))
        .unwrap_or_else(|| vec![silent_folder(context.settings.cache.dir.as_deref())])
}

fn look(context: &CheckContext) -> Vec<Finding> {
    let settings = &context.settings;
    if !settings.cache.enabled {
        return vec![kinds::off()];
    }
    if settings.uris.iter().all(|uri| uri.starts_with(REPLAY)) {
        return vec![kinds::off_for_recordings()];
    }
    let surroundings = CacheEnv::of_process();
    let folder = match CacheDir::of(settings.cache.dir.as_deref(), &surroundings) {
        Ok(folder) => folder,
        Err(none) => return vec![no_folder(&none, settings.cache.dir.is_some())],
    };
    let mut findings = vec![chosen_folder(&folder, context, &surroundings)];
    findings.extend(room(folder.path()));
    // Of a recording nothing is kept.
    for uri in settings.uris.iter().filter(|uri| !uri.starts_with(REPLAY)) {
        findings.push(state_file(&folder, uri));
    }
    findings
}

/// The paths of a guest's disks, as the cache knows them: nobody is asked.
pub(super) fn disk_paths(settings: &Settings, uri: &str, guest: &Uuid) -> Vec<String> {
    if !settings.cache.enabled {
        return Vec::new();
    }
    let (named, uri, guest) = (settings.cache.dir.clone(), uri.to_owned(), *guest);
    let read = move || {
        let folder = CacheDir::of(named.as_deref(), &CacheEnv::of_process()).ok()?;
        let (state, _) = StateFile::new(folder, &uri).load(&CacheTime::now());
        let disks = state.devices.known(&guest)?.disks.clone();
        Some(disks.into_iter().filter_map(|disk| disk.path).collect())
    };
    within_time(read).flatten().unwrap_or_default()
}

/// The folder does not answer: nothing can be said of it but that.
fn silent_folder(named: Option<&Path>) -> Finding {
    let place = match named {
        Some(path) => path.display().to_string(),
        None => "a place where it is looked for".to_owned(),
    };
    kinds::silent_folder(&place).about(place)
}

fn chosen_folder(folder: &CacheDir, context: &CheckContext, surroundings: &CacheEnv) -> Finding {
    let path = folder.path();
    let shown = path.display().to_string();
    let mode = fs::metadata(path).map_or_else(
        |_| String::new(),
        |seen| format!(", of {} with mode {:04o}", user_name(seen.uid()), seen.mode() & 0o7777),
    );
    let chosen = Chosen::by(path, context, surroundings);
    kinds::folder(&shown, chosen.reason(), mode)
        .about(shown)
        .fact("owner", user())
        .fact("chosen_by", chosen.name().to_owned())
}

/// Why it is this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    Option,
    Configuration,
    CacheDirectory,
    VarCache,
    Telegraf,
    XdgCacheHome,
    Home,
}

impl Chosen {
    fn by(path: &Path, context: &CheckContext, surroundings: &CacheEnv) -> Self {
        let below = |folder: Option<&Path>| folder.is_some_and(|folder| path.starts_with(folder));
        if context.cli.cache_dir.is_some() {
            Self::Option
        } else if context.settings.cache.dir.is_some() {
            Self::Configuration
        } else if env::var_os("CACHE_DIRECTORY").is_some_and(|folders| {
            below(
                env::split_paths(&folders).next().and_then(|it| it.canonicalize().ok()).as_deref(),
            )
        }) {
            Self::CacheDirectory
        } else if path.starts_with("/var/cache") {
            Self::VarCache
        } else if path.starts_with("/var/lib/telegraf") {
            Self::Telegraf
        } else if below(surroundings.xdg_cache_home.as_ref().map(Path::new)) {
            Self::XdgCacheHome
        } else {
            Self::Home
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Option => "as --cache-dir says",
            Self::Configuration => "as set in the configuration",
            Self::CacheDirectory => "as $CACHE_DIRECTORY says",
            Self::VarCache => "the first of the usual places",
            Self::Telegraf => "below Telegraf's own",
            Self::XdgCacheHome => "below $XDG_CACHE_HOME",
            Self::Home => "in this user's home",
        }
    }

    /// The word for it in the facts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Option => "option",
            Self::Configuration => "configuration",
            Self::CacheDirectory => "cache-directory",
            Self::VarCache => "var-cache",
            Self::Telegraf => "telegraf",
            Self::XdgCacheHome => "xdg-cache-home",
            Self::Home => "home",
        }
    }
}

fn no_folder(none: &NoCacheDir, is_named: bool) -> Finding {
    let tried: Vec<String> = none.tried.iter().map(ToString::to_string).collect();
    if let ([error], true) = (none.tried.as_slice(), is_named) {
        let path = error.path.display().to_string();
        let (how, command) = remedy(error);
        return kinds::no_folder(error, how, command).about(path);
    }
    let text = match tried.as_slice() {
        [] => "there is no folder for it: this user has no home, and no folder is set".to_owned(),
        tried => format!("no folder can be used: {}", tried.join("; ")),
    };
    kinds::no_folder_anywhere(text, shell(&user()))
}

/// How to fix the folder, and the command for it.
fn remedy(error: &FileError) -> (String, String) {
    let path = shell(&error.path.display().to_string());
    let user = shell(&user());
    match error.cause {
        FileFault::Owner(uid) => (
            format!(
                "set a folder that {user} owns, or change the owner of this one: {} can then no \
                 longer use it",
                user_name(uid)
            ),
            format!("sudo chown -R {user} {path}"),
        ),
        FileFault::WritableByOthers(_) => {
            ("let only its owner write to it".to_owned(), format!("chmod go-w {path}"))
        }
        FileFault::Kind { .. } => {
            ("move away what is there".to_owned(), format!("sudo mv {path} {path}.old"))
        }
        FileFault::System { errno: Errno::EROFS, .. } => (
            "set a writable folder with --cache-dir, or with dir in [cache]; or mount this one \
             writable"
                .to_owned(),
            format!("findmnt --target {path}"),
        ),
        FileFault::System { errno: Errno::ENOENT, .. } => (
            "create the folders above it, or set another one with --cache-dir, or with dir in [cache]"
                .to_owned(),
            format!("sudo install -d -m 700 -o {user} {path}"),
        ),
        _ => (
            "let this user use it, or set another one with --cache-dir, or with dir in [cache]"
                .to_owned(),
            format!("sudo install -d -m 700 -o {user} {path}"),
        ),
    }
}

fn room(path: &Path) -> Option<Finding> {
    let seen = statvfs(path).ok()?;
    let blocks = if geteuid().is_root() { seen.blocks_free() } else { seen.blocks_available() };
    #[allow(clippy::useless_conversion)] // The types differ from one machine to the next.
    let left = u64::from(blocks).saturating_mul(u64::from(seen.fragment_size()));
    if left >= ROOM_MIN {
        return None;
    }
    let shown = path.display().to_string();
    Some(kinds::no_room(&shown, left, shell(&shown)).about(shown))
}

/// What is kept of a hypervisor, or what is wrong with its file.
fn state_file(folder: &CacheDir, uri: &str) -> Finding {
    let file = StateFile::new(folder.clone(), uri);
    let (state, warning) = file.load(&CacheTime::now());
    if let Some(warning) = warning {
        return unusable(&warning, uri);
    }
    let modified = fs::metadata(file.path()).and_then(|seen| seen.modified());
    let Ok(modified) = modified else { return kinds::empty(uri).about(uri) };
    let age_s = SystemTime::now().duration_since(modified).unwrap_or_default().as_secs();
    let (devices, samples) = (state.devices.len(), state.samples.len());
    let [of_devices, of_samples] = [devices, samples].map(|count| counted(count, "guest"));
    kinds::entries(uri, of_devices, of_samples, shown_age(age_s))
        .about(uri)
        .fact("device_lists", devices)
        .fact("samples", samples)
        .fact("age_s", age_s)
}

fn shown_age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn unusable(warning: &CacheWarning, uri: &str) -> Finding {
    match warning {
        CacheWarning::File(error) => {
            let path = error.path.display().to_string();
            kinds::file_unusable(warning, uri, shell(&path)).about(path)
        }
        CacheWarning::Corrupt { path, .. } | CacheWarning::OtherVersion { path, .. } => {
            kinds::file_replaced(warning).about(path.display().to_string())
        }
    }
}

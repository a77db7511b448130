//! What comes before the first collection: the output, the cache, and what earlier runs knew of each hypervisor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::files::FileCalls;
use super::saving::{self, cache_folder, cache_or_warning};
use super::source::Source;
use super::{Agent, Exit};
use crate::cache::{CacheDir, StateFile};
use crate::collect::{Hypervisor, Plan};
use crate::config::{Feature, Settings};
use crate::deadline::{Deadline, Ending};
use crate::libvirt;
use crate::line_protocol::Lines;
use crate::log::Log;
use crate::node::NodeReader;
use crate::points::{Choice, UserTags, Writer};
use crate::record::RECORDING_WITHIN;
use crate::sink::{self, Sink};

/// Hypervisors that the first message names.
const URIS_SHOWN: usize = 5;

/// Gets ready; what is in the way is told. `introduced` is the configuration's file for a first message that
/// says which program this is.
pub(super) fn start(
    settings: Settings,
    introduced: Option<Option<&Path>>,
    ending: &Ending,
    log: &Arc<Log>,
) -> Result<Agent, Exit> {
    let sink = Sink::stdout().map_err(|error| {
        log.error(error);
        Exit::Failed
    })?;
    if libvirt::stdout_was_closed() {
        log.error(sink::CLOSED);
        return Err(Exit::Failed);
    }
    let folder = cache_folder(&settings, ending);
    if let Some(file) = introduced {
        let folder = folder.as_ref().ok().and_then(Option::as_ref).map(CacheDir::path);
        log.info(introduction(&settings.uris, file, folder));
    }
    let folder = cache_or_warning(folder, log);
    let fixed = settings.tags.iter().map(|(name, _)| name);
    let mut tags = fixed.chain(settings.metadata_tags.iter().map(|(name, _)| name));
    if let Some(name) = tags.find(|name| name.eq_ignore_ascii_case("host")) {
        log.warn(format_args!(
            "tags: Telegraf sets a tag \"host\" itself, the machine that it runs on, and your tag \
             \"{name}\" replaces it: choose another name, or set omit_hostname in Telegraf"
        ));
    }
    Ok(Agent::new(settings, folder, log, sink, ending))
}

impl Agent {
    /// Gets ready; no hypervisor is asked yet.
    fn new(
        settings: Settings,
        folder: Option<CacheDir>,
        log: &Arc<Log>,
        mut sink: Sink,
        ending: &Ending,
    ) -> Self {
        let plan = Plan {
            workers: settings.workers,
            max_stuck: settings.max_stuck,
            selection: Arc::new(settings.selection()),
            deadline: settings.deadline,
            host_name: settings.uris.len() > 1,
            extra: settings.extra,
            steal: settings.features.contains(&Feature::Cpu),
        };
        sink.lock_in(folder.clone());
        let hypervisors: Vec<Hypervisor> =
            settings.uris.iter().map(|uri| Hypervisor::new(uri, plan.clone(), log)).collect();
        let opened_by = saving::found_by(&settings, ending);
        let read_by = Deadline::within(RECORDING_WITHIN, ending, Duration::ZERO);
        for replay in hypervisors.iter().filter_map(Hypervisor::replay) {
            replay.prepare(&opened_by, &read_by);
        }
        // What a recording prints must not depend on what is on this disk.
        let file = |hypervisor: &Hypervisor| {
            let folder = folder.clone().filter(|_| hypervisor.replay().is_none())?;
            Some(StateFile::new(folder, hypervisor.uri()))
        };
        let files: Vec<Option<StateFile>> = hypervisors.iter().map(file).collect();
        let mut file_calls = FileCalls::new("cache", log);
        let states =
            saving::load(&files, &mut file_calls, &saving::found_by(&settings, ending), log);
        let sources = hypervisors.into_iter().zip(files).zip(states);
        let sources = sources.map(|((hypervisor, file), state)| {
            let origin = hypervisor.origin();
            let node = NodeReader::wanted(hypervisor.uri(), origin, plan.extra, log);
            Source::new(hypervisor, node, file, state)
        });
        let sources = sources.collect();
        let tags = UserTags::new(&settings.tags, &settings.metadata_tags);
        let fixed = settings.tags.iter().map(|(name, _)| name);
        let from_metadata = settings.metadata_tags.iter().map(|(name, _)| name);
        let choice = Choice {
            missing: settings.missing,
            extra: settings.extra,
            features: settings.features.clone(),
            device_tags: settings.device_tags.clone(),
            user_tags: fixed.chain(from_metadata).cloned().collect(),
        };
        Self {
            settings,
            log: Arc::clone(log),
            sources,
            sink,
            is_json: false,
            events: None,
            lines: Lines::default(),
            rows: None,
            writer: Writer::default(),
            choice,
            tags,
            saved: None,
            file_calls,
            folder,
            watch: None,
        }
    }
}

/// The first message of a program that stays: which it is, what it reads, and where its files are.
fn introduction(uris: &[String], file: Option<&Path>, cache: Option<&Path>) -> String {
    let mut read: Vec<&str> = uris.iter().take(URIS_SHOWN).map(String::as_str).collect();
    let more = format!("{} more", uris.len().saturating_sub(URIS_SHOWN));
    if uris.len() > URIS_SHOWN {
        read.push(&more);
    }
    let path =
        |path: Option<&Path>| path.map_or("none".to_owned(), |path| path.display().to_string());
    format!(
        "telegraf-virt {} reads {}; configuration: {}; cache: {}",
        env!("CARGO_PKG_VERSION"),
        read.join(", "),
        path(file),
        path(cache)
    )
}

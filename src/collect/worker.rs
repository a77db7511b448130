//! The workers of a hypervisor, and how they make its calls: each has a session, which is a connection and its
//! handles. What holds for all workers is in [`crate::pool`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{Answer, Call, Progress, Step};
use super::permit::ListPermit;
use super::session::Session;
use super::{ask, detail, pid_files};
use crate::config::Selection;
use crate::host::Origin;
use crate::libvirt;
use crate::log::Log;
use crate::pool::{CallId, Connected, Pool, Report};

/// What all workers of a hypervisor share.
#[derive(Clone)]
struct Common {
    log: Arc<Log>,
    selection: Arc<Selection>,
    permit: ListPermit,
}

/// The workers of one hypervisor.
pub(super) struct Workers {
    common: Common,
    pub(super) pool: Pool<Session, Answer>,
}

impl Connected for Session {
    fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }
}

impl Workers {
    pub(super) fn new(origin: Origin, log: Arc<Log>, selection: Arc<Selection>) -> Self {
        let open = move || Session::open(&origin);
        let pool = Pool::new("libvirt", open, Answer::is_urgent).log_to(&log);
        Self { common: Common { log, selection, permit: ListPermit::default() }, pool }
    }

    /// Makes a call.
    pub(super) fn submit(&mut self, id: CallId, call: Call, progress: Progress) {
        let common = self.common.clone();
        let work = move |session: &mut Session, report: &Report<Answer>| {
            perform(&common, session, call, &progress, report)
        };
        self.pool.submit(id, Box::new(work));
    }
}

fn perform(
    common: &Common,
    session: &mut Session,
    call: Call,
    progress: &Progress,
    report: &Report<'_, Answer>,
) -> Result<Answer, libvirt::Error> {
    match call {
        Call::List { host_name } => {
            progress.set(Step::List, None, Instant::now());
            if host_name && let Ok(name) = session.host_name() {
                report.hand_over(Answer::HostName(name));
            }
            Ok(Answer::Listed(session.list(&common.selection.domains)?))
        }
        Call::ListByFiles(directory, from) => by_files(session, &directory, from, progress, report),
        Call::Ask(order) => {
            let (asked, offer, took) = ask::ask(session, order, progress, &common.permit)?;
            Ok(Answer::Asked(asked, offer, took))
        }
        Call::Detail(requests, read) => {
            let (selection, log) = (&common.selection, &common.log);
            let hand_over = |answer| report.hand_over(answer);
            detail::detail(session, requests, &read, selection, progress, log, hand_over)?;
            Ok(Answer::Asked(Vec::new(), None, Duration::ZERO))
        }
    }
}

/// Looks up by name each guest that has a file in this directory. One that does not answer holds this call,
/// and those before it are known.
fn by_files(
    session: &mut Session,
    directory: &Path,
    from: usize,
    progress: &Progress,
    report: &Report<'_, Answer>,
) -> Result<Answer, libvirt::Error> {
    for (place, name) in pid_files::names(directory).into_iter().enumerate().skip(from) {
        progress.set(Step::Find, Some(place), Instant::now());
        if let Ok(guest) = session.look_up_name(&name) {
            report.hand_over(Answer::Listed([guest].into()));
        }
    }
    Ok(Answer::Listed(Arc::default()))
}

//! What other clients of libvirt see while the program runs: its free workers, and how long they wait.

use super::lab::Lab;
use super::process::run;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Asks all the time until it is ended.
pub struct Others {
    is_over: Arc<AtomicBool>,
    /// A file that ends the loop which counts workers.
    enough: PathBuf,
    admin: Child,
    threads: Option<(JoinHandle<Vec<usize>>, JoinHandle<Duration>)>,
}

/// What they saw.
pub struct Seen {
    /// The fewest free workers, of those that were busy for longer than a collection.
    pub free: usize,
    /// The fewest at any moment.
    pub free_moment: usize,
    /// The longest `virsh dominfo`.
    pub dominfo: Duration,
}

impl Others {
    pub fn watch(lab: &Lab, guest: String) -> Others {
        // By its own client, which meets another server than the guests' clients do.
        let script = "daemon=$(cat \"$0/daemon\")
            while sleep 0.15 && ! [ -e \"$1\" ]; do
                virt-admin -c \"$daemon:///system?socket=/run/libvirt/libvirt-admin-sock\" \\
                    srv-threadpool-info \"$daemon\"
            done";
        let enough = lab.scratch().join("enough");
        let _ = std::fs::remove_file(&enough);
        let mut admin = lab
            .inside_command(&["sh", "-c", script])
            .args([lab.folder(), &enough])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(admin.stdout.take().unwrap());
        let workers = thread::spawn(move || free_workers(output));
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, uri) = (is_over.clone(), lab.uri());
        let dominfo = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                let mut command = Command::new("timeout");
                command.args(["20", "virsh", "-q", "-r", "-c", &uri, "dominfo", &guest]);
                let finished = run(&mut command);
                let took = started.elapsed();
                let answered = finished.status.success();
                longest = longest.max(if answered { took } else { Duration::from_secs(20) });
                thread::sleep(Duration::from_millis(300));
            }
            longest
        });
        Others { is_over, enough, admin, threads: Some((workers, dominfo)) }
    }

    pub fn end(mut self) -> Seen {
        self.stop();
        let (workers, dominfo) = self.threads.take().unwrap();
        let (free, dominfo) = (workers.join().unwrap(), dominfo.join().unwrap());
        assert!(free.len() > 4, "libvirtd's free workers were seen {} times", free.len());
        // Five samples are 0.8 s or more: longer than any call for a guest that is well.
        let lasting = free.windows(5).filter_map(|few| few.iter().max()).min();
        Seen { free: *lasting.unwrap(), free_moment: *free.iter().min().unwrap(), dominfo }
    }

    fn stop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = std::fs::write(&self.enough, "");
        let _ = self.admin.wait();
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Each time what is free, and what could be started beside that.
fn free_workers(output: impl BufRead) -> Vec<usize> {
    let mut seen = Vec::new();
    let (mut most, mut workers) = (0, 0);
    for line in output.lines().map_while(Result::ok) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let Ok(value) = value.trim().parse::<usize>() else { continue };
        match name.trim() {
            "maxWorkers" => most = value,
            "nWorkers" => workers = value,
            "freeWorkers" => seen.push(most - workers + value),
            _ => {}
        }
    }
    seen
}

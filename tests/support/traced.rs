//! What a real Telegraf and its children did, as strace saw it: every trigger that Telegraf sent, each
//! child's start, its word that it is ready, and its end. Telegraf's own log tells none of it exactly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Nanoseconds since 1970, of the clock that collections are stamped with.
pub type Moment = i64;

/// A command that starts `program` under strace and is its process: the tracer stands aside, and ends
/// with the last of those it traces.
pub fn traced(strace: &Path, program: &Path, trace: &Path) -> Command {
    let mut command = Command::new(strace);
    // Without SIGURG, by which Go's runtime wakes its threads.
    let signals = "signal=SIGHUP,SIGUSR1,SIGUSR2,SIGTERM,SIGKILL";
    let calls = "trace=execve,write,kill,pidfd_send_signal";
    command.args(["-DD", "-f", "--seccomp-bpf", "-ttt", "-s", "32", "-e", signals, "-e", calls]);
    command.arg("-o").arg(trace).arg(program);
    command
}

/// One process of ours that Telegraf started.
#[derive(Debug, Default)]
pub struct Started {
    pub pid: u32,
    /// When it said that triggers count.
    pub ready: Option<Moment>,
    pub ended: Option<(Moment, String)>,
}

#[derive(Debug, Default)]
pub struct Trace {
    /// In the order of their start.
    pub children: Vec<Started>,
    /// When each newline was written to a child's input, or SIGHUP, SIGUSR1 or SIGUSR2 sent.
    pub triggers: Vec<Moment>,
    /// Every other signal that Telegraf sent, as the trace has it.
    pub other_signals: Vec<String>,
}

impl Trace {
    /// What has been traced so far. `telegraf` is Telegraf's own process id.
    pub fn read(file: &Path, telegraf: u32) -> Trace {
        // The tracer may be about to write a line.
        let text = fs::read_to_string(file).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut trace = Trace::default();
        // strace numbers threads. A child's first one, which has the child's own number, execs, says that it
        // is ready, and is the last to end.
        let mut children: BTreeMap<u32, usize> = BTreeMap::new();
        for line in whole.lines() {
            // A short process id is followed by more than one space.
            let (pid, rest) = line.split_once(' ').unwrap();
            let (moment, what) = rest.trim_start().split_once(' ').unwrap();
            let pid: u32 = pid.parse().unwrap_or_else(|_| panic!("{line}"));
            let moment = moment_of(moment);
            if what.starts_with("execve(")
                && what.contains("/telegraf-virt\", [")
                && pid != telegraf
            {
                children.insert(pid, trace.children.len());
                trace.children.push(Started { pid, ..Started::default() });
            } else if what.starts_with("write(2, \"I! ready") {
                trace.children[children[&pid]].ready = Some(moment);
            } else if what.starts_with("write(") && what.contains(", \"\\n\", 1") {
                trace.triggers.push(moment);
            } else if what.starts_with("kill(") || what.starts_with("pidfd_send_signal(") {
                // Signal 0 is a question; Go asks it of itself at its start.
                if ["SIGHUP", "SIGUSR1", "SIGUSR2"].iter().any(|signal| what.contains(signal)) {
                    trace.triggers.push(moment);
                } else if what.contains("SIG") {
                    trace.other_signals.push(what.to_owned());
                }
            } else if let Some(how) = what.strip_prefix("+++ ")
                && let Some(index) = children.get(&pid)
            {
                let how = how.trim_end_matches(" +++").to_owned();
                trace.children[*index].ended = Some((moment, how));
            }
        }
        trace
    }
}

/// Seconds with six decimals, without a float's rounding.
fn moment_of(text: &str) -> Moment {
    let (seconds, micros) = text.split_once('.').unwrap_or_else(|| panic!("{text}"));
    let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("{text}"));
    number(seconds) * 1_000_000_000 + number(micros) * 1_000
}

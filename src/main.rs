//! The command line to an exit code; all else is in the library.

use std::env;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use telegraf_virt::agent::{self, Exit};
use telegraf_virt::check::{self, CheckContext};
use telegraf_virt::cli::{self, Cli, Command};
use telegraf_virt::config::ConfigError;
use telegraf_virt::deadline::{Deadline, Ending};
use telegraf_virt::log::{self, Level, Log};
use telegraf_virt::pool::answer_by;
use telegraf_virt::trigger::{Signals, Triggers};
use telegraf_virt::{libvirt, sink};

/// The settings must be read within this time.
const SETTINGS_MAX: Duration = Duration::from_secs(10);
const UNREAD: &str = "the configuration cannot be read within 10 s: is its mount gone?";

/// An error, a message a line, and the exit code.
type Failure = (String, u8);

fn main() {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    // First of all: a process that becomes another user must have nothing of the first one by then.
    let user = check::take_over(&mut arguments);
    log::print_panics();
    // Install the handlers early: a SIGHUP or SIGUSR1 before that would kill the process.
    let signals = Signals::catch().map_err(|error| (format!("cannot catch signals: {error}"), 1));
    libvirt::begin_process();
    let signals = user.and(signals);
    let code =
        signals.and_then(|signals| run(arguments, signals)).unwrap_or_else(|(message, code)| {
            let log = Log::immediate(Level::Error);
            message.lines().for_each(|line| log.error(line));
            code
        });
    libvirt::end_process(code);
}

fn run(arguments: Vec<OsString>, signals: Signals) -> Result<u8, Failure> {
    let cli = match cli::parse(arguments.into_iter()) {
        Ok(cli) => cli,
        Err(cli::CliExit::Text(text)) => return print(&text, 0),
        Err(cli::CliExit::Refused(message)) => return Err((message, 2)),
    };
    // Handled from here on, even while the settings are read from a slow disk.
    let triggers = Triggers::listen(signals, cli.command == Command::Execd, overdue);
    let triggers = triggers.map_err(|message| (message, 1))?;
    let variable = |name: &str| env::var_os(name);
    if cli.command == Command::Config {
        let text = read(&cli, &triggers.ending, move |cli| cli.configuration(&variable))?;
        return text.map_or(Ok(0), |text| print(&text, 0));
    }
    let settings = read(&cli, &triggers.ending, move |cli| cli.settings(&variable))?;
    let Some((settings, file)) = settings else { return Ok(0) };
    let log = if cli.command == Command::Once { Log::kept } else { Log::immediate };
    let log = Arc::new(log(cli.log_level()));
    libvirt::take_library_messages(library_messages_to(&log));
    file.iter().for_each(|it| log.debug(format_args!("configuration from {}", it.display())));
    let exit = match cli.command {
        Command::Check => {
            let (text, code) = check::run(CheckContext { cli, settings, file }, &triggers.ending);
            return print(&text, code);
        }
        Command::Record => {
            let written = cli.recording(&settings).run(&triggers.ending, &log);
            return print(&written.map_err(|message| (message, 1))?, 0);
        }
        Command::Anomalies => {
            let report = agent::anomalies(&settings, &triggers.ending, &log);
            return print(&report.map_err(|message| (message, 1))?, 0);
        }
        Command::Events => agent::events(settings, cli.view.format, &triggers, &log),
        Command::Execd => agent::execd(settings, file.as_deref(), cli.interval, &triggers, &log),
        _ => agent::once(settings, &cli.view, &triggers, &log),
    };
    log.flush();
    Ok(u8::from(exit == Exit::Failed))
}

/// What becomes of messages of libvirt's libraries. libvirt reports what they mean for a call, so they are for
/// whoever looks for a fault, except the last words before GLib ends the process.
fn library_messages_to(log: &Arc<Log>) -> impl Fn(&str, bool) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |text, ends| {
        let text = format_args!("GLib: {text}");
        if ends { Log::immediate(Level::Error).error(text) } else { log.debug(text) }
    }
}

/// Reads what the settings make of the configuration, on a thread that can be left behind: a file on a mount
/// that is gone does not come back. `None` where the program was told to end meanwhile.
fn read<T: Send + 'static>(
    cli: &Cli,
    ending: &Ending,
    read: impl FnOnce(&Cli) -> Result<T, ConfigError> + Send + 'static,
) -> Result<Option<T>, Failure> {
    let cli = cli.clone();
    let read_by = Deadline::within(SETTINGS_MAX, ending, Duration::ZERO);
    match answer_by("settings", &read_by, move || read(&cli)) {
        Some(Ok(settings)) => settings.map(Some).map_err(|error| (error.to_string(), 2)),
        Some(Err(error)) => Err((error.to_string(), 1)),
        None if read_by.is_ending() => Ok(None),
        None => Err((UNREAD.to_owned(), 2)),
    }
}

/// The end does not come: nothing more can be done about it than to go.
fn overdue() {
    Log::immediate(Level::Error).error(
        "the program ends without what it still had to do: something does not answer that cannot be \
         interrupted, such as a file on a mount that is gone",
    );
    libvirt::end_process(1);
}

fn print(text: &str, code: u8) -> Result<u8, Failure> {
    sink::print(text).map(|()| code).map_err(|message| (message, 1))
}

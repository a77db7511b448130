//! The command line to an exit code; all else is in the library.

use std::env;
use std::ffi::OsString;
use std::sync::Arc;

use telegraf_virt::agent::{self, Exit};
use telegraf_virt::check::{self, Subject};
use telegraf_virt::cli::{self, Command};
use telegraf_virt::log::{Level, Log};
use telegraf_virt::trigger::{self, Signals};
use telegraf_virt::{config, libvirt, sink};

/// What stands in the way, and the exit code that it has.
type Refusal = (String, u8);

fn main() {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    // Before even that: who becomes another user must have nothing of the first one by then.
    let user = check::take_over(&mut arguments);
    // Before all else: until its handler stands, a trigger that comes early ends the program.
    let signals = Signals::catch().map_err(|error| (format!("cannot catch signals: {error}"), 1));
    libvirt::begin_process();
    let signals = user.and(signals);
    let code =
        signals.and_then(|signals| run(arguments, signals)).unwrap_or_else(|(message, code)| {
            Log::immediate(Level::Error).error(message);
            code
        });
    libvirt::end_process(code);
}

fn run(arguments: Vec<OsString>, signals: Signals) -> Result<u8, Refusal> {
    let cli = match cli::parse(arguments.into_iter()) {
        Ok(cli) if cli.command == Command::Config => return print(config::SAMPLE, 0),
        Ok(cli) => cli,
        Err(cli::Exit::Text(text)) => return print(&text, 0),
        Err(cli::Exit::Refused(message)) => return Err((message, 2)),
    };
    let settings = cli.settings(&|name| env::var_os(name));
    let (settings, file) = settings.map_err(|error| (error.to_string(), 2))?;
    let log = if cli.command == Command::Once { Log::kept } else { Log::immediate };
    let log = Arc::new(log(cli.log_level()));
    file.iter().for_each(|it| log.debug(format_args!("configuration from {}", it.display())));
    let ending = |signals| trigger::ending(signals).map_err(|message| (message, 1));
    let exit = match cli.command {
        Command::Check => {
            let (text, code) = check::run(Subject { cli, settings, file }, &ending(signals)?);
            return print(&text, code);
        }
        Command::Record => {
            let written = cli.recording(&settings).run(&ending(signals)?, &log);
            return print(&written.map_err(|message| (message, 1))?, 0);
        }
        Command::Execd => agent::execd(settings, cli.interval, signals, &log),
        _ => agent::once(settings, cli.format, signals, &log),
    };
    log.flush();
    Ok(u8::from(exit == Exit::Failed))
}

fn print(text: &str, code: u8) -> Result<u8, Refusal> {
    sink::print(text).map(|()| code).map_err(|message| (message, 1))
}

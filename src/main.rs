//! The command line to an exit code; all else is in the library.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use telegraf_virt::agent::{Agent, Exit};
use telegraf_virt::cli::{self, Cli, Command};
use telegraf_virt::config::SAMPLE;
use telegraf_virt::log::{Level, Log};
use telegraf_virt::sink::Sink;
use telegraf_virt::trigger::{Signals, Triggers};

fn main() -> ExitCode {
    // Before all else: until its handler stands, a trigger that comes early ends the program.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot catch signals: {error}"), 1),
    };
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(cli::Exit::Text(text)) => return print(&text),
        Err(cli::Exit::Refused(message)) => return refuse(&message, 2),
    };
    if cli.command == Command::Config {
        return print(SAMPLE);
    }
    let log = Arc::new(match cli.command {
        Command::Once => Log::kept(cli.log_level()),
        _ => Log::immediate(cli.log_level()),
    });
    let exit = run(&cli, signals, &log);
    log.flush();
    exit
}

fn run(cli: &Cli, signals: Signals, log: &Arc<Log>) -> ExitCode {
    let (settings, file) = match cli.settings(&|name| env::var_os(name)) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error.to_string(), 2),
    };
    if let Some(file) = &file {
        log.debug(format_args!("configuration from {}", file.display()));
    }
    let started = Triggers::listen(signals, cli.command == Command::Execd);
    let sink = Sink::stdout();
    let (triggers, sink) = match (started, sink) {
        (Ok(triggers), Ok(sink)) => (triggers, sink),
        (Err(error), _) => return refuse(&format!("cannot start a thread: {error}"), 1),
        (_, Err(error)) => return refuse(&error.to_string(), 1),
    };
    let mut agent = Agent::new(settings, log, sink);
    let exit = match cli.command {
        Command::Execd => match triggers.read_input() {
            Ok(()) => agent.execd(&triggers, cli.interval),
            Err(error) => return refuse(&format!("cannot start a thread: {error}"), 1),
        },
        _ => agent.once(&triggers),
    };
    match exit {
        Exit::Fine => ExitCode::SUCCESS,
        Exit::Failed => ExitCode::FAILURE,
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("cannot write to standard output: {error}"), 1),
    }
}

fn refuse(message: &str, code: u8) -> ExitCode {
    Log::immediate(Level::Error).error(message);
    ExitCode::from(code)
}

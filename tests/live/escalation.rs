//! `check` as root looks at what Telegraf's user can read, by a process of that user's: so whoever is that user
//! must not get root's rights by it. What was possible is tried again here: keystrokes pushed into root's
//! terminal, and a look into the process, from a program that libvirt starts for that user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::lab::Lab;
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::skip;

/// What the attacker runs: it writes down what it could do. `$>` is the user's number.
const ATTACK: &str = r#"#!/usr/bin/perl
use IO::Handle;
exit 1 unless $> == 64077;
my ($ptrace) = `uname -m` =~ /^x86_64/ ? 101 : 117;
open(my $log, '>>', '/run/attack/log') or exit 1;
$log->autoflush(1);
sub note { print $log "@_\n" }
my %status = map { /^(\w+):\s*(.*)/ } `cat /proc/self/status`;
note("$_ $status{$_}") for qw(NoNewPrivs CapPrm CapEff CapAmb);
my @stat = split / /, (`cat /proc/self/stat` =~ s/.*\) //r);
note("terminal $stat[4]");
note("files", join ' ', grep { -t $_ } map { my $h; open($h, "+<&=$_") ? $h : () } 3 .. 255);
for my $fd (0 .. 2) {
    my $file;
    open($file, "+<&=", $fd) or next;
    my $key = '#';
    note(ioctl($file, 0x5412, $key) ? "pushed into $fd" : "refused by $fd");
}
note(open(my $tty, '+<', '/dev/tty') ? 'opened a terminal' : 'no terminal');
for my $pid (grep { m{/proc/(\d+)$} } glob '/proc/[0-9]*') {
    $pid =~ s{.*/}{};
    my $command = `cat /proc/$pid/cmdline 2>/dev/null`;
    next unless $command =~ /^telegraf-virt\0become-user\0/;
    note("found the process");
    note(syscall($ptrace, 16, $pid + 0, 0, 0) == 0 ? 'traced it' : 'cannot trace it');
    note(open(my $memory, '+<', "/proc/$pid/mem") ? 'opened its memory' : 'cannot open its memory');
    note(open(my $output, '>', "/proc/$pid/fd/1") ? 'opened its output' : 'cannot open its output');
    note(-r "/proc/$pid/environ" && `cat /proc/$pid/environ 2>/dev/null` ? 'read it' : 'cannot read it');
}
# Shows that tracing works here, where nothing forbids it.
if (my $child = fork) {
    note(syscall($ptrace, 16, $child, 0, 0) == 0 ? 'can trace its own' : 'can trace nothing');
    kill 9, $child;
} else { sleep 60 }
close $log;
"#;

const USERS: &str = "grep -q ^telegraf: /etc/passwd || {
        (cat /etc/passwd; echo telegraf:x:64077:64077::/run/attack:/bin/false) >/run/passwd
        mount --bind /run/passwd /etc/passwd
        (cat /etc/group; echo telegraf:x:64077:) >/run/group
        mount --bind /run/group /etc/group
    }
    install -d -o 64077 -m 755 /run/attack";

/// A lab with the attack and the program at places that every user may use, and what runs in it on a
/// terminal of root's own.
struct Stage(Lab);

impl Stage {
    fn require(test: &str) -> Option<Stage> {
        let lab = Lab::require(test)?;
        for program in ["script", "perl", "ssh", "setpriv"] {
            if !run(Command::new("sh").args(["-c", &format!("command -v {program}")]))
                .status
                .success()
            {
                skip(test, &format!("no {program}"));
                return None;
            }
        }
        let put = |name: &str, from: &Path| {
            fs::create_dir_all(lab.image(name).parent().unwrap()).unwrap();
            fs::copy(from, lab.image(name)).unwrap();
            fs::set_permissions(lab.image(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let attack = lab.scratch().join("attack");
        fs::write(&attack, ATTACK).unwrap();
        let empty = lab.scratch().join("empty.toml");
        fs::write(&empty, "").unwrap();
        put("attack", &attack);
        put("empty.toml", &empty);
        put("telegraf-virt", Path::new(PROGRAM));
        lab.inside(&["chmod", "755", "/var/lib/libvirt", "/var/lib/libvirt/images"]);
        lab.inside(&["bash", "-c", USERS]);
        Some(Stage(lab))
    }

    /// Runs a command of root's on a terminal; returns what the attack wrote down, and what was printed.
    fn attacked(&self, command: &str) -> (Vec<String>, String) {
        let script = format!(
            "rm -f /run/attack/log
             export PATH=/var/lib/libvirt/images:$PATH TELEGRAF_CONFIG_PATH=/dev/null
             export TELEGRAF_VIRT_CONFIG=/var/lib/libvirt/images/empty.toml TERM=dumb
             unset LIBVIRT_DEFAULT_URI CACHE_DIRECTORY XDG_CACHE_HOME
             [ -p /run/keyboard ] || mkfifo /run/keyboard
             exec 9<>/run/keyboard
             script -qec {} /dev/null <&9 9>&- || true",
            shell(command)
        );
        let printed = self.0.inside(&["bash", "-c", &script]);
        let log = self.0.inside(&["bash", "-c", "cat /run/attack/log 2>/dev/null || true"]);
        (log.lines().map(str::to_owned).collect(), printed)
    }
}

fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[test]
fn whoever_is_telegraf_gets_no_keystroke_into_roots_terminal() {
    let Some(stage) = Stage::require("escalation, terminal") else { return };
    // What used to be: the same user, the same terminal.
    let (before, printed) = stage.attacked(
        "setpriv --reuid 64077 --regid 64077 --init-groups /var/lib/libvirt/images/attack",
    );
    assert!(before.contains(&"opened a terminal".to_owned()), "{before:?}\n{printed}");
    assert!(before.contains(&"can trace its own".to_owned()), "{before:?}");

    // ssh asks its own configuration, which is the user's, how to get to the host.
    let configure = "install -d -o 64077 -m 700 /run/attack/.ssh
        printf 'Host *\\n ProxyCommand /var/lib/libvirt/images/attack\\n' >/run/attack/.ssh/config
        chown -R 64077 /run/attack/.ssh";
    stage.0.inside(&["bash", "-c", configure]);
    let (log, printed) = stage.attacked(
        "telegraf-virt check --no-cache --deadline 5s --uri qemu+ssh://somewhere.invalid/system",
    );
    for expected in [
        "NoNewPrivs 1",
        "CapPrm 0000000000000000",
        "CapEff 0000000000000000",
        "CapAmb 0000000000000000",
        "terminal 0",
        "refused by 0",
        "no terminal",
        "found the process",
        "cannot trace it",
        "cannot open its memory",
        "cannot open its output",
        "cannot read it",
        "can trace its own",
    ] {
        assert!(log.contains(&expected.to_owned()), "{expected}: {log:?}\n{printed}");
    }
    assert!(!log.iter().any(|line| line.starts_with("pushed")), "{log:?}");
    assert!(printed.contains("Telegraf's user"), "{printed}");
}

#[test]
fn what_root_had_open_is_closed_before_the_user_gets_it() {
    let Some(stage) = Stage::require("escalation, files") else { return };
    let uri = "qemu+ssh://x/system?command=/var/lib/libvirt/images/open";
    let open = "#!/bin/sh\n[ \"$(id -u)\" = 64077 ] && ls -l /proc/$PPID/fd /proc/self/fd >/run/attack/log 2>&1\nexit 1\n";
    fs::write(stage.0.image("open"), open).unwrap();
    fs::set_permissions(stage.0.image("open"), fs::Permissions::from_mode(0o755)).unwrap();
    let (log, _) = stage.attacked(&format!(
        "exec 7</etc/shadow 8>/dev/tty; telegraf-virt check --no-cache --deadline 5s --uri {uri}"
    ));
    assert!(!log.is_empty(), "the user's program did not run");
    assert!(
        !log.iter().any(|line| line.contains("shadow") || line.contains("/dev/pts")),
        "{log:?}"
    );
}

/// Nobody but root can become another user, and nobody becomes root.
#[test]
fn the_handover_is_no_way_up() {
    for user in ["root", "no-such-user", ""] {
        let finished = run(Command::new(PROGRAM).args(["become-user", user, "check"]));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
    }
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        let finished = run(command.arg(PROGRAM).args(["become-user", "daemon", "check"]));
        assert_ne!(finished.status.code(), Some(0), "{finished}");
    }
}

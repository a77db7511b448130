//! The findings about a hypervisor and the way to it.

use super::findings;

findings! {
    answers(text) = Good "answers": "{text}";

    slow(text, admin, daemon) = Advice "slow": "{text}"
        lost "time: each collection waits this long before it can read a guest, and little of the deadline may \
              be left"
        fix "see what keeps libvirt busy, most often other programs that poll it"
        run "virt-admin -c {admin} client-list {daemon}";

    socket(path, rights) = Good "socket": "its socket is {path} ({rights})";

    no_recording(error, quoted_path) = Lost "no-recording": "the recording cannot be read: {error}"
        lost "every guest of this hypervisor"
        fix "name a file that is one, with its full path"
        run "ls -l {quoted_path}";

    no_socket(path, error, quoted_path, daemon) = Lost "no-socket":
        "{path} exists and is not a socket; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "remove it, and let libvirt create its socket"
        run "sudo rm {quoted_path}"
        run "sudo systemctl start {daemon}.socket {daemon}-ro.socket";

    bad_uri(error, meant) = Lost "bad-uri":
        "libvirt has no driver of that name, or knows no such URI; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "write qemu:///system for the QEMU guests of this machine; test:///default has a made-up guest, to \
             try this program"
        run "telegraf-virt check --uri {meant}";

    no_driver(driver, error) = Lost "no-driver":
        "libvirt's driver {driver} is not installed; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "install it, and restart libvirt; on Debian it is in a package of its own"
        run "apt-cache search libvirt-daemon-driver";

    not_running(what, error, daemon) = Lost "not-running": "{what}; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "start libvirt, or name another hypervisor with --uri or `uris`"
        run "sudo systemctl start {daemon}.socket {daemon}-ro.socket";

    no_right_to_socket(user, socket, error, daemon) = Lost "no-right-to-socket":
        "{user} may not use {socket}; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "open the read-only socket to every user, as it is by default: in /etc/libvirt/{daemon}.conf \
             write the line below and restart {daemon}; if systemd creates the socket, SocketMode= of \
             {daemon}-ro.socket applies instead: change it with systemctl edit, stop {daemon}, restart that \
             socket, and start {daemon}"
        run "unix_sock_ro_perms = \"0777\""
        run "sudo systemctl restart {daemon}";

    not_authenticated(user, error, daemon) = Lost "not-authenticated":
        "{user} has no access; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "let every user read without a password, as it is by default: in /etc/libvirt/{daemon}.conf write \
             the line below and restart {daemon}"
        run "auth_unix_ro = \"none\""
        run "sudo systemctl restart {daemon}";

    no_bus(user, error, daemon) = Lost "no-bus":
        "{daemon} asks polkit whether {user} may read, over D-Bus, which it does not reach; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "install and start D-Bus and polkit, or let every user read without them: in \
             /etc/libvirt/{daemon}.conf write the line below and restart {daemon}"
        run "auth_unix_ro = \"none\""
        run "sudo systemctl restart {daemon}";

    unknown_user(error) = Lost "unknown-user":
        "libvirt cannot find this user's name or group; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "install libnss-systemd if systemd creates the user (DynamicUser=), or run this as a user in \
             /etc/passwd"
        run "sudo apt install libnss-systemd";

    no_ssh(error) = Lost "no-ssh": "libvirt finds no ssh to start; libvirt says: {error}"
        lost "every guest of this hypervisor"
        fix "install it"
        run "sudo apt install openssh-client";

    // The logs of this host would say nothing of another one.
    refuses_elsewhere(error, uri) = Lost "refuses": "it cannot be read: {error}"
        lost "every guest of this hypervisor"
        fix "check whether virsh can connect, as the user who runs this program; then check that host, and the \
             key and the names in the URI"
        run "virsh -r -c {uri} list";

    refuses(error, uri, daemon) = Lost "refuses": "it cannot be read: {error}"
        lost "every guest of this hypervisor"
        fix "check whether virsh can connect, and what libvirt's log says"
        run "virsh -r -c {uri} list"
        run "journalctl -u {daemon} -n 50";

    no_answer_elsewhere(deadline, uri) = Lost "no-answer": "it does not answer within {deadline}"
        lost "every guest of this hypervisor"
        fix "check whether the network to it works, and whether virsh can connect"
        run "virsh -r -c {uri} list";

    no_answer(deadline, admin, daemon) = Lost "no-answer":
        "it can be connected to, but does not answer within {deadline}"
        lost "every guest of this hypervisor"
        fix "libvirt itself hangs, or all its workers wait for hung guests: check what they do, and restart it; \
             the guests keep running"
        run "virt-admin -c {admin} srv-threadpool-info {daemon}"
        run "sudo systemctl restart {daemon}";
}

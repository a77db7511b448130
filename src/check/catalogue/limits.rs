//! The findings about what libvirt's configuration and the kernel allow.

use super::findings;

findings! {
    not_looked_at(file, error) = Good "not-looked-at": "{file} cannot be read, which does no harm: {error}";

    few_workers(file, number, calls, enough, daemon) = Advice "few-workers":
        "{file} has max_workers = {number}, while this program may have {calls} calls in it when guests \
         hang: max_stuck + workers of its settings"
        lost "answers for every client, virsh too, while that many guests hang"
        fix "write the line below into it and restart {daemon}, or set a smaller max_stuck in our configuration"
        run "max_workers = {enough}"
        run "sudo systemctl restart {daemon}";

    few_clients(file, number, calls, enough, daemon) = Advice "few-clients":
        "{file} has max_clients = {number}, while this program may have {calls} connections when \
         guests hang"
        lost "connections, and so guests, while others hang"
        fix "write the line below into it and restart {daemon}"
        run "max_clients = {enough}"
        run "sudo systemctl restart {daemon}";

    few_anonymous_clients(file, number, connections, enough, daemon) = Advice "few-anonymous-clients":
        "{file} has max_anonymous_clients = {number}, while this program opens {connections} at the \
         same time"
        lost "time at each start: connections wait for each other"
        fix "write the line below into it and restart {daemon}"
        run "max_anonymous_clients = {enough}"
        run "sudo systemctl restart {daemon}";

    access_drivers(file, command) = Advice "access-drivers":
        "{file} has access_drivers: polkit decides which guests each user sees"
        lost "the guests that it hides from this user, without a message"
        fix "check whether all guests are there, and let polkit show them to this user: allow \
             org.libvirt.api.domain.getattr and .read"
        run "{command}";

    libvirt(workers, calls) = Good "libvirt":
        "libvirt has {workers} workers, of which this program occupies at most {calls} when guests hang; its \
         other limits are sufficient";

    few_processes(user, limit, used, needed, enough) = Advice "few-processes":
        "{user} may have {limit} processes and threads and has {used}, while this program may need {needed} \
         when guests hang"
        lost "guests while others hang: no thread can be started to read them"
        fix "raise the limit: LimitNPROC= of Telegraf's unit, or ulimit of the shell"
        run "ulimit -u {enough}";

    few_files(user, limit, needed, enough) = Advice "few-files":
        "{user} may have {limit} files open, while this program may need {needed} when guests hang"
        lost "guests while others hang: no connection can be opened to read them"
        fix "raise the limit: LimitNOFILE= of Telegraf's unit, or ulimit of the shell"
        run "ulimit -n {enough}";

    kernel(threads) = Good "kernel":
        "the kernel lets this user start the {threads} threads that it may need";
}

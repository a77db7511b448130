/*
 * Runs a command once and says what it cost.
 *
 *   spent FILE COMMAND [ARGUMENT...]
 *
 * FILE gets one line: wall time from the start to the end, and CPU time, both in nanoseconds, and the peak
 * of resident memory in KiB. The command has this process's standard streams. A program of a few pages
 * starts it, since the kernel counts the memory of whoever starts a process towards that process's peak.
 */
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "clocks.h"

extern char **environ;

static long long ns(struct timeval time)
{
    return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: spent FILE COMMAND [ARGUMENT...]\n");
        return 2;
    }
    pid_t pid;
    int status;
    struct rusage usage;
    long long start = wall_ns();
    if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0) {
        perror(argv[2]);
        return 127;
    }
    if (wait4(pid, &status, 0, &usage) != pid)
        return 127;
    long long wall = wall_ns() - start;

    FILE *file = fopen(argv[1], "w");
    if (!file)
        return 127;
    fprintf(file, "%lld %lld %ld\n", wall, ns(usage.ru_utime) + ns(usage.ru_stime), usage.ru_maxrss);
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

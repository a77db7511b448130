/*
 * What connecting costs: opens read-only connections one after another and keeps them, then asks one of
 * them something small.
 *
 *   connect URI CONNECTIONS
 *
 * It prints a line for each: wall time and CPU time of this process, both in nanoseconds. The last line is
 * the small question, one round trip. Opening is some of those: what authentication the server wants, what
 * it can do, and the opening itself; on a read-only socket nothing further is asked of anybody.
 */
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>

#include "clocks.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: connect URI CONNECTIONS\n");
        return 2;
    }
    virConnectPtr connection = NULL;
    long long wall, cpu;
    for (int i = 0; i < atoi(argv[2]); i++) {
        wall = wall_ns();
        cpu = cpu_ns();
        if (!(connection = virConnectOpenReadOnly(argv[1])))
            return 1;
        printf("%lld %lld\n", wall_ns() - wall, cpu_ns() - cpu);
    }
    unsigned long version;
    wall = wall_ns();
    cpu = cpu_ns();
    if (!connection || virConnectGetLibVersion(connection, &version) < 0)
        return 1;
    printf("%lld %lld\n", wall_ns() - wall, cpu_ns() - cpu);
    return 0;
}

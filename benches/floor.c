/*
 * The floor: the one bulk call that any client must make, on one connection kept open, and nothing done
 * with the answer but counting it.
 *
 *   floor URI GROUPS
 *
 * Each byte on standard input is one call. It prints a line: guests, parameters, wall time of the call and
 * CPU time of this process during it, both in nanoseconds.
 */
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>

#include "clocks.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: floor URI GROUPS\n");
        return 2;
    }
    unsigned int groups = strtoul(argv[2], NULL, 0);
    virConnectPtr connection = virConnectOpenReadOnly(argv[1]);
    if (!connection)
        return 1;

    while (getchar() != EOF) {
        virDomainStatsRecordPtr *records;
        long parameters = 0;
        long long wall = wall_ns(), cpu = cpu_ns();
        int guests = virConnectGetAllDomainStats(connection, groups, &records,
                                                 VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE);
        if (guests < 0)
            return 1;
        for (int i = 0; i < guests; i++)
            parameters += records[i]->nparams;
        virDomainStatsRecordListFree(records);
        printf("%d %ld %lld %lld\n", guests, parameters, wall_ns() - wall, cpu_ns() - cpu);
        fflush(stdout);
    }
    virConnectClose(connection);
    return 0;
}

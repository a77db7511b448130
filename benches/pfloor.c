/*
 * The parallel floor: the list of guests, made once, split over several connections kept open, and each
 * part asked for by a thread of its own with one bulk call. Nothing is done with the answers but counting.
 *
 *   pfloor URI GROUPS CONNECTIONS [cpu]
 *
 * With "cpu" each guest is asked for its CPU time by a call of its own first, as the program asks it.
 *
 * Each byte on standard input is one repetition. It prints a line: guests, parameters, wall time of the
 * repetition and CPU time of this process during it, both in nanoseconds.
 */
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "clocks.h"

/* One connection's share of the guests. */
struct part {
    pthread_t thread;
    virConnectPtr connection;
    virDomainPtr *all;    /* as listed; their share alone is kept */
    virDomainPtr *guests; /* ends with NULL */
    unsigned int groups;
    int asks_cpu;
    int answered;
    long parameters;
};

static void *ask(void *argument)
{
    struct part *part = argument;
    virDomainStatsRecordPtr *records;

    virTypedParameter times[3];

    part->parameters = 0;
    for (virDomainPtr *guest = part->guests; part->asks_cpu && *guest; guest++)
        if (virDomainGetCPUStats(*guest, times, 3, -1, 1, 0) < 0)
            part->parameters--;
    part->answered = virDomainListGetStats(part->guests, part->groups, &records, 0);
    if (part->answered < 0)
        return NULL;
    for (int i = 0; i < part->answered; i++)
        part->parameters += records[i]->nparams;
    virDomainStatsRecordListFree(records);
    return NULL;
}

/* Opens a connection, lists its guests, and keeps the number-th of so many equal parts of them. */
static int prepare(struct part *part, const char *uri, int number, int connections)
{
    part->connection = virConnectOpenReadOnly(uri);
    if (!part->connection)
        return -1;
    int guests = virConnectListAllDomains(part->connection, &part->all, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (guests < 0)
        return -1;
    int from = guests * number / connections, to = guests * (number + 1) / connections;
    for (int i = 0; i < guests; i++)
        if (i < from || i >= to)
            virDomainFree(part->all[i]);
    part->guests = part->all + from;
    part->guests[to - from] = NULL; /* the list has room for its own NULL, and what follows is not ours */
    return 0;
}

/* Closes the connection, as every client must: libvirtd logs an error for one that ends unclosed. */
static void finish(struct part *part)
{
    for (virDomainPtr *guest = part->guests; *guest; guest++)
        virDomainFree(*guest);
    free(part->all);
    virConnectClose(part->connection);
}

int main(int argc, char **argv)
{
    int connections = argc == 4 || argc == 5 ? atoi(argv[3]) : 0;
    if (connections < 1) {
        fprintf(stderr, "usage: pfloor URI GROUPS CONNECTIONS [cpu]\n");
        return 2;
    }
    struct part *parts = calloc(connections, sizeof *parts);
    for (int i = 0; i < connections; i++) {
        parts[i].groups = strtoul(argv[2], NULL, 0);
        parts[i].asks_cpu = argc == 5;
        if (prepare(&parts[i], argv[1], i, connections) < 0)
            return 1;
    }

    while (getchar() != EOF) {
        int guests = 0;
        long parameters = 0;
        long long wall = wall_ns(), cpu = cpu_ns();
        for (int i = 0; i < connections; i++)
            if (pthread_create(&parts[i].thread, NULL, ask, &parts[i]) != 0)
                return 1;
        for (int i = 0; i < connections; i++) {
            pthread_join(parts[i].thread, NULL);
            if (parts[i].answered < 0)
                return 1;
            guests += parts[i].answered;
            parameters += parts[i].parameters;
        }
        printf("%d %ld %lld %lld\n", guests, parameters, wall_ns() - wall, cpu_ns() - cpu);
        fflush(stdout);
    }
    for (int i = 0; i < connections; i++)
        finish(&parts[i]);
    return 0;
}

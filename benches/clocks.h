/* The two clocks of the floors, in nanoseconds. */
#include <time.h>

static inline long long read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline long long wall_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Of all threads of this process, those that have ended included. */
static inline long long cpu_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

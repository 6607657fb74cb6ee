/* What the paced server and the floor client share: one clock, and the kernel's stamp of a read.
 *
 * SO_TIMESTAMPNS stamps a packet when the kernel takes it in, on CLOCK_REALTIME.  Everything else
 * here is CLOCK_MONOTONIC, so each stamp is carried over with a pairing of the two clocks taken at
 * that moment: an old pairing would drift away while the realtime clock is being disciplined. */
#ifndef STAMPS_H
#define STAMPS_H

#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { STAMP_DIGITS = 19, NS_PER_MS = 1000000 };
#define NS_PER_S 1000000000LL

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline int64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

/* What to add to a CLOCK_REALTIME stamp to get CLOCK_MONOTONIC. */
static inline int64_t realtime_to_monotonic_ns(void) {
    int64_t before = now_ns(), real = clock_ns(CLOCK_REALTIME), after = now_ns();
    return before + (after - before) / 2 - real;
}

/* Ask for a stamp with each read; a listening socket hands this down to what it accepts. */
static inline void ask_for_stamps(int fd) {
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
}

/* Read once, and say on CLOCK_MONOTONIC when the kernel got the last of these bytes. */
static inline ssize_t stamped_read(int fd, void *into, size_t size, int64_t *at_ns) {
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec part = {into, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
    if (n <= 0) return n;
    *at_ns = now_ns();
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            *at_ns = (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec + realtime_to_monotonic_ns();
        }
    return n;
}

static inline void raise_file_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static inline double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static inline int compare_ns(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The q-quantile of sorted nanoseconds, in milliseconds; -1 of nothing. */
static inline double quantile_ms(const int64_t *sorted, size_t n, double q) {
    return n ? (double)sorted[(size_t)(q * (double)(n - 1))] / NS_PER_MS : -1.0;
}

#endif

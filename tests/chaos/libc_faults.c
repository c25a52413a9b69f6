/* Faults of the disk and of the clock for the processes of one server: preloaded (LD_PRELOAD) by tests/chaos/libc_faults.py.

   $CHAOS_SWITCHES names a file of four 64-bit integers, mapped into every process and changed by the orchestrator:
   a full disk (0 or 1), delay of each write in microseconds, delay of each sync in microseconds, offset of the
   wall clock in nanoseconds. Only files below $CHAOS_FOLDER have a full or slow disk. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FULL, WRITE_US, SYNC_US, CLOCK_NS, SWITCHES };

static volatile int64_t off[SWITCHES];
static volatile int64_t *switches = off;
static const char *folder = "";

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CHAOS_SWITCHES");
    if (getenv("CHAOS_FOLDER")) folder = getenv("CHAOS_FOLDER");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(0, sizeof off, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) switches = mapped;
}

static int ours(const char *path) {
    size_t n = strlen(folder);
    return n && !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

static int below_folder(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return ours(path);
}

static void pause_us(int64_t us) {
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

/* 1 when a call on this file has to fail for want of room; slow files have waited by then */
static int full(int fd, int delay) {
    if (!switches[FULL] && !switches[delay]) return 0;
    int before = errno, is_full = 0;
    if (below_folder(fd)) {
        if (switches[delay]) pause_us(switches[delay]);
        is_full = switches[FULL] && delay == WRITE_US;
    }
    errno = is_full ? ENOSPC : before;
    return is_full;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t n) {
    REAL(write);
    return full(fd, WRITE_US) ? -1 : real(fd, data, n);
}

ssize_t writev(int fd, const struct iovec *pieces, int n) {
    REAL(writev);
    return full(fd, WRITE_US) ? -1 : real(fd, pieces, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL(pwrite);
    return full(fd, WRITE_US) ? -1 : real(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(pwrite64);
    return full(fd, WRITE_US) ? -1 : real(fd, data, n, at);
}

ssize_t copy_file_range(int from, off64_t *here, int to, off64_t *there, size_t n, unsigned flags) {
    REAL(copy_file_range);
    return full(to, WRITE_US) ? -1 : real(from, here, to, there, n, flags);
}

int fallocate(int fd, int mode, off_t at, off_t n) {
    REAL(fallocate);
    return full(fd, WRITE_US) ? -1 : real(fd, mode, at, n);
}

int fsync(int fd) {
    REAL(fsync);
    full(fd, SYNC_US);
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    full(fd, SYNC_US);
    return real(fd);
}

int statvfs(const char *path, struct statvfs *found) {
    REAL(statvfs);
    int result = real(path, found);
    if (!result && switches[FULL] && ours(path)) found->f_bavail = found->f_bfree = 0;
    return result;
}

int statvfs64(const char *path, struct statvfs64 *found) {
    REAL(statvfs64);
    int result = real(path, found);
    if (!result && switches[FULL] && ours(path)) found->f_bavail = found->f_bfree = 0;
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    int64_t jump = switches[CLOCK_NS];
    if (!result && jump && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_nsec + jump % 1000000000;
        now->tv_sec += jump / 1000000000 + (ns >= 1000000000) - (ns < 0);
        now->tv_nsec = ns + (ns < 0 ? 1000000000 : ns >= 1000000000 ? -1000000000 : 0);
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

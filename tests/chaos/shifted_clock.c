/* The wall clock, moved by the seconds that the file $SHIFTED_CLOCK holds now (a native int64): for every program that
   is started with this as LD_PRELOAD. The clock that only runs forward stays as the kernel has it.

   Waits until a time of the wall clock are moved back to the kernel's: it would find them over at once, and whoever waits
   would ask again and again, with all of a core. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *shift;

__attribute__((constructor)) static void map(void) {
    int file = open(getenv("SHIFTED_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *place = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (file < 0 || place == MAP_FAILED) abort();
    close(file);
    shift = place;
}

#define NEXT(name) \
    __extension__({ \
        static __typeof__(&name) own; \
        if (!own) own = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        own; \
    })

/* The kernel's time for a time of the wall clock; any other is left. No machine has been up for thirty years, so one of
   the clock that counts from the start is known by its size. */
static const struct timespec *kernels(const struct timespec *until, struct timespec *moved) {
    if (!until || !shift || until->tv_sec < 1000000000) return until;
    *moved = *until;
    moved->tv_sec -= *shift;
    return moved;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    struct timespec moved;
    return NEXT(pthread_cond_timedwait)(condition, mutex, kernels(until, &moved));
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    struct timespec moved;
    return NEXT(sem_timedwait)(semaphore, kernels(until, &moved));
}

/* Abseil, and with it Ray and gRPC, waits by futex itself. */
long syscall(long number, ...) {
    long words[6];
    struct timespec moved;
    va_list given;
    va_start(given, number);
    for (int i = 0; i < 6; i++) words[i] = va_arg(given, long);
    va_end(given);
    if (number == SYS_futex && (words[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && (words[1] & FUTEX_CLOCK_REALTIME))
        words[3] = (long)kernels((const struct timespec *)words[3], &moved);
    return NEXT(syscall)(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)NEXT(syscall)(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && shift) now->tv_sec += *shift;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (where) *where = found.tv_sec;
    return found.tv_sec;
}

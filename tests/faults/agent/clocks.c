/* Tells what every clock says, by way of the C library; and reads them without pause in threads.

   A line "" on the input: one line of  realtime coarse gettimeofday time monotonic  (all in ns).
   A line "N": from now on two threads read CLOCK_REALTIME, gettimeofday, time and CLOCK_MONOTONIC
   over and over; the time may be off by 0 or by N ns, and by nothing between.
   End of input: a line of  readings  wrong  backwards  (backwards: of the monotonic clock). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static volatile int over;
static long long offset;
static long long readings[2], wrong[2], backwards[2];
static long long start, mono; /* read before anybody can have changed the clock */

static long long clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long day_ns(void) {
    struct timeval t;
    struct timezone zone;
    gettimeofday(&t, &zone);
    return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL;
}

/* Not within a minute (the machine may be busy) of the true time, nor of the false. */
static int is_wrong(long long read, long long truth) {
    long long minute = 60000000000LL, off = read - truth;
    return !(llabs(off) < minute || llabs(off - offset) < minute);
}

static void *spin(void *which) {
    long i = (long)which;
    long long last = mono;
    while (!over) {
        long long now = clock_ns(CLOCK_MONOTONIC);
        long long truth = start + (now - mono);
        backwards[i] += now < last;
        wrong[i] += is_wrong(clock_ns(CLOCK_REALTIME), truth);
        wrong[i] += is_wrong(day_ns(), truth);
        wrong[i] += is_wrong(time(NULL) * 1000000000LL, truth);
        last = now;
        readings[i] += 3;
    }
    return NULL;
}

int main(void) {
    char line[64];
    pthread_t threads[2];
    int spinning = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (line[0] != '\n') {
            offset = atoll(line);
            start = clock_ns(CLOCK_REALTIME), mono = clock_ns(CLOCK_MONOTONIC);
            for (long i = 0; i < 2; i++) pthread_create(&threads[i], NULL, spin, (void *)i);
            spinning = 1;
        }
        printf("%lld %lld %lld %lld %lld\n", clock_ns(CLOCK_REALTIME),
               clock_ns(CLOCK_REALTIME_COARSE), day_ns(), time(NULL) * 1000000000LL,
               clock_ns(CLOCK_MONOTONIC));
    }
    over = 1;
    if (spinning)
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    printf("%lld %lld %lld\n", readings[0] + readings[1], wrong[0] + wrong[1],
           backwards[0] + backwards[1]);
    return 0;
}

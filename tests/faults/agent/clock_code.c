/* Runs the clock's code on an emulated processor: see test_clock_code_aarch64.py.
 *
 *   clock_code BLOB CLOCK_GETTIME GETTIMEOFDAY
 *
 * BLOB is loaded at 0x40000000; the others are the offsets of its entries. Its `turn` is at 8. For every
 * line on the input it answers with a line:
 *
 *   c CLOCK     the true time before, the code's time, the true time after, what it returned
 *   n CLOCK     what it returns for a null pointer
 *   g           the same as c for gettimeofday, in microseconds
 *   z           gettimeofday(NULL, zone): what it returned
 *   t TURN      sets the turn
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*gettime)(int, struct timespec *);
typedef int (*getday)(struct timeval *, void *);

static long long truth(int clock) {
    struct timespec now = {0, 0};
    syscall(SYS_clock_gettime, clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    unsigned char *base = mmap((void *)0x40000000, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    FILE *file = fopen(argv[1], "rb");
    if (base == MAP_FAILED || !file) return 3;
    size_t size = fread(base, 1, 8192, file);
    __builtin___clear_cache((char *)base, (char *)base + size);
    gettime clock_code = (gettime)(base + atoi(argv[2]));
    getday day_code = (getday)(base + atoi(argv[3]));
    char line[99];
    while (fgets(line, sizeof line, stdin)) {
        int number = line[1] ? atoi(line + 1) : 0, code = 0;
        long long before = 0, after = 0, shown = 0;
        struct timespec now = {0, 0};
        struct timeval day = {0, 0};
        int zone[2] = {7, 7};
        if (line[0] == 'c') {
            before = truth(number);
            code = clock_code(number, &now);
            after = truth(number);
            shown = now.tv_sec * 1000000000LL + now.tv_nsec;
            if (now.tv_nsec < 0 || now.tv_nsec >= 1000000000) code = 77;
        } else if (line[0] == 'n') {
            code = clock_code(number, NULL);
        } else if (line[0] == 'g') {
            before = truth(CLOCK_REALTIME);
            code = day_code(&day, NULL);
            after = truth(CLOCK_REALTIME);
            shown = day.tv_sec * 1000000LL + day.tv_usec;
            if (day.tv_usec < 0 || day.tv_usec >= 1000000) code = 77;
        } else if (line[0] == 'z') {
            code = day_code(NULL, zone);
            shown = zone[0];
        } else if (line[0] == 't') {
            base[8] = (unsigned char)number;
        }
        printf("%lld %lld %lld %d\n", before, shown, after, code);
        fflush(stdout);
    }
    return 0;
}

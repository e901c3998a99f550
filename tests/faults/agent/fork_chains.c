/* Ten chains of processes, each of which forks one more and ends, over and over.

   A line on the input: a line with how many of the ten see a time that is more than a second off the
   system call's. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CHAINS = 10 };
static volatile struct { int asked; int answered[CHAINS], wrong[CHAINS]; } *shared;

static int is_wrong(void) {
    struct timespec said, truth;
    clock_gettime(CLOCK_REALTIME, &said);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &truth);
    return labs(said.tv_sec - truth.tv_sec) > 1;
}

static void chain(int i) {
    for (int seen = 0;;) {
        usleep(500);
        if (shared->asked != seen) {
            seen = shared->asked;
            shared->wrong[i] = is_wrong();
            shared->answered[i] = seen;
        }
        if (fork()) _exit(0);
    }
}

int main(void) {
    char line[64];
    signal(SIGCHLD, SIG_IGN);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < CHAINS; i++)
        if (fork() == 0) chain(i);
    while (fgets(line, sizeof line, stdin)) {
        int wrong = 0, question = ++shared->asked;
        for (int i = 0; i < CHAINS; i++) {
            while (shared->answered[i] != question) usleep(100);
            wrong += shared->wrong[i];
        }
        printf("%d\n", wrong);
        fflush(stdout);
    }
    return 0;
}

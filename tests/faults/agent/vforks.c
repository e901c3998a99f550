/* Waits, by vfork, for a child that reads a line of its input and ends; then the parent answers. */
#define _GNU_SOURCE
#include <stdio.h>
#include <unistd.h>

int main(void) {
    for (;;) {
        char letter = 0;
        if (vfork() == 0) {
            while (read(0, &letter, 1) == 1 && letter != '\n') {
            }
            _exit(0);
        }
        if (letter != '\n') return 0; /* shared memory: this is the child's */
        if (write(1, "1\n", 2) != 2) return 1;
    }
}

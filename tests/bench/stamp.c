/* stamp FILE: write the monotonic clock, as it was at the first instruction of main, to FILE (in
   nanoseconds), then wait for SIGTERM. Process 1 of a namespace, so it has to catch the signal. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void leave(int number)
{
    (void)number;
    _exit(EXIT_SUCCESS);
}

int main(int count, char **arguments)
{
    struct timespec now;
    FILE *file;

    clock_gettime(CLOCK_MONOTONIC, &now);
    signal(SIGTERM, leave);
    if (count != 2 || !(file = fopen(arguments[1], "w")))
        return EXIT_FAILURE;
    fprintf(file, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    if (fclose(file) != 0)
        return EXIT_FAILURE;
    for (;;)
        pause();
}

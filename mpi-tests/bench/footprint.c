/* What a rank costs that does little: memory after MPI_Init and after it has talked to its neighbours and all together, processor time while it waits a second
 * for a message, and how long it takes to wake up. Prints: ranks, KiB a rank after MPI_Init, KiB a rank after talking (proportional set size, above what it
 * was before MPI_Init; pages that several share count once), the waiting ranks' processor time in percent of the second (mean), and microseconds from the send to
 * the end of the receive (median of the waits). */
#define _GNU_SOURCE
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
enum { WAITS = 5 };

static double kib(void) {
    char line[256];
    double pss = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "Pss:", 4)) pss = atof(line + 4);
    if (file) fclose(file);
    return pss;
}
static double clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static int by_size(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }

int main(int argc, char **argv) {
    double before = kib(), mine[3], sum[3], woken[WAITS], used = 0, stamp;
    int rank, ranks, to, from;
    MPI_Init(&argc, &argv);
    mine[0] = kib() - before;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    to = (rank + 1) % ranks, from = (rank + ranks - 1) % ranks;
    for (int i = 0; i < 100; i++)
        MPI_Sendrecv(&i, 1, MPI_INT, to, 1, (int[1]){0}, 1, MPI_INT, from, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Allreduce(mine, sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    mine[1] = kib() - before;
    for (int i = 0; i < WAITS; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 0) {
            usleep(1000000);
            for (int peer = 1; peer < ranks; peer++) {
                stamp = clock_of(CLOCK_MONOTONIC);
                MPI_Send(&stamp, 1, MPI_DOUBLE, peer, 2, MPI_COMM_WORLD);
            }
        } else {
            double busy = clock_of(CLOCK_PROCESS_CPUTIME_ID);
            MPI_Recv(&stamp, 1, MPI_DOUBLE, 0, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            woken[i] = (clock_of(CLOCK_MONOTONIC) - stamp) * 1e6;
            used += (clock_of(CLOCK_PROCESS_CPUTIME_ID) - busy) / WAITS;
        }
    }
    mine[2] = used * 100;
    MPI_Reduce(mine, sum, 3, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    /* The first that was sent to wakes alone. */
    if (rank == 1) qsort(woken, WAITS, sizeof *woken, by_size), MPI_Send(&woken[WAITS / 2], 1, MPI_DOUBLE, 0, 3, MPI_COMM_WORLD);
    if (rank == 0) {
        MPI_Recv(&stamp, 1, MPI_DOUBLE, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        printf("%d %.0f %.0f %.2f %.1f\n", ranks, sum[0] / ranks, sum[1] / ranks, sum[2] / (ranks - 1), stamp);
    }
    MPI_Finalize();
    return 0;
}

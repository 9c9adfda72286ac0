/* pace latency BYTES COUNT | pace bandwidth BYTES COUNT: two ranks; what ib_send_lat and ib_write_bw measure, for any MPI.
 *
 * latency: half of a round trip, of COUNT: the least, the median, the mean in microseconds. The median is what perftest calls typical; as there, one look at the
 * clock a round, by one of the two.
 * bandwidth: COUNT messages one way, 64 at a time on their way, in millions of bytes a second (the last answer included).
 * Every message's first and last bytes are checked. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
enum { WINDOW = 64, WARM = 50 };
static int rank, wrong;
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}
static int by_size(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }
static void mark(unsigned char *m, int bytes, int n) {
    m[0] = (unsigned char)n;
    m[bytes - 1] = (unsigned char)n;
}
static void look(const unsigned char *m, int bytes, int n) { wrong += m[0] != (unsigned char)n || m[bytes - 1] != (unsigned char)n; }

static void latency(int bytes, int count) {
    unsigned char *out = calloc(1, bytes), *in = calloc(1, bytes);
    double *took = malloc(count * sizeof *took), sum = 0, before = 0;
    for (int i = -WARM; i < count; i++) {
        mark(out, bytes, i + rank);
        if (rank == 0) {
            MPI_Send(out, bytes, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
            MPI_Recv(in, bytes, MPI_BYTE, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(in, bytes, MPI_BYTE, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(out, bytes, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
        }
        look(in, bytes, i + 1 - rank);
        if (rank == 0 && i >= -1) {
            double after = now();
            if (i >= 0) took[i] = (after - before) / 2;
            before = after;
        }
    }
    if (rank) return;
    for (int i = 0; i < count; i++) sum += took[i];
    qsort(took, count, sizeof *took, by_size);
    printf("latency %d B: least %.2f median %.2f mean %.2f us\n", bytes, took[0], took[count / 2], sum / count);
}

static void bandwidth(int bytes, int count) {
    unsigned char *space = calloc(WINDOW, bytes), answer = 0;
    MPI_Request requests[WINDOW];
    double begin = 0;
    /* The first window warms up. */
    for (int done = -WINDOW; done < count; done += WINDOW) {
        if (done == 0) begin = now();
        for (int i = 0; i < WINDOW; i++) {
            unsigned char *m = space + (size_t)i * bytes;
            if (rank == 0) {
                mark(m, bytes, done + i);
                MPI_Isend(m, bytes, MPI_BYTE, 1, 2, MPI_COMM_WORLD, &requests[i]);
            } else MPI_Irecv(m, bytes, MPI_BYTE, 0, 2, MPI_COMM_WORLD, &requests[i]);
        }
        MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
        if (rank == 1)
            for (int i = 0; i < WINDOW; i++) look(space + (size_t)i * bytes, bytes, done + i);
        if (done < 0 || done + WINDOW >= count) {
            if (rank == 1) MPI_Send(&answer, 1, MPI_BYTE, 0, 3, MPI_COMM_WORLD);
            else MPI_Recv(&answer, 1, MPI_BYTE, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        }
    }
    count = (count + WINDOW - 1) / WINDOW * WINDOW;
    if (rank == 0) printf("bandwidth %d B: %.1f MB/s\n", bytes, (double)bytes * count / (now() - begin));
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int i = 1; i + 2 < argc; i += 3) {
        MPI_Barrier(MPI_COMM_WORLD);
        (strcmp(argv[i], "latency") ? bandwidth : latency)(atoi(argv[i + 1]), atoi(argv[i + 2]));
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (wrong && rank == 0) printf("%d messages were wrong\n", wrong);
    MPI_Finalize();
    return wrong != 0;
}

/* bench [-t MILLISECONDS] [-s BYTES,BYTES,...] BENCHMARK...: one line a benchmark and length: name, ranks, bytes, value.
 *
 * latency: microseconds one way, ranks 0 and 1 in turns. bandwidth: millions of bytes a second from rank 0 to rank 1, 64 messages under way at a time.
 * Collectives: microseconds a call; bytes are those of one rank's part (of reduce_scatter its whole input). Each point takes about
 * so many milliseconds (40), in five batches with a barrier before each, of which the median is told. A batch lasts from the moment at which the first rank
 * leaves the barrier to the moment at which the last one is through (a rank that comes late would find the work of the others done), by the clock of the machine
 * that all are on. Results are checked once a point. */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
enum { WINDOW = 64, BATCHES = 5, MOST = 4 << 20, WHOLE = 64 << 20 };
static int rank, ranks, wrong;
static char *in, *out;
static int *counts, *places;
static MPI_Request requests[WINDOW];

/* Seconds, the same for all processes of a machine. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void latency(int bytes) {
    if (rank == 0) {
        MPI_Send(out, bytes, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
        MPI_Recv(in, bytes, MPI_BYTE, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else if (rank == 1) {
        MPI_Recv(in, bytes, MPI_BYTE, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(out, bytes, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
    }
}
static void bandwidth(int bytes) {
    char answer = 0;
    if (rank > 1) return;
    for (int i = 0; i < WINDOW; i++) {
        if (rank == 0) MPI_Isend(out, bytes, MPI_BYTE, 1, 2, MPI_COMM_WORLD, &requests[i]);
        else MPI_Irecv(in, bytes, MPI_BYTE, 0, 2, MPI_COMM_WORLD, &requests[i]);
    }
    MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
    if (rank == 1) MPI_Send(&answer, 1, MPI_BYTE, 0, 3, MPI_COMM_WORLD);
    else MPI_Recv(&answer, 1, MPI_BYTE, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}
static void barrier(int bytes) {
    (void)bytes;
    MPI_Barrier(MPI_COMM_WORLD);
}
static void bcast(int bytes) { MPI_Bcast(rank ? in : out, bytes, MPI_BYTE, 0, MPI_COMM_WORLD); }
static void reduce(int bytes) { MPI_Reduce(out, in, bytes / 4, MPI_FLOAT, MPI_SUM, 0, MPI_COMM_WORLD); }
static void allreduce(int bytes) { MPI_Allreduce(out, in, bytes / 4, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }
static void reduce_scatter(int bytes) {
    for (int i = 0; i < ranks; i++) counts[i] = bytes / 4 / ranks + (i < bytes / 4 % ranks);
    MPI_Reduce_scatter(out, in, counts, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}
static void scan(int bytes) { MPI_Scan(out, in, bytes / 4, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }
static void parts(int bytes) {
    for (int i = 0; i < ranks; i++) counts[i] = bytes, places[i] = i * bytes;
}
static void gather(int bytes) { MPI_Gather(out, bytes, MPI_BYTE, in, bytes, MPI_BYTE, 0, MPI_COMM_WORLD); }
static void gatherv(int bytes) {
    parts(bytes);
    MPI_Gatherv(out, bytes, MPI_BYTE, in, counts, places, MPI_BYTE, 0, MPI_COMM_WORLD);
}
static void scatter(int bytes) { MPI_Scatter(out, bytes, MPI_BYTE, in, bytes, MPI_BYTE, 0, MPI_COMM_WORLD); }
static void allgather(int bytes) { MPI_Allgather(out, bytes, MPI_BYTE, in, bytes, MPI_BYTE, MPI_COMM_WORLD); }
static void allgatherv(int bytes) {
    parts(bytes);
    MPI_Allgatherv(out, bytes, MPI_BYTE, in, counts, places, MPI_BYTE, MPI_COMM_WORLD);
}
static void alltoall(int bytes) { MPI_Alltoall(out, bytes, MPI_BYTE, in, bytes, MPI_BYTE, MPI_COMM_WORLD); }
static void alltoallv(int bytes) {
    parts(bytes);
    MPI_Alltoallv(out, counts, places, MPI_BYTE, in, counts, places, MPI_BYTE, MPI_COMM_WORLD);
}

/* What each does; whose memory grows with the ranks; how what it leaves is checked: by sums, by the peers' marks, or not. */
static const struct {
    const char *name;
    void (*run)(int);
    int wide, check;
} all[] = {{"latency", latency, 0, 0},       {"bandwidth", bandwidth, 0, 0},   {"barrier", barrier, 0, 0},
           {"bcast", bcast, 0, 0},           {"reduce", reduce, 0, 1},         {"allreduce", allreduce, 0, 2},
           {"gather", gather, 1, 3},         {"gatherv", gatherv, 1, 3},       {"scatter", scatter, 1, 0},
           {"allgather", allgather, 1, 4},   {"allgatherv", allgatherv, 1, 4}, {"alltoall", alltoall, 1, 4},
           {"alltoallv", alltoallv, 1, 4},   {"reduce_scatter", reduce_scatter, 0, 2}, {"scan", scan, 0, 5}};

static int by_size(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }
static void check(int kind, int bytes) {
    float sum;
    if (!bytes) return;
    memcpy(&sum, in, bytes < 4 ? 0 : 4);
    if ((kind == 1 && rank == 0) || kind == 2) wrong += bytes / 4 >= ranks && sum != (float)ranks;
    if (kind == 5) wrong += bytes >= 4 && sum != (float)(rank + 1);
    if ((kind == 3 && rank == 0) || kind == 4)
        for (int i = 0; i < ranks; i++) wrong += in[(size_t)i * bytes + bytes - 1] != out[bytes - 1];
}

int main(int argc, char **argv) {
    double limit = 40e-3;
    int sizes[64], lengths = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (argv++; *argv && **argv == '-' && argv[1]; argv += 2) {
        if (argv[0][1] == 't') limit = atof(argv[1]) / 1e3;
        else if (argv[0][1] == 's')
            for (char *word = strtok(argv[1], ","); word && lengths < 64; word = strtok(NULL, ",")) sizes[lengths++] = atoi(word);
        else return fprintf(stderr, "bench: no option %s\n", *argv), 2;
    }
    if (!lengths)
        for (int s = 8; s <= 1 << 20; s *= 2) sizes[lengths++] = s;
    counts = calloc(ranks, sizeof(int)), places = calloc(ranks, sizeof(int));
    size_t room = (size_t)MOST * ranks < WHOLE ? (size_t)MOST * ranks : WHOLE;
    in = malloc(room), out = malloc(room);
    /* Processors reach their speed while they work, and some libraries work longer in MPI_Init than others. */
    double started = MPI_Wtime();
    for (int more = 1; more; MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD)) {
        for (int i = 0; i < 10; i++) MPI_Barrier(MPI_COMM_WORLD);
        more = MPI_Wtime() - started < 0.1;
    }
    for (; *argv; argv++) {
        int which = 0;
        while (which < (int)(sizeof all / sizeof *all) && strcmp(all[which].name, *argv)) which++;
        if (which == (int)(sizeof all / sizeof *all)) return fprintf(stderr, "bench: no benchmark %s\n", *argv), 2;
        for (int l = 0; l < (strcmp(*argv, "barrier") ? lengths : 1); l++) {
            int bytes = strcmp(*argv, "barrier") ? sizes[l] : 0, batch = 1;
            size_t used = (size_t)(bytes ? bytes : 4) * (all[which].wide ? ranks : 1);
            double took[BATCHES], begin, once;
            if (used > room) continue;
            for (size_t i = 0; i + 4 <= used; i += 4) memcpy(out + i, &(float){1}, 4);
            memset(in, 7, used);
            all[which].run(bytes);
            check(all[which].check, bytes);
            MPI_Barrier(MPI_COMM_WORLD);
            begin = MPI_Wtime();
            for (int i = 0; i < 3; i++) all[which].run(bytes);
            once = (MPI_Wtime() - begin) / 3;
            MPI_Allreduce(MPI_IN_PLACE, &once, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
            if (once > 0) batch = (int)(limit / BATCHES / once);
            batch = batch < 1 ? 1 : batch > 10000 ? 10000 : batch;
            for (int b = 0; b < BATCHES; b++) {
                double times[2]; /* the end, and the begin with its sign changed: of both the greatest counts */
                MPI_Barrier(MPI_COMM_WORLD);
                times[1] = -now();
                for (int i = 0; i < batch; i++) all[which].run(bytes);
                times[0] = now();
                if (rank > 1 && which < 2) times[0] = times[1] = -HUGE_VAL;
                MPI_Allreduce(MPI_IN_PLACE, times, 2, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
                took[b] = (times[0] + times[1]) / batch;
            }
            qsort(took, BATCHES, sizeof *took, by_size);
            double value = took[BATCHES / 2] * 1e6;
            if (which == 0) value /= 2;
            if (which == 1) value = (double)bytes * WINDOW / value;
            if (rank == 0) printf("%s %d %d %.3f\n", *argv, ranks, bytes, value), fflush(stdout);
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0 && wrong) fprintf(stderr, "bench: %d results were wrong\n", wrong);
    MPI_Finalize();
    return wrong != 0;
}

/* badluck CASE: what ci/badluck does bad things to. Prints nothing that is not asked for. */
#include "check.h"
#include <signal.h>
#include <unistd.h>

/* Everyone waits for a message that never comes. */
static void wait_for_ever(void) {
    int value;
    MPI_Recv(&value, 1, MPI_INT, (rank + 1) % size, 4242, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* Nobody goes on before "ready" is written: what goes on may end the job. */
static void ready(void) {
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) puts("ready"), fflush(stdout);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* The same collective again and again until a member is lost; each survivor writes to a file how that ended, and the next. */
static void outlive(int kind, int bytes) {
    int n = bytes / 4, first = MPI_SUCCESS, then;
    float *out = calloc((size_t)n * size + 1, 4), *in = calloc((size_t)n * size + 1, 4);
    char name[64];
    printf("pid %d rank %d\n", (int)getpid(), rank);
    fflush(stdout);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    ready();
    while (first == MPI_SUCCESS) {
        if (kind == 0) first = MPI_Barrier(MPI_COMM_WORLD);
        if (kind == 1) first = MPI_Bcast(out, n, MPI_FLOAT, 0, MPI_COMM_WORLD);
        if (kind == 2) first = MPI_Allreduce(out, in, n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        if (kind == 3) first = MPI_Alltoall(out, n, MPI_FLOAT, in, n, MPI_FLOAT, MPI_COMM_WORLD);
        if (kind == 4) first = MPI_Reduce(out, in, n, MPI_FLOAT, MPI_SUM, 0, MPI_COMM_WORLD);
        if (kind == 5) first = MPI_Scan(out, in, n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        if (kind == 6) first = MPI_Gather(out, n, MPI_FLOAT, in, n, MPI_FLOAT, 0, MPI_COMM_WORLD);
    }
    then = MPI_Barrier(MPI_COMM_WORLD);
    sprintf(name, "outlived.%d", rank);
    FILE *file = fopen(name, "w");
    fprintf(file, "%d %d\n", class_of(first) != MPI_SUCCESS, class_of(then) != MPI_SUCCESS);
    fclose(file);
    wait_for_ever();
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    begin(&argc, &argv);
    if (!strcmp(what, "wait")) {
        /* Waits until somebody kills it; each tells who it is. */
        printf("pid %d rank %d\n", (int)getpid(), rank);
        fflush(stdout);
        ready();
        wait_for_ever();
    } else if (!strcmp(what, "die")) {
        /* Rank 1 is killed while the others wait for it, in a receive, a wait and a collective. */
        ready();
        if (rank == 1) usleep(300000), kill(getpid(), SIGKILL);
        if (rank % 3 == 0) wait_for_ever();
        MPI_Request request;
        int value;
        MPI_Irecv(&value, 1, MPI_INT, MPI_ANY_SOURCE, 4242, MPI_COMM_WORLD, &request);
        if (rank % 3 == 1)
            MPI_Wait(&request, MPI_STATUS_IGNORE);
        else
            MPI_Barrier(MPI_COMM_WORLD);
    } else if (!strcmp(what, "outlive")) {
        outlive(atoi(argv[2]), atoi(argv[3]));
    } else if (!strcmp(what, "return")) {
        /* Rank 1 returns without MPI_Finalize, with the status given. */
        ready();
        if (rank == 1) return atoi(argv[2]);
        wait_for_ever();
    } else if (!strcmp(what, "abort")) {
        ready();
        if (rank == 1) MPI_Abort(MPI_COMM_WORLD, 7);
        wait_for_ever();
    } else if (!strcmp(what, "truncate")) {
        int values[8] = {0};
        if (rank == 0) MPI_Send(values, 8, MPI_INT, 1, 0, MPI_COMM_WORLD);
        if (rank == 1) MPI_Recv(values, 2, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        wait_for_ever();
    } else if (!strcmp(what, "talk")) {
        /* Rounds of messages between all pairs, some of them large, for the given number of milliseconds; every byte checked. */
        double until = MPI_Wtime() + (argc > 2 ? atoi(argv[2]) : 300) / 1000.0;
        static unsigned char out[200000], in[200000];
        int go = 1, round = 0;
        ready();
        while (go) {
            for (int step = 1; step < size; step++) {
                int to = (rank + step) % size, from = (rank + size - step) % size;
                int length = round % 4 == 3 ? 200000 : 1 + round * 97 % 5000;
                fill(out, length, round, rank);
                MPI_Sendrecv(out, length, MPI_BYTE, to, step, in, length, MPI_BYTE, from, step, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
                errors += differing(in, length, round, from) != 0;
            }
            round++;
            go = MPI_Wtime() < until;
            MPI_Bcast(&go, 1, MPI_INT, 0, MPI_COMM_WORLD);
        }
        long sum;
        MPI_Allreduce(&errors, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0) printf("talked: %ld errors\n", sum);
        MPI_Finalize();
        return sum != 0;
    } else if (!strcmp(what, "ponder")) {
        /* Rank 1 computes for the given number of seconds, without a call of MPI, while rank 0 waits for it; before and after both talk. */
        static unsigned char out[200000], in[200000];
        for (int round = 0; round < 3; round++) {
            int other = rank ^ 1, bytes = round == 1 ? 1 : 200000;
            if (round == 1 && rank == 1) sleep(atoi(argv[2]));
            fill(out, bytes, round, rank);
            MPI_Sendrecv(out, bytes, MPI_BYTE, other, round, in, bytes, MPI_BYTE, other, round, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            errors += differing(in, bytes, round, other) != 0;
            if (round == 0 && rank == 1) puts("pondering"), fflush(stdout);
        }
        long sum;
        MPI_Allreduce(&errors, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0) printf("pondered: %ld errors\n", sum);
    } else if (!strcmp(what, "mesh")) {
        /* Each rank talks to each other. */
        for (int step = 1; step < size; step++) {
            int to = (rank + step) % size, from = (rank + size - step) % size, value = -1;
            MPI_Sendrecv(&rank, 1, MPI_INT, to, step, &value, 1, MPI_INT, from, step, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            errors += value != from;
        }
        long sum;
        MPI_Allreduce(&errors, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0) printf("meshed: %ld errors\n", sum);
    } else if (!strcmp(what, "quick")) {
        int sum;
        MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0) printf("sum %d\n", sum);
    }
    MPI_Finalize();
    return 0;
}

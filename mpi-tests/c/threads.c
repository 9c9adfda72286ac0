/* MPI_THREAD_MULTIPLE: every thread talks to its partner on the other rank, at the same time as all others. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 4, ROUNDS = 200 };
static MPI_Comm comms[THREADS];
static long bad[THREADS];

static void *work(void *argument) {
    int me = (int)(long)argument, to = (rank + 1) % size, from = (rank + size - 1) % size, got[600], sum;
    static int out[THREADS][600];
    for (int i = 0; i < ROUNDS; i++) {
        int n = i % 600 + 1;
        for (int k = 0; k < n; k++) out[me][k] = rank * 1000000 + me * 10000 + i + k;
        /* Half of the threads share MPI_COMM_WORLD and differ by tag, half have a communicator each. */
        MPI_Comm comm = me % 2 ? comms[me] : MPI_COMM_WORLD;
        if (i % 2) MPI_Sendrecv(out[me], n, MPI_INT, to, me, got, 600, MPI_INT, from, me, comm, MPI_STATUS_IGNORE);
        else {
            /* Several threads in a receive at once, on one context and on others. */
            MPI_Request request;
            MPI_Isend(out[me], n, MPI_INT, to, me, comm, &request);
            MPI_Recv(got, 600, MPI_INT, me % 2 ? MPI_ANY_SOURCE : from, me, comm, MPI_STATUS_IGNORE);
            MPI_Wait(&request, MPI_STATUS_IGNORE);
        }
        for (int k = 0; k < n; k++) bad[me] += got[k] != from * 1000000 + me * 10000 + i + k;
        if (i % 20 == 0) {
            MPI_Allreduce(&i, &sum, 1, MPI_INT, MPI_SUM, comms[me]);
            bad[me] += sum != i * size;
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    int provided, flag;
    pthread_t threads[THREADS];
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    tell("threads: %s\n", provided == MPI_THREAD_MULTIPLE ? "multiple" : "not multiple");
    MPI_Query_thread(&flag);
    SAME(flag, provided);
    for (int i = 0; i < THREADS; i++) MPI_Comm_dup(MPI_COMM_WORLD, &comms[i]);
    for (int i = 0; i < THREADS; i++) {
        if (provided == MPI_THREAD_MULTIPLE)
            pthread_create(&threads[i], NULL, work, (void *)(long)i);
        else
            work((void *)(long)i);
    }
    for (int i = 0; i < THREADS; i++) {
        if (provided == MPI_THREAD_MULTIPLE) pthread_join(threads[i], NULL);
        SAME(bad[i], 0);
        MPI_Comm_free(&comms[i]);
    }
    return end("threads");
}

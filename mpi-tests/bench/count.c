/* count BYTES ROUNDS FILE [posted]: what a small message costs its sender and its receiver in instructions and in allocations. Two ranks.
 *
 * Each round, both send to each other and then, when both have done so, both receive: no call waits, so under callgrind with
 * --toggle-collect=measured_send --toggle-collect=measured_receive the instructions are the same in every run. They learn of each other through
 * FILE, which both map, outside of MPI. `posted`: 64 receives are posted first, then as many messages sent, then all are waited for; 64 to a round.
 * The last line says how often memory was allocated in the measured calls. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <mpi.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
enum { WARM = 8000, WINDOW = 64 };
static int rank, bytes, measuring, allocated, wrong;
static char *out, *in;
static _Atomic int *done;

/* The C library's own, counted. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *malloc(size_t n) {
    allocated += measuring;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t m) {
    allocated += measuring;
    return __libc_calloc(n, m);
}
void *realloc(void *p, size_t n) {
    allocated += measuring;
    return __libc_realloc(p, n);
}

static int window = 1, posted;
static MPI_Request requests[2 * WINDOW];

static void post(void) {
    for (int i = 0; posted && i < window; i++)
        MPI_Irecv(in + i * bytes, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, &requests[i]);
}
static void give(void) {
    if (!posted) MPI_Send(out, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD);
    for (int i = 0; posted && i < window; i++)
        MPI_Isend(out + i * bytes, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, &requests[window + i]);
}
static void take(void) {
    for (int half = 0; posted && half < 2; half++) MPI_Waitall(window, requests + half * window, MPI_STATUSES_IGNORE);
    if (!posted) MPI_Recv(in, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}
/* The same, counted. */
__attribute__((noinline)) void measured_post(void) { post(); }
__attribute__((noinline)) void measured_send(void) { give(); }
__attribute__((noinline)) void measured_receive(void) { take(); }

static void both(int at) {
    atomic_store(&done[rank], at);
    while (atomic_load(&done[1 - rank]) < at) sched_yield();
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    bytes = atoi(argv[1]);
    int rounds = atoi(argv[2]), file = open(argv[3], O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, 4096)) return perror(argv[3]), 1;
    done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    posted = argc > 4, window = posted ? WINDOW : 1;
    out = calloc(window, bytes + 1), in = calloc(window, bytes + 1);
    /* A message whose connection is still being made leaves when its sender calls MPI again. */
    for (int i = 0; i < 10; i++) MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < WARM / window + rounds; i++) {
        int counted = i >= WARM / window;
        memset(out, i, window * bytes);
        measuring = counted;
        if (counted) measured_post();
        else post();
        measuring = 0;
        both(3 * i + 1);
        measuring = counted;
        if (counted) measured_send();
        else give();
        measuring = 0;
        both(3 * i + 2);
        measuring = counted;
        if (counted) measured_receive();
        else take();
        measuring = 0;
        wrong += memcmp(in, out, window * bytes) != 0;
        /* Who receives may look for what else came: nothing is on its way then. */
        both(3 * i + 3);
    }
    int counts[2] = {allocated, wrong};
    MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) printf("%d allocations, %d wrong\n", counts[0], counts[1]);
    MPI_Finalize();
    return counts[1] != 0;
}

/* count BYTES ROUNDS FILE: what a small message costs its sender and its receiver in instructions and in allocations. Two ranks.
 *
 * Each round, both send to each other and then, when both have done so, both receive: no call waits, so under callgrind with
 * --toggle-collect=measured_send --toggle-collect=measured_receive the instructions are the same in every run. They learn of each other through
 * FILE, which both map, outside of MPI. The last line says how often memory was allocated in the measured calls. */
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
enum { WARM = 8000 };
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

__attribute__((noinline)) void measured_send(void) { MPI_Send(out, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD); }
__attribute__((noinline)) void measured_receive(void) { MPI_Recv(in, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE); }
/* The same, of which nothing is counted. */
static void warm_send(void) { MPI_Send(out, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD); }
static void warm_receive(void) { MPI_Recv(in, bytes, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE); }

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
    out = calloc(1, bytes + 1), in = calloc(1, bytes + 1);
    /* A message whose connection is still being made leaves when its sender calls MPI again. */
    for (int i = 0; i < 10; i++) MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < WARM + rounds; i++) {
        memset(out, i, bytes);
        if (i < WARM) {
            warm_send();
            both(2 * i + 1);
            warm_receive();
        } else {
            measuring = 1;
            measured_send();
            measuring = 0;
            both(2 * i + 1);
            measuring = 1;
            measured_receive();
            measuring = 0;
        }
        wrong += memcmp(in, out, bytes) != 0;
        /* Who receives may look for what else came: nothing is on its way then. */
        both(2 * i + 2);
    }
    int counts[2] = {allocated, wrong};
    MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) printf("%d allocations, %d wrong\n", counts[0], counts[1]);
    MPI_Finalize();
    return counts[1] != 0;
}

/* many: an alltoall of blocks of 4 bytes to 16 KiB, then every rank sends to every other at once, all checked; for more ranks than processors. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
static unsigned word(unsigned from, unsigned to, unsigned i) {
    unsigned x = from * 2654435761u ^ to * 40503u ^ i * 2246822519u;
    x ^= x >> 15;
    x *= 2246822519u;
    return x ^ x >> 13;
}
int main(int argc, char **argv) {
    int rank, size, wrong = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    double begin = MPI_Wtime();
    int most = argc > 1 ? atoi(argv[1]) / 4 : 4096;
    unsigned *out = malloc((size_t)size * most * 4), *in = malloc((size_t)size * most * 4);
    for (int block = 1; block <= most; block *= 16) {
        for (int to = 0; to < size; to++)
            for (int i = 0; i < block; i++) out[to * block + i] = word(rank, to, i + block);
        MPI_Alltoall(out, block, MPI_UNSIGNED, in, block, MPI_UNSIGNED, MPI_COMM_WORLD);
        for (int from = 0; from < size; from++)
            for (int i = 0; i < block; i++) wrong += in[from * block + i] != word(from, rank, i + block);
    }
    MPI_Request *requests = malloc(2 * size * sizeof *requests);
    for (int round = 0; round < 4; round++) {
        int n = 0;
        for (int i = 0; i < size; i++) MPI_Irecv(&in[i], 1, MPI_UNSIGNED, i, round, MPI_COMM_WORLD, &requests[n++]);
        for (int i = 0; i < size; i++) {
            int to = (rank + i) % size;
            out[to] = word(rank, to, round);
            MPI_Isend(&out[to], 1, MPI_UNSIGNED, to, round, MPI_COMM_WORLD, &requests[n++]);
        }
        MPI_Waitall(n, requests, MPI_STATUSES_IGNORE);
        for (int from = 0; from < size; from++) wrong += in[from] != word(from, rank, round);
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) printf("%d ranks, %d wrong, %.1f s\n", size, wrong, MPI_Wtime() - begin);
    MPI_Finalize();
    return wrong != 0;
}

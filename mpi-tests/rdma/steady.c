/* steady SECONDS BYTES: every rank exchanges with every other, round after round, small messages and large ones, all checked, until the time is over.
 * A line says when the first round is done: from then on faults may come. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static unsigned word(unsigned from, unsigned to, unsigned round, unsigned i) {
    unsigned x = from * 2654435761u ^ to * 40503u ^ round * 97u ^ i * 2246822519u;
    x ^= x >> 15;
    x *= 2246822519u;
    return x ^ x >> 13;
}
int main(int argc, char **argv) {
    int rank, size, more = 1, round = 0;
    long wrong = 0, all = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    double end = MPI_Wtime() + (argc > 1 ? atof(argv[1]) : 1);
    int most = (argc > 2 ? atoi(argv[2]) : 1 << 20) / 4;
    unsigned *out = malloc(4 * (size_t)most), *in = malloc(4 * (size_t)most);
    for (; more; round++) {
        int length = (int[]){2, 700, most}[round % 3];
        if (length > most) length = most;
        for (int shift = 1; shift < size; shift++) {
            int to = (rank + shift) % size, from = (rank - shift + size) % size;
            for (int i = 0; i < length; i++) out[i] = word(rank, to, round, i);
            memset(in, 0xee, 4 * (size_t)length);
            MPI_Sendrecv(out, length, MPI_UNSIGNED, to, round & 1023, in, length, MPI_UNSIGNED, from, round & 1023, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            for (int i = 0; i < length; i++) wrong += in[i] != word(from, rank, round, i);
        }
        more = MPI_Wtime() < end;
        MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
        if (round == 2 && rank == 0) printf("under way\n"), fflush(stdout);
    }
    MPI_Reduce(&wrong, &all, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("%d ranks, %d rounds, %ld wrong\n", size, round, all);
    MPI_Finalize();
    return wrong != 0;
}

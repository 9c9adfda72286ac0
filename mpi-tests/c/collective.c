/* Every blocking and nonblocking collective over roots, lengths around the algorithms' switches, MPI_IN_PLACE and uneven parts. */
#include "check.h"

static const int lengths[] = {0, 1, 3, 17, 1000, 5000, 70000};
enum { LENGTHS = sizeof lengths / sizeof *lengths, LARGEST = 70000 };

static int *a, *b, *c;
static MPI_Comm comm = MPI_COMM_WORLD;

static int value(int from, int i) { return from * 100003 + i * 7 + 1; }

static void wait_for(MPI_Request *request) { MPI_Wait(request, MPI_STATUS_IGNORE); }

/* One collective, in its blocking form or as start and wait. */
#define RUN(BLOCKING, NONBLOCKING, ...)                                                                                                      \
    do {                                                                                                                                     \
        if (nonblocking) {                                                                                                                   \
            MPI_Request request_;                                                                                                            \
            NONBLOCKING(__VA_ARGS__, &request_);                                                                                             \
            wait_for(&request_);                                                                                                             \
        } else                                                                                                                               \
            BLOCKING(__VA_ARGS__);                                                                                                           \
    } while (0)

static long wrong(const int *buffer, int n, int from, int first) {
    long found = 0;
    for (int i = 0; i < n; i++) found += buffer[i] != value(from, first + i);
    return found;
}

static void moving(int nonblocking) {
    for (int l = 0; l < LENGTHS; l++) {
        int n = lengths[l], each = n / size;
        for (int root = 0; root < size; root += size > 3 ? 3 : 1) {
            for (int i = 0; i < n; i++) a[i] = rank == root ? value(root, i) : -1;
            RUN(MPI_Bcast, MPI_Ibcast, a, n, MPI_INT, root, comm);
            SAME(wrong(a, n, root, 0), 0);

            for (int i = 0; i < each; i++) a[i] = value(rank, i);
            memset(b, 0, sizeof(int) * LARGEST);
            RUN(MPI_Gather, MPI_Igather, a, each, MPI_INT, b, each, MPI_INT, root, comm);
            if (rank == root)
                for (int r = 0; r < size; r++) SAME(wrong(b + r * each, each, r, 0), 0);
            RUN(MPI_Scatter, MPI_Iscatter, b, each, MPI_INT, c, each, MPI_INT, root, comm);
            SAME(wrong(c, each, rank, 0), 0);
            /* In place at the root. */
            if (rank == root) {
                memset(b, 0, sizeof(int) * LARGEST);
                memcpy(b + root * each, a, sizeof(int) * (size_t)each);
                RUN(MPI_Gather, MPI_Igather, MPI_IN_PLACE, 0, MPI_INT, b, each, MPI_INT, root, comm);
                for (int r = 0; r < size; r++) SAME(wrong(b + r * each, each, r, 0), 0);
                RUN(MPI_Scatter, MPI_Iscatter, b, each, MPI_INT, MPI_IN_PLACE, 0, MPI_INT, root, comm);
            } else {
                RUN(MPI_Gather, MPI_Igather, a, each, MPI_INT, NULL, 0, MPI_INT, root, comm);
                RUN(MPI_Scatter, MPI_Iscatter, NULL, 0, MPI_INT, c, each, MPI_INT, root, comm);
                SAME(wrong(c, each, rank, 0), 0);
            }
        }
        for (int i = 0; i < each; i++) a[i] = value(rank, i);
        memset(b, 0, sizeof(int) * LARGEST);
        RUN(MPI_Allgather, MPI_Iallgather, a, each, MPI_INT, b, each, MPI_INT, comm);
        for (int r = 0; r < size; r++) SAME(wrong(b + r * each, each, r, 0), 0);
        memset(b, 0, sizeof(int) * LARGEST);
        memcpy(b + rank * each, a, sizeof(int) * (size_t)each);
        RUN(MPI_Allgather, MPI_Iallgather, MPI_IN_PLACE, 0, MPI_INT, b, each, MPI_INT, comm);
        for (int r = 0; r < size; r++) SAME(wrong(b + r * each, each, r, 0), 0);

        for (int r = 0; r < size; r++)
            for (int i = 0; i < each; i++) a[r * each + i] = value(rank, r * each + i);
        RUN(MPI_Alltoall, MPI_Ialltoall, a, each, MPI_INT, b, each, MPI_INT, comm);
        for (int r = 0; r < size; r++) SAME(wrong(b + r * each, each, r, rank * each), 0);
        RUN(MPI_Alltoall, MPI_Ialltoall, MPI_IN_PLACE, 0, MPI_INT, a, each, MPI_INT, comm);
        for (int r = 0; r < size; r++) SAME(wrong(a + r * each, each, r, rank * each), 0);
    }
}

/* Uneven parts, with holes between them. */
static void uneven(int nonblocking) {
    int counts[64], places[64], mine[64], from[64], total = 0;
    for (int unit = 0; unit <= 3000; unit = unit * 10 + 3) {
        total = 0;
        for (int r = 0; r < size; r++) {
            counts[r] = (r % 3) * unit;
            places[r] = total;
            total += counts[r] + 2;
        }
        if (total > LARGEST) break;
        int n = counts[rank], root = size - 1;
        for (int i = 0; i < n; i++) a[i] = value(rank, i);
        for (int i = 0; i < total; i++) b[i] = -9;
        RUN(MPI_Gatherv, MPI_Igatherv, a, n, MPI_INT, b, counts, places, MPI_INT, root, comm);
        if (rank == root)
            for (int r = 0; r < size; r++) {
                SAME(wrong(b + places[r], counts[r], r, 0), 0);
                SAME(b[places[r] + counts[r]], -9);
            }
        memset(c, 0, sizeof(int) * LARGEST);
        RUN(MPI_Scatterv, MPI_Iscatterv, b, counts, places, MPI_INT, c, n, MPI_INT, root, comm);
        SAME(wrong(c, n, rank, 0), 0);
        SAME(c[n], 0);
        for (int i = 0; i < total; i++) b[i] = -9;
        RUN(MPI_Allgatherv, MPI_Iallgatherv, a, n, MPI_INT, b, counts, places, MPI_INT, comm);
        for (int r = 0; r < size; r++) {
            SAME(wrong(b + places[r], counts[r], r, 0), 0);
            SAME(b[places[r] + counts[r] + 1], -9);
        }
        /* To r goes (r % 3) * unit, so from everyone comes (rank % 3) * unit. */
        int at = 0;
        for (int r = 0; r < size; r++) {
            for (int i = 0; i < counts[r]; i++) a[places[r] + i] = value(rank, r * 10 + i);
            mine[r] = counts[rank];
            from[r] = at;
            at += mine[r] + 1;
        }
        if (at <= LARGEST) {
            RUN(MPI_Alltoallv, MPI_Ialltoallv, a, counts, places, MPI_INT, b, mine, from, MPI_INT, comm);
            for (int r = 0; r < size; r++) SAME(wrong(b + from[r], mine[r], r, rank * 10), 0);
            MPI_Datatype types[64];
            int bytes[64], back[64];
            for (int r = 0; r < size; r++) {
                types[r] = MPI_INT;
                bytes[r] = places[r] * (int)sizeof(int);
                back[r] = from[r] * (int)sizeof(int);
            }
            memset(b, 0, sizeof(int) * (size_t)at);
            RUN(MPI_Alltoallw, MPI_Ialltoallw, a, counts, bytes, types, b, mine, back, types, comm);
            for (int r = 0; r < size; r++) SAME(wrong(b + from[r], mine[r], r, rank * 10), 0);
        }
    }
}

static void reducing(int nonblocking) {
    for (int l = 0; l < LENGTHS; l++) {
        int n = lengths[l], each = n / size, root = l % size;
        long want0 = 0, bad = 0;
        for (int r = 0; r < size; r++) want0 += r + 1;
        for (int i = 0; i < n; i++) a[i] = (rank + 1) * (i % 1000 + 1);
        RUN(MPI_Reduce, MPI_Ireduce, a, b, n, MPI_INT, MPI_SUM, root, comm);
        if (rank == root) {
            for (int i = 0; i < n; i++) bad += b[i] != want0 * (i % 1000 + 1);
            SAME(bad, 0);
        }
        RUN(MPI_Allreduce, MPI_Iallreduce, a, b, n, MPI_INT, MPI_SUM, comm);
        bad = 0;
        for (int i = 0; i < n; i++) bad += b[i] != want0 * (i % 1000 + 1);
        SAME(bad, 0);
        memcpy(b, a, sizeof(int) * (size_t)n);
        RUN(MPI_Allreduce, MPI_Iallreduce, MPI_IN_PLACE, b, n, MPI_INT, MPI_MAX, comm);
        bad = 0;
        for (int i = 0; i < n; i++) bad += b[i] != size * (i % 1000 + 1);
        SAME(bad, 0);
        RUN(MPI_Scan, MPI_Iscan, a, b, n, MPI_INT, MPI_SUM, comm);
        bad = 0;
        for (int i = 0; i < n; i++) bad += b[i] != (rank + 1) * (rank + 2) / 2 * (i % 1000 + 1);
        SAME(bad, 0);
        RUN(MPI_Exscan, MPI_Iexscan, a, b, n, MPI_INT, MPI_SUM, comm);
        bad = 0;
        if (rank)
            for (int i = 0; i < n; i++) bad += b[i] != rank * (rank + 1) / 2 * (i % 1000 + 1);
        SAME(bad, 0);
        RUN(MPI_Reduce_scatter_block, MPI_Ireduce_scatter_block, a, b, each, MPI_INT, MPI_SUM, comm);
        bad = 0;
        for (int i = 0; i < each; i++) bad += b[i] != want0 * ((rank * each + i) % 1000 + 1);
        SAME(bad, 0);
        int counts[64], first = 0;
        for (int r = 0; r < size; r++) {
            counts[r] = r == size - 1 ? n - each * (size - 1) : each;
            if (r < rank) first += counts[r];
        }
        RUN(MPI_Reduce_scatter, MPI_Ireduce_scatter, a, b, counts, MPI_INT, MPI_SUM, comm);
        bad = 0;
        for (int i = 0; i < counts[rank]; i++) bad += b[i] != want0 * ((first + i) % 1000 + 1);
        SAME(bad, 0);
    }
    if (nonblocking) {
        MPI_Request request;
        MPI_Ibarrier(comm, &request);
        wait_for(&request);
    } else
        MPI_Barrier(comm);
}

/* Many at a time, ended in another order than begun. */
static void outstanding(void) {
    enum { MANY = 24 };
    MPI_Request requests[MANY];
    static int in[MANY][64], out[MANY];
    for (int i = 0; i < MANY; i++) {
        out[i] = rank + i;
        if (i % 3 == 0)
            MPI_Iallreduce(&out[i], in[i], 1, MPI_INT, MPI_SUM, comm, &requests[i]);
        else if (i % 3 == 1)
            MPI_Iallgather(&out[i], 1, MPI_INT, in[i], 1, MPI_INT, comm, &requests[i]);
        else {
            in[i][0] = rank == i % size ? i : -1;
            MPI_Ibcast(in[i], 1, MPI_INT, i % size, comm, &requests[i]);
        }
    }
    for (int i = MANY - 1; i >= 0; i -= 2) wait_for(&requests[i]);
    MPI_Waitall(MANY, requests, MPI_STATUSES_IGNORE);
    for (int i = 0; i < MANY; i++) {
        if (i % 3 == 0) SAME(in[i][0], size * (size - 1) / 2 + size * i);
        if (i % 3 == 1)
            for (int r = 0; r < size; r++) SAME(in[i][r], r + i);
        if (i % 3 == 2) SAME(in[i][0], i);
    }
}

/* Datatypes with holes through collectives. */
static void shapes(void) {
    MPI_Datatype column;
    int n = 10;
    MPI_Type_vector(n, 1, 3, MPI_INT, &column);
    MPI_Type_commit(&column);
    for (int i = 0; i < 3 * n; i++) a[i] = rank == 0 ? value(0, i) : -1;
    MPI_Bcast(a, 1, column, 0, comm);
    for (int i = 0; i < 3 * n - 2; i++) SAME(a[i], i % 3 == 0 || rank == 0 ? value(0, i) : -1);
    /* Sent as a column, received as a row. */
    MPI_Gather(a, 1, column, b, n, MPI_INT, 0, comm);
    if (rank == 0)
        for (int r = 0; r < size; r++)
            for (int i = 0; i < n; i++) SAME(b[r * n + i], value(0, 3 * i));
    MPI_Type_free(&column);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    a = calloc(LARGEST + 64, sizeof(int));
    b = calloc(LARGEST + 64, sizeof(int));
    c = calloc(LARGEST + 64, sizeof(int));
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        moving(nonblocking);
        uneven(nonblocking);
        reducing(nonblocking);
    }
    outstanding();
    shapes();
    /* On parts of the world too. */
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0, rank, &comm);
    int old_rank = rank, old_size = size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    moving(0);
    reducing(1);
    rank = old_rank, size = old_size;
    MPI_Comm_free(&comm);
    free(a);
    free(b);
    free(c);
    return end("collective");
}

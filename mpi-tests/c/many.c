/* Many collectives one after the other on the same communicators: all kinds, lengths and roots in an order that all ranks draw alike, ranks
 * that come late, communicators that come and go. A library may keep memory, or memory of its own, from one to the next. */
#include "check.h"

enum { MOST = 400000, ROUNDS = 150 };

static unsigned char *in, *out, *whole;
static int *counts, *places, *others, *spots;
static long message, state = 4321;
static MPI_Datatype gaps;

/* The same on all ranks. */
static long below(long n) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >> 8) % n;
}

static int length(void) {
    static const int lengths[] = {0, 1, 8, 40, 113, 1000, 4096, 13000, 30000, 70000, 200000};
    int n = lengths[below(sizeof lengths / sizeof *lengths)];
    return n + (n > 8 ? (int)below(n / 8) : 0);
}

static double work(long n) {
    volatile double sum = 0;
    for (long i = 0; i < n; i++) sum += i;
    return sum;
}

/* Blocks of different lengths, one after the other with a byte between; `of` says whose, so that all know them. */
static long lay_out(int *n, int *at, int ranks, int mine, int transposed, long seed) {
    long next = 0;
    for (int i = 0; i < ranks; i++) {
        long from = transposed ? i : mine, to = transposed ? mine : i;
        n[i] = (int)((seed * 7919 + from * 131 + to * 37) % 3000) * (int)((seed + from + to) % 4 != 0);
        at[i] = (int)next;
        next += n[i] + 1;
    }
    return next;
}

static void moving(MPI_Comm comm, int kind, int me, int ranks, int n, int root) {
    message++;
    fill(out, n, message, me);
    memset(in, 0xee, n);
    switch (kind) {
    case 0:
        MPI_Barrier(comm);
        break;
    case 1:
        MPI_Bcast(me == root ? out : in, n, MPI_BYTE, root, comm);
        SAME(differing(me == root ? out : in, n, message, root), 0);
        break;
    case 2: /* with gaps at the receivers */
        n = n / 4 * 4;
        memset(whole, 0xee, 2 * n + 8);
        if (me == root) MPI_Bcast(out, n, MPI_BYTE, root, comm);
        else MPI_Bcast(whole, n / 4, gaps, root, comm);
        for (int i = 0; me != root && i < n; i++)
            if (whole[i / 4 * 8 + i % 4] != pattern(message, i, root) || whole[i / 4 * 8 + 4] != 0xee) {
                CHECK(!"bytes with gaps");
                break;
            }
        break;
    case 3:
        MPI_Gather(out, n, MPI_BYTE, whole, n, MPI_BYTE, root, comm);
        for (int i = 0; me == root && i < ranks; i++) SAME(differing(whole + (long)i * n, n, message, i), 0);
        break;
    case 4:
        for (int i = 0; me == root && i < ranks; i++) fill(whole + (long)i * n, n, message, i);
        if (me == root && n % 2) MPI_Scatter(whole, n, MPI_BYTE, MPI_IN_PLACE, n, MPI_BYTE, root, comm);
        else MPI_Scatter(whole, n, MPI_BYTE, in, n, MPI_BYTE, root, comm);
        if (me != root || n % 2 == 0) SAME(differing(in, n, message, me), 0);
        break;
    case 5:
        if (n % 2) memcpy(whole + (long)me * n, out, n);
        MPI_Allgather(n % 2 ? MPI_IN_PLACE : out, n, MPI_BYTE, whole, n, MPI_BYTE, comm);
        for (int i = 0; i < ranks; i++) SAME(differing(whole + (long)i * n, n, message, i), 0);
        break;
    default: { /* alltoall: block i of rank r has the mark of both */
        unsigned char *from = n % 2 ? whole : whole + (long)ranks * n;
        for (int i = 0; i < ranks; i++) fill(from + (long)i * n, n, message + i, me);
        MPI_Alltoall(n % 2 ? MPI_IN_PLACE : from, n, MPI_BYTE, whole, n, MPI_BYTE, comm);
        for (int i = 0; i < ranks; i++) SAME(differing(whole + (long)i * n, n, message + me, i), 0);
    }
    }
}

static void of_each_its_own(MPI_Comm comm, int kind, int me, int ranks, int root) {
    long seed = below(1000);
    message++;
    lay_out(counts, places, ranks, kind == 3 ? me : 0, 0, seed);
    lay_out(others, spots, ranks, kind == 3 ? me : 0, kind == 3, seed);
    memset(in, 0xee, 3001L * ranks);
    if (kind == 0) {
        fill(out, counts[me], message, me);
        MPI_Gatherv(out, counts[me], MPI_BYTE, in, counts, places, MPI_BYTE, root, comm);
    } else if (kind == 1) {
        for (int i = 0; i < ranks; i++) fill(out + places[i], counts[i], message, i);
        MPI_Scatterv(out, counts, places, MPI_BYTE, in, counts[me], MPI_BYTE, root, comm);
        SAME(differing(in, counts[me], message, me), 0);
        return;
    } else if (kind == 2) {
        fill(out, counts[me], message, me);
        MPI_Allgatherv(out, counts[me], MPI_BYTE, in, counts, places, MPI_BYTE, comm);
    } else {
        for (int i = 0; i < ranks; i++) fill(out + places[i], counts[i], message + i, me);
        MPI_Alltoallv(out, counts, places, MPI_BYTE, in, others, spots, MPI_BYTE, comm);
    }
    for (int i = 0; (kind || me == root) && i < ranks; i++) {
        SAME(differing(in + spots[i], others[i], message + (kind == 3 ? me : 0), i), 0);
        SAME(in[spots[i] + others[i]], 0xee);
    }
}

static void combine(int *a, int *b, int *n, MPI_Datatype *type) {
    (void)type;
    for (int i = 0; i < *n; i++) b[i] += a[i];
}

static void reducing(MPI_Comm comm, int kind, int me, int ranks, int n, int root, MPI_Op op) {
    int *mine = (int *)out, *sum = (int *)in, first = 0, last = ranks, in_place = (int)below(2), wrong = 0;
    n /= 4;
    message++;
    for (int i = 0; i < n; i++) mine[i] = (int)(i * 3 + me * 1000 + message);
    if (in_place) memcpy(sum, mine, 4L * n);
    void *from = in_place ? MPI_IN_PLACE : (void *)mine;
    int whose = n, begin = 0;
    switch (kind) {
    case 0:
        MPI_Allreduce(from, sum, n, MPI_INT, op, comm);
        break;
    case 1:
        MPI_Reduce(in_place && me != root ? mine : from, sum, n, MPI_INT, op, root, comm);
        if (me != root) return;
        break;
    case 2:
        for (int i = 0; i < ranks; i++) counts[i] = n / ranks + (i < n % ranks);
        for (int i = 0; i < me; i++) begin += counts[i];
        whose = counts[me];
        MPI_Reduce_scatter(from, sum, counts, MPI_INT, op, comm);
        break;
    case 3:
        MPI_Scan(from, sum, n, MPI_INT, op, comm);
        last = me + 1;
        break;
    default:
        MPI_Exscan(from, sum, n, MPI_INT, op, comm);
        last = me;
        if (!me) return;
    }
    for (int i = 0; i < whose; i++) {
        long want = 0;
        for (int r = first; r < last; r++) want += (begin + i) * 3L + r * 1000 + message;
        wrong += sum[i] != (int)want;
    }
    SAME(wrong, 0);
}

static void some(MPI_Comm comm, int rounds, MPI_Op own) {
    int me, ranks;
    MPI_Comm_rank(comm, &me);
    MPI_Comm_size(comm, &ranks);
    for (int round = 0; round < rounds; round++) {
        int what = (int)below(16), n = length(), root = (int)below(ranks), late = (int)below(3 * ranks), own_op = (int)below(4) == 0;
        if (late == me) work(100000);
        if (what < 7) moving(comm, what, me, ranks, n, root);
        else if (what < 11) of_each_its_own(comm, what - 7, me, ranks, root);
        else reducing(comm, what - 11, me, ranks, n, root, own_op ? own : MPI_SUM);
    }
}

int main(int argc, char **argv) {
    MPI_Op own;
    begin(&argc, &argv);
    in = malloc(2L * MOST), out = malloc(2L * MOST), whole = malloc(2L * MOST * size);
    counts = malloc(4 * size * sizeof *counts), places = counts + size, others = places + size, spots = others + size;
    MPI_Type_vector(1, 4, 4, MPI_BYTE, &gaps);
    MPI_Datatype wide;
    MPI_Type_create_resized(gaps, 0, 8, &wide);
    MPI_Type_commit(&wide);
    MPI_Type_free(&gaps);
    gaps = wide;
    MPI_Op_create((MPI_User_function *)combine, 1, &own);
    some(MPI_COMM_WORLD, ROUNDS, own);
    tell("collectives on MPI_COMM_WORLD\n");
    /* More communicators than anybody keeps something for, and again and again. */
    for (int turn = 0; turn < 3; turn++) {
        MPI_Comm comms[6];
        for (int i = 0; i < 6; i++) {
            if (i % 2) MPI_Comm_dup(MPI_COMM_WORLD, &comms[i]);
            else MPI_Comm_split(MPI_COMM_WORLD, 0, size - rank, &comms[i]);
        }
        for (int i = 0; i < 6; i++) some(comms[i], 12, own);
        some(MPI_COMM_WORLD, 6, own);
        for (int i = 0; i < 6; i++) MPI_Comm_free(&comms[i]);
    }
    tell("and on others, which come and go\n");
    MPI_Op_free(&own);
    MPI_Type_free(&gaps);
    free(in), free(out), free(whole), free(counts);
    return end("many");
}

/* A layer between a benchmark and its MPI (LD_PRELOAD), for programs that do not look at what they get: whatever they send is replaced by a pattern, and
 * what arrives is checked. Built for IMB-MPI1: messages of MPI_BYTE, collectives of MPI_BYTE, sums of MPI_FLOAT of small whole numbers (exact); calls with
 * other types carry the benchmark's own numbers and pass untouched. A wrong byte is said, and ends the job with 77.
 *
 * Messages travel through buffers of this layer's, since the benchmark lets many of them share one. Their pattern comes from who sends, to whom, and the how
 * manieth it is between the two; a receive from any source learns that when it ends. Rank 0 says at the end how many were checked. */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 1024, REQUESTS = 4096 };
static long checks;

static unsigned char pattern(uint32_t seed, size_t i) {
    uint32_t x = seed * 2654435761u ^ (uint32_t)(i / 4 + 1) * 2246822519u;
    x ^= x >> 15;
    return (unsigned char)((x * 40503u) >> (i % 4 * 8));
}
static uint32_t seed(int kind, int from, int to, uint32_t number) {
    return (uint32_t)kind * 16777619u ^ (uint32_t)(from + 2) * 8191u ^ (uint32_t)(to + 2) * 131071u ^ number * 97u;
}
static void fill(void *at, size_t length, uint32_t from) {
    for (size_t i = 0; i < length; i++) ((unsigned char *)at)[i] = pattern(from, i);
}
static void wrong(const char *call, size_t length, size_t at, double is, double must) {
    int rank;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    fprintf(stderr, "checked: rank %d: %s of %zu: element %zu is %g, must be %g\n", rank, call, length, at, is, must);
    PMPI_Abort(MPI_COMM_WORLD, 77);
}
static void look(const char *call, const void *at, size_t length, uint32_t from) {
    checks++;
    for (size_t i = 0; i < length; i++)
        if (((const unsigned char *)at)[i] != pattern(from, i)) wrong(call, length, i, ((const unsigned char *)at)[i], pattern(from, i));
}

/* What is counted of a communicator, kept with it. */
struct count {
    uint32_t sent[RANKS], got[RANKS], collectives;
    int me, size;
};
static int key = MPI_KEYVAL_INVALID;
static int forget(MPI_Comm comm, int k, void *value, void *extra) {
    (void)comm, (void)k, (void)extra;
    free(value);
    return MPI_SUCCESS;
}
static struct count *of(MPI_Comm comm) {
    struct count *c;
    int found;
    if (key == MPI_KEYVAL_INVALID) PMPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, forget, &key, NULL);
    PMPI_Comm_get_attr(comm, key, &c, &found);
    if (!found) {
        c = calloc(1, sizeof *c);
        PMPI_Comm_rank(comm, &c->me);
        PMPI_Comm_size(comm, &c->size);
        if (c->size > RANKS) abort();
        PMPI_Comm_set_attr(comm, key, c);
    }
    return c;
}

/* Messages. */
struct flight {
    MPI_Request request;
    struct count *c;
    void *own, *into;
    int source, length;
    uint32_t number;
} flights[REQUESTS];
static struct flight *take(void) {
    for (int i = 0; i < REQUESTS; i++)
        if (!flights[i].own) return &flights[i];
    abort();
}
static void received(const char *call, struct count *c, int source, uint32_t number, void *own, void *into, int length) {
    look(call, own, length, seed('p', source, c->me, number));
    memcpy(into, own, length);
}
static void ended(struct flight *f, const MPI_Status *status) {
    if (f->into) {
        int length, source = f->source;
        PMPI_Get_count(status, MPI_BYTE, &length);
        if (source == MPI_ANY_SOURCE) {
            source = status->MPI_SOURCE;
            f->number = f->c->got[source]++;
        }
        if (length != f->length) wrong("a receive", f->length, 0, length, f->length);
        received("a receive", f->c, source, f->number, f->own, f->into, length);
    }
    free(f->own);
    f->own = NULL;
}
static struct flight *find(MPI_Request request) {
    if (request == MPI_REQUEST_NULL) return NULL;
    for (int i = 0; i < REQUESTS; i++)
        if (flights[i].own && flights[i].request == request) return &flights[i];
    return NULL;
}
static void *message(struct count *c, int to, int length) {
    void *own = malloc(length + 1);
    fill(own, length, seed('p', c->me, to, c->sent[to]++));
    return own;
}
int MPI_Send(const void *at, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
    if (type != MPI_BYTE || to < 0) return PMPI_Send(at, count, type, to, tag, comm);
    void *own = message(of(comm), to, count);
    int result = PMPI_Send(own, count, type, to, tag, comm);
    free(own);
    return result;
}
int MPI_Isend(const void *at, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    if (type != MPI_BYTE || to < 0) return PMPI_Isend(at, count, type, to, tag, comm, request);
    struct flight *f = take();
    *f = (struct flight){.c = of(comm), .own = message(of(comm), to, count), .length = count};
    int result = PMPI_Isend(f->own, count, type, to, tag, comm, request);
    f->request = *request;
    return result;
}
int MPI_Irecv(void *at, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request) {
    if (type != MPI_BYTE || from == MPI_PROC_NULL) return PMPI_Irecv(at, count, type, from, tag, comm, request);
    struct flight *f = take();
    *f = (struct flight){.c = of(comm), .own = calloc(1, count + 1), .into = at, .source = from, .length = count};
    if (from != MPI_ANY_SOURCE) f->number = f->c->got[from]++;
    int result = PMPI_Irecv(f->own, count, type, from, tag, comm, request);
    f->request = *request;
    return result;
}
int MPI_Recv(void *at, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Status *status) {
    if (type != MPI_BYTE || from == MPI_PROC_NULL) return PMPI_Recv(at, count, type, from, tag, comm, status);
    MPI_Request request;
    MPI_Status own;
    int result = MPI_Irecv(at, count, type, from, tag, comm, &request);
    struct flight *f = find(request);
    PMPI_Wait(&request, &own);
    ended(f, &own);
    if (status != MPI_STATUS_IGNORE) *status = own;
    return result;
}
int MPI_Sendrecv(const void *out, int n, MPI_Datatype t, int to, int tag, void *in, int count, MPI_Datatype type, int from, int other, MPI_Comm comm,
                 MPI_Status *status) {
    if (t != MPI_BYTE || type != MPI_BYTE || to < 0 || from < 0) return PMPI_Sendrecv(out, n, t, to, tag, in, count, type, from, other, comm, status);
    struct count *c = of(comm);
    void *sent = message(c, to, n), *got = calloc(1, count + 1);
    int result = PMPI_Sendrecv(sent, n, t, to, tag, got, count, type, from, other, comm, status);
    received("MPI_Sendrecv", c, from, c->got[from]++, got, in, count);
    free(sent);
    free(got);
    return result;
}
int MPI_Wait(MPI_Request *request, MPI_Status *status) {
    struct flight *f = find(*request);
    MPI_Status own;
    int result = PMPI_Wait(request, &own);
    if (f) ended(f, &own);
    if (status != MPI_STATUS_IGNORE) *status = own;
    return result;
}
int MPI_Waitall(int count, MPI_Request requests[], MPI_Status statuses[]) {
    /* In the order in which they were begun, so that one after the other is what is to be seen. */
    for (int i = 0; i < count; i++) {
        int result = MPI_Wait(&requests[i], statuses == MPI_STATUSES_IGNORE ? MPI_STATUS_IGNORE : &statuses[i]);
        if (result != MPI_SUCCESS) return result;
    }
    return MPI_SUCCESS;
}

/* Collectives of bytes: the block from one rank for another (-1: for all) has the pattern of the two and of the how manieth collective it is. */
static int mine(MPI_Datatype type, const void *at) { return type == MPI_BYTE && at != MPI_IN_PLACE; }
int MPI_Bcast(void *at, int count, MPI_Datatype type, int root, MPI_Comm comm) {
    if (!mine(type, at)) return PMPI_Bcast(at, count, type, root, comm);
    struct count *c = of(comm);
    uint32_t s = seed('b', root, -1, c->collectives++);
    if (c->me == root) fill(at, count, s); else memset(at, 0, count);
    int result = PMPI_Bcast(at, count, type, root, comm);
    look("MPI_Bcast", at, count, s);
    return result;
}
int MPI_Allgather(const void *out, int n, MPI_Datatype t, void *in, int count, MPI_Datatype type, MPI_Comm comm) {
    if (!mine(t, out)) return PMPI_Allgather(out, n, t, in, count, type, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    fill((void *)out, n, seed('a', c->me, -1, number));
    int result = PMPI_Allgather(out, n, t, in, count, type, comm);
    for (int r = 0; r < c->size; r++) look("MPI_Allgather", (char *)in + (size_t)r * count, count, seed('a', r, -1, number));
    return result;
}
int MPI_Allgatherv(const void *out, int n, MPI_Datatype t, void *in, const int counts[], const int at[], MPI_Datatype type, MPI_Comm comm) {
    if (!mine(t, out)) return PMPI_Allgatherv(out, n, t, in, counts, at, type, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    fill((void *)out, n, seed('a', c->me, -1, number));
    int result = PMPI_Allgatherv(out, n, t, in, counts, at, type, comm);
    for (int r = 0; r < c->size; r++) look("MPI_Allgatherv", (char *)in + at[r], counts[r], seed('a', r, -1, number));
    return result;
}
int MPI_Gather(const void *out, int n, MPI_Datatype t, void *in, int count, MPI_Datatype type, int root, MPI_Comm comm) {
    if (!mine(t, out)) return PMPI_Gather(out, n, t, in, count, type, root, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    fill((void *)out, n, seed('g', c->me, root, number));
    int result = PMPI_Gather(out, n, t, in, count, type, root, comm);
    for (int r = 0; c->me == root && r < c->size; r++) look("MPI_Gather", (char *)in + (size_t)r * count, count, seed('g', r, root, number));
    return result;
}
int MPI_Gatherv(const void *out, int n, MPI_Datatype t, void *in, const int counts[], const int at[], MPI_Datatype type, int root, MPI_Comm comm) {
    if (!mine(t, out)) return PMPI_Gatherv(out, n, t, in, counts, at, type, root, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    fill((void *)out, n, seed('g', c->me, root, number));
    int result = PMPI_Gatherv(out, n, t, in, counts, at, type, root, comm);
    for (int r = 0; c->me == root && r < c->size; r++) look("MPI_Gatherv", (char *)in + at[r], counts[r], seed('g', r, root, number));
    return result;
}
int MPI_Scatter(const void *out, int n, MPI_Datatype t, void *in, int count, MPI_Datatype type, int root, MPI_Comm comm) {
    if (!mine(type, in)) return PMPI_Scatter(out, n, t, in, count, type, root, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    for (int r = 0; c->me == root && r < c->size; r++) fill((char *)out + (size_t)r * n, n, seed('s', root, r, number));
    int result = PMPI_Scatter(out, n, t, in, count, type, root, comm);
    look("MPI_Scatter", in, count, seed('s', root, c->me, number));
    return result;
}
int MPI_Scatterv(const void *out, const int counts[], const int at[], MPI_Datatype t, void *in, int count, MPI_Datatype type, int root, MPI_Comm comm) {
    if (!mine(type, in)) return PMPI_Scatterv(out, counts, at, t, in, count, type, root, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    for (int r = 0; c->me == root && r < c->size; r++) fill((char *)out + at[r], counts[r], seed('s', root, r, number));
    int result = PMPI_Scatterv(out, counts, at, t, in, count, type, root, comm);
    look("MPI_Scatterv", in, count, seed('s', root, c->me, number));
    return result;
}
int MPI_Alltoall(const void *out, int n, MPI_Datatype t, void *in, int count, MPI_Datatype type, MPI_Comm comm) {
    if (!mine(t, out)) return PMPI_Alltoall(out, n, t, in, count, type, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    for (int r = 0; r < c->size; r++) fill((char *)out + (size_t)r * n, n, seed('t', c->me, r, number));
    int result = PMPI_Alltoall(out, n, t, in, count, type, comm);
    for (int r = 0; r < c->size; r++) look("MPI_Alltoall", (char *)in + (size_t)r * count, count, seed('t', r, c->me, number));
    return result;
}
int MPI_Alltoallv(const void *out, const int ns[], const int places[], MPI_Datatype t, void *in, const int counts[], const int at[], MPI_Datatype type, MPI_Comm comm) {
    if (!mine(t, out)) return PMPI_Alltoallv(out, ns, places, t, in, counts, at, type, comm);
    struct count *c = of(comm);
    uint32_t number = c->collectives++;
    for (int r = 0; r < c->size; r++) fill((char *)out + places[r], ns[r], seed('t', c->me, r, number));
    int result = PMPI_Alltoallv(out, ns, places, t, in, counts, at, type, comm);
    for (int r = 0; r < c->size; r++) look("MPI_Alltoallv", (char *)in + at[r], counts[r], seed('t', r, c->me, number));
    return result;
}

/* Sums: rank r's element i is (r + 1) * (i mod 7 + 1 + number mod 5). */
static int sums(MPI_Datatype type, MPI_Op op, const void *at) { return type == MPI_FLOAT && op == MPI_SUM && at != MPI_IN_PLACE; }
static float part(size_t i, uint32_t number) { return (float)(i % 7 + 1 + number % 5); }
static uint32_t addends(struct count *c, const void *at, size_t n) {
    uint32_t number = c->collectives++;
    for (size_t i = 0; i < n; i++) ((float *)at)[i] = (float)(c->me + 1) * part(i, number);
    return number;
}
static void total(const char *call, struct count *c, const float *at, size_t n, size_t first, uint32_t number) {
    float ranks = (float)c->size * (float)(c->size + 1) / 2;
    checks++;
    for (size_t i = 0; i < n; i++)
        if (at[i] != ranks * part(first + i, number)) wrong(call, n, i, at[i], ranks * part(first + i, number));
}
int MPI_Reduce(const void *out, void *in, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm) {
    if (!sums(type, op, out)) return PMPI_Reduce(out, in, count, type, op, root, comm);
    struct count *c = of(comm);
    uint32_t number = addends(c, out, count);
    int result = PMPI_Reduce(out, in, count, type, op, root, comm);
    if (c->me == root) total("MPI_Reduce", c, in, count, 0, number);
    return result;
}
int MPI_Allreduce(const void *out, void *in, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
    if (!sums(type, op, out)) return PMPI_Allreduce(out, in, count, type, op, comm);
    struct count *c = of(comm);
    uint32_t number = addends(c, out, count);
    int result = PMPI_Allreduce(out, in, count, type, op, comm);
    total("MPI_Allreduce", c, in, count, 0, number);
    return result;
}
int MPI_Reduce_scatter_block(const void *out, void *in, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
    if (!sums(type, op, out)) return PMPI_Reduce_scatter_block(out, in, count, type, op, comm);
    struct count *c = of(comm);
    uint32_t number = addends(c, out, (size_t)count * c->size);
    int result = PMPI_Reduce_scatter_block(out, in, count, type, op, comm);
    total("MPI_Reduce_scatter_block", c, in, count, (size_t)c->me * count, number);
    return result;
}
int MPI_Reduce_scatter(const void *out, void *in, const int counts[], MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
    if (!sums(type, op, out)) return PMPI_Reduce_scatter(out, in, counts, type, op, comm);
    struct count *c = of(comm);
    size_t first = 0, all = 0;
    for (int r = 0; r < c->size; r++) {
        if (r == c->me) first = all;
        all += counts[r];
    }
    uint32_t number = addends(c, out, all);
    int result = PMPI_Reduce_scatter(out, in, counts, type, op, comm);
    total("MPI_Reduce_scatter", c, in, counts[c->me], first, number);
    return result;
}
int MPI_Finalize(void) {
    long all = 0;
    int rank;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    PMPI_Reduce(&checks, &all, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("checked: %ld, all as sent\n", all);
    fflush(stdout);
    return PMPI_Finalize();
}

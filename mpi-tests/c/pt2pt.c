/* Every mode of sending, blocking and not, over sizes around every protocol's switch; order, wildcards, MPI_PROC_NULL, oneself. */
#include "check.h"

static const long sizes[] = {0, 1, 7, 8, 64, 1000, 1024, 4095, 4096, 4097, 8192, 16384, 65535, 65536, 65537, 262144, 1048577};
enum { SIZES = sizeof sizes / sizeof *sizes, LARGEST = 1048577 };

static unsigned char out[LARGEST], in[LARGEST];

/* Rank 0 sends to rank 1 in one of eight ways. */
static void transfer(int mode, long length, int tag) {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Status status;
    int count;
    if (rank == 0) {
        fill(out, length, tag, 0);
        if (mode == 3 || mode == 7) MPI_Recv(NULL, 0, MPI_BYTE, 1, 999, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        switch (mode) {
        case 0: MPI_Send(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD); break;
        case 1: MPI_Bsend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD); break;
        case 2: MPI_Ssend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD); break;
        case 3: MPI_Rsend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD); break;
        case 4: MPI_Isend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD, &request); break;
        case 5: MPI_Ibsend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD, &request); break;
        case 6: MPI_Issend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD, &request); break;
        case 7: MPI_Irsend(out, (int)length, MPI_BYTE, 1, tag, MPI_COMM_WORLD, &request); break;
        }
        MPI_Wait(&request, &status);
        CHECK(request == MPI_REQUEST_NULL);
    } else if (rank == 1) {
        memset(in, 0, (size_t)length);
        MPI_Irecv(in, LARGEST, MPI_BYTE, tag % 2 ? 0 : MPI_ANY_SOURCE, tag % 3 ? tag : MPI_ANY_TAG, MPI_COMM_WORLD, &request);
        if (mode == 3 || mode == 7) MPI_Send(NULL, 0, MPI_BYTE, 0, 999, MPI_COMM_WORLD);
        MPI_Wait(&request, &status);
        SAME(status.MPI_SOURCE, 0);
        SAME(status.MPI_TAG, tag);
        MPI_Get_count(&status, MPI_BYTE, &count);
        SAME(count, length);
        SAME(differing(in, length, tag, 0), 0);
    }
}

static void modes(void) {
    int room = 4 * LARGEST + SIZES * MPI_BSEND_OVERHEAD, detached;
    void *space = malloc((size_t)room), *back;
    int tag = 1;
    MPI_Buffer_attach(space, room);
    for (int mode = 0; mode < 8; mode++)
        for (int i = 0; i < SIZES; i++) transfer(mode, sizes[i], tag++);
    MPI_Buffer_detach(&back, &detached);
    CHECK(back == space);
    SAME(detached, room);
    free(space);
}

/* Messages of one sender on one communicator arrive in the order they were sent, whatever their sizes; tags pick among them. */
static void order(void) {
    enum { MANY = 200 };
    int value, from = (rank + size - 1) % size, to = (rank + 1) % size;
    MPI_Request requests[MANY];
    static int payload[MANY][3000];
    for (int i = 0; i < MANY; i++) {
        int length = i % 5 == 4 ? 3000 : i % 7 + 1;
        for (int k = 0; k < length; k++) payload[i][k] = rank * 100000 + i;
        MPI_Isend(payload[i], length, MPI_INT, to, i % 2, MPI_COMM_WORLD, &requests[i]);
    }
    static int got[3000];
    /* First all with tag 1, though those with tag 0 came between them. */
    for (int tag = 1; tag >= 0; tag--)
        for (int i = tag; i < MANY; i += 2) {
            MPI_Status status;
            MPI_Recv(got, 3000, MPI_INT, from, tag, MPI_COMM_WORLD, &status);
            MPI_Get_count(&status, MPI_INT, &value);
            SAME(value, i % 5 == 4 ? 3000 : i % 7 + 1);
            SAME(got[0], from * 100000 + i);
            SAME(got[value - 1], from * 100000 + i);
        }
    MPI_Waitall(MANY, requests, MPI_STATUSES_IGNORE);
}

/* Everyone to everyone, received by wildcard at rank 0 in any order. */
static void wildcards(void) {
    long sum = 0, want = 0;
    MPI_Status status;
    if (rank) {
        for (int i = 0; i < 20; i++) {
            long value = rank * 1000 + i;
            MPI_Send(&value, 1, MPI_LONG, 0, i, MPI_COMM_WORLD);
        }
    } else {
        int next[64] = {0};
        for (int i = 0; i < 20 * (size - 1); i++) {
            long value;
            MPI_Recv(&value, 1, MPI_LONG, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
            SAME(value, status.MPI_SOURCE * 1000 + status.MPI_TAG);
            SAME(status.MPI_TAG, next[status.MPI_SOURCE]++);
            sum += value;
        }
        for (int r = 1; r < size; r++)
            for (int i = 0; i < 20; i++) want += r * 1000 + i;
        SAME(sum, want);
        tell("wildcards: sum %ld\n", sum);
    }
}

static void nobody(void) {
    MPI_Status status;
    int value = 42, count;
    MPI_Send(&value, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD);
    MPI_Recv(&value, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD, &status);
    SAME(value, 42);
    CHECK(status.MPI_SOURCE == MPI_PROC_NULL);
    CHECK(status.MPI_TAG == MPI_ANY_TAG);
    MPI_Get_count(&status, MPI_INT, &count);
    SAME(count, 0);
}

static void oneself(void) {
    MPI_Request request;
    MPI_Status status;
    for (int i = 0; i < SIZES; i++) {
        fill(out, sizes[i], i, rank);
        MPI_Irecv(in, LARGEST, MPI_BYTE, rank, i, MPI_COMM_WORLD, &request);
        MPI_Send(out, (int)sizes[i], MPI_BYTE, rank, i, MPI_COMM_WORLD);
        MPI_Wait(&request, &status);
        SAME(differing(in, sizes[i], i, rank), 0);
        SAME(status.MPI_SOURCE, rank);
    }
    int value = rank, other = -1;
    MPI_Sendrecv(&value, 1, MPI_INT, 0, 5, &other, 1, MPI_INT, 0, 5, MPI_COMM_SELF, &status);
    SAME(other, rank);
}

static void exchanges(void) {
    int to = (rank + 1) % size, from = (rank + size - 1) % size;
    MPI_Status status;
    for (int i = 0; i < SIZES; i++) {
        long mine = sizes[i], theirs = sizes[SIZES - 1 - i];
        int count;
        /* Neighbours of odd and even rank send different lengths. */
        long send = rank % 2 ? mine : theirs, receive = from % 2 ? mine : theirs;
        fill(out, send, i, rank);
        MPI_Sendrecv(out, (int)send, MPI_BYTE, to, i, in, LARGEST, MPI_BYTE, from, i, MPI_COMM_WORLD, &status);
        MPI_Get_count(&status, MPI_BYTE, &count);
        SAME(count, receive);
        SAME(differing(in, receive, i, from), 0);
        fill(out, mine, i + 50, rank);
        MPI_Sendrecv_replace(out, (int)mine, MPI_BYTE, to, i, from, i, MPI_COMM_WORLD, &status);
        SAME(differing(out, mine, i + 50, from), 0);
    }
}

/* A message longer than its buffer: an error of this receive alone. */
static void truncation(void) {
    MPI_Status status;
    if (rank > 1) return;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    for (int i = 0; i < SIZES; i++) {
        long length = sizes[i] + 8;
        if (rank == 0) {
            fill(out, LARGEST, i, 0);
            MPI_Send(out, (int)(length > LARGEST ? LARGEST : length), MPI_BYTE, 1, 1, MPI_COMM_WORLD);
            MPI_Send(out, 4, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
        } else {
            in[sizes[i] > 4 ? 4 : 0] = 0xEE;
            int code = MPI_Recv(in, sizes[i] > 4 ? 4 : 0, MPI_BYTE, 0, 1, MPI_COMM_WORLD, &status);
            SAME(class_of(code), MPI_ERR_TRUNCATE);
            SAME(in[sizes[i] > 4 ? 4 : 0], 0xEE);
            SAME(status.MPI_SOURCE, 0);
            SAME(status.MPI_TAG, 1);
            code = MPI_Recv(in, 4, MPI_BYTE, 0, 1, MPI_COMM_WORLD, &status);
            SAME(code, MPI_SUCCESS);
            SAME(differing(in, 4, i, 0), 0);
        }
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    modes();
    MPI_Barrier(MPI_COMM_WORLD);
    order();
    MPI_Barrier(MPI_COMM_WORLD);
    wildcards();
    MPI_Barrier(MPI_COMM_WORLD);
    nobody();
    oneself();
    exchanges();
    MPI_Barrier(MPI_COMM_WORLD);
    truncation();
    return end("pt2pt");
}

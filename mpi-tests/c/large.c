/* Large messages, which a library may have both ranks copy: every byte arrives, whoever comes late, whatever else is under way. */
#include "check.h"

enum { MOST = 3 << 20, WINDOW = 6 };

static unsigned char *out, *in;
static long message, state = 12345;

/* The same on all ranks. */
static long below(long n) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >> 8) % n;
}

static long length(void) { return below(4) ? 500000 + below(MOST - 500000) : below(100000); }

static double work(long n) {
    volatile double sum = 0;
    for (long i = 0; i < n; i++) sum += i;
    return sum;
}

/* One after the other, between neighbours; now and then one of the two has other things to do first. */
static void in_turns(int peer) {
    for (int round = 0; round < 24; round++) {
        long n = length(), idle = below(3) * 200000;
        int late = below(2), sends = (rank + round) % 2;
        message++;
        if (rank % 2 == late) work(idle);
        if (sends) {
            fill(out, n, message, rank);
            if (round % 5 == 4) MPI_Ssend(out, (int)n, MPI_BYTE, peer, round, MPI_COMM_WORLD);
            else MPI_Send(out, (int)n, MPI_BYTE, peer, round, MPI_COMM_WORLD);
            memset(out, 0, n);
        } else {
            MPI_Status status;
            int got;
            memset(in, 0xee, n);
            MPI_Recv(in, MOST, MPI_BYTE, round % 3 ? peer : MPI_ANY_SOURCE, round, MPI_COMM_WORLD, &status);
            MPI_Get_count(&status, MPI_BYTE, &got);
            SAME(got, n);
            SAME(status.MPI_SOURCE, peer);
            SAME(differing(in, n, message, peer), 0);
        }
    }
}

/* Several at once, in both directions, with small ones among them. */
static void at_once(int peer) {
    for (int round = 0; round < 4; round++) {
        MPI_Request requests[2 * WINDOW];
        long lengths[WINDOW], at[WINDOW], next = 0;
        for (int i = 0; i < WINDOW; i++) {
            lengths[i] = i % 3 == 1 ? below(2000) : 600000 + below(600000);
            at[i] = next;
            next += lengths[i];
        }
        for (int i = 0; i < WINDOW; i++) fill(out + at[i], lengths[i], message + i, rank);
        memset(in, 0xee, next);
        for (int i = 0; i < WINDOW; i++)
            MPI_Irecv(in + at[i], (int)lengths[i], MPI_BYTE, peer, i, MPI_COMM_WORLD, &requests[i]);
        for (int i = 0; i < WINDOW; i++)
            MPI_Isend(out + at[i], (int)lengths[i], MPI_BYTE, peer, i, MPI_COMM_WORLD, &requests[WINDOW + i]);
        if (round == 2 && rank % 2) work(1000000);
        MPI_Waitall(2 * WINDOW, requests, MPI_STATUSES_IGNORE);
        for (int i = 0; i < WINDOW; i++) SAME(differing(in + at[i], lengths[i], message + i, peer), 0);
        message += WINDOW;
    }
}

/* Longer than the room: nothing behind it is touched, and the sender is none the wiser. */
static void too_long(int peer) {
    enum { ROOM = 1000003, SENT = 2000000 };
    MPI_Status status;
    message++;
    if (rank % 2) {
        fill(out, SENT, message, rank);
        MPI_Send(out, SENT, MPI_BYTE, peer, 1, MPI_COMM_WORLD);
    } else {
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        memset(in, 0xee, SENT);
        SAME(class_of(MPI_Recv(in, ROOM, MPI_BYTE, peer, 1, MPI_COMM_WORLD, &status)), MPI_ERR_TRUNCATE);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
        SAME(in[ROOM], 0xee);
    }
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    out = malloc(MOST + WINDOW * 1200000L);
    in = malloc(MOST + WINDOW * 1200000L);
    in_turns(rank ^ 1);
    at_once(rank ^ 1);
    too_long(rank ^ 1);
    tell("large messages in turns, at once, too long\n");
    free(out);
    free(in);
    return end("large");
}

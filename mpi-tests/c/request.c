/* Completion in all its forms, persistent requests, cancel, inactive and null requests. */
#include "check.h"

enum { MANY = 32 };

static void families(void) {
    int in[MANY], out[MANY], to = (rank + 1) % size, from = (rank + size - 1) % size, done, index, flag, indices[MANY];
    MPI_Request requests[2 * MANY];
    MPI_Status status, statuses[2 * MANY];
    for (int form = 0; form < 8; form++) {
        for (int i = 0; i < MANY; i++) {
            in[i] = -1;
            out[i] = rank * 1000 + form * 100 + i;
            MPI_Irecv(&in[i], 1, MPI_INT, from, i, MPI_COMM_WORLD, &requests[i]);
        }
        for (int i = MANY - 1; i >= 0; i--) MPI_Isend(&out[i], 1, MPI_INT, to, i, MPI_COMM_WORLD, &requests[MANY + i]);
        done = 0;
        switch (form) {
        case 0:
            for (int i = 0; i < MANY; i++) {
                MPI_Wait(&requests[i], &status);
                SAME(status.MPI_TAG, i);
                SAME(status.MPI_SOURCE, from);
            }
            break;
        case 1:
            MPI_Waitall(MANY, requests, statuses);
            for (int i = 0; i < MANY; i++) SAME(statuses[i].MPI_TAG, i);
            break;
        case 2:
            for (; done < MANY; done++) {
                MPI_Waitany(MANY, requests, &index, &status);
                SAME(status.MPI_TAG, index);
                CHECK(requests[index] == MPI_REQUEST_NULL);
            }
            MPI_Waitany(MANY, requests, &index, &status);
            CHECK(index == MPI_UNDEFINED);
            break;
        case 3:
            while (done < MANY) {
                int some;
                MPI_Waitsome(MANY, requests, &some, indices, statuses);
                errors += some <= 0;
                for (int i = 0; i < some; i++) SAME(statuses[i].MPI_TAG, indices[i]);
                done += some;
            }
            MPI_Waitsome(MANY, requests, &done, indices, statuses);
            CHECK(done == MPI_UNDEFINED);
            break;
        case 4:
            for (int i = 0; i < MANY; i++) {
                do MPI_Test(&requests[i], &flag, &status);
                while (!flag);
                SAME(status.MPI_TAG, i);
            }
            break;
        case 5:
            do MPI_Testall(MANY, requests, &flag, statuses);
            while (!flag);
            for (int i = 0; i < MANY; i++) SAME(statuses[i].MPI_TAG, i);
            break;
        case 6:
            while (done < MANY) {
                MPI_Testany(MANY, requests, &index, &flag, &status);
                if (flag) {
                    SAME(status.MPI_TAG, index);
                    done++;
                }
            }
            MPI_Testany(MANY, requests, &index, &flag, &status);
            CHECK(flag && index == MPI_UNDEFINED);
            break;
        case 7:
            while (done < MANY) {
                int some;
                MPI_Testsome(MANY, requests, &some, indices, statuses);
                for (int i = 0; i < some; i++) SAME(statuses[i].MPI_TAG, indices[i]);
                done += some;
            }
            break;
        }
        MPI_Waitall(MANY, requests + MANY, MPI_STATUSES_IGNORE);
        for (int i = 0; i < MANY; i++) {
            SAME(in[i], from * 1000 + form * 100 + i);
            CHECK(requests[i] == MPI_REQUEST_NULL && requests[MANY + i] == MPI_REQUEST_NULL);
        }
    }
}

static void persistent(void) {
    int in[4], out[4], to = (rank + 1) % size, from = (rank + size - 1) % size, flag, room = 4 * (100 + MPI_BSEND_OVERHEAD);
    MPI_Request receives[4], sends[4];
    MPI_Status status;
    char *space = malloc((size_t)room);
    MPI_Buffer_attach(space, room);
    for (int i = 0; i < 4; i++) MPI_Recv_init(&in[i], 1, MPI_INT, from, i, MPI_COMM_WORLD, &receives[i]);
    MPI_Send_init(&out[0], 1, MPI_INT, to, 0, MPI_COMM_WORLD, &sends[0]);
    MPI_Ssend_init(&out[1], 1, MPI_INT, to, 1, MPI_COMM_WORLD, &sends[1]);
    MPI_Bsend_init(&out[2], 1, MPI_INT, to, 2, MPI_COMM_WORLD, &sends[2]);
    MPI_Rsend_init(&out[3], 1, MPI_INT, to, 3, MPI_COMM_WORLD, &sends[3]);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 4; i++) {
            in[i] = -1;
            out[i] = rank * 100 + round * 10 + i;
        }
        MPI_Startall(4, receives);
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Start(&sends[3]);
        MPI_Startall(3, sends);
        MPI_Waitall(4, receives, MPI_STATUSES_IGNORE);
        MPI_Waitall(4, sends, MPI_STATUSES_IGNORE);
        for (int i = 0; i < 4; i++) {
            SAME(in[i], from * 100 + round * 10 + i);
            CHECK(receives[i] != MPI_REQUEST_NULL && sends[i] != MPI_REQUEST_NULL);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
    /* Inactive: waiting ends at once with an empty status. */
    MPI_Wait(&receives[0], &status);
    CHECK(status.MPI_SOURCE == MPI_ANY_SOURCE && status.MPI_TAG == MPI_ANY_TAG);
    MPI_Test(&sends[0], &flag, &status);
    SAME(flag, 1);
    for (int i = 0; i < 4; i++) {
        MPI_Request_free(&receives[i]);
        MPI_Request_free(&sends[i]);
        CHECK(receives[i] == MPI_REQUEST_NULL);
    }
    int detached;
    void *back;
    MPI_Buffer_detach(&back, &detached);
    free(space);
}

static void cancelled(void) {
    int value = 7, flag, index;
    MPI_Request request, two[2];
    MPI_Status status;
    MPI_Irecv(&value, 1, MPI_INT, rank, 55, MPI_COMM_WORLD, &request);
    MPI_Cancel(&request);
    MPI_Wait(&request, &status);
    MPI_Test_cancelled(&status, &flag);
    SAME(flag, 1);
    SAME(value, 7);
    /* A message that comes after the cancel goes to the next receive. */
    MPI_Irecv(&value, 1, MPI_INT, rank, 56, MPI_COMM_WORLD, &request);
    int out = 8;
    MPI_Send(&out, 1, MPI_INT, rank, 56, MPI_COMM_WORLD);
    MPI_Wait(&request, &status);
    MPI_Test_cancelled(&status, &flag);
    SAME(flag, 0);
    SAME(value, 8);
    MPI_Recv_init(&value, 1, MPI_INT, rank, 57, MPI_COMM_WORLD, &request);
    MPI_Start(&request);
    MPI_Cancel(&request);
    MPI_Wait(&request, &status);
    MPI_Test_cancelled(&status, &flag);
    SAME(flag, 1);
    CHECK(request != MPI_REQUEST_NULL);
    MPI_Request_free(&request);
    /* Null requests. */
    request = MPI_REQUEST_NULL;
    MPI_Wait(&request, &status);
    CHECK(status.MPI_SOURCE == MPI_ANY_SOURCE && status.MPI_TAG == MPI_ANY_TAG);
    MPI_Test(&request, &flag, &status);
    SAME(flag, 1);
    two[0] = two[1] = MPI_REQUEST_NULL;
    MPI_Waitall(2, two, MPI_STATUSES_IGNORE);
    MPI_Waitany(2, two, &index, &status);
    CHECK(index == MPI_UNDEFINED);
    MPI_Testall(0, NULL, &flag, MPI_STATUSES_IGNORE);
    SAME(flag, 1);
    MPI_Request_get_status(MPI_REQUEST_NULL, &flag, &status);
    SAME(flag, 1);
}

static void looking(void) {
    int value = -1, out = rank, flag, count;
    MPI_Request request;
    MPI_Status status;
    MPI_Irecv(&value, 1, MPI_INT, rank, 9, MPI_COMM_WORLD, &request);
    MPI_Request_get_status(request, &flag, &status);
    SAME(flag, 0);
    MPI_Send(&out, 1, MPI_INT, rank, 9, MPI_COMM_WORLD);
    do MPI_Request_get_status(request, &flag, &status);
    while (!flag);
    CHECK(request != MPI_REQUEST_NULL);
    SAME(status.MPI_TAG, 9);
    MPI_Wait(&request, &status);
    MPI_Get_count(&status, MPI_INT, &count);
    SAME(count, 1);
    /* Freed while active: it still completes. */
    if (size > 1) {
        if (rank == 0) {
            MPI_Isend(&out, 1, MPI_INT, 1, 10, MPI_COMM_WORLD, &request);
            MPI_Request_free(&request);
            MPI_Recv(&value, 1, MPI_INT, 1, 11, MPI_COMM_WORLD, &status);
        } else if (rank == 1) {
            MPI_Recv(&value, 1, MPI_INT, 0, 10, MPI_COMM_WORLD, &status);
            SAME(value, 0);
            MPI_Send(&value, 1, MPI_INT, 0, 11, MPI_COMM_WORLD);
        }
    }
}

/* A request that the program itself completes. */
static int asked, freed;
static int query(void *state, MPI_Status *status) {
    asked++;
    MPI_Status_set_elements(status, MPI_INT, *(int *)state);
    MPI_Status_set_cancelled(status, 0);
    status->MPI_SOURCE = 3;
    status->MPI_TAG = 4;
    return MPI_SUCCESS;
}
static int release(void *state) {
    (void)state;
    freed++;
    return MPI_SUCCESS;
}
static int cancel(void *state, int complete) {
    (void)state;
    (void)complete;
    return MPI_SUCCESS;
}

static void generalized(void) {
    int state = 6, flag, count;
    MPI_Request request;
    MPI_Status status;
    MPI_Grequest_start(query, release, cancel, &state, &request);
    MPI_Test(&request, &flag, &status);
    SAME(flag, 0);
    MPI_Grequest_complete(request);
    MPI_Wait(&request, &status);
    MPI_Get_count(&status, MPI_INT, &count);
    SAME(count, 6);
    SAME(status.MPI_SOURCE, 3);
    SAME(status.MPI_TAG, 4);
    CHECK(asked >= 1);
    SAME(freed, 1);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    families();
    persistent();
    cancelled();
    looking();
    generalized();
    return end("request");
}

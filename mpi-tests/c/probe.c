/* Probing, matched probing, and what a status tells. */
#include "check.h"

int main(int argc, char **argv) {
    MPI_Status status;
    MPI_Message message;
    MPI_Request request;
    int flag, count, next = 0;
    static int data[20000];
    begin(&argc, &argv);
    if (rank == 0) {
        for (int r = 1; r < size; r++)
            for (int i = 0; i < 12; i++) {
                /* The sizes grow past every eager limit. */
                int length = 1 << i;
                for (int k = 0; k < length; k++) data[k] = i * 7 + k;
                MPI_Send(data, length, MPI_INT, r, i, MPI_COMM_WORLD);
            }
    } else {
        for (int i = 0; i < 12; i++) {
            memset(data, 0, sizeof data);
            switch (i % 4) {
            case 0:
                MPI_Probe(0, i, MPI_COMM_WORLD, &status);
                break;
            case 1:
                do MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, &status);
                while (!flag);
                break;
            case 2:
                MPI_Mprobe(MPI_ANY_SOURCE, i, MPI_COMM_WORLD, &message, &status);
                break;
            case 3:
                do MPI_Improbe(0, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, &message, &status);
                while (!flag);
                break;
            }
            SAME(status.MPI_SOURCE, 0);
            SAME(status.MPI_TAG, i);
            MPI_Get_count(&status, MPI_INT, &count);
            SAME(count, 1 << i);
            MPI_Get_elements(&status, MPI_INT, &count);
            SAME(count, 1 << i);
            if (i == 0) {
                MPI_Get_count(&status, MPI_DOUBLE, &count);
                CHECK(count == MPI_UNDEFINED);
            }
            if (i % 4 < 2)
                MPI_Recv(data, 1 << i, MPI_INT, status.MPI_SOURCE, status.MPI_TAG, MPI_COMM_WORLD, &status);
            else if (i % 8 < 4)
                MPI_Mrecv(data, 1 << i, MPI_INT, &message, &status);
            else {
                MPI_Imrecv(data, 1 << i, MPI_INT, &message, &request);
                MPI_Wait(&request, &status);
            }
            if (i % 4 >= 2) CHECK(message == MPI_MESSAGE_NULL);
            for (int k = 0; k < 1 << i; k++) next += data[k] != i * 7 + k;
        }
        SAME(next, 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);

    /* A matched message is out of reach of later receives. */
    if (rank == 0) {
        int a = 1, b = 2;
        MPI_Send(&a, 1, MPI_INT, 1, 3, MPI_COMM_WORLD);
        MPI_Send(&b, 1, MPI_INT, 1, 3, MPI_COMM_WORLD);
    } else if (rank == 1) {
        int a = 0, b = 0;
        MPI_Mprobe(0, 3, MPI_COMM_WORLD, &message, MPI_STATUS_IGNORE);
        MPI_Recv(&b, 1, MPI_INT, 0, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Mrecv(&a, 1, MPI_INT, &message, MPI_STATUS_IGNORE);
        SAME(a, 1);
        SAME(b, 2);
    }
    MPI_Iprobe(MPI_ANY_SOURCE, 77, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
    SAME(flag, 0);
    MPI_Mprobe(MPI_PROC_NULL, 0, MPI_COMM_WORLD, &message, &status);
    CHECK(message == MPI_MESSAGE_NO_PROC);
    MPI_Mrecv(NULL, 0, MPI_INT, &message, &status);
    CHECK(status.MPI_SOURCE == MPI_PROC_NULL);
    MPI_Probe(MPI_PROC_NULL, 0, MPI_COMM_WORLD, &status);
    CHECK(status.MPI_SOURCE == MPI_PROC_NULL && status.MPI_TAG == MPI_ANY_TAG);
    return end("probe");
}

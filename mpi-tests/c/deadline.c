/* How many seconds the platform leaves us: Mayfly's own attribute. Under another MPI there is nothing to be seen. */
#include "check.h"
#include <time.h>

#if defined __has_include
#if __has_include(<mayfly.h>)
#include <mayfly.h>
#endif
#endif

int main(int argc, char **argv) {
    char text[32];
    int *left = NULL, known = 0, *again;
    MPI_Comm comm;
    /* What a host puts there; without a host in the job's ticket, the variable counts. */
    snprintf(text, sizeof text, "%lld", (long long)time(NULL) + 1000);
    setenv("MAYFLY_DEADLINE", text, 1);
    begin(&argc, &argv);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
#ifdef MAYFLY_SECONDS_LEFT
    MPI_Comm_get_attr(MPI_COMM_WORLD, MAYFLY_SECONDS_LEFT, &left, &known);
    CHECK(known && *left > 900 && *left <= 1000);
    MPI_Comm_get_attr(comm, MAYFLY_SECONDS_LEFT, &again, &known);
    CHECK(known && again == left);
    CHECK(MPI_Comm_set_attr(comm, MAYFLY_SECONDS_LEFT, text) != MPI_SUCCESS);
    CHECK(MPI_Comm_delete_attr(comm, MAYFLY_SECONDS_LEFT) != MPI_SUCCESS);
#else
    (void)again;
    for (int i = 0; i < 4; i++) CHECK(!known && !left);
#endif
    MPI_Comm_free(&comm);
    return end("deadline");
}

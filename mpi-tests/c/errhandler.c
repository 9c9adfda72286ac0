/* Error handlers, classes, codes and texts; wrong arguments are found. */
#include "check.h"
#include <stdarg.h>

static int called, last;
static MPI_Comm where;

static void handler(MPI_Comm *comm, int *code, ...) {
    called++;
    last = *code;
    where = *comm;
}

int main(int argc, char **argv) {
    MPI_Comm comm;
    MPI_Errhandler mine, got;
    char text[MPI_MAX_ERROR_STRING];
    int n, class, code, value[2] = {0};
    MPI_Request request;
    begin(&argc, &argv);
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &got);
    CHECK(got == MPI_ERRORS_ARE_FATAL);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_create_errhandler(handler, &mine);
    MPI_Comm_set_errhandler(comm, mine);
    MPI_Comm_get_errhandler(comm, &got);
    CHECK(got == mine);
    MPI_Errhandler_free(&got);
    MPI_Errhandler_free(&mine);
    CHECK(mine == MPI_ERRHANDLER_NULL);
    /* What the call gives after a handler of the program returned differs between MPIs. */
    MPI_Send(value, 1, MPI_INT, size + 3, 0, comm);
    SAME(called, 1);
    SAME(class_of(last), MPI_ERR_RANK);
    CHECK(where == comm);
    MPI_Comm_call_errhandler(comm, MPI_ERR_OTHER);
    SAME(called, 2);
    SAME(class_of(last), MPI_ERR_OTHER);

    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    SAME(class_of(MPI_Send(value, 1, MPI_INT, 0, -5, comm)), MPI_ERR_TAG);
    SAME(class_of(MPI_Send(value, -1, MPI_INT, 0, 0, comm)), MPI_ERR_COUNT);
    SAME(class_of(MPI_Send(value, 1, MPI_DATATYPE_NULL, 0, 0, comm)), MPI_ERR_TYPE);
    SAME(class_of(MPI_Bcast(value, 1, MPI_INT, size, comm)), MPI_ERR_ROOT);
    SAME(class_of(MPI_Irecv(value, 1, MPI_INT, size, 0, comm, &request)), MPI_ERR_RANK);
    SAME(class_of(MPI_Allreduce(value, &n, 1, MPI_INT, MPI_OP_NULL, comm)), MPI_ERR_OP);
    SAME(called, 2);
    MPI_Datatype uncommitted;
    MPI_Type_contiguous(2, MPI_INT, &uncommitted);
    SAME(class_of(MPI_Send(value, 1, uncommitted, rank, 0, comm)), MPI_ERR_TYPE);
    MPI_Type_free(&uncommitted);
    /* Without a communicator it is MPI_COMM_WORLD's (or self's) handler that is asked. */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    SAME(class_of(MPI_Send(value, 1, MPI_INT, 0, 0, MPI_COMM_NULL)), MPI_ERR_COMM);
    SAME(class_of(MPI_Comm_size(MPI_COMM_NULL, &n)), MPI_ERR_COMM);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_ARE_FATAL);

    MPI_Error_string(MPI_ERR_TRUNCATE, text, &n);
    CHECK(n > 0 && n == (int)strlen(text));
    MPI_Error_string(MPI_SUCCESS, text, &n);
    CHECK(n > 0);
    MPI_Add_error_class(&class);
    CHECK(class > 0);
    MPI_Add_error_code(class, &code);
    MPI_Add_error_string(code, "the bird has flown");
    MPI_Error_string(code, text, &n);
    CHECK(!strcmp(text, "the bird has flown") && n == 18);
    SAME(class_of(code), class);
    tell("a code of our own: %s\n", text);
    int *lastused, flag;
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_LASTUSEDCODE, &lastused, &flag);
    CHECK(flag && *lastused >= MPI_ERR_LASTCODE);
    MPI_Comm_free(&comm);
    return end("errhandler");
}

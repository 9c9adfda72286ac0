/* Before, between and after: what may be called when; the environment. */
#include "check.h"

static int deleted;
static int at_end(MPI_Comm comm, int key, void *value, void *extra) {
    int flag;
    (void)comm;
    (void)key;
    (void)extra;
    MPI_Finalized(&flag);
    deleted = !flag && value == &deleted;
    return MPI_SUCCESS;
}

int main(int argc, char **argv) {
    int flag, version, subversion, length, key, provided, before = argc;
    char text[MPI_MAX_LIBRARY_VERSION_STRING], name[MPI_MAX_PROCESSOR_NAME];
    MPI_Initialized(&flag);
    CHECK(!flag);
    MPI_Finalized(&flag);
    CHECK(!flag);
    MPI_Get_version(&version, &subversion);
    CHECK(version >= 3 && subversion >= 0);
    MPI_Get_library_version(text, &length);
    CHECK(length > 0 && length < MPI_MAX_LIBRARY_VERSION_STRING && strlen(text) > 0);
    begin(&argc, &argv);
    SAME(argc, before);
    MPI_Initialized(&flag);
    CHECK(flag);
    MPI_Finalized(&flag);
    CHECK(!flag);
    MPI_Get_processor_name(name, &length);
    CHECK(length > 0 && (int)strlen(name) == length);
    MPI_Query_thread(&provided);
    CHECK(provided == MPI_THREAD_SINGLE || provided == MPI_THREAD_FUNNELED || provided == MPI_THREAD_SERIALIZED || provided == MPI_THREAD_MULTIPLE);
    MPI_Is_thread_main(&flag);
    CHECK(flag);
    double a = MPI_Wtime(), b = MPI_Wtime();
    CHECK(b >= a && MPI_Wtick() > 0 && MPI_Wtick() < 0.01);
    while (MPI_Wtime() < a + 0.02) continue;
    CHECK(MPI_Wtime() - a < 20);
    void *memory;
    MPI_Alloc_mem(1000, MPI_INFO_NULL, &memory);
    memset(memory, 1, 1000);
    MPI_Free_mem(memory);
    SAME(MPI_Pcontrol(1), MPI_SUCCESS);
    /* MPI_Finalize deletes MPI_COMM_SELF's attributes first, while MPI still works. */
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, at_end, &key, NULL);
    MPI_Comm_set_attr(MPI_COMM_SELF, key, &deleted);
    int status = end("start");
    if (!deleted) fprintf(stderr, "start.c: rank %d: MPI_Finalize did not delete the attributes of MPI_COMM_SELF\n", rank), status = 1;
    MPI_Finalized(&flag);
    if (!flag) fprintf(stderr, "start.c: rank %d: not finalized after MPI_Finalize\n", rank), status = 1;
    return status;
}

/* Attributes: the predefined, keyvals with callbacks, what a duplicate takes along, deletion in its order. */
#include "check.h"

static int copies, deletions, refuse;

static int copy(MPI_Comm comm, int key, void *extra, void *in, void *out, int *flag) {
    (void)comm;
    (void)key;
    copies++;
    *(void **)out = (char *)in + *(int *)extra;
    *flag = !refuse;
    return MPI_SUCCESS;
}

static int drop(MPI_Comm comm, int key, void *value, void *extra) {
    (void)comm;
    (void)key;
    (void)value;
    (void)extra;
    deletions++;
    return MPI_SUCCESS;
}

static int keep(MPI_Comm comm, int key, void *value, void *extra) {
    (void)comm;
    (void)key;
    (void)value;
    (void)extra;
    return MPI_ERR_OTHER;
}

static int type_copy(MPI_Datatype type, int key, void *extra, void *in, void *out, int *flag) {
    (void)type;
    (void)key;
    (void)extra;
    *(void **)out = in;
    *flag = 1;
    copies++;
    return MPI_SUCCESS;
}

static int type_drop(MPI_Datatype type, int key, void *value, void *extra) {
    (void)type;
    (void)key;
    (void)value;
    (void)extra;
    deletions++;
    return MPI_SUCCESS;
}

int main(int argc, char **argv) {
    int flag, *number, key, second, third, shift = 1, type_key;
    char *value;
    MPI_Comm comm, again;
    MPI_Datatype type, twin;
    begin(&argc, &argv);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &number, &flag);
    CHECK(flag && *number >= 32767);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_HOST, &number, &flag);
    CHECK(!flag || *number == MPI_PROC_NULL || (*number >= 0 && *number < size));
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_WTIME_IS_GLOBAL, &number, &flag);
    CHECK(!flag || *number == 0 || *number == 1);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_LASTUSEDCODE, &number, &flag);
    CHECK(flag && *number >= MPI_ERR_LASTCODE);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_APPNUM, &number, &flag);
    CHECK(!flag || *number == 0);

    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_create_keyval(copy, drop, &key, &shift);
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, MPI_COMM_NULL_DELETE_FN, &second, NULL);
    MPI_Comm_create_keyval(MPI_COMM_DUP_FN, MPI_COMM_NULL_DELETE_FN, &third, NULL);
    MPI_Comm_get_attr(comm, key, &value, &flag);
    SAME(flag, 0);
    char text[4] = "abc";
    MPI_Comm_set_attr(comm, key, text);
    MPI_Comm_set_attr(comm, second, text);
    MPI_Comm_set_attr(comm, third, text + 2);
    MPI_Comm_get_attr(comm, key, &value, &flag);
    CHECK(flag && value == text);
    MPI_Comm_dup(comm, &again);
    SAME(copies, 1);
    MPI_Comm_get_attr(again, key, &value, &flag);
    CHECK(flag && value == text + 1);
    MPI_Comm_get_attr(again, second, &value, &flag);
    SAME(flag, 0);
    MPI_Comm_get_attr(again, third, &value, &flag);
    CHECK(flag && value == text + 2);
    /* Setting again deletes what was there. */
    MPI_Comm_set_attr(again, key, text);
    SAME(deletions, 1);
    MPI_Comm_delete_attr(again, key);
    SAME(deletions, 2);
    MPI_Comm_get_attr(again, key, &value, &flag);
    SAME(flag, 0);
    MPI_Comm_set_attr(again, key, text);
    MPI_Comm_free(&again);
    SAME(deletions, 3);
    refuse = 1;
    MPI_Comm_dup(comm, &again);
    MPI_Comm_get_attr(again, key, &value, &flag);
    SAME(flag, 0);
    MPI_Comm_free(&again);
    SAME(deletions, 3);
    /* A keyval may be freed while attributes hold it. */
    int old = key;
    MPI_Comm_free_keyval(&key);
    CHECK(key == MPI_KEYVAL_INVALID);
    MPI_Comm_get_attr(comm, old, &value, &flag);
    CHECK(flag && value == text);
    MPI_Comm_free_keyval(&second);
    MPI_Comm_free_keyval(&third);
    MPI_Comm_free(&comm);
    SAME(deletions, 4);
    /* A delete function that fails: the call fails and the object stays. */
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, keep, &key, NULL);
    MPI_Comm_set_attr(comm, key, text);
    CHECK(MPI_Comm_delete_attr(comm, key) != MPI_SUCCESS);
    MPI_Comm_get_attr(comm, key, &value, &flag);
    CHECK(flag && value == text);

    copies = deletions = 0;
    MPI_Type_create_keyval(type_copy, type_drop, &type_key, NULL);
    MPI_Type_contiguous(2, MPI_INT, &type);
    MPI_Type_set_attr(type, type_key, text);
    MPI_Type_dup(type, &twin);
    SAME(copies, 1);
    MPI_Type_get_attr(twin, type_key, &value, &flag);
    CHECK(flag && value == text);
    MPI_Type_delete_attr(twin, type_key);
    SAME(deletions, 1);
    MPI_Type_set_attr(twin, type_key, text);
    MPI_Type_free(&twin);
    SAME(deletions, 2);
    MPI_Type_free(&type);
    SAME(deletions, 3);
    MPI_Type_free_keyval(&type_key);
    return end("attribute");
}

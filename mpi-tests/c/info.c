/* Info objects. */
#include "check.h"

int main(int argc, char **argv) {
    MPI_Info info, copy;
    char value[100], key[MPI_MAX_INFO_KEY + 1];
    int n, flag, length;
    begin(&argc, &argv);
    MPI_Info_create(&info);
    MPI_Info_set(info, "first", "1");
    MPI_Info_set(info, "second", "two");
    MPI_Info_set(info, "third", "a longer value, with blanks");
    MPI_Info_set(info, "second", "zwei");
    MPI_Info_get_nkeys(info, &n);
    SAME(n, 3);
    for (int i = 0; i < n; i++) {
        MPI_Info_get_nthkey(info, i, key);
        MPI_Info_get(info, key, 99, value, &flag);
        SAME(flag, 1);
        tell("%s = %s\n", key, value);
    }
    MPI_Info_get_valuelen(info, "third", &length, &flag);
    CHECK(flag && length == 27);
    MPI_Info_get(info, "fourth", 99, value, &flag);
    SAME(flag, 0);
    MPI_Info_dup(info, &copy);
    MPI_Info_delete(info, "first");
    MPI_Info_get_nkeys(info, &n);
    SAME(n, 2);
    MPI_Info_get_nkeys(copy, &n);
    SAME(n, 3);
    MPI_Info_free(&info);
    CHECK(info == MPI_INFO_NULL);
    MPI_Info_free(&copy);
    return end("info");
}

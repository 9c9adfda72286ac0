/* Communicators: duplicates, parts, names, contexts kept apart; inter-communicators. */
#include "check.h"

static void contexts(void) {
    MPI_Comm other;
    int a = 1, b = 2, got = 0, to = (rank + 1) % size, from = (rank + size - 1) % size;
    MPI_Request requests[2];
    MPI_Comm_dup(MPI_COMM_WORLD, &other);
    /* The same source and tag on two communicators: the context decides. */
    MPI_Isend(&a, 1, MPI_INT, to, 1, MPI_COMM_WORLD, &requests[0]);
    MPI_Isend(&b, 1, MPI_INT, to, 1, other, &requests[1]);
    MPI_Recv(&got, 1, MPI_INT, from, 1, other, MPI_STATUS_IGNORE);
    SAME(got, 2);
    MPI_Recv(&got, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    SAME(got, 1);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    MPI_Comm_free(&other);
    CHECK(other == MPI_COMM_NULL);
}

static void parts(void) {
    MPI_Comm half, reversed, sub, many[40];
    MPI_Group world, group;
    int n, r, sum, result, ranks[64];
    char name[MPI_MAX_OBJECT_NAME];
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, 0, &half);
    MPI_Comm_size(half, &n);
    SAME(n, rank % 2 ? size / 2 : (size + 1) / 2);
    MPI_Comm_rank(half, &r);
    SAME(r, rank / 2);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
    int want = 0;
    for (int i = rank % 2; i < size; i += 2) want += i;
    SAME(sum, want);
    MPI_Comm_split(MPI_COMM_WORLD, 0, -rank, &reversed);
    MPI_Comm_rank(reversed, &r);
    SAME(r, size - 1 - rank);
    MPI_Comm_compare(MPI_COMM_WORLD, reversed, &result);
    CHECK(result == (size > 1 ? MPI_SIMILAR : MPI_CONGRUENT));
    MPI_Comm_compare(MPI_COMM_WORLD, half, &result);
    CHECK(result == (size > 1 ? MPI_UNEQUAL : MPI_CONGRUENT));
    MPI_Comm_compare(MPI_COMM_WORLD, MPI_COMM_WORLD, &result);
    CHECK(result == MPI_IDENT);
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? MPI_UNDEFINED : 1, 0, &sub);
    CHECK((sub == MPI_COMM_NULL) == (rank == 0));
    if (sub != MPI_COMM_NULL) MPI_Comm_free(&sub);

    MPI_Comm_group(MPI_COMM_WORLD, &world);
    for (n = 0; 2 * n < size; n++) ranks[n] = 2 * n;
    MPI_Group_incl(world, n, ranks, &group);
    MPI_Comm_create(MPI_COMM_WORLD, group, &sub);
    CHECK((sub == MPI_COMM_NULL) == (rank % 2 == 1));
    if (sub != MPI_COMM_NULL) {
        MPI_Comm_compare(sub, half, &result);
        CHECK(result == MPI_CONGRUENT);
        MPI_Comm_free(&sub);
    }
    if (rank % 2 == 0) {
        MPI_Comm_create_group(MPI_COMM_WORLD, group, 17, &sub);
        MPI_Comm_size(sub, &r);
        SAME(r, n);
        MPI_Barrier(sub);
        MPI_Comm_free(&sub);
    }
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &sub);
    MPI_Comm_size(sub, &n);
    SAME(n, size);
    MPI_Comm_free(&sub);

    MPI_Comm_get_name(MPI_COMM_WORLD, name, &n);
    CHECK(!strcmp(name, "MPI_COMM_WORLD"));
    MPI_Comm_get_name(MPI_COMM_SELF, name, &n);
    CHECK(!strcmp(name, "MPI_COMM_SELF"));
    MPI_Comm_get_name(half, name, &n);
    SAME(n, 0);
    MPI_Comm_set_name(half, "every other");
    MPI_Comm_get_name(half, name, &n);
    SAME(n, 11);
    CHECK(!strcmp(name, "every other"));
    tell("a name: %s\n", name);

    for (int i = 0; i < 40; i++) MPI_Comm_dup(i % 2 ? half : MPI_COMM_WORLD, &many[i]);
    for (int i = 0; i < 40; i += 3) MPI_Barrier(many[i]);
    for (int i = 39; i >= 0; i--) MPI_Comm_free(&many[i]);
    MPI_Request request;
    MPI_Comm_idup(half, &sub, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    MPI_Comm_compare(sub, half, &result);
    CHECK(result == MPI_CONGRUENT);
    MPI_Comm_free(&sub);
    MPI_Comm_free(&half);
    MPI_Comm_free(&reversed);
}

static void across(void) {
    MPI_Comm half, inter, merged, copy;
    int flag, n, sum = 0, r, color = rank % 2, got[64];
    if (size < 2) return;
    MPI_Comm_split(MPI_COMM_WORLD, color, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, color ? 0 : 1, 12, &inter);
    MPI_Comm_test_inter(inter, &flag);
    SAME(flag, 1);
    MPI_Comm_test_inter(half, &flag);
    SAME(flag, 0);
    int remote = color ? (size + 1) / 2 : size / 2, local = size - remote;
    MPI_Comm_remote_size(inter, &n);
    SAME(n, remote);
    MPI_Comm_size(inter, &n);
    SAME(n, local);
    MPI_Comm_rank(inter, &r);
    SAME(r, rank / 2);
    /* Point to point: ranks are those of the other side. */
    int peer = r < remote ? r : MPI_PROC_NULL, value = -1;
    MPI_Sendrecv(&rank, 1, MPI_INT, peer, 3, &value, 1, MPI_INT, peer, 3, inter, MPI_STATUS_IGNORE);
    if (peer != MPI_PROC_NULL) SAME(value, 2 * r + !color);
    /* Collectives: what comes is the other side's. */
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, inter);
    int want = 0;
    for (int i = !color; i < size; i += 2) want += i;
    SAME(sum, want);
    MPI_Allgather(&rank, 1, MPI_INT, got, 1, MPI_INT, inter);
    for (int i = 0; i < remote; i++) SAME(got[i], 2 * i + !color);
    value = color == 0 && r == 0 ? 99 : -1;
    MPI_Bcast(&value, 1, MPI_INT, color ? 0 : r == 0 ? MPI_ROOT : MPI_PROC_NULL, inter);
    if (color) SAME(value, 99);
    MPI_Barrier(inter);
    MPI_Comm_dup(inter, &copy);
    MPI_Comm_compare(inter, copy, &n);
    CHECK(n == MPI_CONGRUENT);
    MPI_Comm_free(&copy);
    MPI_Intercomm_merge(inter, color, &merged);
    MPI_Comm_size(merged, &n);
    SAME(n, size);
    MPI_Comm_rank(merged, &n);
    SAME(n, color ? (size + 1) / 2 + r : r);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, merged);
    SAME(sum, size * (size - 1) / 2);
    MPI_Comm_free(&merged);
    MPI_Comm_free(&inter);
    MPI_Comm_free(&half);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    contexts();
    parts();
    across();
    return end("comm");
}

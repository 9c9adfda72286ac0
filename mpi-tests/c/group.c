/* Groups: sets of ranks. */
#include "check.h"

int main(int argc, char **argv) {
    MPI_Group world, even, odd, all, common, diff, low, same;
    int result, n, ranks[64], other[64], range[2][3];
    begin(&argc, &argv);
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_size(world, &n);
    SAME(n, size);
    MPI_Group_rank(world, &n);
    SAME(n, rank);
    n = 0;
    for (int r = 0; r < size; r += 2) ranks[n++] = r;
    MPI_Group_incl(world, n, ranks, &even);
    MPI_Group_excl(world, n, ranks, &odd);
    MPI_Group_size(odd, &n);
    SAME(n, size / 2);
    MPI_Group_rank(even, &n);
    CHECK(rank % 2 ? n == MPI_UNDEFINED : n == rank / 2);
    MPI_Group_union(even, odd, &all);
    MPI_Group_compare(all, world, &result);
    CHECK(result == (size > 2 ? MPI_SIMILAR : MPI_IDENT));
    MPI_Group_intersection(even, odd, &common);
    CHECK(common == MPI_GROUP_EMPTY);
    MPI_Group_size(common, &n);
    SAME(n, 0);
    MPI_Group_difference(world, odd, &diff);
    MPI_Group_compare(diff, even, &result);
    CHECK(result == MPI_IDENT);
    MPI_Group_compare(even, odd, &result);
    CHECK(result == MPI_UNEQUAL);
    for (int i = 0; i < size; i++) ranks[i] = i;
    MPI_Group_translate_ranks(world, size, ranks, odd, other);
    for (int i = 0; i < size; i++) CHECK(i % 2 ? other[i] == i / 2 : other[i] == MPI_UNDEFINED);
    ranks[0] = MPI_PROC_NULL;
    MPI_Group_translate_ranks(world, 1, ranks, odd, other);
    CHECK(other[0] == MPI_PROC_NULL);
    range[0][0] = size - 1, range[0][1] = 0, range[0][2] = -1;
    MPI_Group_range_incl(world, 1, range, &low);
    MPI_Group_rank(low, &n);
    SAME(n, size - 1 - rank);
    range[0][0] = 0, range[0][1] = size - 1, range[0][2] = 2;
    MPI_Group_range_excl(world, 1, range, &same);
    MPI_Group_compare(same, odd, &result);
    CHECK(result == MPI_IDENT);
    MPI_Group_free(&low);
    CHECK(low == MPI_GROUP_NULL);
    MPI_Group_free(&same);
    MPI_Group_free(&diff);
    MPI_Group_free(&all);
    MPI_Group_free(&even);
    MPI_Group_free(&odd);
    MPI_Group_free(&world);
    return end("group");
}

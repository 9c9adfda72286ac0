/* Derived datatypes: what they cover, how they are told apart again, packing, sending. */
#include "check.h"
#include <stddef.h>
#include <stdint.h>

static void show(const char *name, MPI_Datatype type) {
    MPI_Aint lower, extent, true_lower, true_extent;
    int bytes, integers, addresses, types, combiner;
    MPI_Type_size(type, &bytes);
    MPI_Type_get_extent(type, &lower, &extent);
    MPI_Type_get_true_extent(type, &true_lower, &true_extent);
    MPI_Type_get_envelope(type, &integers, &addresses, &types, &combiner);
    tell("%-12s size %d lb %ld extent %ld true lb %ld true extent %ld envelope %d %d %d\n", name, bytes, (long)lower, (long)extent,
         (long)true_lower, (long)true_extent, integers, addresses, types);
}

/* Packs, unpacks and sends `count` of a type to oneself: only what the type covers may change, and it must be the same. */
static void round_trip(const char *name, MPI_Datatype type, int count) {
    enum { ROOM = 40000, START = 8000 };
    static unsigned char from[ROOM], to[ROOM], through[ROOM], packed[ROOM];
    int position = 0, length, bytes, got;
    MPI_Status status;
    MPI_Request request;
    fill(from, ROOM, 1, 0);
    memset(to, 0xAA, ROOM);
    memset(through, 0xAA, ROOM);
    MPI_Type_size(type, &bytes);
    MPI_Pack_size(count, type, MPI_COMM_SELF, &length);
    CHECK(length >= bytes * count && length <= ROOM);
    MPI_Pack(from + START, count, type, packed, ROOM, &position, MPI_COMM_SELF);
    CHECK(position >= bytes * count);
    length = position;
    position = 0;
    MPI_Unpack(packed, length, &position, to + START, count, type, MPI_COMM_SELF);
    SAME(position, length);
    MPI_Irecv(through + START, count, type, 0, 1, MPI_COMM_SELF, &request);
    MPI_Send(from + START, count, type, 0, 1, MPI_COMM_SELF);
    MPI_Wait(&request, &status);
    MPI_Get_count(&status, type, &got);
    if (bytes) SAME(got, count);
    CHECK(!memcmp(to, through, ROOM));
    long covered = 0, changed = 0;
    for (int i = 0; i < ROOM; i++) {
        covered += to[i] == from[i];
        changed += to[i] != 0xAA && to[i] != from[i];
    }
    SAME(changed, 0);
    CHECK(covered >= bytes * count);
    /* Packed on this side, taken apart as the type on the other; and the other way round. */
    memset(to, 0xAA, ROOM);
    MPI_Irecv(to + START, count, type, 0, 2, MPI_COMM_SELF, &request);
    MPI_Send(packed, length, MPI_PACKED, 0, 2, MPI_COMM_SELF);
    MPI_Wait(&request, &status);
    CHECK(!memcmp(to, through, ROOM));
    (void)name;
}

static void all(void) {
    struct mixed {
        char c;
        double d;
        int i[3];
    };
    MPI_Datatype vector, hvector, indexed, hindexed, block, structure, resized, sub, dar, contiguous, nested, negative, copy, empty;
    int lengths[3] = {2, 0, 3}, places[3] = {5, 0, -2};
    MPI_Aint far[3] = {40, 0, -16}, where[3] = {offsetof(struct mixed, c), offsetof(struct mixed, d), offsetof(struct mixed, i)};
    MPI_Datatype parts[3] = {MPI_CHAR, MPI_DOUBLE, MPI_INT};
    int ones[3] = {1, 1, 3}, whole[2] = {6, 8}, piece[2] = {2, 3}, start[2] = {3, 4};
    int distribution[2] = {MPI_DISTRIBUTE_BLOCK, MPI_DISTRIBUTE_CYCLIC}, grain[2] = {MPI_DISTRIBUTE_DFLT_DARG, 2}, grid[2] = {2, 2};
    MPI_Type_contiguous(5, MPI_SHORT, &contiguous);
    MPI_Type_vector(4, 2, 5, MPI_INT, &vector);
    MPI_Type_create_hvector(3, 2, -20, MPI_SHORT, &hvector);
    MPI_Type_indexed(3, lengths, places, MPI_DOUBLE, &indexed);
    MPI_Type_create_hindexed(3, lengths, far, MPI_FLOAT, &hindexed);
    MPI_Type_create_indexed_block(3, 2, places, MPI_INT, &block);
    MPI_Type_create_struct(3, ones, where, parts, &structure);
    MPI_Type_create_resized(structure, 0, sizeof(struct mixed), &resized);
    MPI_Type_create_subarray(2, whole, piece, start, MPI_ORDER_C, MPI_INT, &sub);
    MPI_Type_create_darray(4, 1, 2, whole, distribution, grain, grid, MPI_ORDER_FORTRAN, MPI_DOUBLE, &dar);
    MPI_Type_vector(2, 1, 3, resized, &nested);
    MPI_Type_create_resized(MPI_INT, -4, 12, &negative);
    MPI_Type_dup(vector, &copy);
    MPI_Type_contiguous(0, MPI_INT, &empty);
    struct {
        const char *name;
        MPI_Datatype *type;
    } every[] = {{"contiguous", &contiguous}, {"vector", &vector},     {"hvector", &hvector}, {"indexed", &indexed},   {"hindexed", &hindexed},
                 {"block", &block},           {"struct", &structure},  {"resized", &resized}, {"subarray", &sub},      {"darray", &dar},
                 {"nested", &nested},         {"negative", &negative}, {"dup", &copy},        {"empty", &empty}};
    for (unsigned i = 0; i < sizeof every / sizeof *every; i++) {
        MPI_Type_commit(every[i].type);
        show(every[i].name, *every[i].type);
        round_trip(every[i].name, *every[i].type, 1);
        round_trip(every[i].name, *every[i].type, 13);
    }
    /* The contents of a type build it again. */
    int integers[16];
    MPI_Aint addresses[16];
    MPI_Datatype types[16];
    MPI_Type_get_contents(indexed, 7, 0, 1, integers, addresses, types);
    SAME(integers[0], 3);
    for (int i = 0; i < 3; i++) SAME(integers[1 + i], lengths[i]);
    for (int i = 0; i < 3; i++) SAME(integers[4 + i], places[i]);
    CHECK(types[0] == MPI_DOUBLE);
    int a, b, c, combiner;
    MPI_Type_get_envelope(MPI_INT, &a, &b, &c, &combiner);
    CHECK(combiner == MPI_COMBINER_NAMED);
    MPI_Type_get_envelope(resized, &a, &b, &c, &combiner);
    CHECK(combiner == MPI_COMBINER_RESIZED);
    MPI_Type_get_contents(resized, a, b, c, integers, addresses, types);
    SAME(addresses[0], 0);
    SAME(addresses[1], sizeof(struct mixed));
    MPI_Type_free(&types[0]);
    MPI_Type_get_envelope(sub, &a, &b, &c, &combiner);
    CHECK(combiner == MPI_COMBINER_SUBARRAY);
    /* Freed while its copies and uses live on. */
    MPI_Type_free(&structure);
    MPI_Type_free(&vector);
    round_trip("resized again", resized, 3);
    round_trip("dup again", copy, 3);
    for (unsigned i = 0; i < sizeof every / sizeof *every; i++)
        if (*every[i].type != MPI_DATATYPE_NULL) MPI_Type_free(every[i].type);
    CHECK(sub == MPI_DATATYPE_NULL);
}

static void external(void) {
    /* external32: big endian, 8-byte longs. */
    unsigned char bytes[64];
    MPI_Aint position = 0, length;
    int32_t number = 0x01020304, back = 0;
    double real = 1.0, real_back = 0;
    MPI_Pack_external_size("external32", 1, MPI_INT32_T, &length);
    SAME(length, 4);
    MPI_Pack_external("external32", &number, 1, MPI_INT32_T, bytes, sizeof bytes, &position);
    MPI_Pack_external("external32", &real, 1, MPI_DOUBLE, bytes, sizeof bytes, &position);
    SAME(position, 12);
    tell("external32:");
    for (int i = 0; i < 12; i++) tell(" %02x", bytes[i]);
    tell("\n");
    position = 0;
    MPI_Unpack_external("external32", bytes, 12, &position, &back, 1, MPI_INT32_T);
    MPI_Unpack_external("external32", bytes, 12, &position, &real_back, 1, MPI_DOUBLE);
    SAME(back, number);
    CHECK(real_back == 1.0);
}

/* A part of a derived type arrives: whole ones are undefined, basic elements counted. */
static void partial(void) {
    MPI_Datatype pair;
    MPI_Status status;
    MPI_Count large;
    MPI_Request request;
    int out[3] = {1, 2, 3}, in[8] = {0}, n;
    MPI_Type_contiguous(2, MPI_INT, &pair);
    MPI_Type_commit(&pair);
    MPI_Irecv(in, 4, pair, 0, 0, MPI_COMM_SELF, &request);
    MPI_Send(out, 3, MPI_INT, 0, 0, MPI_COMM_SELF);
    MPI_Wait(&request, &status);
    MPI_Get_count(&status, pair, &n);
    CHECK(n == MPI_UNDEFINED);
    MPI_Get_elements(&status, pair, &n);
    SAME(n, 3);
    MPI_Get_elements_x(&status, pair, &large);
    SAME(large, 3);
    MPI_Status_set_elements(&status, pair, 2);
    MPI_Get_elements(&status, pair, &n);
    SAME(n, 2);
    MPI_Type_free(&pair);
}

static void names(void) {
    char name[MPI_MAX_OBJECT_NAME];
    int n;
    MPI_Type_get_name(MPI_DOUBLE, name, &n);
    tell("name of MPI_DOUBLE: %s\n", name);
    MPI_Datatype type;
    MPI_Type_dup(MPI_INT, &type);
    MPI_Type_set_name(type, "mine");
    MPI_Type_get_name(type, name, &n);
    CHECK(!strcmp(name, "mine") && n == 4);
    MPI_Type_free(&type);
    MPI_Type_match_size(MPI_TYPECLASS_REAL, 8, &type);
    MPI_Type_size(type, &n);
    SAME(n, 8);
    MPI_Aint a, b;
    int two[2];
    MPI_Get_address(&two[0], &a);
    MPI_Get_address(&two[1], &b);
    SAME(MPI_Aint_diff(b, a), sizeof(int));
    CHECK(MPI_Aint_add(a, sizeof(int)) == b);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    all();
    external();
    partial();
    names();
    return end("datatype");
}

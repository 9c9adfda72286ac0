/* Reduction operations: the predefined on their types, the user's, those that do not commute. */
#include "check.h"
#include <complex.h>
#include <math.h>
#include <stdint.h>

#define SUM_OF(TYPE, MPITYPE)                                                                                                                \
    do {                                                                                                                                     \
        TYPE in_ = (TYPE)(rank + 1), out_ = 0;                                                                                               \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_SUM, MPI_COMM_WORLD);                                                                     \
        CHECK(out_ == (TYPE)(size * (size + 1) / 2));                                                                                        \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_MAX, MPI_COMM_WORLD);                                                                     \
        CHECK(out_ == (TYPE)size);                                                                                                           \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_MIN, MPI_COMM_WORLD);                                                                     \
        CHECK(out_ == (TYPE)1);                                                                                                              \
        in_ = 2;                                                                                                                             \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_PROD, MPI_COMM_WORLD);                                                                    \
        CHECK(out_ == (TYPE)(1 << size));                                                                                                    \
    } while (0)

#define BITS_OF(TYPE, MPITYPE)                                                                                                               \
    do {                                                                                                                                     \
        TYPE in_ = (TYPE)(1 << rank), out_ = 0;                                                                                              \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_BOR, MPI_COMM_WORLD);                                                                     \
        CHECK(out_ == (TYPE)((1 << size) - 1));                                                                                              \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_BAND, MPI_COMM_WORLD);                                                                    \
        CHECK(out_ == (TYPE)(size == 1));                                                                                                    \
        in_ = 5;                                                                                                                             \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_BXOR, MPI_COMM_WORLD);                                                                    \
        CHECK(out_ == (TYPE)(size % 2 ? 5 : 0));                                                                                             \
    } while (0)

#define LOGIC_OF(TYPE, MPITYPE)                                                                                                              \
    do {                                                                                                                                     \
        TYPE in_ = (TYPE)(rank == 0), out_ = 0;                                                                                              \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_LOR, MPI_COMM_WORLD);                                                                     \
        CHECK(out_ == 1);                                                                                                                    \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_LAND, MPI_COMM_WORLD);                                                                    \
        CHECK(out_ == (size == 1));                                                                                                          \
        MPI_Allreduce(&in_, &out_, 1, MPITYPE, MPI_LXOR, MPI_COMM_WORLD);                                                                    \
        CHECK(out_ == 1);                                                                                                                    \
    } while (0)

#define PAIR_OF(TYPE, MPITYPE)                                                                                                               \
    do {                                                                                                                                     \
        struct {                                                                                                                             \
            TYPE value;                                                                                                                      \
            int at;                                                                                                                          \
        } in_[2], out_[2];                                                                                                                   \
        memset(in_, 0, sizeof in_);                                                                                                          \
        in_[0].value = (TYPE)(rank % 3);                                                                                                     \
        in_[1].value = (TYPE)(-rank);                                                                                                        \
        in_[0].at = in_[1].at = rank;                                                                                                        \
        MPI_Allreduce(in_, out_, 2, MPITYPE, MPI_MINLOC, MPI_COMM_WORLD);                                                                    \
        CHECK(out_[0].value == 0 && out_[0].at == 0);                                                                                        \
        CHECK(out_[1].value == (TYPE)(1 - size) && out_[1].at == size - 1);                                                                  \
        MPI_Allreduce(in_, out_, 2, MPITYPE, MPI_MAXLOC, MPI_COMM_WORLD);                                                                    \
        CHECK(out_[0].value == (TYPE)(size > 2 ? 2 : size - 1) && out_[0].at == (size > 2 ? 2 : size - 1));                                  \
        CHECK(out_[1].value == 0 && out_[1].at == 0);                                                                                        \
    } while (0)

/* 2 x 2 matrices: associative, not commutative. */
static void multiply(void *in, void *inout, int *count, MPI_Datatype *type) {
    long *a = in, *b = inout;
    MPI_Aint lower, extent;
    MPI_Type_get_extent(*type, &lower, &extent);
    if (extent != 4 * (MPI_Aint)sizeof(long)) errors++;
    for (int i = 0; i < *count; i++, a += 4, b += 4) {
        long c[4] = {a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]};
        memcpy(b, c, sizeof c);
    }
}

static void furthest(void *in, void *inout, int *count, MPI_Datatype *type) {
    (void)type;
    for (int i = 0; i < *count; i++)
        if (labs(((long *)in)[i]) > labs(((long *)inout)[i])) ((long *)inout)[i] = ((long *)in)[i];
}

static void users(void) {
    enum { MANY = 3000 };
    static long in[4 * MANY], out[4 * MANY], want[4];
    MPI_Datatype matrix;
    MPI_Op product, far;
    int commutes;
    MPI_Type_contiguous(4, MPI_LONG, &matrix);
    MPI_Type_commit(&matrix);
    MPI_Op_create(multiply, 0, &product);
    MPI_Op_create(furthest, 1, &far);
    MPI_Op_commutative(product, &commutes);
    SAME(commutes, 0);
    MPI_Op_commutative(far, &commutes);
    SAME(commutes, 1);
    MPI_Op_commutative(MPI_SUM, &commutes);
    SAME(commutes, 1);
    for (int i = 0; i < MANY; i++) in[4 * i] = 1, in[4 * i + 1] = rank + 1, in[4 * i + 2] = i % 2, in[4 * i + 3] = 1;
    for (int n = 1; n <= MANY; n = n * 5 + 1) {
        MPI_Allreduce(in, out, n, matrix, product, MPI_COMM_WORLD);
        for (int i = 0; i < n; i += n > 10 ? n / 10 : 1) {
            long one[4];
            want[0] = want[3] = 1, want[1] = want[2] = 0;
            for (int r = 0; r < size; r++) {
                one[0] = 1, one[1] = r + 1, one[2] = i % 2, one[3] = 1;
                long c[4] = {want[0] * one[0] + want[1] * one[2], want[0] * one[1] + want[1] * one[3], want[2] * one[0] + want[3] * one[2],
                             want[2] * one[1] + want[3] * one[3]};
                memcpy(want, c, sizeof c);
            }
            CHECK(!memcmp(out + 4 * i, want, sizeof want));
        }
        MPI_Reduce(in, out, n, matrix, product, size - 1, MPI_COMM_WORLD);
        MPI_Scan(in, out, n, matrix, product, MPI_COMM_WORLD);
        want[0] = want[3] = 1, want[1] = want[2] = 0;
        for (int r = 0; r <= rank; r++) want[1] += r + 1;
        CHECK(!memcmp(out, want, sizeof want));
    }
    long mine = rank % 2 ? -rank : rank, got;
    MPI_Allreduce(&mine, &got, 1, MPI_LONG, far, MPI_COMM_WORLD);
    SAME(labs(got), size - 1);
    long left = 9;
    got = 4;
    MPI_Reduce_local(&left, &got, 1, MPI_LONG, far);
    SAME(got, 9);
    MPI_Reduce_local(&left, &got, 1, MPI_LONG, MPI_PROD);
    SAME(got, 81);
    MPI_Op_free(&product);
    CHECK(product == MPI_OP_NULL);
    MPI_Op_free(&far);
    MPI_Type_free(&matrix);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    SUM_OF(signed char, MPI_SIGNED_CHAR);
    SUM_OF(unsigned char, MPI_UNSIGNED_CHAR);
    SUM_OF(short, MPI_SHORT);
    SUM_OF(unsigned short, MPI_UNSIGNED_SHORT);
    SUM_OF(int, MPI_INT);
    SUM_OF(unsigned, MPI_UNSIGNED);
    SUM_OF(long, MPI_LONG);
    SUM_OF(unsigned long, MPI_UNSIGNED_LONG);
    SUM_OF(long long, MPI_LONG_LONG);
    SUM_OF(unsigned long long, MPI_UNSIGNED_LONG_LONG);
    SUM_OF(float, MPI_FLOAT);
    SUM_OF(double, MPI_DOUBLE);
    SUM_OF(long double, MPI_LONG_DOUBLE);
    SUM_OF(int8_t, MPI_INT8_T);
    SUM_OF(int16_t, MPI_INT16_T);
    SUM_OF(int32_t, MPI_INT32_T);
    SUM_OF(int64_t, MPI_INT64_T);
    SUM_OF(uint8_t, MPI_UINT8_T);
    SUM_OF(uint64_t, MPI_UINT64_T);
    SUM_OF(MPI_Aint, MPI_AINT);
    SUM_OF(MPI_Offset, MPI_OFFSET);
    SUM_OF(MPI_Count, MPI_COUNT);
    BITS_OF(unsigned char, MPI_UNSIGNED_CHAR);
    BITS_OF(unsigned char, MPI_BYTE);
    BITS_OF(int, MPI_INT);
    BITS_OF(unsigned long, MPI_UNSIGNED_LONG);
    BITS_OF(uint16_t, MPI_UINT16_T);
    LOGIC_OF(int, MPI_INT);
    LOGIC_OF(long, MPI_LONG);
    LOGIC_OF(_Bool, MPI_C_BOOL);
    PAIR_OF(float, MPI_FLOAT_INT);
    PAIR_OF(double, MPI_DOUBLE_INT);
    PAIR_OF(long, MPI_LONG_INT);
    PAIR_OF(int, MPI_2INT);
    PAIR_OF(short, MPI_SHORT_INT);
    PAIR_OF(long double, MPI_LONG_DOUBLE_INT);
    double complex z = 1.0 + I * rank, sum;
    MPI_Allreduce(&z, &sum, 1, MPI_C_DOUBLE_COMPLEX, MPI_SUM, MPI_COMM_WORLD);
    CHECK(creal(sum) == size && cimag(sum) == size * (size - 1) / 2);
    z = I;
    MPI_Allreduce(&z, &sum, 1, MPI_C_DOUBLE_COMPLEX, MPI_PROD, MPI_COMM_WORLD);
    tell("i to the power of %d: %.0f %+.0fi\n", size, creal(sum) + 0.0, cimag(sum) + 0.0);
    float complex f = 2.0f + I;
    float complex g;
    MPI_Allreduce(&f, &g, 1, MPI_C_FLOAT_COMPLEX, MPI_SUM, MPI_COMM_WORLD);
    CHECK(crealf(g) == 2.0f * size && cimagf(g) == size);
    users();
    return end("op");
}

/* What the test programs share. Each prints, from rank 0 alone, text that must be the same under every MPI. */
#ifndef MAYFLY_CHECK_H
#define MAYFLY_CHECK_H

#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;
static long checks, errors;

/* A failed check names its line on standard error and makes the program's status 1. */
#define CHECK(condition)                                                                                                                     \
    do {                                                                                                                                     \
        checks++;                                                                                                                            \
        if (!(condition)) {                                                                                                                  \
            if (errors++ < 10) fprintf(stderr, "%s:%d: rank %d: not so: %s\n", __FILE__, __LINE__, rank, #condition);                         \
        }                                                                                                                                    \
    } while (0)

#define SAME(a, b)                                                                                                                           \
    do {                                                                                                                                     \
        long long left_ = (long long)(a), right_ = (long long)(b);                                                                           \
        checks++;                                                                                                                            \
        if (left_ != right_) {                                                                                                               \
            if (errors++ < 10) fprintf(stderr, "%s:%d: rank %d: %s is %lld, not %lld\n", __FILE__, __LINE__, rank, #a, left_, right_);        \
        }                                                                                                                                    \
    } while (0)

static inline void begin(int *argc, char ***argv) {
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
}

/* Rank 0 prints. */
static inline void tell(const char *format, ...) {
    va_list arguments;
    if (rank) return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}

static inline int end(const char *name) {
    long mine[2] = {checks, errors}, all[2];
    MPI_Allreduce(mine, all, 2, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    tell("%s: %ld checks on %d ranks, %ld errors\n", name, all[0], size, all[1]);
    MPI_Finalize();
    return all[1] ? 1 : 0;
}

/* The class of an error code. */
static inline int class_of(int code) {
    int class;
    MPI_Error_class(code, &class);
    return class;
}

/* A byte that tells message, place and sender apart. */
static inline unsigned char pattern(long message, long place, int from) { return (unsigned char)(message * 31 + place * 7 + from * 101 + 3); }

static inline void fill(unsigned char *buffer, long length, long message, int from) {
    for (long i = 0; i < length; i++) buffer[i] = pattern(message, i, from);
}

static inline long differing(const unsigned char *buffer, long length, long message, int from) {
    long found = 0;
    for (long i = 0; i < length; i++) found += buffer[i] != pattern(message, i, from);
    return found;
}

#endif

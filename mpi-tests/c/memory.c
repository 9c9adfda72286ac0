/* Memory that comes and goes under large messages: freed and mapped again at the same address with other contents, moved, discarded, shared
   with a child for a while. A transport that remembers memory by its address must not send what was there before, nor receive into it. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LENGTH = 300000, PRIVATE = 262144, ROUNDS = 24, ROOM = 1 << 20 };
enum { RW = PROT_READ | PROT_WRITE, OWN = MAP_PRIVATE | MAP_ANONYMOUS };

static long message;

static void map_at(void *address) { CHECK(mmap(address, ROOM, RW, OWN | MAP_FIXED, -1, 0) == address); }

/* A child writes to what its parent is sending and receiving (but for what both share), and unmaps it: that is its own matter. */
static void child(unsigned char *out, unsigned char *in, int unmap) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        memset(out, 0xee, PRIVATE);
        memset(in, 0xee, PRIVATE);
        if (unmap) munmap(out, PRIVATE);
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* One message around the ring; with a fork while it is on its way. */
static void turn(unsigned char *out, unsigned char *in, long length, int forks, int unmap) {
    int to = (rank + 1) % size, from = (rank + size - 1) % size;
    MPI_Request requests[2];
    message++;
    fill(out, length, message, rank);
    memset(in, 0, length);
    MPI_Irecv(in, (int)length, MPI_BYTE, from, 7, MPI_COMM_WORLD, &requests[0]);
    MPI_Isend(out, (int)length, MPI_BYTE, to, 7, MPI_COMM_WORLD, &requests[1]);
    if (forks) child(out, in, unmap);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    SAME(differing(in, length, message, from), 0);
}

static void mapped_again(unsigned char *out, unsigned char *in) {
    for (int round = 0; round < ROUNDS; round++) {
        turn(out, in, LENGTH, round % 8 == 3, 1);
        switch (round % 6) {
        case 0: /* freed, and mapped at the same address */
            munmap(out, ROOM);
            munmap(in, ROOM);
            map_at(out);
            map_at(in);
            break;
        case 1: /* mapped over */ map_at(out); break;
        case 2: /* discarded: reads as zeros */
            madvise(in, ROOM, MADV_DONTNEED);
            madvise(out, ROOM, MADV_DONTNEED);
            SAME(out[LENGTH / 2] | in[LENGTH / 2], 0);
            break;
        case 3: { /* exchanged: each page is now where the other was */
            unsigned char *aside = mmap(NULL, ROOM, RW, OWN, -1, 0);
            CHECK(mremap(out, ROOM, ROOM, MREMAP_MAYMOVE | MREMAP_FIXED, aside) == aside);
            CHECK(mremap(in, ROOM, ROOM, MREMAP_MAYMOVE | MREMAP_FIXED, out) == out);
            CHECK(mremap(aside, ROOM, ROOM, MREMAP_MAYMOVE | MREMAP_FIXED, in) == in);
            break;
        }
        case 4: /* only the end is new, and another memory: shared */
            CHECK(mmap(out + PRIVATE, ROOM - PRIVATE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == out + PRIVATE);
            break;
        default: /* read-only for a while */
            mprotect(out, ROOM, PROT_READ);
            mprotect(out, ROOM, RW);
        }
    }
}

static void allocated_again(void) {
    for (int round = 0; round < ROUNDS; round++) {
        /* Above and below what C libraries map on its own. */
        long length = round % 3 ? LENGTH : 100000;
        unsigned char *out = malloc(length), *in = malloc(length);
        turn(out, in, length, round % 12 == 5, 0);
        if (round % 4 == 1) {
            out = realloc(out, 2 * LENGTH);
            turn(out, in, length, 0, 0);
        }
        free(in);
        free(out);
    }
}

/* Buffers that lie in one another, that share a page, that touch. */
static void parts(unsigned char *out, unsigned char *in) {
    static const struct {
        long at, length;
    } part[] = {{0, 100000}, {50000, 100000}, {99999, 100001}, {204800, 69632}, {274432, 73728}, {1, 299999}, {0, 500000}, {70000, 80000}};
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < sizeof part / sizeof *part; i++) turn(out + part[i].at, in + part[i].at, part[i].length, 0, 0);
        /* A hole in the middle of what was sent is filled anew. */
        munmap(out + 131072, 65536);
        CHECK(mmap(out + 131072, 65536, RW, OWN | MAP_FIXED, -1, 0) == out + 131072);
        madvise(in + 65536, 65536, MADV_DONTNEED);
    }
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    unsigned char *out = mmap(NULL, ROOM, RW, OWN, -1, 0), *in = mmap(NULL, ROOM, RW, OWN, -1, 0);
    CHECK(out != MAP_FAILED && in != MAP_FAILED);
    mapped_again(out, in);
    allocated_again();
    parts(out, in);
    /* What is unmapped after the end must not make anybody wait. */
    child(out, in, 1);
    int status = end("memory");
    munmap(out, ROOM);
    munmap(in, ROOM);
    return status;
}

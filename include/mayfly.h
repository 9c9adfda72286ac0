/* What Mayfly adds to MPI; the same for each of its ABIs. Include it after mpi.h. */
#ifndef MAYFLY_H
#define MAYFLY_H

/* An attribute of every communicator: how many seconds the platform leaves this process, counted down to 0 each time it is asked for. Not
   set where nothing ends the process. SIGTERM comes ten seconds before the end.

       int *left, known;
       MPI_Comm_get_attr(MPI_COMM_WORLD, MAYFLY_SECONDS_LEFT, &left, &known);
       if (known && *left < 60) write_checkpoint();

   Ask on one rank and tell the others: their clocks and deadlines differ. */
#define MAYFLY_SECONDS_LEFT 0x4d415946

#endif

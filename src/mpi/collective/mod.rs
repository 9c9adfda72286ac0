//! Collective communication (MPI-5.0 §6): a collective is a schedule.

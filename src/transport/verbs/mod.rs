//! Links by verbs: remote direct memory access over InfiniBand and RoCE, through libibverbs, which is opened at run time.

pub mod memory;
pub mod sys;

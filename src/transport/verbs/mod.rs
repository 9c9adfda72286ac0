//! Links by verbs: remote direct memory access over InfiniBand and RoCE, through libibverbs, which is opened at run time.

pub mod all;
pub mod buffers;
pub mod credit;
pub mod device;
pub mod frame;
pub mod lane;
pub mod link;
pub mod meet;
pub mod memory;
pub mod onesided;
pub mod peer;
pub mod poll;
pub mod post;
pub mod queue;
pub mod reception;
pub mod ring;
pub mod sleep;
#[cfg(test)]
mod strangers;
pub mod sys;
pub mod traffic;
#[cfg(test)]
mod trial;
pub mod ud;
pub mod users;

pub use all::Verbs;

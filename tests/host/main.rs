//! `mayfly host` against what each platform's documentation says of the wire, over real sockets, with a real rendezvous
//! and shells as programs.

#[path = "../common/mod.rs"]
mod common;

mod http;
mod index;
mod instance;
mod lambda;
mod meeting;
mod streams;
mod web;
mod whisk;

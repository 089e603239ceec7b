//! The whole daemon or one part of it, on real sockets, in one test binary.

mod proxy;

//! The one integration binary: real sockets, a real kube-apiserver, the real program.

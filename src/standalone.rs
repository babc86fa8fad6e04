//! `tidegate run`: files instead of a cluster, one process instead of two.

//! The control plane: two reconcilers over the ports.

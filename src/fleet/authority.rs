//! The controller's own small certificate authority: it names the workers and the controller to each other.

//! Reordering and playout of what is received.

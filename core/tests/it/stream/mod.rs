//! What streams promise: every byte once and in order, bounded memory, and an end on both sides.

mod hostile;
mod laws;
mod pipe;
mod turns;

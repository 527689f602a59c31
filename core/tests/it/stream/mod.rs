//! What streams promise: every byte once and in order, bounded memory, and an end on both sides.

mod hostile;
mod laws;
mod parties;
mod pipe;
mod recovery;
mod triangle;
mod turns;

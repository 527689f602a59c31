//! The simulations.

//! The manager, by subject: what goes in and comes out, on a bench.

mod admission;
mod bench;
mod classes;
mod costs;
mod endings;
mod fairness;
mod given_back;
mod handshake;
mod late_answers;
mod leaving;
mod max_wait;
mod nested;
mod output_order;
mod random;
mod recall;
mod recovery;
mod requeue;
mod resubmission;
mod rules;
mod runs;
mod trust;
mod turns;
mod unread_outcomes;
mod unroutable;
mod waiting_runs;
mod work_per_message;

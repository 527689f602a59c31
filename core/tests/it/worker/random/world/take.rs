//! What each step does.

use super::*;
use crate::worker::bench::*;
use crate::worker::random::steps::Step;

impl World {
    #[expect(clippy::too_many_lines, reason = "a list: what each step does")]
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Assign {
                name,
                at_most_once,
                deadline,
                limit,
            } => {
                let span = |span: Option<u16>| {
                    Nanos::from(span.map(|span| Duration::from_millis(span.into())))
                };
                self.assign(Assign {
                    at_most_once,
                    deadline: span(deadline),
                    time_limit: span(limit),
                    name: crate::worker::bench::name(["n0", "n1", "n2"][usize::from(name)]),
                    ..assign(self.next)
                });
            }
            Step::AssignMany(count) => {
                for _ in 0..count % 64 {
                    let name = name("n0");
                    self.assign(Assign {
                        name,
                        ..assign(self.next)
                    });
                }
            }
            Step::AssignAgain(pick) => {
                let attempt = self.pick(pick);
                // A manager never assigns anew what it was told the end of.
                let known = self.known.get(&attempt);
                if matches!(known, Some(Known::Running)) {
                    let again = assign(attempt.number);
                    self.say(
                        FromManager::Role(ToWorker::Assign(again)),
                        payload(attempt.number),
                    );
                }
            }
            Step::Recall(picks) => {
                let attempts = picks.into_iter().map(|pick| self.pick(pick)).collect();
                self.say(
                    FromManager::Role(ToWorker::Recall { attempts }),
                    Bytes::new(),
                );
            }
            Step::Kill(pick) => {
                let attempt = self.pick(pick);
                self.say(FromManager::Role(ToWorker::Kill { attempt }), Bytes::new());
            }
            Step::Resend(pick) => {
                let attempt = self.pick(pick);
                self.say(
                    FromManager::Role(ToWorker::Resend { attempt }),
                    Bytes::new(),
                );
            }
            Step::Ack(picks) => {
                let attempts: Vec<_> = picks.into_iter().map(|pick| self.pick(pick)).collect();
                self.ack(attempts);
            }
            Step::AckAll => {
                let attempts: Vec<_> = self.known.keys().copied().collect();
                self.ack(attempts);
            }
            Step::Nonsense(what) => {
                let body = match what % 4 {
                    0..=2 => FromManager::Misdirected,
                    _ => FromManager::Control(Control::Pong(Beat {
                        nonce: 0,
                        received: u64::MAX,
                    })),
                };
                self.say(body, Bytes::new());
            }
            Step::Connected => {
                if let (false, Some(conn)) = (self.up, self.conn) {
                    self.feed(WorkerInput::Link(LinkInput::Connected { conn }));
                }
            }
            Step::Welcome => self.welcome(),
            Step::Pong => self.pong(),
            Step::Cut => {
                self.settle();
                if let Some(conn) = self.conn.take() {
                    self.up = false;
                    self.feed(WorkerInput::Link(LinkInput::Closed { conn }));
                }
            }
            Step::Ready(pick) => {
                let (slot, life) = self.child(pick);
                self.ready(slot, life);
            }
            Step::Done { slot, ran, fails } => {
                let (slot, life) = self.child(slot);
                self.done(slot, life, Duration::from_nanos(ran.into()), fails);
            }
            Step::DoneMany(pick) => {
                let (slot, life) = self.child(pick);
                if pick % 2 == 0 {
                    self.done_many(slot, life, usize::from(pick), US);
                } else {
                    for _ in 0..pick {
                        self.done(slot, life, US, false);
                    }
                }
            }
            Step::Dies(pick) => {
                let (slot, life) = self.child(pick);
                self.dies(slot, life);
            }
            Step::Memory(pick) => {
                let (_, slot) = self.child(pick);
                let bytes = u64::from(pick) * 10;
                self.pool(PoolInput::Memory { slot, bytes });
            }
            Step::Lies(pick) => {
                let (_, mut slot) = self.child(pick);
                slot.life -= u64::from(pick) % 2;
                let attempt = attempt(u64::MAX);
                self.pool(PoolInput::Done {
                    slot,
                    attempt,
                    ran: MS,
                    end: RunEnd::Completed,
                    payload: Bytes::new().into(),
                });
            }
            Step::Pass(micros) => {
                self.settle();
                self.pass(US * micros);
            }
            Step::Settle => self.settle(),
            Step::Drain => {
                self.draining = true;
                self.feed(WorkerInput::Drain);
            }
            Step::Stop => {
                self.draining = true;
                self.feed(WorkerInput::Stop);
            }
        }
    }
}

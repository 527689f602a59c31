//! What the product says in its log: lines of the trace, and marks of the branches that it took.

use std::fmt;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::guard::current;
use super::scene::Scene;
use crate::faults::FaultKind;
use crate::report::{Class, Failure};
use crate::world::short;

/// Listens to the log of the hosts of one run.
pub(super) struct Listener {
    scene: Arc<Scene>,
    /// Whether there are strangers, who may say anything.
    strangers: bool,
}

impl Listener {
    pub(super) fn new(scene: &Arc<Scene>) -> Self {
        let mut faults = scene.plan.faults.iter();
        let strangers = faults.any(|fault| matches!(fault.kind, FaultKind::Hostile(_)));
        Self {
            scene: Arc::clone(scene),
            strangers,
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("argon")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(host) = current() else { return };
        let mut line = Text::default();
        event.record(&mut line);
        if let Some(mark) = mark(&line.message, line.resumed) {
            self.scene.mark(mark);
        }
        if is_misunderstanding(&line) && !self.strangers {
            let text = format!("{}{}", line.message, line.fields);
            let promise = "11 (honest peers understand each other)";
            self.scene.fail(Failure::new(Class::Safety, promise, text));
        }
        self.scene.say(host, None, || {
            short(&format!("log: {}{}", line.message, line.fields))
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    resumed: bool,
}

impl Visit for Text {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.resumed |= field.name() == "resumed" && value;
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            let _ = write!(self.fields, " {field}={value:?}");
        }
    }
}

/// What the log says of a connection whose peer is to blame, and of one whose peer may be gone.
const CLOSED: &str = "closed a connection: its peer ";
const SILENT: &str = "closed a connection: its peer was silent";
/// What it says of bytes that are no frame.
const NO_FRAME: &str = "closed a connection: its peer sent ";

/// Whether somebody said what he must not say, as the other side sees it.
fn is_misunderstanding(line: &Text) -> bool {
    line.message.starts_with(CLOSED) && !line.message.starts_with(SILENT)
}

/// The mark of a line of the log, by the names that the fast level has for them, and some that
/// only a driver can reach.
fn mark(message: &str, resumed: bool) -> Option<&'static str> {
    Some(match message {
        "peer is back" => "peer-resumed",
        "peer joined" => "peer-joined",
        "peer disconnected" => "peer-disconnected",
        "peer is gone" => "peer-gone",
        "peer refused" => "peer-refused",
        "connection closed" => "conn-closed",
        "tasks rejected" => "task-rejected",
        "attempt lost" => "attempt-charged",
        "task queued again" => "task-returned",
        "attempt adopted" => "attempt-adopted",
        "attempt kept until its client returns" => "orphan-kept",
        "attempt matched with its task" => "orphan-matched",
        "stale attempt ignored" => "stale-ignored",
        "attempt recalled" => "recalled",
        "task waits for a worker to claim it" => "task-unclaimed",
        "task stopped after killing its processes" => "poison-stopped",
        "task lost" => "task-lost",
        "session resumed" => "session-resumed",
        "result acknowledged before its client did" => "result-released-early",
        "draining" => "drain-started",
        "connected" if resumed => "link-resumed",
        "connected" => "link-up",
        "not connected" => "link-down",
        "the manager refused us" => "link-refused",
        "pool process ready" => "slot-ready",
        "pool process ended" => "slot-exited",
        "task broke its time limit" => "time-limit-hit",
        "task submitted again" => "retrying",
        "results wait to be acknowledged; nothing new is taken" => "results-full",
        "cannot connect" => "cannot-connect",
        "connection lost" => "connection-lost",
        "cannot connect safely" => "cannot-connect-safely",
        "not let in" | "not let in; not said again for a minute" => "stranger-kept-out",
        "cannot write" => "cannot-write",
        "cannot read" => "cannot-read",
        _ if message.starts_with(NO_FRAME) => "garbage-refused",
        "a connection ended before it was accepted" => "accept-failed",
        _ => return None,
    })
}

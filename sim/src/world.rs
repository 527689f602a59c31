//! The world: one loop over one heap of events in virtual time.

pub(crate) mod connections;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use argon_core::event::Event as Notice;
use argon_core::ids::ConnId;
use slab::Slab;

use crate::history::{Disturbance, History, Life};
use crate::network::{ConnIndex, Network};
use crate::options::{Host, MS, Options};
use crate::plan::Plan;
use crate::pool::{PoolEffects, PoolEvent};
use crate::process::{Fact, HostState, Node, boot};
use crate::report::{Class, Failure, Report};
use crate::rng::{Draw, stream};
use crate::trace::{Hop, Line, Trace};
use crate::wire;
use crate::workload::Book;
use argon_core::message::Said;

/// What happens at an instant.
#[derive(Debug)]
pub(crate) enum Event {
    Step(Host, usize),
    Wake(Host, usize),
    Deliver(ConnIndex, usize),
    Dial(ConnIndex),
    Answer(ConnIndex),
    Reset(ConnIndex, usize),
    Pool(Host, usize, PoolEvent),
    Submit(usize),
    Cancel(usize),
    /// A stranger says this to a life of a manager.
    Hostile(Host, usize, ConnId, Box<Fact>),
    /// A stranger at a manager's address speaks on this connection, so many times more.
    Impostor(ConnIndex, u64),
    /// Bytes of something large move.
    Progress(ConnIndex, usize),
    FaultBegins(usize),
    FaultEnds(usize),
    Start(Host),
    Heal,
}

/// Where an event stands in the order of all: by time, then by when it was decided on. The event
/// itself lies elsewhere, so that little is moved about.
type Key = (u64, u64, u32);

/// A cluster, its network, and what has happened so far.
pub(crate) struct World<'p> {
    pub plan: &'p Plan,
    /// The tasks, which need not be those of the plan.
    pub book: &'p dyn Book,
    pub now: u64,
    sequence: u64,
    heap: BinaryHeap<Reverse<Key>>,
    events: Slab<Event>,
    /// The tasks of the plan that are yet to be submitted, by time and place, the next one last.
    /// There are many of them, and they would be in the way of all others in the heap.
    coming: Vec<(u64, usize)>,
    /// The sequence of the first task.
    first_task: u64,
    /// Rare branches of the product that were taken. The names are literals.
    marks: Vec<(&'static str, u64)>,
    pub hosts: Vec<HostState>,
    pub net: Network,
    pub history: History,
    pub report: Report,
    pub trace: &'p mut Trace,
    pub failure: Option<Failure>,
    /// Which fault goes on now, and its place in the history.
    pub active: BTreeMap<usize, usize>,
    /// Which life a fault struck, where that matters at its end.
    pub fault_lives: BTreeMap<usize, usize>,
    /// Tasks without an outcome, of the present life of each host.
    pub open: Vec<usize>,
    /// Most tasks that a manager's queue held since somebody last looked.
    pub most_queued: usize,
    /// Names of processes by the id that they drew, for traces.
    ids: BTreeMap<u64, Host>,
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, trace: &'p mut Trace) -> Self {
        let mut world = Self::idle(plan, &plan.tasks, trace);
        world.first_task = world.sequence;
        world.sequence += plan.tasks.len() as u64;
        let tasks = plan.tasks.iter().enumerate();
        world.coming = tasks.map(|(index, task)| (task.at, index)).collect();
        world.coming.sort_unstable_by_key(|task| Reverse(*task));
        for (index, fault) in plan.faults.iter().enumerate() {
            world.at(fault.at, Event::FaultBegins(index));
        }
        world.at(plan.options.heal_at, Event::Heal);
        if plan.options.tiny.is_some() {
            world.report.faults.insert("tiny-bounds", 1);
        }
        world
    }

    /// A world to which tasks and faults are yet to come: whoever steps it says when.
    pub(crate) fn idle(plan: &'p Plan, book: &'p dyn Book, trace: &'p mut Trace) -> Self {
        let hosts = usize::from(plan.options.hosts());
        let mut world = Self {
            plan,
            book,
            now: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
            events: Slab::new(),
            coming: Vec::new(),
            first_task: 0,
            marks: Vec::new(),
            hosts: (0..hosts).map(|_| HostState::default()).collect(),
            net: Network::new(plan.seed, &plan.options),
            history: History::default(),
            report: Report::default(),
            trace,
            failure: None,
            active: BTreeMap::new(),
            fault_lives: BTreeMap::new(),
            open: vec![0; hosts],
            most_queued: 0,
            ids: BTreeMap::new(),
        };
        for host in 0..plan.options.hosts() {
            let delay = stream(plan.seed, &[14, u64::from(host)]).up_to(5 * MS);
            world.at(delay, Event::Start(host));
        }
        world
    }

    pub(crate) fn options(&self) -> &'p Options {
        &self.plan.options
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        let sequence = self.sequence;
        self.sequence += 1;
        let place = self.events.insert(event) as u32;
        self.heap.push(Reverse((at.max(self.now), sequence, place)));
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now.saturating_add(delay), event);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        if self.failure.is_none() {
            self.failure = Some(failure);
        }
    }

    /// Takes the next step, unless it lies beyond `until`. False when it does.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        let decided = self
            .heap
            .peek()
            .map(|Reverse((at, sequence, _))| (*at, *sequence));
        let task = self.coming.last();
        let task = task.map(|(at, index)| (*at, self.first_task + *index as u64));
        let is_task = task.is_some_and(|task| decided.is_none_or(|event| task < event));
        let next = if is_task { task } else { decided };
        let Some((at, _)) = next.filter(|(at, _)| *at <= until) else {
            self.now = until;
            return false;
        };
        debug_assert!(at >= self.now, "time does not go back");
        self.now = at;
        self.report.events += 1;
        if is_task {
            if let Some((_, task)) = self.coming.pop() {
                self.handle(Event::Submit(task));
            }
        } else if let Some(Reverse((_, _, place))) = self.heap.pop() {
            let event = self.events.remove(place as usize);
            self.handle(event);
        }
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Step(host, life) => self.step_process(host, life),
            Event::Wake(host, life) => {
                let now = self.now;
                if let Some(process) = &mut self.hosts[usize::from(host)].process
                    && process.life == life
                    && process.wake_at == Some(now)
                {
                    process.wake_at = None;
                    self.step_process(host, life);
                }
            }
            Event::Deliver(index, side) => self.deliver(index, side),
            Event::Dial(index) => self.accept(index),
            Event::Answer(index) => self.answer(index),
            Event::Reset(index, side) => self.reset(index, side),
            Event::Pool(host, life, event) => self.pool_event(host, life, event),
            Event::Submit(task) => self.tell_client(task, Fact::Submit(task)),
            Event::Cancel(task) => self.tell_client(task, Fact::Cancel(task)),
            Event::Hostile(host, life, conn, fact) => {
                self.hostile_speaks(host, life, conn, *fact);
            }
            Event::Impostor(index, left) => self.impostor_speaks(index, left),
            Event::Progress(index, side) => self.progress(index, side),
            Event::FaultBegins(fault) => self.fault_begins(fault),
            Event::FaultEnds(fault) => self.fault_ends(fault),
            Event::Start(host) => self.start(host),
            Event::Heal => self.heal(),
        }
    }

    // ---- processes ----

    /// Starts the process of a host, if none runs.
    pub(crate) fn start(&mut self, host: Host) {
        let state = &mut self.hosts[usize::from(host)];
        if state.process.is_some() || state.gone || state.impostor {
            return;
        }
        state.dark = false;
        let count = state.lives;
        state.lives += 1;
        let life = self.history.lives.len();
        let options = self.options();
        let (process, id) = boot(self.plan.seed, host, count, life, self.now, options);
        let (capacity, runs) = if options.worker_hosts().contains(&host) {
            let capacity = options.workers[usize::from(host - options.managers)];
            (capacity, options.runs(host, count))
        } else {
            (0, 0)
        };
        self.history.lives.push(Life {
            host,
            id,
            start: self.now,
            end: None,
            capacity,
            runs,
        });
        self.ids.insert(id, host);
        self.open[usize::from(host)] = 0;
        self.hosts[usize::from(host)].process = Some(process);
        self.say(host, None, || format!("starts, id {id:016x}"));
        self.step_process(host, life);
    }

    /// Ends the process of a host; its host closes its connections if `polite`.
    pub(crate) fn end_process(&mut self, host: Host, polite: bool, why: &str) {
        let Some(mut process) = self.hosts[usize::from(host)].process.take() else {
            return;
        };
        self.say(host, None, || format!("ends: {why}"));
        self.history.lives[process.life].end = Some(self.now);
        if self.trace.is_on() {
            // What it held is gone.
            let counts = process.node.counts().map(|(name, _)| (name, 0));
            self.trace.counts(self.now, host, counts);
        }
        if let Node::Worker(_, pool) = &mut process.node {
            pool.end(self.now, &mut self.history);
        }
        self.open[usize::from(host)] = 0;
        self.hosts[usize::from(host)].dark = !polite;
        if polite {
            let conns: Vec<ConnIndex> = process.conns.values().copied().collect();
            for index in conns {
                self.close(host, process.life, index);
            }
        }
    }

    /// Puts a fact before a process, which takes its turn soon.
    pub(crate) fn tell(&mut self, host: Host, fact: Fact) {
        let turn = self.options().step;
        let Some(process) = &mut self.hosts[usize::from(host)].process else {
            return;
        };
        process.inbox.push_back(fact);
        if !process.step_due && process.paused == 0 {
            process.step_due = true;
            let delay = if turn == 0 {
                0
            } else {
                process.rng.up_to(turn)
            };
            let life = process.life;
            self.after(delay, Event::Step(host, life));
        }
    }

    /// Puts a fact before the client whose task it is.
    fn tell_client(&mut self, task: usize, fact: Fact) {
        if let Some(client) = self.book.task(task).map(|task| task.client) {
            self.tell(client, fact);
        }
    }

    fn pool_event(&mut self, host: Host, life: usize, event: PoolEvent) {
        let (book, now) = (self.book, self.now);
        let state = &mut self.hosts[usize::from(host)];
        if state.frozen > 0 {
            state.thawing.push((life, event));
            return;
        }
        let Some(process) = &mut state.process else {
            return;
        };
        if process.life != life {
            return;
        }
        if let Node::Worker(_, pool) = &mut process.node {
            let effects = pool.event(now, event, book, &mut self.history);
            self.apply_pool(host, life, effects);
        }
    }

    pub(crate) fn apply_pool(&mut self, host: Host, life: usize, effects: PoolEffects) {
        for (delay, event) in effects.later {
            self.after(delay, Event::Pool(host, life, event));
        }
        if let Some(began) = effects.began {
            self.report.executions += 1;
            let run = self.history.execution(began);
            let (task, attempt) = (run.task, run.attempt.1);
            self.say(host, Some(task), || {
                format!("execution {began} begins: task {task}, attempt {attempt}")
            });
        }
        for input in effects.tell {
            if self.trace.is_on() {
                let task = match &input {
                    argon_core::worker::PoolInput::Done { payload, .. } => {
                        crate::workload::number_of(payload)
                    }
                    _ => None,
                };
                self.say(host, task, || short(&format!("pool: {input:?}")));
            }
            self.tell(host, Fact::Pool(input));
        }
        if effects.worker_dies {
            self.end_process(host, true, "a task killed it");
            let delay = stream(self.plan.seed, &[15, u64::from(host), life as u64]);
            let delay = { delay }.between(20 * MS, 500 * MS);
            self.after(delay, Event::Start(host));
        }
    }

    /// How often a branch of this name was taken.
    pub(crate) fn marked(&self, name: &str) -> u64 {
        let known = self.marks.iter().find(|(mark, _)| *mark == name);
        known.map_or(0, |(_, count)| *count)
    }

    /// What the run amounted to.
    pub(crate) fn take_report(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        for (mark, count) in self.marks.drain(..) {
            *report.marks.entry(mark).or_default() += count;
        }
        report.failure = self.failure.take();
        report.virtual_time = self.now;
        report
    }

    /// How a host is called in traces.
    pub(crate) fn who(&self, host: Host) -> String {
        let options = self.options();
        let letter = if host < options.managers {
            'm'
        } else if options.worker_hosts().contains(&host) {
            'w'
        } else {
            'c'
        };
        match self.hosts[usize::from(host)].lives {
            0 | 1 => format!("{letter}{host}"),
            lives => format!("{letter}{host}.{lives}"),
        }
    }

    pub(crate) fn say(&mut self, host: Host, task: Option<usize>, text: impl FnOnce() -> String) {
        if self.trace.is_on() {
            let line = Line {
                at: self.now,
                who: self.who(host),
                text: text(),
                task,
            };
            self.trace.push(line);
        }
    }

    pub(crate) fn say_fault(&mut self, text: impl FnOnce() -> String) {
        if self.trace.is_on() {
            let line = Line {
                at: self.now,
                who: "fault".to_owned(),
                text: text(),
                task: None,
            };
            self.trace.push(line);
        }
    }

    pub(crate) fn say_message(
        &mut self,
        host: Host,
        index: ConnIndex,
        side: usize,
        arrow: &str,
        body: &Said,
    ) -> Option<usize> {
        if !self.trace.is_on() || wire::is_beat(body) {
            return None;
        }
        // Side 0 dialled, so it is the client or worker.
        let ends = self.net.connections[index].ends;
        let client = self.history.lives.get(ends[0].life).map(|life| life.id);
        let task = wire::task_of(body, client).and_then(|(id, seq)| self.task_by_number(id, seq));
        // `side` is always the sender's.
        let leaves = arrow == "->";
        let other = ends[if leaves { 1 - side } else { side }].host;
        let words = short(&format!("{body:?}"));
        let text = format!("{arrow} {}: {words}", self.who(other));
        self.say(host, task, || text);
        leaves.then(|| {
            let end = words.find(|c: char| !c.is_alphanumeric());
            self.trace.leaves(Hop {
                from: host,
                to: other,
                sent: self.now,
                arrived: None,
                kind: words[..end.unwrap_or(words.len())].to_owned(),
                task,
            })
        })
    }

    pub(crate) fn task_by_number(&self, client: u64, seq: u64) -> Option<usize> {
        let submit = self
            .history
            .submits
            .iter()
            .rev()
            .find(|submit| submit.seq == seq && self.history.lives[submit.life].id == client)?;
        Some(submit.task)
    }

    pub(crate) fn notice(&mut self, host: Host, event: &Notice) {
        let (task, mark) = wire::event_of(event);
        let known = self
            .marks
            .iter_mut()
            .find(|(name, _)| std::ptr::eq(*name, mark));
        match known {
            Some((_, count)) => *count += wire::count_of(event),
            None => self.marks.push((mark, wire::count_of(event))),
        }
        if self.trace.is_on() {
            let task = task.and_then(|task| self.task_by_number(task.client.0, task.seq));
            self.say(host, task, || short(&format!("{event:?}")));
        }
    }

    pub(crate) fn disturb(&mut self, fault: usize, hosts: Vec<Host>, what: &'static str) {
        let place = self.history.disturbances.len();
        self.history.disturbances.push(Disturbance {
            from: self.now,
            to: u64::MAX,
            hosts,
            what,
        });
        self.active.insert(fault, place);
        *self.report.faults.entry(what).or_default() += 1;
    }

    pub(crate) fn busy_loop(&mut self, host: Host) {
        let who = self.who(host);
        self.fail(Failure::new(
            Class::Liveness,
            "machine",
            format!("{who} asks to be woken at once, for ever"),
        ));
    }
}

/// Long texts end in an ellipsis.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 280;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

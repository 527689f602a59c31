//! What runs on the hosts: the product's own servers, and applications that submit tasks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use argon::{
    Client, ClientOptions, ManagerOptions, ManagerServer, Priority, TaskSpec, WorkerOptions,
    WorkerServer,
};
use argon_core::rng::Rng;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use super::executor::{PoolCell, SimExecutor};
use super::guard::Guarded;
use super::node::{Node, address};
use super::scene::{Command, Scene, Why};
use super::stranger;
use super::transport::{PORT, TurmoilTransport};
use crate::history::{Delivery, Submit};
use crate::names::{called as name_of, name};
use crate::options::{Host, MS};
use crate::process::{manager_config, worker_config};
use crate::report::{Class, Failure};
use crate::rng::{mix, stream};
use crate::step::in_own_words;
use crate::world::short;

/// Longest time that a process takes to get going.
const START_MAX: u64 = 30 * MS;

/// The random id that the process of a host draws at one of its starts (`life`).
pub(super) fn id_of(scene: &Scene, host: Host, count: u64) -> u64 {
    let id = mix(scene.plan.seed, &[11, u64::from(host), count]);
    if scene.options().client_hosts().contains(&host) {
        // A client draws its own, as the first of its choices.
        Rng::from_seed(id).draw()
    } else {
        id
    }
}

/// The present life of a host: its tasks, from the start to the end of its process.
pub(super) fn software(
    scene: &Arc<Scene>,
    host: Host,
) -> impl Future<Output = turmoil::Result> + use<> {
    let mut inner = scene.lock();
    let (sender, commands) = unbounded_channel();
    let (life, count) = match &mut inner.hosts[usize::from(host)].process {
        Some(process) => {
            process.commands = Some(sender);
            (process.life, process.count)
        }
        None => (usize::MAX, 0),
    };
    drop(inner);
    let node = Node {
        scene: Arc::clone(scene),
        host,
        life,
        count,
    };
    let root = Guarded::new(scene, host, life, true, node.run(commands));
    async move {
        root.await;
        // The host is still there, and answers for the process that it no longer has.
        std::future::pending().await
    }
}

impl Node {
    async fn run(self, commands: UnboundedReceiver<Command>) {
        let keys = [14, u64::from(self.host), self.count];
        let delay = stream(self.scene.plan.seed, &keys).up_to(START_MAX);
        sleep(Duration::from_nanos(delay)).await;
        let options = self.scene.options();
        if self.host < options.managers {
            self.manager(commands).await;
        } else if options.worker_hosts().contains(&self.host) {
            self.worker(commands).await;
        } else if options.client_hosts().contains(&self.host) {
            self.client(commands).await;
        } else {
            stranger::run(self, commands).await;
        }
    }

    pub(super) fn transport(&self) -> TurmoilTransport {
        TurmoilTransport {
            scene: Arc::clone(&self.scene),
            host: self.host,
            life: self.life,
        }
    }

    /// A task of this process.
    pub(super) fn spawn(&self, pausable: bool, task: impl Future<Output = ()> + 'static) {
        let task = Guarded::new(&self.scene, self.host, self.life, pausable, task);
        tokio::task::spawn_local(task);
    }

    fn seed(&self) -> u64 {
        mix(
            self.scene.plan.seed,
            &[12, u64::from(self.host), self.count],
        )
    }

    fn managers(&self) -> Vec<String> {
        let options = self.scene.options();
        (0..options.managers)
            .map(|host| address(&self.scene, host))
            .collect()
    }

    fn defect(&self, text: String) {
        self.scene
            .fail(Failure::new(Class::Panic, "17 (nothing panics)", text));
    }

    async fn manager(self, mut commands: UnboundedReceiver<Command>) {
        let id = id_of(&self.scene, self.host, self.count);
        let options = ManagerOptions {
            listen: format!("0.0.0.0:{PORT}"),
            keys: self.scene.keys.clone(),
            insecure: true,
            config: manager_config(self.scene.options(), id),
        };
        let server = match ManagerServer::bind_on(self.transport(), options).await {
            Ok(server) => server,
            Err(error) => return self.defect(format!("a manager cannot start: {error}")),
        };
        let handle = server.handle();
        self.spawn(true, async move {
            while commands.recv().await.is_some() {
                handle.drain();
            }
        });
        match server.run().await {
            Ok(()) => self.scene.ended(self.host, self.life, Why::Left),
            Err(error) => self.defect(format!("a manager broke: {error}")),
        }
    }

    async fn worker(self, mut commands: UnboundedReceiver<Command>) {
        let id = id_of(&self.scene, self.host, self.count);
        let options = WorkerOptions {
            managers: self.managers(),
            keys: self.scene.keys.clone(),
            config: worker_config(self.scene.options(), self.host, self.count, id),
        };
        let pool = PoolCell::new(&self.scene, self.host, self.life, self.count);
        if let Some(process) = self.scene.lock().process(self.host, self.life) {
            process.pool = Some(Arc::clone(&pool));
        }
        self.spawn(false, Arc::clone(&pool).run());
        let executor = SimExecutor(Arc::clone(&pool));
        let server = match WorkerServer::new_on(self.transport(), options, executor, self.seed()) {
            Ok(server) => server,
            Err(error) => return self.defect(format!("a worker cannot start: {error}")),
        };
        let handle = server.handle();
        self.spawn(true, async move {
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Stop => handle.stop(),
                    _ => handle.drain(),
                }
            }
        });
        // One that is started again ends its earlier life by its name, whatever that has to say.
        let _ = server.run().await;
        pool.end();
        self.scene.ended(self.host, self.life, Why::Left);
    }

    async fn client(self, mut commands: UnboundedReceiver<Command>) {
        let plan = self.scene.options();
        let options = ClientOptions {
            keys: self.scene.keys.clone(),
            name: Some(name_of(plan, "c", self.host, self.count)),
            retries: plan.retries,
            tasks: plan.client_held as usize,
            ..ClientOptions::new(self.managers())
        };
        let seed = mix(
            self.scene.plan.seed,
            &[11, u64::from(self.host), self.count],
        );
        let client = match Client::start_on(self.transport(), options, seed) {
            Ok(client) => client,
            Err(error) => return self.defect(format!("a client cannot start: {error}")),
        };
        let now = self.scene.now();
        let started = self.scene.lock().history.lives[self.life].start;
        for (index, task) in self.scene.plan.tasks.iter().enumerate() {
            // What was due while it was getting going, it submits now.
            if task.client == self.host && task.at >= started {
                let after = task.at.saturating_sub(now);
                self.spawn(true, self.clone().submit(client.clone(), index, after));
            }
        }
        if commands.recv().await.is_none() {
            return;
        }
        self.scene.say(self.host, None, || "stops".to_owned());
        client.close().await;
        // Those who wait for outcomes have them, and get their turns.
        while self.scene.lock().hosts[usize::from(self.host)].open > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        self.scene.ended(self.host, self.life, Why::Left);
    }

    /// What the application does about one task.
    async fn submit(self, client: Client, index: usize, after: u64) {
        sleep(Duration::from_nanos(after)).await;
        let task = &self.scene.plan.tasks[index];
        let mut spec = TaskSpec::new(name(&format!("t{}", task.name)), task.argument(index));
        let span = |nanos: Option<u64>| nanos.map(Duration::from_nanos);
        spec.priority = Priority::new(task.priority).unwrap_or_default();
        spec.deadline = span(task.deadline);
        spec.max_wait = span(task.max_wait);
        spec.time_limit = span(task.time_limit);
        spec.max_attempts = task.max_attempts;
        spec.at_most_once = task.at_most_once;
        spec.retries = task.retries;
        self.open(|open| open + 1);
        let mut submission = match client.submit(spec).await {
            Ok(submission) => submission,
            Err(error) => {
                self.scene.mark("submit-refused");
                self.scene.say(self.host, Some(index), || {
                    format!("cannot submit {index}: {error}")
                });
                return self.open(|open| open - 1);
            }
        };
        drop(client);
        let seq = submission.id().seq;
        self.submitted(index, seq, submission.id().client.0);
        let ended = match task.cancel_after {
            None => submission.await,
            Some(after) => tokio::select! {
                biased;
                ended = &mut submission => ended,
                () = sleep(Duration::from_nanos(after)) => {
                    self.scene.say(self.host, Some(index), || format!("cancels task {index}"));
                    submission.cancel();
                    submission.await
                }
            },
        };
        let end = in_own_words(&ended.outcome);
        self.scene.say(self.host, Some(index), || {
            short(&format!("delivers {seq}: {:?}", ended.outcome))
        });
        let (at, life, payload) = (self.scene.now(), self.life, ended.payload.to_vec());
        let mut inner = self.scene.lock();
        *inner.report.outcomes.entry(end.name()).or_default() += 1;
        inner.history.deliveries.push(Delivery {
            at,
            life,
            seq,
            end,
            payload,
        });
        drop(inner);
        self.open(|open| open - 1);
    }

    fn submitted(&self, task: usize, seq: u64, client: u64) {
        let at = self.scene.now();
        let mut inner = self.scene.lock();
        debug_assert_eq!(
            inner.history.lives[self.life].id, client,
            "the id in the books"
        );
        inner.report.submitted += 1;
        inner.history.submits.push(Submit {
            task,
            at,
            life: self.life,
            seq,
        });
        drop(inner);
        self.scene.say(self.host, Some(task), || {
            format!("submits task {task}: {:?}", self.scene.plan.tasks[task])
        });
    }

    fn open(&self, change: impl FnOnce(usize) -> usize) {
        let mut inner = self.scene.lock();
        let open = &mut inner.hosts[usize::from(self.host)].open;
        *open = change(*open);
    }
}

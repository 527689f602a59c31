//! Every fixed bound, with its reason. What an operator may change is in the `*Config` types,
//! whose defaults are here too.

use core::time::Duration;

use crate::codec::SHARE_MIN;
use crate::message::{VERSION, Version};

/// Most bytes of a frame's header (everything but the payload). Room for the longest error
/// texts, and for [`IDS_MAX`] attempts in one message.
pub const HEADER_MAX: usize = 256 * 1024;
/// Most bytes of a frame before the handshake is done: a stranger can make us hold no more.
pub const HELLO_FRAME_MAX: usize = 4 * 1024;
/// Most ids in one message, all its lists together; more are sent in parts, and refused where they are
/// read: what a peer asks for with one message is bounded.
pub const IDS_MAX: usize = 4_096;
/// Most tasks in a run: beyond a few dozen, more of them save nothing, and what a peer asks for with one
/// message is bounded.
pub const RUN_TASKS_MAX: usize = 1_024;
/// Most bytes of payloads in a run that is sent: larger ones travel alone, and share the buffer that
/// they were read into (from `SHARE_MIN` on), where those of a run are copied out of it.
pub const RUN_BYTES_MAX: usize = 30 * 1024;
/// Fewest tasks of a run that wait as one: what is held for a run takes as much room as one of these.
pub const WAITING_RUN_MIN: usize = 4;
/// Most tasks that the manager keeps one record of while a worker has them: as many as a word has bits. A
/// turn of the shortest tasks has as many.
pub const ROW_TASKS_MAX: usize = 64;
/// Most bytes of a name (of a task, a worker, a client).
pub const NAME_MAX: usize = 255;
/// Most bytes kept of each text of an error: message, backtrace, tail of standard error.
pub const ERROR_TEXT_MAX: usize = 16 * 1024;
/// Most attempts that `max_attempts` may allow, so that an attempt history stays small.
pub const ATTEMPTS_MAX: u8 = 16;
/// How often workers may give a task back unasked, as not started, killed or lost by leaving, without it
/// being charged: far more than honest ones do, and an end to what goes round by the word of one that
/// lies.
pub const FREE_RETURNS_MAX: u8 = 64;
/// Default largest payload of a task and of a result, in bytes.
pub const PAYLOAD_MAX_DEFAULT: usize = 64 * 1024 * 1024;
/// Largest value that the payload limit may be set to: lengths are 32 bits on the wire, with
/// room for the header.
pub const PAYLOAD_MAX_CEILING: usize = 1024 * 1024 * 1024;
/// Most attempts that a worker may ask for at once (capacity and what hides the round trip).
pub const WINDOW_MAX: u32 = 8_192;
/// Most pool processes of one worker.
pub const CAPACITY_MAX: u32 = 4_096;
/// Most patterns in what a pool says that it can run; they go into one message.
pub const CAPABILITIES_MAX: usize = 512;
/// Most groups of workers, which differ in what they can run, at one manager.
pub const GROUPS_MAX: usize = 64;
/// How long a group of workers has nothing to do before it makes room for another, where there are as many
/// as there may be. As long as a task waits for a runner.
pub const GROUP_IDLE: Duration = RUNNER_WAIT;
/// Most workers of a group that makes room for another: they are shown out in one step.
pub const IDLE_GROUP_MAX: usize = 256;
/// Most workers whose new capabilities take effect in one step; the others follow in the next.
pub const RENEWALS_MAX: usize = 256;
/// Most combinations of groups that have tasks at once: each dispatch looks at all of them.
pub const CLASSES_MAX: usize = 1_024;
/// Names of tasks in all groups together that a status report shows.
pub const STATUS_NAMES: usize = 128;
/// How long a task that no worker can run waits for one that can.
pub const RUNNER_WAIT: Duration = Duration::from_secs(10);
/// Most names that a rejection suggests instead of one that nobody runs.
pub const SIMILAR_MAX: usize = 3;
/// Rows of one page of what runs where.
pub const RUNNING_PAGE: usize = 256;
/// Most different task names whose durations are remembered; the least recently used makes room.
pub const NAMES_MAX: usize = 1_024;
/// Rows of workers, and of clients, in one page of a status report.
pub const STATUS_PAGE: usize = 256;
/// Most workers whose sessions a manager keeps.
pub const WORKERS_MAX: usize = 131_072;
/// Most clients whose sessions a manager keeps.
pub const CLIENTS_MAX: usize = 65_536;
/// Most observers at a time: people and dashboards; each costs a connection and no session.
pub const OBSERVERS_MAX: usize = 1_024;
/// Workers that another one of the same name replaced: so many of the last are remembered, and are not
/// let in again.
pub const REPLACED_MAX: usize = 256;
/// Clients that are noted for one pool process. More may run in it; they are as other clients are.
pub const CLIENTS_PER_PROCESS: usize = 16;
/// Results that one ending can have acknowledged before their time; a large one makes room that
/// many small ones had.
pub const RELEASES_MAX: usize = 4_096;
/// Outcomes that one message can have sent.
pub const OUTCOMES_PER_MESSAGE: usize = 4_096;
/// Most tasks that a client sends in one settling, so that answers are read in between.
pub const SENDS_MAX: usize = 4_096;
/// Payload bytes after which a settling of a client stops sending; one task is always let through.
pub const SEND_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Pairs of bytes that one search for names like another compares, after which it takes what it has:
/// about a millisecond.
pub const COMPARISON_MAX: usize = 1_000_000;
/// Names for which suggestions are looked for in one step: a search compares many names.
pub const SUGGESTIONS_MAX: usize = 16;
/// Shortest advice on when to come back.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
/// Longest advice on when to come back.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);
/// Most connections that have not finished their handshake.
pub const PENDING_PEERS_MAX: usize = 4_096;
/// What an outcome that waits for its client takes beside its payload and texts, in bytes: counted
/// against a manager's memory, however small the outcomes are.
pub const OUTCOME_BYTES: u64 = 512;
/// Most results kept for clients that have yet to return after a restart of the manager; each
/// costs a few words, since the bytes stay at the worker.
pub const ORPHANS_MAX: usize = 262_144;
/// Bytes of results that wait for their clients' acknowledgements, and so are held by their workers;
/// beyond this the oldest are acknowledged before their time. Half of what one worker holds: clients
/// that do not acknowledge cannot fill one.
pub const UNRELEASED_BYTES_MAX: u64 = HELD_BYTES_DEFAULT / 2;
/// A result counts there as at least this, so that in number too it is half of what a worker holds.
pub const UNCONFIRMED_BYTES_EACH: u64 = HELD_BYTES_DEFAULT / HELD_RESULTS_DEFAULT as u64;

/// Only attempts whose name's recent maximum is below this queue inside a pool process, and at
/// most so much work is queued in one: what is written to a child cannot be recalled.
pub const CHILD_WORK_MAX: Duration = Duration::from_millis(1);
/// An idle process is not woken for tiny attempts that take less than this together if another was
/// just woken for some: to wake it takes about as long.
pub const CHILD_WORK_MIN: Duration = Duration::from_micros(100);
/// Most attempts written to one pool process and not answered.
pub const CHILD_QUEUE_MAX: usize = 1_024;
/// Most attempts that a slot is given in one go.
pub const JOBS_MAX: usize = CHILD_QUEUE_MAX;
/// A service time counts as at least this much where it divides or is summed up: measured run
/// times go down to nothing.
pub const SERVICE_FLOOR: Duration = Duration::from_nanos(200);
/// Time between two heartbeats sent to learn the round trip while attempts flow.
pub const PROBE_EVERY: Duration = Duration::from_millis(50);

/// Run time of the tasks of one client that a worker is given in one turn, at most; one task is always
/// let through. Below what a message takes from machine to machine, so that nobody notices whose turn it
/// was; and enough of the shortest tasks (64) to make what a turn costs beside them small.
pub const TURN_TIME: Duration = Duration::from_micros(64);
/// Turns from one that begins with the oldest queued task, whatever its priority, to the next: a task
/// starts within `OLDEST_EVERY * (older tasks + 1)` turns.
pub const OLDEST_EVERY: u32 = 16;
/// Most tasks that one newcomer may displace to make room for its bytes.
pub const VICTIMS_MAX: usize = 16;

/// Default bound on bytes that a manager holds for all peers together beside the queue.
pub const MEMORY_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Default bound of the queue, in tasks.
pub const QUEUE_TASKS_DEFAULT: usize = 10_000;
/// Default bound of the queue, in bytes of names and payloads.
pub const QUEUE_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Default bound on tasks assigned, returning or adopted.
pub const IN_FLIGHT_TASKS_DEFAULT: usize = 262_144;
/// Default bound on the bytes of tasks assigned, returning or adopted.
pub const IN_FLIGHT_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Default bound on one client's tasks at a manager: queued, running and unacknowledged.
pub const CLIENT_TASKS_DEFAULT: usize = 131_072;
/// Default bound on the result bytes that a client has not acknowledged; beyond it none of its
/// tasks is dispatched.
pub const CLIENT_RESULT_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
/// Result bytes sent to a client and not yet acknowledged; further outcomes wait their turn, so
/// that a connection's buffer stays small. One outcome is always let through.
pub const OUTCOME_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Payload bytes outstanding at one worker; one attempt is always let through.
pub const WORKER_WINDOW_BYTES: u64 = 64 * 1024 * 1024;
/// Default bound on results that a worker holds, in number.
pub const HELD_RESULTS_DEFAULT: usize = 65_536;
/// Default bound on results that a worker holds, in bytes.
pub const HELD_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
/// Default bound on tasks that a client machine holds.
pub const CLIENT_HELD_DEFAULT: usize = 65_536;

/// Most streams of a task: standard input, output and error, and a few of its own.
pub const STREAMS_MAX: usize = 8;
/// Smallest window of a stream, in bytes: a smaller one would be a message for each few bytes.
pub const STREAM_WINDOW_MIN: u32 = 4 * 1024;
/// Largest window of a stream: what may be under way, and held by each of those whom it passes. Enough for
/// 80 MB/s over a round trip of 50 ms.
pub const STREAM_WINDOW_MAX: u32 = 4 * 1024 * 1024;
/// Most bytes of a stream in a message, and what one stream sends before it is the turn of another: 0.5 ms
/// at 1 Gb/s.
pub const STREAM_CHUNK_MAX: usize = 64 * 1024;
/// What a chunk counts as where streams take turns, at least: a message costs something however short.
pub const STREAM_CHUNK_COST: usize = 256;
/// Bytes of a stream that are held together, however few came at a time.
pub const STREAM_PIECE_MIN: usize = 4 * 1024;
/// Bytes of all streams that wait in the buffer of a connection, where everything else waits behind them; as
/// many as keep the network busy until there are more. One chunk is always let through.
pub const STREAM_AHEAD_MAX: usize = 256 * 1024;

/// How long a closed connection's attempts wait before they go elsewhere.
pub const RECONNECT_GRACE: Duration = Duration::from_millis(250);
/// How long silence is trusted.
pub const LEASE: Duration = Duration::from_secs(2);
/// Shortest lease that a peer lives by: a manager cannot make it ping more often than four times
/// in this.
pub const LEASE_MIN: Duration = Duration::from_millis(20);
/// Longest lease that a manager may state, and that a peer lives by: a manager cannot make it
/// wait for ever for one that is gone.
pub const LEASE_MAX: Duration = Duration::from_secs(3_600);
/// How long a manager holds resubmitted tasks that may have run for a worker to claim them.
pub const RESTART_GRACE: Duration = Duration::from_secs(3);
/// How long sessions, their tasks and orphans are kept.
pub const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest delay between two attempts to reach a manager.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// First delay of the reconnect backoff; the very first try comes at once.
pub const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(10);
/// Most lookups of names that go on after their dials were given up; what is beyond is forgotten, and
/// asked again. Far more than one client or worker has managers.
pub const LOOKUPS_MAX: usize = 64;
/// How long dialling and the handshake may take together.
pub const HANDSHAKE: Duration = Duration::from_millis(1_500);
/// Most bytes in the name of a key's holder: it is one label of a name in a certificate.
pub const HOLDER_MAX: usize = 63;
/// Most bytes of a key file, some forty times what one has: what is none is not read whole.
pub const KEY_FILE_MAX: u64 = 64 * 1024;
/// Most keys of one process: the one in use, and those that are on their way in or out.
pub const KEYS_MAX: usize = 16;
/// Most connections at a time whose peers have yet to show a key; who comes then displaces another. Each
/// holds some 30 KiB.
pub const STRANGERS_MAX: usize = 1_024;
/// Most of them from one address, so that nobody keeps all others out.
pub const STRANGERS_PER_ADDRESS: usize = STRANGERS_MAX / 2;
/// How long a peer may take to show its key.
pub const STRANGER_TIME: Duration = Duration::from_secs(5);
/// Most bytes that are read from a peer until it has.
pub const STRANGER_BYTES: usize = 64 * 1024;
/// Handshakes in a second that fail for want of a key before others from that address are refused
/// without one. Each costs a fifth of a millisecond, so these are a fiftieth of a core.
pub const FAILURES_PER_ADDRESS: u32 = 100;
/// The same from all addresses together: a tenth of a core.
pub const FAILURES_MAX: u32 = 500;
/// How often the same address is worth a line in the log for that.
pub const STRANGER_LINE_EVERY: Duration = Duration::from_secs(60);
/// Addresses of strangers that are remembered for these counts.
pub const STRANGER_ADDRESSES: usize = 4_096;
/// Heartbeats in a lease: three may go missing.
pub const HEARTBEATS_PER_LEASE: u32 = 4;
/// How long a result waits for its client before the worker may forget it.
pub const RESULT_ACK: Duration = Duration::from_secs(1);
/// How long a pool process may take from the polite signal to the end.
pub const KILL_GRACE: Duration = Duration::from_secs(2);
/// How long a worker may take to answer what it is asked about an attempt: to end it (its process
/// has the kill grace to go), or to give it back. An end that was asked for then comes without
/// the answer.
pub const ANSWER: Duration = Duration::from_secs(4);
/// First delay before a pool process that died young is started again; doubles each time.
pub const RESPAWN_DELAY_FIRST: Duration = Duration::from_millis(10);
/// Longest delay before a pool process is started again.
pub const RESPAWN_DELAY_MAX: Duration = Duration::from_secs(5);
/// A pool process that dies sooner than this and has answered nothing died young.
pub const YOUNG: Duration = Duration::from_secs(1);
/// Default number of attempts that may be ended by a lost worker or a crashed child.
pub const ATTEMPTS_DEFAULT: u8 = 3;
/// Default number of times that a client submits a rejected task again.
pub const RETRIES_DEFAULT: u32 = 10;

/// Bounds inside the machines that nobody needs to set: the defaults are right. Simulations make
/// them tiny, so that what is rare in production happens often there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Most ids in a message that is sent; at most [`IDS_MAX`].
    pub ids: usize,
    /// See [`OUTCOME_WINDOW_BYTES`].
    pub outcome_window: u64,
    /// See [`WORKER_WINDOW_BYTES`].
    pub worker_window: u64,
    /// See [`UNRELEASED_BYTES_MAX`].
    pub unreleased_bytes: u64,
    /// See [`ORPHANS_MAX`].
    pub orphans: usize,
    /// See [`RESULT_ACK`].
    pub result_ack: Duration,
    /// See [`WAITING_RUN_MIN`]; `usize::MAX` lets every task wait alone.
    pub waiting_run: usize,
    /// See [`STREAM_AHEAD_MAX`].
    pub stream_ahead: usize,
    /// The newest version of the protocol that is spoken.
    pub version: Version,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            ids: IDS_MAX,
            outcome_window: OUTCOME_WINDOW_BYTES,
            worker_window: WORKER_WINDOW_BYTES,
            unreleased_bytes: UNRELEASED_BYTES_MAX,
            orphans: ORPHANS_MAX,
            result_ack: RESULT_ACK,
            waiting_run: WAITING_RUN_MIN,
            stream_ahead: STREAM_AHEAD_MAX,
            version: VERSION,
        }
    }
}

// The relations that the clocks must keep, for the defaults; configurations are checked alike.
const _: () = {
    assert!(RECONNECT_GRACE.as_nanos() < LEASE.as_nanos());
    assert!(
        RECONNECT_DELAY_MAX.as_nanos() + HANDSHAKE.as_nanos() < RESTART_GRACE.as_nanos(),
        "a worker must be able to come back before its tasks are given away"
    );
    assert!(RESTART_GRACE.as_nanos() < RESUME_TIMEOUT.as_nanos());
    assert!(HEARTBEATS_PER_LEASE >= 2);
    assert!(KILL_GRACE.as_nanos() + LEASE.as_nanos() <= ANSWER.as_nanos());
    assert!(RUN_TASKS_MAX <= IDS_MAX && RUN_BYTES_MAX < SHARE_MIN);
    // A manager recalls at most what the slots of one worker can run.
    assert!(CAPACITY_MAX as usize <= IDS_MAX);
    // A reported attempt is 32 bytes, the largest id that messages list.
    assert!(IDS_MAX * 32 + 1_024 < HEADER_MAX);
    // An error has four texts: its type, message, backtrace, and standard error.
    assert!(ERROR_TEXT_MAX * 4 + ATTEMPTS_MAX as usize * (NAME_MAX + 16) + 1_024 < HEADER_MAX);
    // Rows of status are a name and less than 128 bytes; a page is that many of both kinds.
    assert!(
        STATUS_PAGE * 2 * (NAME_MAX + 128) + STATUS_NAMES * (NAME_MAX + 1) + 4_096 < HEADER_MAX
    );
    assert!(RUNNING_PAGE * (2 * NAME_MAX + 64) + 1_024 < HEADER_MAX);
    assert!(CAPABILITIES_MAX * (NAME_MAX + 1) + 1_024 < HEADER_MAX);
    assert!(PAYLOAD_MAX_CEILING as u64 + (HEADER_MAX as u64) < u32::MAX as u64);
};

//! A client that does not listen: submits to a full manager again at once, whatever it is told. Like any
//! client it says in a run what it submits in a row.

use std::time::{Duration, Instant};

use argon::{Name, PeerId, Priority};
use argon_core::codec;
use argon_core::limits::RUN_BYTES_MAX;
use argon_core::message::{
    Beat, Control, FromClient, FromManager, Hello, MAGIC, Message, Role, Run, Submit, ToClient,
    ToManager, VERSION,
};
use argon_core::time::Nanos;
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::name;
use crate::{Problem, task};

/// Largest frame that is expected.
const FRAME_MAX: usize = 1 << 20;
const READ: usize = 256 * 1024;
/// How often the manager hears what has arrived; otherwise it would take us for dead.
const BEAT: Duration = Duration::from_millis(200);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps `in_flight` submissions unanswered for `span`; says how many were refused.
pub(crate) async fn flood(
    manager: &str,
    in_flight: usize,
    span: Duration,
) -> Result<Value, Problem> {
    let mut stream = TcpStream::connect(manager).await?;
    stream.set_nodelay(true)?;
    let noop = name("noop");
    let hello = Hello {
        magic: MAGIC,
        version: VERSION,
        role: Role::Client,
        peer: PeerId(u64::from(std::process::id())),
        connection: 1,
        session: None,
        name: name("flood"),
    };
    let mut out = BytesMut::new();
    let mut inbox = BytesMut::new();
    codec::encode(&Message::from(ToManager::Hello(hello)), &mut out)?;
    stream.write_all(&out).await?;
    out.clear();
    let (mut seq, mut received, mut refused) = (0, 0_u64, 0_u64);
    let mut welcome = false;
    let (mut begun, mut beat) = (Instant::now(), Instant::now());
    while begun.elapsed() < span {
        inbox.reserve(READ);
        let read = stream.read_buf(&mut inbox);
        if tokio::time::timeout(PATIENCE, read).await?? == 0 {
            return Err("the manager has gone".into());
        }
        let mut due = 0;
        while let Some(message) = codec::decode::<FromManager<ToClient>>(&mut inbox, FRAME_MAX)? {
            received += u64::from(!matches!(
                message.body,
                FromManager::Control(Control::Welcome(_)) | FromManager::Control(Control::Pong(_))
            ));
            match message.body {
                FromManager::Control(Control::Welcome(_)) => {
                    welcome = true;
                    begun = Instant::now();
                    due = in_flight;
                }
                FromManager::Role(ToClient::Reject { .. }) => {
                    refused += 1;
                    due += 1;
                }
                FromManager::Role(ToClient::RejectRun(rejections)) => {
                    refused += u64::from(rejections.count);
                    due += rejections.count as usize;
                }
                _ => {}
            }
        }
        while due > 0 {
            let tasks = due.min(RUN_BYTES_MAX / task::BYTES);
            submit(&mut seq, tasks, &noop, &mut out)?;
            due -= tasks;
        }
        if beat.elapsed() >= BEAT {
            beat = Instant::now();
            let nonce = received;
            codec::encode(
                &Message::from(ToManager::Ping(Beat { nonce, received })),
                &mut out,
            )?;
        }
        stream.write_all(&out).await?;
        out.clear();
    }
    if !welcome {
        return Err("the manager did not answer".into());
    }
    Ok(json!({
        "refused": refused,
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}

/// Submits so many tasks in a row.
fn submit(seq: &mut u64, tasks: usize, name: &Name, out: &mut BytesMut) -> Result<(), Problem> {
    let first = Submit {
        seq: *seq,
        priority: Priority::NORMAL,
        max_attempts: 3,
        at_most_once: false,
        may_have_run: false,
        deadline: Nanos::NONE,
        max_wait: Nanos::NONE,
        time_limit: Nanos::NONE,
        name: name.clone(),
    };
    *seq += tasks as u64;
    let said = if tasks == 1 {
        FromClient::Submit(first)
    } else {
        let sizes = vec![u32::try_from(task::BYTES)?; tasks];
        FromClient::SubmitRun(Box::new(Run { first, sizes }))
    };
    let message = Message {
        body: ToManager::Client(said),
        payload: vec![0; task::BYTES * tasks].into(),
    };
    Ok(codec::encode(&message, out)?)
}

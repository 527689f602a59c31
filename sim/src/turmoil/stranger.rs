//! A host that belongs to nobody: it pesters managers, and asks how they are at the end.

use std::time::Duration;

use argon::{Transport, status_on};
use argon_core::codec;
use argon_core::message::{Message, ToManager};
use argon_core::rng::Rng;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use super::node::{Node, address};
use super::scene::Command;
use crate::hostile::MESSAGES_MAX;
use crate::options::Host;
use crate::rng::{Draw, mix, stream};
use argon_core::message::Said;
use argon_core::testing::{hello, to_manager};

/// Longest time that a manager may take to say how it is.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(node: Node, mut commands: UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Pester {
                fault,
                manager,
                span,
            } => {
                node.spawn(true, pester(node.clone(), fault, manager, span));
            }
            Command::Ask { manager } => node.spawn(true, ask(node.clone(), manager)),
            Command::Drain | Command::Stop => {}
        }
    }
}

async fn ask(node: Node, manager: Host) {
    let address = address(&node.scene, manager);
    let seed = mix(node.scene.plan.seed, &[51]);
    let keys = node.scene.keys.as_ref();
    let status = status_on(&node.transport(), &address, keys, ANSWER_MAX, seed).await;
    node.scene.lock().status = Some(status.map_err(|error| error.to_string()));
}

/// Connects, speaks out of turn or gibberish, and goes.
async fn pester(node: Node, fault: usize, manager: Host, span: u64) {
    let mut rng = stream(node.scene.plan.seed, &[18, fault as u64]);
    let id = rng.draw();
    node.scene.lock().history.hostile.push(id);
    let address = address(&node.scene, manager);
    let transport = node.transport();
    let connecting = timeout(Duration::from_secs(1), transport.connect(&address));
    let Ok(Ok(mut stream)) = connecting.await else {
        return;
    };
    let polite = rng.percent(85);
    let gibberish = rng.percent(40).then(|| rng.up_to(2));
    let mut pause = rng.log_between(1, span.max(1));
    for index in 0..rng.between(1, MESSAGES_MAX) {
        let bytes = if gibberish == Some(index) {
            garbage(&mut rng)
        } else if index == 0 && polite {
            frame(&mut rng, |rng| {
                Said::ToManager(ToManager::Hello(hello(rng, id, index)))
            })
        } else {
            frame(&mut rng, |rng| Said::ToManager(to_manager(rng, id, index)))
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        // Some read what they are told, the others let it pile up.
        let mut answer = [0; 512];
        if rng.percent(50) {
            let _ = timeout(Duration::from_millis(5), stream.read(&mut answer)).await;
        }
        if rng.percent(30) {
            let once = rng.up_to(pause);
            pause -= once;
            sleep(Duration::from_nanos(once)).await;
        }
    }
}

fn frame(rng: &mut Rng, body: impl FnOnce(&mut Rng) -> Said) -> Vec<u8> {
    let body = body(rng);
    let payload = Bytes::from(vec![1; rng.up_to(40) as usize]);
    let mut bytes = BytesMut::new();
    // What cannot be encoded is not said.
    let _ = codec::encode(
        &Message {
            body,
            payload: payload.into(),
        },
        &mut bytes,
    );
    bytes.to_vec()
}

/// Noise, or a frame's length with noise behind it, or a frame that does not end.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let noise: Vec<u8> = (0..rng.between(1, 200)).map(|_| rng.draw() as u8).collect();
    let length = match rng.up_to(3) {
        0 => return noise,
        1 => u32::MAX,
        2 => noise.len() as u32,
        _ => 100_000,
    };
    [length.to_le_bytes().to_vec(), noise].concat()
}

//! Peers that have yet to show a key, at a manager's driver.
//!
//! In virtual time, which stands still while anybody has something to do. All come from one address.

use argon_core::limits::{FAILURES_PER_ADDRESS, STRANGER_TIME, STRANGERS_PER_ADDRESS};
use tokio::time::timeout;

use super::*;
use crate::keys::make_key;
use crate::secure;

/// How TLS begins.
const HANDSHAKE: [u8; 2] = [0x16, 0x03];

async fn stage() -> (Stage, Keys) {
    let keys = Keys::from_texts([make_key().unwrap()]).unwrap();
    (Stage::with(MEMORY, Some(keys.clone())).await, keys)
}

impl Stage {
    /// As many as may come from one address, and say this and nothing else.
    async fn crowd(&self, said: &[u8]) -> VecDeque<DuplexStream> {
        let mut crowd = VecDeque::new();
        for _ in 0..STRANGERS_PER_ADDRESS {
            let mut stream = self.stranger().await;
            stream.write_all(said).await.unwrap();
            crowd.push_back(stream);
        }
        crowd
    }
}

/// Waits until the manager closes it; how long that took.
async fn until_closed(mut stream: DuplexStream) -> Duration {
    let began = tokio::time::Instant::now();
    let mut rest = [0; 16];
    let read = timeout(2 * STRANGER_TIME, stream.read(&mut rest));
    assert_eq!(read.await.expect("it is closed").unwrap(), 0);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn those_who_show_no_key_are_so_many_for_so_long() {
    let (stage, keys) = stage().await;
    let began = tokio::time::Instant::now();
    let mut silent = stage.crowd(b"").await;
    silent.push_back(stage.stranger().await);
    // The oldest had to go for the newest, and no other.
    let oldest = silent.pop_front().unwrap();
    assert_eq!(until_closed(oldest).await, Duration::ZERO);
    for stream in silent {
        until_closed(stream).await;
        let after = began.elapsed();
        assert!(
            (STRANGER_TIME..2 * STRANGER_TIME).contains(&after),
            "{after:?}"
        );
    }
    // They have cost nothing, and are in nobody's way.
    let stream = stage.stranger().await;
    let _channel = secure::connect(Some(&keys), stream).await.unwrap();
    yield_now().await;
    assert_eq!(stage.notes(), ["accepted"]);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_key_comes_in_through_a_silent_flood_from_its_own_address() {
    let (stage, keys) = stage().await;
    let mut silent = stage.crowd(b"").await;
    for number in 1..=20 {
        let stream = stage.stranger().await;
        let mut flood = 0;
        let flooding = async {
            loop {
                // At each step of the handshake others come, and stay.
                silent.push_back(stage.stranger().await);
                flood += 1;
                yield_now().await;
            }
        };
        tokio::select! {
            connected = secure::connect(Some(&keys), stream) => drop(connected.unwrap()),
            () = flooding => {}
        }
        assert!(flood > 0, "nobody came meanwhile");
        stage.until("closed").await;
        assert_eq!(stage.count("accepted"), number);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_displaced_from_a_handshake_has_failed_and_who_was_silent_has_not() {
    let (stage, _) = stage().await;
    let silent = stage.crowd(b"").await;
    let mut begun = stage.crowd(&HANDSHAKE).await;
    for stream in silent {
        assert_eq!(until_closed(stream).await, Duration::ZERO);
    }
    // None of these had failed, so others are let in still.
    let mut others = Vec::new();
    for _ in 0..FAILURES_PER_ADDRESS {
        others.push(stage.stranger().await);
        let displaced = begun.pop_front().unwrap();
        assert_eq!(until_closed(displaced).await, Duration::ZERO);
    }
    let one_too_many = stage.stranger().await;
    assert_eq!(until_closed(one_too_many).await, Duration::ZERO);
    assert!(!begun.is_empty(), "nobody else has failed");
}

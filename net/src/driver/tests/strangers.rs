//! Peers that have yet to show a key, at a manager's driver.

use argon_core::limits::{STRANGER_TIME, STRANGERS_PER_ADDRESS};
use tokio::time::timeout;

use super::*;
use crate::keys::make_key;
use crate::secure;

/// In virtual time, which stands still while anybody has something to do.
#[tokio::test(start_paused = true)]
async fn those_who_show_no_key_are_so_many_for_so_long() {
    let keys = Keys::from_texts([make_key().unwrap()]).unwrap();
    let stage = Stage::with(MEMORY, Some(keys.clone())).await;
    let began = tokio::time::Instant::now();
    let until_closed = async |mut stream: DuplexStream| {
        let mut rest = [0; 16];
        let read = timeout(2 * STRANGER_TIME, stream.read(&mut rest));
        assert_eq!(read.await.expect("it is closed").unwrap(), 0);
        began.elapsed()
    };
    let mut silent = Vec::new();
    for _ in 0..STRANGERS_PER_ADDRESS {
        silent.push(stage.stranger().await);
    }
    let one_too_many = stage.stranger().await;
    assert_eq!(until_closed(one_too_many).await, Duration::ZERO);
    for stream in silent {
        let after = until_closed(stream).await;
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

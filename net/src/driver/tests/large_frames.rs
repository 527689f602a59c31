//! Large frames that are under way: how many at once, and what becomes of those that come slowly.

use tokio::task::JoinHandle;

use super::*;

/// More than it takes until nothing moves any more.
const LOOKS: usize = 100_000;

#[tokio::test(start_paused = true)]
async fn many_large_frames_at_once_are_read_by_and_by_and_all_arrive() {
    const GUESTS: usize = 16;
    let stage = Stage::with_memory(4 * PAYLOAD_MAX as u64).await;
    let mut guests = Vec::new();
    for _ in 0..GUESTS {
        let mut guest = stage.guest().await;
        guests.push(tokio::spawn(async move {
            let whole = frame(&[7; PAYLOAD_MAX]);
            guest.stream.write_all(&whole).await.unwrap();
            loop {
                let message = guest.hear().await;
                if message.body != ToPeer::Control(Control::Paused) {
                    break message.payload.len();
                }
            }
        }));
    }
    let mut most = 0;
    for _ in 0..LOOKS {
        most = most.max(stage.driver.receiving());
        yield_now().await;
    }
    // Each was woken when there was room: while we look, time stands still and nobody asks again.
    assert!(guests.iter().all(JoinHandle::is_finished));
    for guest in guests {
        assert_eq!(guest.await.unwrap(), PAYLOAD_MAX);
    }
    assert!(stage.count("paused") > 0);
    assert!(most <= 3 * PAYLOAD_MAX as u64, "{most} bytes at once");
    assert_eq!(stage.driver.receiving(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_read_is_told_so_now_and_then_and_goes_on_when_the_other_is_gone() {
    let stage = Stage::with_memory(2 * PAYLOAD_MAX as u64).await;
    let whole = frame(&[7; PAYLOAD_MAX]);
    let mut first = stage.guest().await;
    first
        .stream
        .write_all(&whole[..PAYLOAD_MAX - 1])
        .await
        .unwrap();
    let second = stage.guest().await;
    let (mut answers, mut sending) = tokio::io::split(second.stream);
    let sent = tokio::spawn(async move {
        let most = whole.len() - 1;
        sending.write_all(&whole[..most]).await.map(|()| sending)
    });
    // Ten times a second, for longer than a frame may take that does not count as slow.
    let mut told = BytesMut::new();
    while told.len() < 80 * frame_of(ToPeer::Control(Control::Paused), b"").len() {
        answers.read_buf(&mut told).await.unwrap();
    }
    assert!(!sent.is_finished());
    drop(first);
    let _open = sent.await.unwrap().unwrap();
    for _ in 0..LOOKS {
        yield_now().await;
    }
    let held = stage.driver.receiving();
    assert!(
        held >= PAYLOAD_MAX as u64,
        "not slow, since the wait was ours: {held}"
    );
}

#[tokio::test(start_paused = true)]
async fn frames_that_come_slowly_count_for_the_bound() {
    // Room for two whole frames and something of a third.
    let stage = Stage::with_memory(2 * PAYLOAD_MAX as u64 + PAYLOAD_MAX as u64 / 4).await;
    let whole = frame(&[7; PAYLOAD_MAX]);
    let most = whole.len() - 1;
    let mut slow = Vec::new();
    for part in [most / 2, most - 1, most - 1] {
        assert_eq!(stage.count("closed"), 0, "there is room");
        let mut guest = stage.guest().await;
        guest.stream.write_all(&whole[..part]).await.unwrap();
        advance(Duration::from_secs(10)).await;
        let _ = guest.stream.write_all(&whole[part..=part]).await;
        slow.push(guest);
    }
    stage.until("closed").await;
    assert_eq!(stage.count("closed"), 1, "one was enough");
    // Who sent least goes on, and so does everybody else.
    let mut first = slow.remove(0);
    first
        .stream
        .write_all(&whole[most / 2 + 1..])
        .await
        .unwrap();
    assert_eq!(first.hear().await.payload.len(), PAYLOAD_MAX);
}

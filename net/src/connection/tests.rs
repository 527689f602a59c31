//! The tests of a connection: frames in, frames out, and its end.
use argon_core::limits::HELLO_FRAME_MAX;
use argon_core::message::{FromClient, ToManager};
use tokio::io::{AsyncWriteExt as _, duplex};

use super::*;

fn message(seq: u64, size: usize) -> Message<ToManager> {
    Message {
        body: ToManager::Client(FromClient::Cancel { seq }),
        payload: vec![seq as u8; size].into(),
    }
}

/// Sends messages of these sizes through a pipe that holds few bytes at once.
async fn round_trip(sizes: &[usize], pipe: usize) {
    let (mut near, mut far) = duplex(pipe);
    let mut outgoing = Outgoing::default();
    for (seq, size) in (0..).zip(sizes) {
        outgoing.push(&message(seq, *size)).unwrap();
    }
    let total = outgoing.len();
    let send = async {
        let mut written = 0;
        std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut near, &mut written))
            .await
            .unwrap();
        assert_eq!(written, total);
        assert!(outgoing.is_empty());
    };
    let receive = async {
        let mut incoming = Incoming::new(1 << 30);
        for (seq, size) in (0..).zip(sizes) {
            let received = loop {
                if let Some(message) = incoming.next::<ToManager>().unwrap() {
                    break message;
                }
                let read = std::future::poll_fn(|cx| incoming.poll_read(cx, &mut far)).await;
                assert!(read.unwrap() > 0);
            };
            assert!(received == message(seq, *size), "message {seq} differs");
        }
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn frames_of_all_sizes_come_out_as_they_went_in() {
    let sizes = [
        0,
        1,
        4 << 10,
        SHARE_MIN - 1,
        SHARE_MIN,
        0,
        SHARE_MIN + 1,
        3 << 20,
        SHARE_MIN,
        7,
    ];
    for pipe in [1 << 10, 64 << 10, 8 << 20] {
        round_trip(&sizes, pipe).await;
    }
    // Byte by byte, every way in which a frame can be cut is seen.
    round_trip(&[0, 3, 0, 200], 1).await;
}

#[tokio::test]
async fn a_stranger_makes_us_hold_no_more_than_a_hello() {
    let (mut near, mut far) = duplex(1 << 20);
    let length = u32::try_from(HELLO_FRAME_MAX + 1).unwrap();
    near.write_all(&length.to_le_bytes()).await.unwrap();
    near.write_all(&vec![0; 1 << 19]).await.unwrap();
    let mut incoming = Incoming::new(HELLO_FRAME_MAX);
    let read = std::future::poll_fn(|cx| incoming.poll_read(cx, &mut far)).await;
    assert!(read.unwrap() <= READ_MIN);
    assert!(matches!(
        incoming.next::<ToManager>(),
        Err(DecodeError::TooLong { .. })
    ));
}

#[tokio::test]
async fn a_length_alone_allocates_nothing_of_it() {
    let (mut near, mut far) = duplex(1 << 20);
    near.write_all(&(1u32 << 29).to_le_bytes()).await.unwrap();
    let mut incoming = Incoming::new(1 << 30);
    for _ in 0..100 {
        assert!(incoming.next::<ToManager>().unwrap().is_none());
        let polled = std::future::poll_fn(|cx| Poll::Ready(incoming.poll_read(cx, &mut far))).await;
        if polled.is_pending() {
            break;
        }
    }
    assert!(incoming.buffer.capacity() <= 4 * READ_MAX);
}

#[tokio::test]
async fn a_large_frame_that_comes_in_small_pieces_is_moved_a_few_times() {
    const SIZE: usize = 4 << 20;
    // As from TLS, a record at a time.
    let (mut near, mut far) = duplex(16 << 10);
    let mut outgoing = Outgoing::default();
    outgoing.push(&message(1, SIZE)).unwrap();
    let send = std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut near, &mut 0));
    let receive = async {
        let mut incoming = Incoming::new(1 << 30);
        let (mut moves, mut space) = (0, 0);
        while incoming.next::<ToManager>().unwrap().is_none() {
            let read = std::future::poll_fn(|cx| incoming.poll_read(cx, &mut far)).await;
            assert!(read.unwrap() > 0);
            moves += u32::from(incoming.buffer.capacity() != space);
            space = incoming.buffer.capacity();
        }
        moves
    };
    let (sent, moves) = tokio::join!(send, receive);
    sent.unwrap();
    // Its space doubles from that of a read on.
    assert!(moves <= (SIZE / READ_MIN).ilog2(), "{moves}");
}

#[tokio::test]
async fn large_frames_leave_small_buffers_behind() {
    let (mut near, mut far) = duplex(1 << 20);
    let mut outgoing = Outgoing::default();
    outgoing.push(&message(1, 10 << 20)).unwrap();
    for _ in 0..100 {
        outgoing.push(&message(2, SHARE_MIN - 1)).unwrap();
    }
    let mut incoming = Incoming::new(1 << 30);
    let mut received = 0;
    let mut written = 0;
    while received < 101 {
        std::future::poll_fn(|cx| {
            let _ = outgoing.poll_flush(cx, &mut near, &mut written);
            let _ = incoming.poll_read(cx, &mut far);
            Poll::Ready(())
        })
        .await;
        while incoming.next::<ToManager>().unwrap().is_some() {
            received += 1;
        }
        // Or the runtime takes us for greedy and gives us nothing more to read.
        tokio::task::yield_now().await;
    }
    let polled = std::future::poll_fn(|cx| Poll::Ready(incoming.poll_read(cx, &mut far))).await;
    assert!(polled.is_pending());
    assert!(incoming.buffer.capacity() <= READ_MAX);
}

#[tokio::test]
async fn many_small_frames_are_read_into_one_small_buffer() {
    let (mut near, mut far) = duplex(1 << 20);
    let mut incoming = Incoming::new(1 << 30);
    for burst in 0..20 {
        let mut outgoing = Outgoing::default();
        for seq in 0..2_000 {
            outgoing.push(&message(seq, 100 + burst)).unwrap();
        }
        std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut near, &mut 0))
            .await
            .unwrap();
        loop {
            let read = |cx: &mut Context<'_>| Poll::Ready(incoming.poll_read(cx, &mut far));
            let read = std::future::poll_fn(read).await;
            assert!((1..=READ_MAX).contains(&incoming.buffer.capacity()));
            if read.is_pending() {
                break;
            }
            while incoming.next::<ToManager>().unwrap().is_some() {}
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_spoken_instead_is_known_where_it_is_well_known() {
    for (bytes, spoken) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], Some("HTTP")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Some("SSH")),
        (b"\x15\x03\x01\x00\x02\x02\x46", Some("TLS")),
        (b"220 mail.example.org ESMTP\r\n", None),
    ] {
        let (mut near, mut far) = duplex(1 << 10);
        near.write_all(bytes).await.unwrap();
        let mut incoming = Incoming::new(HELLO_FRAME_MAX);
        let read = std::future::poll_fn(|cx| incoming.poll_read(cx, &mut far)).await;
        assert!(read.unwrap() > 0);
        let _ = incoming.next::<ToManager>();
        assert_eq!(incoming.other_protocol(), spoken);
    }
}

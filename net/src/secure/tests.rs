//! Both ends of a handshake, in memory.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::keys::{make_key, make_lesser_key};
use argon_core::access::KeyRole;
use argon_core::ids::PeerId;
use argon_core::message::{Hello, Role, ToManager, VERSION};
use argon_core::name::Name;

/// A cluster's own key, and lesser ones that come from it.
struct Cluster {
    folder: std::path::PathBuf,
    own: Keys,
}

impl Cluster {
    fn new(name: &str) -> Self {
        use std::os::unix::fs::OpenOptionsExt as _;
        let folder = std::env::temp_dir().join(format!("argon-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(folder.join("argon.key")).unwrap();
        let text = make_key().unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        Self {
            own: Keys::from_texts([text]).unwrap(),
            folder,
        }
    }

    fn lesser(&self, role: KeyRole, holder: Option<&str>) -> Keys {
        let from = self.folder.join("argon.key");
        Keys::from_texts([make_lesser_key(&from, &[role], holder).unwrap()]).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

type Accepted = Result<(Channel<DuplexStream>, Access), KeptOut>;

/// What both sides make of each other.
async fn meet(
    manager: &Keys,
    peer: Option<&Keys>,
) -> (Accepted, io::Result<Channel<DuplexStream>>) {
    let (near, far) = duplex(64 * 1024);
    tokio::join!(accept(manager, far), connect(peer, near))
}

fn refused(accepted: Accepted) -> String {
    accepted.map(|_| ()).unwrap_err().reason().to_owned()
}

fn told(connected: io::Result<Channel<DuplexStream>>) -> String {
    connected.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_key_of_the_cluster_opens_and_says_what_it_allows() {
    let cluster = Cluster::new("opens");
    let alice = cluster.lesser(KeyRole::Submit, Some("alice"));
    for keys in [&cluster.own, &alice] {
        let (accepted, connected) = meet(&cluster.own, Some(keys)).await;
        let (mut at_manager, access) = accepted.unwrap();
        assert_eq!(access, keys.access());
        let mut at_peer = connected.unwrap();
        at_peer.write_all(b"hello").await.unwrap();
        at_peer.flush().await.unwrap();
        let mut heard = [0; 5];
        at_manager.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }
}

#[tokio::test]
async fn keys_of_two_clusters_do_not_fit_and_both_sides_say_so() {
    let (ours, theirs) = (Cluster::new("ours"), Cluster::new("theirs"));
    let (accepted, connected) = meet(&ours.own, Some(&theirs.own)).await;
    assert!(refused(accepted).contains("refused our key"));
    assert!(told(connected).contains("we refused the manager"));
}

#[tokio::test]
async fn a_key_that_only_we_trust_is_refused_by_the_manager() {
    let (ours, theirs) = (Cluster::new("trust-a"), Cluster::new("trust-b"));
    let text = std::fs::read_to_string(theirs.folder.join("argon.key")).unwrap();
    let own = std::fs::read_to_string(ours.folder.join("argon.key")).unwrap();
    // It shows another cluster's certificate, and knows the manager's.
    let both = Keys::from_texts([&text, &own]).unwrap();
    let (accepted, connected) = meet(&ours.own, Some(&both)).await;
    assert_eq!(refused(accepted), "its key is of another authority");
    assert!(told(connected).contains("the manager refused our key"));
    // With both at the manager, either gets in: so keys are exchanged.
    let manager = Keys::from_texts([&own, &text]).unwrap();
    assert!(meet(&manager, Some(&both)).await.0.is_ok());
    assert!(meet(&manager, Some(&ours.own)).await.0.is_ok());
}

#[tokio::test]
async fn who_holds_a_lesser_key_is_no_manager() {
    let cluster = Cluster::new("no-manager");
    for role in [KeyRole::Submit, KeyRole::Work, KeyRole::Observe] {
        let keys = cluster.lesser(role, None);
        assert!(keys.server().is_none());
        // Nor if it tries: its certificate is none of a server's, and has not the name.
        let forced = keys.server_whatever_it_is();
        let (near, far) = duplex(64 * 1024);
        let acceptor = TlsAcceptor::from(forced);
        let (_, connected) = tokio::join!(acceptor.accept(far), connect(Some(&cluster.own), near));
        assert!(told(connected).contains("does not have the role `manage`"));
    }
}

#[tokio::test]
async fn a_peer_without_a_key_is_told_in_plain_words() {
    let cluster = Cluster::new("plain");
    let (mut near, far) = duplex(64 * 1024);
    let mut outgoing = Outgoing::default();
    let hello = Hello {
        magic: MAGIC,
        version: VERSION,
        role: Role::Client,
        peer: PeerId(7),
        connection: 1,
        session: None,
        name: Name::new("somebody").unwrap(),
    };
    outgoing.push(&ToManager::Hello(hello).into()).unwrap();
    std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut near, &mut 0))
        .await
        .unwrap();
    let accepted = accept(&cluster.own, far).await;
    assert_eq!(accepted.map(|_| ()).unwrap_err(), KeptOut::Plain);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    let mut buffer = bytes::BytesMut::from(&answer[..]);
    let heard: Option<Message<ToPeer>> =
        argon_core::codec::decode(&mut buffer, HELLO_FRAME_MAX).unwrap();
    assert_eq!(
        heard.unwrap().body,
        ToPeer::Control(Control::Refuse(RefuseReason::KeyRequired))
    );
}

#[tokio::test]
async fn whoever_speaks_anything_else_is_told_nothing() {
    let cluster = Cluster::new("nothing");
    let long_hello = [&u32::MAX.to_le_bytes()[..], &[0; 5], &MAGIC].concat();
    let others: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00",
        &[0xff; 64],
        &long_hello,
        b"\x16\x04 nor is this TLS",
    ];
    for bytes in others {
        let (mut near, far) = duplex(64 * 1024);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let accepted = accept(&cluster.own, far).await;
        let kept_out = accepted.map(|_| ()).unwrap_err();
        assert!(!kept_out.was_costly(), "{kept_out:?}");
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_client_says_that_a_manager_has_no_key() {
    let cluster = Cluster::new("no-key");
    for answer in [&b""[..], b"\x0a\x00\x00\x00\x00 no TLS at all"] {
        let (near, mut far) = duplex(64 * 1024);
        let connecting = connect(Some(&cluster.own), near);
        let answering = async {
            let mut first = [0; 16];
            far.read_exact(&mut first).await.unwrap();
            far.write_all(answer).await.unwrap();
            drop(far);
        };
        let (connected, ()) = tokio::join!(connecting, answering);
        assert!(told(connected).contains("started without"), "{answer:?}");
    }
}

#[tokio::test]
async fn only_so_much_is_read_from_a_stranger() {
    let cluster = Cluster::new("much");
    let (mut near, far) = duplex(1024 * 1024);
    // Records of a handshake that never comes to its end.
    let record = [
        &b"\x16\x03\x01\x40\x00"[..],
        &[1],
        &[0x00, 0xff, 0xff],
        &[0; 0x4000 - 4],
    ]
    .concat();
    let sending = async move {
        while near.write_all(&record).await.is_ok() {
            yield_now().await;
        }
    };
    let (accepted, ()) = tokio::join!(accept(&cluster.own, far), sending);
    let kept_out = accepted.map(|_| ()).unwrap_err();
    assert!(kept_out.was_costly(), "{kept_out:?}");
}

#[tokio::test]
async fn first_bytes_are_not_lost_however_they_come() {
    let cluster = Cluster::new("drip");
    // A few bytes at a time.
    let (near, far) = duplex(16);
    let (accepted, connected) =
        tokio::join!(accept(&cluster.own, far), connect(Some(&cluster.own), near));
    assert!(accepted.is_ok() && connected.is_ok());
}

/// What somebody on the way does with the two records that follow the handshake.
#[derive(Clone, Copy, Debug)]
enum Meddling {
    Nothing,
    Flip,
    FlipHeader,
    Replay,
    Reorder,
    Drop,
    Truncate,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One record of TLS.
async fn record(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 5];
    stream.read_exact(&mut bytes).await?;
    let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    bytes.resize(5 + length, 0);
    stream.read_exact(&mut bytes[5..]).await?;
    Ok(bytes)
}

/// Passes on what it is, but for the last two records.
async fn meddle(meddling: Meddling, near: DuplexStream, far: DuplexStream, ready: &Cell<bool>) {
    let (mut from_peer, mut to_peer) = tokio::io::split(near);
    let (mut from_manager, mut to_manager) = tokio::io::split(far);
    let back = async {
        let _ = tokio::io::copy(&mut from_manager, &mut to_peer).await;
    };
    let forth = async {
        while !ready.get() {
            let part = timeout(BRIEFLY, record(&mut from_peer)).await;
            if let Ok(part) = part {
                to_manager.write_all(&part.unwrap()).await.unwrap();
            }
        }
        let mut first = record(&mut from_peer).await.unwrap();
        let second = record(&mut from_peer).await.unwrap();
        let middle = first.len() / 2;
        let meddled = match meddling {
            Meddling::Nothing => [first, second].concat(),
            Meddling::Flip => {
                first[middle] ^= 1;
                [first, second].concat()
            }
            Meddling::FlipHeader => {
                first[4] ^= 1;
                [first, second].concat()
            }
            Meddling::Replay => [&first[..], &first, &second].concat(),
            Meddling::Reorder => [second, first].concat(),
            Meddling::Drop => second,
            Meddling::Truncate => first[..middle].to_vec(),
        };
        to_manager.write_all(&meddled).await.unwrap();
        to_manager.shutdown().await.unwrap();
    };
    tokio::join!(forth, back);
}

/// How long the one in the middle waits for another record of the handshake.
const BRIEFLY: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn nothing_is_heard_that_was_not_said_in_that_order() {
    let cluster = Cluster::new("meddling");
    for meddling in [
        Meddling::Nothing,
        Meddling::Flip,
        Meddling::FlipHeader,
        Meddling::Replay,
        Meddling::Reorder,
        Meddling::Drop,
        Meddling::Truncate,
    ] {
        let (near, in_front) = duplex(64 * 1024);
        let (behind, far) = duplex(64 * 1024);
        let ready = Cell::new(false);
        let talk = async {
            let (accepted, connected) =
                tokio::join!(accept(&cluster.own, far), connect(Some(&cluster.own), near));
            let (mut manager, mut peer) = (accepted.unwrap().0, connected.unwrap());
            ready.set(true);
            // The one in the middle has noticed.
            tokio::time::sleep(2 * BRIEFLY).await;
            for said in ["what is said first", "what is said then"] {
                peer.write_all(said.as_bytes()).await.unwrap();
                peer.flush().await.unwrap();
            }
            let mut heard = Vec::new();
            let ended = manager.read_to_end(&mut heard).await;
            (heard, ended)
        };
        let meddler = meddle(meddling, in_front, behind, &ready);
        let ((heard, ended), ()) = tokio::join!(talk, async {
            let _ = timeout(Duration::from_secs(60), meddler).await;
        });
        // An end that the peer has not said is an error, also where nobody meddled.
        assert!(ended.is_err(), "{meddling:?}");
        let heard = text(&heard);
        match meddling {
            Meddling::Nothing => assert_eq!(heard, "what is said firstwhat is said then"),
            // What came before the record that is wrong may be heard, or go with it.
            Meddling::Replay => assert!(["", "what is said first"].contains(&&heard[..])),
            _ => assert_eq!(heard, "", "{meddling:?}"),
        }
    }
}

//! Both ends of a handshake, in memory.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls::crypto::ring;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, version};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::keys::{make_key, make_lesser_key, server_whatever_it_is};
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

    /// A certificate of the cluster's own key with its private key: the key's itself, or then the
    /// authority's.
    fn certified(&self, place: usize) -> (CertificateDer<'static>, KeyPair) {
        let own = std::fs::read_to_string(self.folder.join("argon.key")).unwrap();
        let blocks = pem::parse_many(&own).unwrap();
        let certificate = CertificateDer::from(blocks[2 * place].contents().to_vec());
        let secret = PrivatePkcs8KeyDer::from(blocks[2 * place + 1].contents().to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&secret, &PKCS_ED25519).unwrap();
        (certificate, pair)
    }

    /// The authority, which signs anything.
    fn authority(&self) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let (certificate, pair) = self.certified(1);
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).unwrap();
        (certificate, issuer)
    }

    fn lesser(&self, role: KeyRole, holder: Option<&str>) -> Keys {
        Keys::from_texts([self.lesser_text(role, holder)]).unwrap()
    }

    fn lesser_text(&self, role: KeyRole, holder: Option<&str>) -> String {
        make_lesser_key(&self.folder.join("argon.key"), &[role], holder).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

type Accepted = Result<(Channel<DuplexStream>, Access), KeptOut>;

/// The manager's side.
async fn let_in(keys: &Keys, stream: DuplexStream) -> Accepted {
    accept(keys, look(stream).await?).await
}

/// What both sides make of each other.
async fn meet(
    manager: &Keys,
    peer: Option<&Keys>,
) -> (Accepted, io::Result<Channel<DuplexStream>>) {
    let (near, far) = duplex(64 * 1024);
    tokio::join!(let_in(manager, far), connect(peer, near))
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
        let text = cluster.lesser_text(role, None);
        assert!(Keys::from_texts([&text]).unwrap().server().is_none());
        // Nor if it tries: its certificate is none of a server's, and has not the name.
        let forced = server_whatever_it_is(&text);
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
    let read = async {
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        drop(near);
        answer
    };
    let (accepted, answer) = tokio::join!(let_in(&cluster.own, far), read);
    assert_eq!(accepted.map(|_| ()).unwrap_err(), KeptOut::Plain);
    let mut buffer = BytesMut::from(&answer[..]);
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
        let accepted = let_in(&cluster.own, far).await;
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
    let (mut near, far) = duplex(4 * STRANGER_BYTES);
    let flood = [&HANDSHAKE_RECORD[..], &[0; 2 * STRANGER_BYTES]].concat();
    near.write_all(&flood).await.unwrap();
    drop(near);
    let mut stream = look(far).await.unwrap();
    let mut heard = Vec::new();
    let error = stream.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(heard.len(), STRANGER_BYTES);
    let kept_out = KeptOut::of(&error);
    assert!(kept_out.reason().contains("65536 bytes"), "{kept_out:?}");
    assert!(kept_out.was_costly());
}

#[tokio::test]
async fn first_bytes_are_not_lost_however_they_come() {
    let cluster = Cluster::new("drip");
    // A few bytes at a time.
    let (near, far) = duplex(16);
    let (accepted, connected) =
        tokio::join!(let_in(&cluster.own, far), connect(Some(&cluster.own), near));
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
                tokio::join!(let_in(&cluster.own, far), connect(Some(&cluster.own), near));
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

/// Whoever has the authority's key could make an authority below it; what that signs is not taken, on
/// either side. The authority itself may be shown: some libraries do.
#[tokio::test]
async fn between_an_authority_and_a_key_there_is_nobody() {
    let cluster = Cluster::new("between");
    let (authority, issuer) = cluster.authority();
    let below = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let below_shown = params.signed_by(&below, &issuer).unwrap();
    let below = Issuer::new(params, below);
    let leaf_pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let leaf = |by| signed(&["work.argon", MANAGER_NAME], &leaf_pair, by);
    let chains = [
        (vec![leaf(&issuer)], true),
        (vec![leaf(&issuer), authority.clone()], true),
        (vec![leaf(&below), below_shown.der().clone()], false),
    ];
    for (chain, is_taken) in chains {
        let (near, far) = duplex(64 * 1024);
        let connector = TlsConnector::from(client_showing(chain.clone(), &leaf_pair, &authority));
        let name = ServerName::try_from(MANAGER_NAME).unwrap();
        let (accepted, _) = tokio::join!(let_in(&cluster.own, far), connector.connect(name, near));
        assert_eq!(accepted.is_ok(), is_taken, "{}", chain.len());

        let called = call(&cluster.own, server_showing(chain.clone(), &leaf_pair)).await;
        assert_eq!(called.is_ok(), is_taken, "{}", chain.len());
    }
}

/// What it is for is not all that a certificate is known by: this one may be any server's.
#[tokio::test]
async fn a_manager_has_a_managers_name() {
    let cluster = Cluster::new("name");
    let (_, issuer) = cluster.authority();
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    for (names, is_one) in [
        (&["submit.argon", "work.argon", "observe.argon"][..], false),
        (&["manager.argon.holder.argon"], false),
        (&[MANAGER_NAME], true),
    ] {
        let shown = vec![signed(names, &pair, &issuer)];
        let called = call(&cluster.own, server_showing(shown, &pair)).await;
        match called {
            Ok(_) => assert!(is_one, "{names:?}"),
            Err(error) => {
                assert!(!is_one, "{names:?}");
                assert!(error.to_string().contains("role `manage`"), "{error}");
            }
        }
    }
}

/// What becomes of a call to whoever has this to show.
async fn call(keys: &Keys, shown: Arc<ServerConfig>) -> io::Result<Channel<DuplexStream>> {
    let (near, far) = duplex(64 * 1024);
    let answering = async {
        // It may be left at any time.
        if let Ok(mut stream) = TlsAcceptor::from(shown).accept(far).await {
            let _ = stream.write_all(&READY).await;
            let _ = stream.flush().await;
        }
    };
    tokio::join!(connect(Some(keys), near), answering).0
}

fn signed(names: &[&str], pair: &KeyPair, by: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    params.signed_by(pair, by).unwrap().der().clone()
}

fn secret_of(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pair.serialize_der()).into()
}

fn client_showing(
    chain: Vec<CertificateDer<'static>>,
    pair: &KeyPair,
    authority: &CertificateDer<'static>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, secret_of(pair));
    Arc::new(config.unwrap())
}

fn server_showing(chain: Vec<CertificateDer<'static>>, pair: &KeyPair) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, secret_of(pair));
    Arc::new(config.unwrap())
}

/// What goes on with an earlier handshake is not looked at again: a key that was taken out meanwhile
/// would be let in.
#[tokio::test]
async fn no_handshake_goes_on_with_an_earlier_one() {
    let cluster = Cluster::new("resumption");
    let (authority, _) = cluster.certified(1);
    let (certificate, pair) = cluster.certified(0);
    // A client that remembers what it is given to go on with.
    let config = client_showing(vec![certificate], &pair, &authority);
    for _ in 0..3 {
        let (near, far) = duplex(64 * 1024);
        let connecting = async {
            let name = ServerName::try_from(MANAGER_NAME).unwrap();
            let connector = TlsConnector::from(Arc::clone(&config));
            let mut stream = connector.connect(name, near).await.unwrap();
            let mut ready = [0; READY.len()];
            stream.read_exact(&mut ready).await.unwrap();
            stream.get_ref().1.handshake_kind()
        };
        let (accepted, kind) = tokio::join!(let_in(&cluster.own, far), connecting);
        assert!(accepted.is_ok());
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

//! Connections over TLS, where there is a key, and plain ones, where there is none.
//!
//! A manager looks at the first bytes before it begins: TLS costs it a fifth of a millisecond, garbage
//! shall not. A peer that speaks Argon's protocol without TLS is told so in that protocol; anybody else
//! is told nothing.
//!
//! In TLS 1.3 a client has done its part before the manager has looked at its certificate, and what it
//! sends then can cost it the refusal: so the manager speaks first, with [`READY`], and the client reads
//! that before it says anything.
//!
//! Owns: the handshake and its bounds. Never: knows what a frame means.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use argon_core::access::Access;
use argon_core::codec::LENGTH_BYTES;
use argon_core::limits::{HELLO_FRAME_MAX, STRANGER_BYTES};
use argon_core::message::{Control, MAGIC, Message, RefuseReason, ToPeer};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::connection::linger;
use crate::driver::LINGER;
use crate::frames::Outgoing;
use crate::keys::{Keys, MANAGER_NAME, access_of};

/// What a manager says first when it has accepted a certificate.
pub(crate) const READY: [u8; 4] = MAGIC;
/// Where the hello of a peer that does not speak TLS has its magic: behind length, extent and tag.
const MAGIC_AT: usize = LENGTH_BYTES + 1 + 4;
/// Bytes that tell what a peer speaks.
const FIRST: usize = MAGIC_AT + MAGIC.len();
/// How a record of TLS with a handshake begins: its type, and the major version.
const HANDSHAKE_RECORD: [u8; 2] = [0x16, 0x03];
/// Most bytes that TLS holds to be sent beyond what the system takes: one record. Four records at a time are
/// not measurably faster.
const TLS_BUFFER: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) enum Channel<S> {
    /// Without a key.
    Plain(S),
    /// With one.
    Tls(Box<TlsStream<Bounded<S>>>),
}

/// A stream of which some bytes are read already, and of which a stranger gets only so many read.
#[derive(Debug)]
pub(crate) struct Bounded<S> {
    stream: S,
    first: [u8; FIRST],
    /// Of those bytes, how many there are, and how many were read again.
    filled: usize,
    taken: usize,
    /// Bytes that may still be read; `None` from the handshake on.
    allowance: Option<usize>,
}

/// Why a peer is not let in; for the log of the manager.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeptOut {
    /// It speaks Argon's protocol without TLS.
    Plain,
    /// It speaks neither.
    Other,
    /// The connection ended before it had said anything that makes sense.
    Gone,
    /// It has not said enough in time to know what it speaks.
    Silent,
    /// It had said nothing yet when others needed its place.
    Displaced,
    /// It has begun to show a key, and not come to an end in time.
    Slow,
    /// It had begun to show a key when others needed its place.
    Interrupted,
    /// It showed no certificate, or one that is not ours, or broke the handshake.
    Refused(String),
}

impl KeptOut {
    /// Whether it made us begin a handshake.
    pub(crate) fn was_costly(&self) -> bool {
        match self {
            Self::Plain | Self::Other | Self::Gone | Self::Silent | Self::Displaced => false,
            Self::Slow | Self::Interrupted | Self::Refused(_) => true,
        }
    }

    /// Why, for people.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Plain => "it has no key; start it with --key and a key of this cluster",
            Self::Other => "it does not speak TLS",
            Self::Gone => "it left before it had shown a key",
            Self::Silent => "it said nothing in time",
            Self::Displaced => {
                "it had said nothing yet, and so many strangers came that it lost its place"
            }
            Self::Interrupted => {
                "it had not shown a key yet, and so many strangers came that it lost its place"
            }
            Self::Slow => "it did not show a key in time",
            Self::Refused(reason) => reason,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Bounded<S> {
    fn new(stream: S, allowance: Option<usize>) -> Self {
        Self {
            stream,
            first: [0; FIRST],
            filled: 0,
            taken: 0,
            allowance,
        }
    }

    /// Reads the first bytes, as many as it takes to know whether this is TLS.
    async fn look(&mut self) -> io::Result<()> {
        while self.filled < FIRST {
            let count = self.stream.read(&mut self.first[self.filled..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.filled += count;
            self.allowance = self.allowance.map(|left| left.saturating_sub(count));
            let seen = self.filled.min(HANDSHAKE_RECORD.len());
            let is_tls = self.first[..seen] == HANDSHAKE_RECORD[..seen];
            // A hello is shorter than the first byte of its length and the second would say of TLS.
            let is_settled = seen == HANDSHAKE_RECORD.len() && is_tls;
            if is_settled || !is_tls && !self.may_be_hello() {
                break;
            }
        }
        Ok(())
    }

    fn is_tls(&self) -> bool {
        self.filled >= HANDSHAKE_RECORD.len() && self.first.starts_with(&HANDSHAKE_RECORD)
    }

    /// Whether what has come so far can begin a hello that is not inside TLS.
    fn may_be_hello(&self) -> bool {
        if let Some(length) = self.first[..self.filled].first_chunk::<LENGTH_BYTES>()
            && u32::from_le_bytes(*length) as usize > HELLO_FRAME_MAX
        {
            return false;
        }
        let magic = &self.first[MAGIC_AT.min(self.filled)..self.filled];
        MAGIC.starts_with(magic)
    }
}

/// Looks whether a peer speaks TLS, which costs next to nothing.
///
/// To be bounded in time by the caller.
pub(crate) async fn look<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
) -> Result<Bounded<S>, KeptOut> {
    let mut stream = Bounded::new(stream, Some(STRANGER_BYTES));
    stream.look().await.map_err(|_| KeptOut::Gone)?;
    if !stream.is_tls() {
        if stream.filled < FIRST || !stream.may_be_hello() {
            return Err(KeptOut::Other);
        }
        refuse_plainly(stream.stream).await;
        return Err(KeptOut::Plain);
    }
    Ok(stream)
}

/// Lets a peer in that has a key of ours; says what it allows.
///
/// To be bounded in time by the caller.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    keys: &Keys,
    stream: Bounded<S>,
) -> Result<(Channel<S>, Access), KeptOut> {
    let Some(config) = keys.server() else {
        return Err(KeptOut::Refused(
            "this manager's own key has not the role `manage` any more".to_owned(),
        ));
    };
    let accepted = TlsAcceptor::from(config).accept(stream).await;
    let mut stream = accepted.map_err(|error| KeptOut::of(&error))?;
    let (inner, session) = stream.get_mut();
    inner.allowance = None;
    session.set_buffer_limit(Some(TLS_BUFFER));
    let certificate = own(keys, session.peer_certificates())
        .ok_or_else(|| KeptOut::Refused("it showed certificates of others".to_owned()))?;
    let access = access_of(certificate)
        .ok_or_else(|| KeptOut::Refused("its certificate cannot be read".to_owned()))?;
    let said = async {
        stream.write_all(&READY).await?;
        stream.flush().await
    };
    said.await.map_err(|error| KeptOut::of(&error))?;
    Ok((Channel::Tls(Box::new(TlsStream::Server(stream))), access))
}

/// A peer's own certificate. All keys come from an authority directly: between the two there is nobody
/// who could make more of them. The authority's own may be shown with it, as some libraries do.
fn own<'a>(
    keys: &Keys,
    shown: Option<&'a [CertificateDer<'static>]>,
) -> Option<&'a CertificateDer<'static>> {
    let (certificate, others) = shown?.split_first()?;
    let are_known = others.iter().all(|other| keys.trusts(other));
    are_known.then_some(certificate)
}

/// Tells a peer that does not speak TLS, in the words that it understands.
async fn refuse_plainly<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut outgoing = Outgoing::default();
    let refusal = Message::from(ToPeer::Control(Control::Refuse(RefuseReason::KeyRequired)));
    if outgoing.push(&refusal).is_ok() {
        let _ = timeout(LINGER, linger(stream, outgoing)).await;
    }
}

impl KeptOut {
    fn of(error: &io::Error) -> Self {
        let Some(error) = tls_error(error) else {
            return Self::Refused(if has_ended(error) {
                "it left while it was to show a key".to_owned()
            } else {
                format!("the handshake failed: {error}")
            });
        };
        let reason = match error {
            rustls::Error::NoCertificatesPresented => "it showed no key".to_owned(),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "its key is of another authority".to_owned()
            }
            rustls::Error::AlertReceived(
                AlertDescription::UnknownCA | AlertDescription::BadCertificate,
            ) => "it refused our key: it trusts another authority".to_owned(),
            rustls::Error::InvalidCertificate(error) => {
                format!("its certificate cannot be used ({error})")
            }
            rustls::Error::PeerIncompatible(error) => {
                format!("it does not speak TLS 1.3 as we do ({error:?})")
            }
            other => format!("the handshake failed: {other}"),
        };
        Self::Refused(reason)
    }
}

/// Whether an error says that the other side is gone.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Calls a manager: over TLS if there are keys. The error says which side refused the other, and what
/// to do.
///
/// To be bounded in time by the caller.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    keys: Option<&Keys>,
    stream: S,
) -> io::Result<Channel<S>> {
    let Some(keys) = keys else {
        return Ok(Channel::Plain(stream));
    };
    let name = ServerName::try_from(MANAGER_NAME).map_err(io::Error::other)?;
    let connector = TlsConnector::from(keys.client());
    let connected = connector.connect(name, Bounded::new(stream, None)).await;
    let mut stream = connected.map_err(|error| explained(error, Moment::Handshake))?;
    let session = stream.get_mut().1;
    session.set_buffer_limit(Some(TLS_BUFFER));
    if own(keys, session.peer_certificates()).is_none() {
        return Err(io::Error::other(
            "we refused what answers: it showed certificates of others",
        ));
    }
    let mut ready = [0; READY.len()];
    let read = stream.read_exact(&mut ready).await;
    read.map_err(|error| explained(error, Moment::Judgement))?;
    if ready != READY {
        return Err(io::Error::other(
            "what answers is no Argon manager, although it has a manager's key",
        ));
    }
    Ok(Channel::Tls(Box::new(TlsStream::Client(stream))))
}

/// When a handshake failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the manager had shown its certificate, or while we looked at it.
    Handshake,
    /// While the manager looked at ours.
    Judgement,
}

fn explained(error: io::Error, moment: Moment) -> io::Error {
    const NO_TLS: &str = "the manager does not speak TLS: it was started without a key; start it \
        with --key, or leave the key out here";
    const NOT_OURS: &str = "we refused the manager: its key comes from another authority than ours; \
        both need keys that come from the same `argon keygen`";
    const NO_MANAGER: &str = "we refused what answers: its key does not have the role `manage`, so it \
        is not the manager";
    const NOT_THEIRS: &str = "the manager refused our key: it comes from an authority that the manager \
        does not trust (any more); get a key that was made from the manager's, or add ours to \
        the manager's --key";
    let ended = has_ended(&error);
    let text = match tls_error(&error) {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => NO_TLS,
        Some(rustls::Error::InvalidCertificate(error)) => match error {
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. } => NO_MANAGER,
            _ => NOT_OURS,
        },
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => NOT_THEIRS,
            _ => return error,
        },
        None if ended && moment == Moment::Handshake => {
            "the manager closed the connection before it had shown a key: it was started without one, \
             or has too many strangers at its door"
        }
        None if ended => {
            "the manager closed the connection when it had seen our key; its log says why"
        }
        Some(_) | None => return error,
    };
    io::Error::new(error.kind(), text)
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken < this.filled {
            let again = &this.first[this.taken..this.filled];
            let count = again.len().min(buf.remaining());
            buf.put_slice(&again[..count]);
            this.taken += count;
            return Poll::Ready(Ok(()));
        }
        let Some(allowance) = this.allowance else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        if allowance == 0 {
            let text = format!("more than {STRANGER_BYTES} bytes before a key was shown");
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let room = buf.remaining().min(allowance);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        let count = part.filled().len();
        buf.advance(count);
        this.allowance = Some(allowance - count);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Channel<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Channel<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;

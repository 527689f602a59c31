//! Asking a manager how things are.
#![warn(clippy::wildcard_enum_match_arm)]

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use argon_core::access::KeyRole;
use argon_core::codec;
use argon_core::ids::PeerId;
use argon_core::limits::{
    CLIENTS_MAX, HELLO_FRAME_MAX, PAYLOAD_MAX_CEILING, STATUS_PAGE, WORKERS_MAX,
};
use argon_core::message::{
    Control, FromManager, Hello, MAGIC, Message, Query, RefuseReason, Role, ToManager, ToObserver,
    VERSION,
};
use argon_core::name::Name;
use argon_core::status::StatusReport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::connection::{Incoming, provoke};
use crate::driver::clock::entropy;
use crate::error::{StatusError, refusal};
use crate::frames::Outgoing;
use crate::keys::Keys;
use crate::secure;
use crate::transport::{TokioTransport, Transport};

/// The state of the manager at `manager`, all pages of it, over TCP; with keys, over TLS.
///
/// # Errors
/// If it cannot be reached, or does not answer within `limit`.
pub async fn status(
    manager: &str,
    keys: Option<&Keys>,
    limit: Duration,
) -> Result<StatusReport, StatusError> {
    let seed = entropy().map_err(|_| StatusError::Connection {
        manager: manager.to_owned(),
        error: io::Error::other("no random numbers"),
    })?;
    status_on(&TokioTransport::default(), manager, keys, limit, seed).await
}

/// The state of the manager at `manager`, all pages of it, over any transport; the identity under
/// which it is asked is `seed`.
///
/// # Errors
/// If it cannot be reached, or does not answer within `limit`.
pub async fn status_on<T: Transport>(
    transport: &T,
    manager: &str,
    keys: Option<&Keys>,
    limit: Duration,
    seed: u64,
) -> Result<StatusReport, StatusError> {
    let asked = async {
        let not_connected = |error| StatusError::Connect {
            manager: manager.to_owned(),
            error,
        };
        let stream = transport.connect(manager).await.map_err(not_connected)?;
        let secured = secure::connect(keys, stream).await;
        let stream = secured.map_err(|error| StatusError::Refused {
            manager: manager.to_owned(),
            reason: error.to_string(),
        })?;
        let mut observer = Observer::new(manager, PeerId(seed), stream);
        observer.keys = keys;
        // A server that waits for a line says nothing until it gets one.
        match timeout(limit / 4 * 3, observer.greet()).await {
            Ok(greeted) => greeted?,
            Err(_) => return Err(observer.provoke().await),
        }
        observer.ask().await
    };
    match timeout(limit, asked).await {
        Ok(result) => result,
        Err(_) => Err(StatusError::TimedOut {
            manager: manager.to_owned(),
        }),
    }
}

/// Most pages of a status: a manager has no more workers or clients.
const PAGES_MAX: u32 = (WORKERS_MAX.div_ceil(STATUS_PAGE)) as u32;
const _: () = assert!(CLIENTS_MAX <= WORKERS_MAX);

struct Observer<'a, S> {
    manager: &'a str,
    /// What is shown.
    keys: Option<&'a Keys>,
    peer: PeerId,
    stream: S,
    incoming: Incoming,
    outgoing: Outgoing,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Observer<'a, S> {
    fn new(manager: &'a str, peer: PeerId, stream: S) -> Self {
        Self {
            manager,
            keys: None,
            peer,
            stream,
            incoming: Incoming::new(HELLO_FRAME_MAX),
            outgoing: Outgoing::default(),
        }
    }

    async fn ask(mut self) -> Result<StatusReport, StatusError> {
        let mut report = self.page(0).await?;
        let mut page = 1;
        while report.more {
            if page >= PAGES_MAX {
                return Err(self.not_ours());
            }
            let next = self.page(page).await?;
            report.manager = next.manager;
            report.workers.extend(next.workers);
            report.clients.extend(next.clients);
            report.more = next.more;
            page += 1;
        }
        // The manager need not wait for silence to know that we are gone.
        let _ = self.send(ToManager::Goodbye.into()).await;
        Ok(report)
    }

    async fn greet(&mut self) -> Result<(), StatusError> {
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            role: Role::Observer,
            peer: self.peer,
            connection: 0,
            session: None,
            name: Name::new("observer").expect("a valid name"),
        };
        self.send(ToManager::Hello(hello).into()).await?;
        match self.receive().await?.body {
            FromManager::Control(Control::Welcome(welcome))
                if welcome.version.major == VERSION.major =>
            {
                let payload_max = (welcome.payload_max as usize).min(PAYLOAD_MAX_CEILING);
                self.incoming.set_frame_max(codec::frame_max(payload_max));
                Ok(())
            }
            FromManager::Control(Control::Refuse(reason)) => Err(StatusError::Refused {
                manager: self.manager.to_owned(),
                reason: self.refusal(reason),
            }),
            FromManager::Control(Control::Welcome(_) | Control::Pong(_) | Control::Paused)
            | FromManager::Role(_)
            | FromManager::Misdirected => Err(self.not_ours()),
        }
    }

    /// Why we are not let in; if it is for want of a role, which, and whose key has to have it.
    fn refusal(&self, reason: RefuseReason) -> String {
        let ours = self
            .keys
            .map(|keys| keys.check(KeyRole::Observe, &keys.access()));
        match (reason, ours) {
            (RefuseReason::NotAllowed, Some(Err(lacks))) => lacks.to_string(),
            _ => refusal(reason),
        }
    }

    /// Whoever does not greet back and speaks something else shall say so.
    async fn provoke(self) -> StatusError {
        let manager = self.manager.to_owned();
        match provoke(self.stream, self.incoming, self.outgoing).await {
            Some(name) => StatusError::Protocol {
                manager,
                speaks: Some(name),
            },
            None => StatusError::TimedOut { manager },
        }
    }

    async fn page(&mut self, page: u32) -> Result<StatusReport, StatusError> {
        self.send(Query::StatusQuery { page }.into()).await?;
        loop {
            match self.receive().await?.body {
                FromManager::Role(ToObserver::Status(report)) => return Ok(*report),
                FromManager::Control(Control::Pong(_)) => {}
                FromManager::Role(ToObserver::Running(_))
                | FromManager::Control(
                    Control::Welcome(_) | Control::Refuse(_) | Control::Paused,
                )
                | FromManager::Misdirected => return Err(self.not_ours()),
            }
        }
    }

    async fn send(&mut self, message: Message<ToManager>) -> Result<(), StatusError> {
        if self.outgoing.push(&message).is_err() {
            return Err(self.not_ours());
        }
        let (outgoing, stream) = (&mut self.outgoing, &mut self.stream);
        poll_fn(|cx| outgoing.poll_flush(cx, stream, &mut 0))
            .await
            .map_err(|error| self.broken(error))
    }

    async fn receive(&mut self) -> Result<Message<FromManager<ToObserver>>, StatusError> {
        loop {
            match self.incoming.next() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(_) => return Err(self.not_ours()),
            }
            let (incoming, stream) = (&mut self.incoming, &mut self.stream);
            match poll_fn(|cx| incoming.poll_read(cx, stream)).await {
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, error: io::Error) -> StatusError {
        StatusError::Connection {
            manager: self.manager.to_owned(),
            error,
        }
    }

    fn not_ours(&self) -> StatusError {
        StatusError::Protocol {
            manager: self.manager.to_owned(),
            speaks: self.incoming.other_protocol(),
        }
    }
}

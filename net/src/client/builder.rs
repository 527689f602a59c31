//! Connecting: where to, and how the client is to be.

use std::path::PathBuf;
use std::time::Duration;

use argon_core::name::Name;

use super::{Client, ClientOptions};
use crate::error::{Error, StartError};
use crate::keys::Keys;
use crate::link::LinkState;

/// How long `connect` waits for a manager, if nothing else is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where managers are: `"host:port"`, several with commas, or an array or `Vec` of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Addresses(Vec<String>);

impl Addresses {
    fn each<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut all = Vec::new();
        for text in texts {
            let parts = text.as_ref().split(',').map(str::trim);
            all.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
        }
        Self(all)
    }

    /// Checks what can be known without asking anybody.
    fn check(&self) -> Result<(), StartError> {
        let wrong = self.0.iter().find(|text| {
            let parts = text.rsplit_once(':');
            parts.is_none_or(|(host, port)| {
                host.is_empty() || !port.parse().is_ok_and(|port: u16| port > 0)
            })
        });
        match wrong {
            Some(given) => Err(StartError::Address {
                given: given.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl From<&str> for Addresses {
    fn from(text: &str) -> Self {
        Self::each([text])
    }
}

impl From<String> for Addresses {
    fn from(text: String) -> Self {
        Self::each([text])
    }
}

impl From<&String> for Addresses {
    fn from(text: &String) -> Self {
        Self::each([text])
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for Addresses {
    fn from(texts: [S; N]) -> Self {
        Self::each(texts)
    }
}

impl<S: AsRef<str>> From<&[S]> for Addresses {
    fn from(texts: &[S]) -> Self {
        Self::each(texts)
    }
}

impl<S: AsRef<str>> From<Vec<S>> for Addresses {
    fn from(texts: Vec<S>) -> Self {
        Self::each(texts)
    }
}

/// Says how a client is to be; from [`Client::builder`].
///
/// ```no_run
/// # async fn example() -> Result<(), argon::Error> {
/// let client = argon::Client::builder()
///     .managers(["a:8000", "b:8000"])
///     .name("importer")?
///     .retries(100)
///     .connect()
///     .await?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    addresses: Addresses,
    options: ClientOptions,
    connect_timeout: Option<Duration>,
}

impl Client {
    /// Connects to a manager at `host:port`, or to the first that answers of several, and fails
    /// over to the others when that is lost.
    ///
    /// # Errors
    /// If that makes no sense, there is no tokio runtime, or no manager lets us in within ten
    /// seconds; [`ClientBuilder::connect_timeout`] waits longer or for ever.
    pub async fn connect(managers: impl Into<Addresses>) -> Result<Self, Error> {
        Self::builder().managers(managers).connect().await
    }

    /// A client with other settings than the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            addresses: Addresses::default(),
            options: ClientOptions::new(Vec::new()),
            connect_timeout: Some(CONNECT_TIMEOUT),
        }
    }
}

impl ClientBuilder {
    /// Where managers are; the first that answers is used.
    pub fn managers(mut self, managers: impl Into<Addresses>) -> Self {
        self.addresses = managers.into();
        self
    }

    /// Shows the key in this file to the managers, and knows them by it. If nothing is said, the
    /// files that the environment's `ARGON_KEY` names, with commas between them.
    ///
    /// # Errors
    /// If it cannot be read, is no key, or can be read by other users.
    pub fn key(self, file: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(self.keys(Keys::open([file]).map_err(StartError::Key)?))
    }

    /// The same with keys that were read already.
    pub fn keys(mut self, keys: Keys) -> Self {
        self.options.keys = Some(keys);
        self
    }

    /// For people to read in the manager's status.
    ///
    /// # Errors
    /// If it is empty, longer than 255 bytes, or has control characters.
    pub fn name(mut self, name: &str) -> Result<Self, Error> {
        let name = Name::new(name).map_err(StartError::Name)?;
        self.options.name = Some(name);
        Ok(self)
    }

    /// How often a task that a full manager rejects is sent again, with growing, random delays;
    /// 10 times if nothing is said.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Rejected tasks are sent again for ever.
    pub fn retry_for_ever(mut self) -> Self {
        self.options.retries = None;
        self
    }

    /// Most tasks at a time, with those whose results nobody has taken yet; 65,536 if nothing is
    /// said. More wait here until there is room.
    pub fn in_flight(mut self, tasks: usize) -> Self {
        self.options.tasks = tasks.max(1);
        self
    }

    /// Most bytes of their arguments and results; 1 GiB if nothing is said. One task is always
    /// let in.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.options.bytes = bytes;
        self
    }

    /// Largest payload that is sent, in bytes; 64 MiB if nothing is said. The manager's limit
    /// counts too.
    pub fn payload_max(mut self, bytes: usize) -> Self {
        self.options.payload_max = bytes;
        self
    }

    /// How long [`connect`](Self::connect) waits for a manager; `None` waits for ever.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = limit.into();
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// If the settings make no sense, there is no tokio runtime, or no manager lets us in in time.
    pub async fn connect(self) -> Result<Client, Error> {
        let limit = self.connect_timeout;
        let managers = self.addresses.0.clone();
        let client = self.start()?;
        let connected = async {
            while !matches!(client.link(), LinkState::Connected { .. }) {
                client.link_changed().await;
            }
        };
        match limit {
            None => connected.await,
            Some(limit) => {
                if tokio::time::timeout(limit, connected).await.is_err() {
                    let reason = match client.link() {
                        LinkState::Refused { reason } => reason,
                        LinkState::Connecting {
                            last: Some(last), ..
                        } => last,
                        _ => "no answer came".to_owned(),
                    };
                    return Err(Error::NotConnected { managers, reason });
                }
            }
        }
        Ok(client)
    }

    /// Starts the client without waiting for a manager: tasks wait until one is there. To bound
    /// that, give them a [deadline](crate::Call::deadline).
    ///
    /// # Errors
    /// If the settings make no sense, or there is no tokio runtime.
    pub fn start(self) -> Result<Client, Error> {
        Ok(Client::start(self.into_options()?)?)
    }

    pub(crate) fn into_options(self) -> Result<ClientOptions, Error> {
        self.addresses.check()?;
        let mut options = self.options;
        options.managers = self.addresses.0;
        if options.keys.is_none() {
            options.keys = Keys::from_environment().map_err(StartError::Key)?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_many_forms() {
        let expected = Addresses(vec!["a:1".to_owned(), "b:2".to_owned()]);
        let texts = ["a:1", "b:2"];
        assert_eq!(Addresses::from("a:1, b:2"), expected);
        assert_eq!(Addresses::from("a:1,b:2".to_owned()), expected);
        assert_eq!(Addresses::from(texts), expected);
        assert_eq!(Addresses::from(&texts[..]), expected);
        assert_eq!(Addresses::from(texts.map(str::to_owned).to_vec()), expected);
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_at_once() {
        for text in ["localhost", ":8000", "host:0", "host:http", "[::1]"] {
            let error = Client::connect(text).await.unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{error}");
        }
        let error = Client::connect("").await.unwrap_err();
        assert!(matches!(error, Error::Start(StartError::NoManager)));
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_gives_up_and_says_why() {
        // Nobody listens there: the system has just given it to us and taken it back.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::connect(&address).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::NotConnected { .. }), "{text}");
        assert!(
            text.contains(&address) && text.contains("argon manager"),
            "{text}"
        );
    }

    #[test]
    fn without_a_runtime_there_is_no_client() {
        let error = Client::builder().managers("a:1").start().unwrap_err();
        assert!(matches!(error, Error::Start(StartError::NoRuntime)));
    }
}

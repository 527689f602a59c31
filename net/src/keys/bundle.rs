//! One key: its parts, the checks of them, and the configurations of TLS that follow.

use std::sync::Arc;
use std::time::Duration;

use argon_core::access::{Access, KeyRole, is_holder};
use argon_core::name::Name;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::error::{KeyError, KeyProblem};

/// What follows a holder's name in a certificate.
pub(super) const HOLDER_SUFFIX: &str = ".holder.argon";
/// Bytes of the authority's hash that are shown.
const FINGERPRINT_BYTES: usize = 8;
/// The time at which certificates are looked at, in seconds since 1970: they do not expire, and no
/// clock is to decide who is let in. It lies within the years that every certificate has.
const LOOKED_AT: Duration = Duration::from_secs(1_700_000_000);

/// The name in a certificate that stands for a role.
pub(super) fn role_name(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Submit => "submit.argon",
        KeyRole::Work => "work.argon",
        KeyRole::Observe => "observe.argon",
        KeyRole::Manage => MANAGER_NAME,
    }
}

/// What a manager's certificate is for.
pub(crate) const MANAGER_NAME: &str = "manager.argon";

/// A key, checked.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) access: Access,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pub(super) authority: CertificateDer<'static>,
    /// Only the cluster's own key has it.
    pub(super) authority_key: Option<PrivatePkcs8KeyDer<'static>>,
}

impl Bundle {
    /// Takes a text apart: a certificate, its key, the authority's certificate, and maybe that's key,
    /// in this order.
    pub(super) fn parse(text: &str) -> Result<Self, KeyError> {
        let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
        let mut certificates = Vec::new();
        let mut keys = Vec::new();
        for section in sections {
            let (kind, bytes) = section.map_err(|_| KeyProblem::Broken("block of PEM"))?;
            match kind {
                SectionKind::Certificate => certificates.push(CertificateDer::from(bytes)),
                SectionKind::PrivateKey => keys.push(PrivatePkcs8KeyDer::from(bytes)),
                _ => return Err(KeyProblem::Broken("block of another kind").into()),
            }
        }
        if certificates.len() > 2 || keys.len() > 2 {
            return Err(KeyProblem::Broken("block too many").into());
        }
        let mut certificates = certificates.into_iter();
        let mut keys = keys.into_iter();
        let certificate = certificates.next();
        let certificate = certificate.ok_or(KeyProblem::Missing("certificate"))?;
        let key = keys.next().ok_or(KeyProblem::Missing("private key"))?;
        let authority = certificates.next();
        let authority = authority.ok_or(KeyProblem::Missing("authority's certificate"))?;
        check(&certificate, &authority)?;
        let access = access_of(&certificate).ok_or(KeyProblem::Broken("certificate"))?;
        if access.roles().next().is_none() {
            return Err(KeyProblem::NoRole.into());
        }
        Ok(Self {
            access,
            certificate,
            key: key.into(),
            authority,
            authority_key: keys.next(),
        })
    }

    /// The first bytes of the hash of the authority's certificate, for people to compare.
    pub(super) fn fingerprint(&self) -> String {
        use std::fmt::Write as _;
        let provider = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let hash = provider
            .tls13()
            .map(|suite| suite.common.hash_provider.hash(&self.authority));
        let mut text = String::new();
        if let Some(hash) = hash {
            for byte in hash.as_ref().iter().take(FINGERPRINT_BYTES) {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }
}

/// Checks that a certificate comes from an authority, and that this is one: whatever is trusted can
/// sign, whether it says that it is an authority or not.
fn check(certificate: &CertificateDer<'_>, authority: &CertificateDer<'_>) -> Result<(), KeyError> {
    let broken = |_| KeyProblem::Broken("authority's certificate");
    let anchor = [anchor_from_trusted_cert(authority).map_err(broken)?];
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let time = UnixTime::since_unix_epoch(LOOKED_AT);
    let verify = |certificate: &CertificateDer<'_>| {
        let parsed = EndEntityCert::try_from(certificate)?;
        let usage = KeyUsage::client_auth();
        parsed
            .verify_for_usage(algorithms.all, &anchor, &[], time, usage, None, None)
            .map(|_| ())
    };
    match verify(authority) {
        Err(webpki::Error::CaUsedAsEndEntity) => {}
        _ => return Err(KeyProblem::Broken("certificate in the authority's place").into()),
    }
    match verify(certificate) {
        Ok(()) => Ok(()),
        Err(webpki::Error::BadDer | webpki::Error::BadDerTime) => {
            Err(KeyProblem::Broken("certificate").into())
        }
        Err(_) => Err(KeyProblem::Foreign.into()),
    }
}

/// What a certificate that was verified allows; `None` if it cannot be read.
///
/// Names are compared as they are written, lower case: a manager takes what its library accepts as a
/// name and is exactly one of ours, and nothing else.
pub(crate) fn access_of(certificate: &CertificateDer<'_>) -> Option<Access> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let names: Vec<&str> = parsed.valid_dns_names().collect();
    let roles = KeyRole::ALL
        .into_iter()
        .filter(|role| names.contains(&role_name(*role)));
    let holders = names
        .iter()
        .filter_map(|name| name.strip_suffix(HOLDER_SUFFIX));
    let holder = holders.filter(|name| is_holder(name)).min();
    let holder = holder.and_then(|name| Name::new(name).ok());
    Some(Access::new(roles, holder))
}

/// Looks at certificates always at the same time.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(LOOKED_AT))
    }
}

/// The library's own, with the cipher first that costs least.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

fn roots(bundles: &[Bundle]) -> Result<Arc<RootCertStore>, KeyError> {
    let mut roots = RootCertStore::empty();
    for bundle in bundles {
        let added = roots.add(bundle.authority.clone());
        added.map_err(|_| KeyProblem::Broken("authority's certificate"))?;
    }
    Ok(Arc::new(roots))
}

/// How to call a manager: the first key is shown.
pub(super) fn client_config(bundles: &[Bundle]) -> Result<ClientConfig, KeyError> {
    let first = bundles.first().ok_or(KeyProblem::None)?;
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(NoClock))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| KeyProblem::Make(error.to_string()))?
        .with_root_certificates(roots(bundles)?)
        .with_client_auth_cert(vec![first.certificate.clone()], first.key.clone_key())
        .map_err(|_| KeyProblem::Broken("private key"))?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// How to be called as a manager.
///
/// There are no tickets and no sessions: a handshake that goes on with an earlier one does not look at
/// certificates again, so a key that was taken out would open doors still.
pub(super) fn server_config(bundles: &[Bundle]) -> Result<ServerConfig, KeyError> {
    let first = bundles.first().ok_or(KeyProblem::None)?;
    let provider = provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(bundles)?, Arc::clone(&provider))
            // A stranger need not know whom we trust.
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| KeyProblem::Make(error.to_string()))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(NoClock))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| KeyProblem::Make(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![first.certificate.clone()], first.key.clone_key())
        .map_err(|_| KeyProblem::Broken("private key"))?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

//! Making keys.
//!
//! Private keys are written as PKCS#8 of the first version, which every library reads. Certificates
//! hold from 1970 to 9999. Each authority has a name of its own, so that a certificate of another is
//! told apart by its name, before any signature is looked at.

use std::path::Path;

use argon_core::access::{KeyRole, is_holder};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::bundle::{HOLDER_SUFFIX, role_name};
use super::error::{KeyError, KeyProblem};

/// What comes before the 32 secret bytes of an Ed25519 key in PKCS#8 of the first version (RFC 8410).
const PKCS8_START: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// Bytes of a secret.
const SEED: usize = 32;
/// Bytes of a serial number: all alike, so that certificates are of one length.
const SERIAL: usize = 16;

/// Makes the key of a new cluster: an authority, and a certificate with all roles. The text of one key
/// file, which is a secret.
///
/// # Errors
/// If the system gives no random numbers.
pub fn make_key() -> Result<String, KeyError> {
    let (pair, secret) = pair()?;
    let mut params = params()?;
    let mut name = String::from("Argon authority ");
    for byte in random::<8>()? {
        name.push_str(&format!("{byte:02x}"));
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&pair).map_err(failed)?;
    let issuer = Issuer::new(params, pair);
    let leaf = leaf(&issuer, &KeyRole::ALL, None)?;
    Ok(leaf + &certificate_text(authority.der()) + &key_text(&secret))
}

/// Makes a key with these roles from the cluster's own, which is in `from`.
///
/// # Errors
/// If that cannot be read or no key can be made from it, there is no role, or the holder's name cannot
/// be one.
pub fn make_lesser_key(
    from: &Path,
    roles: &[KeyRole],
    holder: Option<&str>,
) -> Result<String, KeyError> {
    let bundle = super::read_bundle(from, super::Reading::First)?;
    let named = |problem| KeyError {
        file: Some(from.to_owned()),
        problem,
    };
    let secret = bundle.authority_key;
    let secret = secret.ok_or_else(|| named(KeyProblem::NoAuthority))?;
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&secret, &PKCS_ED25519);
    let pair = pair.map_err(|_| named(KeyProblem::Broken("authority's private key")))?;
    let issuer = Issuer::from_ca_cert_der(&bundle.authority, pair);
    let issuer = issuer.map_err(|_| named(KeyProblem::Broken("authority's certificate")))?;
    if roles.is_empty() {
        return Err(KeyProblem::NoRole.into());
    }
    if let Some(holder) = holder.filter(|holder| !is_holder(holder)) {
        return Err(KeyProblem::Holder(holder.to_owned()).into());
    }
    Ok(leaf(&issuer, roles, holder)? + &certificate_text(&bundle.authority))
}

/// A certificate with its private key.
fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    roles: &[KeyRole],
    holder: Option<&str>,
) -> Result<String, KeyError> {
    let (pair, secret) = pair()?;
    let mut params = params()?;
    params
        .distinguished_name
        .push(DnType::CommonName, holder.unwrap_or("argon"));
    let mut names: Vec<String> = roles
        .iter()
        .map(|role| role_name(*role).to_owned())
        .collect();
    names.extend(holder.map(|holder| format!("{holder}{HOLDER_SUFFIX}")));
    for name in names {
        let name = name.try_into().map_err(failed)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if roles.contains(&KeyRole::Manage) {
        // A second wall beside the name: only such a certificate can be a server's.
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&pair, issuer).map_err(failed)?;
    Ok(certificate_text(certificate.der()) + &key_text(&secret))
}

/// What all certificates have in common.
fn params() -> Result<CertificateParams, KeyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    let mut serial = random::<SERIAL>()?;
    // Positive, and without a leading zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// A new pair of keys, and the private one as it is written.
fn pair() -> Result<(KeyPair, PrivatePkcs8KeyDer<'static>), KeyError> {
    let secret = [&PKCS8_START[..], &random::<SEED>()?].concat();
    let secret = PrivatePkcs8KeyDer::from(secret);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&secret, &PKCS_ED25519).map_err(failed)?;
    Ok((pair, secret))
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyProblem::Make(error.to_string()))?;
    Ok(bytes)
}

fn certificate_text(der: &CertificateDer<'_>) -> String {
    text("CERTIFICATE", der)
}

fn key_text(secret: &PrivatePkcs8KeyDer<'_>) -> String {
    text("PRIVATE KEY", secret.secret_pkcs8_der())
}

fn text(tag: &str, bytes: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, bytes), config)
}

fn failed(error: rcgen::Error) -> KeyError {
    KeyProblem::Make(error.to_string()).into()
}

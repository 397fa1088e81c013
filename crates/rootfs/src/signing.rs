//! Signatures on kernel modules, as `scripts/sign-file` of the kernel makes them: detached PKCS#7 (RFC 5652)
//! without attributes, appended to the module (Documentation/admin-guide/module-signing.rst).
//!
//! Without attributes there is no time in it, and RSA with PKCS#1 v1.5 draws no random numbers: the same module
//! and key give the same bytes. Other kinds of keys are refused; shim enrols none of them.

use std::fmt;

use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding, Signer};
use serde::{Deserialize, Serialize, Serializer, ser};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use x509_cert::der::{self, Decode, DecodePem, Encode};
use x509_cert::spki::AlgorithmIdentifierOwned;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// Ends every signed module.
const MAGIC: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature` without its last field: only the type (PKCS#7) is not zero.
const TRAILER: [u8; 8] = [0, 0, 2, 0, 0, 0, 0, 0];

/// Why a key or certificate cannot sign modules.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SigningError {
    /// The key needs a passphrase.
    #[error("the key is encrypted; openssl pkey -in KEY -out NEW writes it without passphrase")]
    Encrypted,
    /// No private key of this kind.
    #[error(
        "this is no private RSA key in PEM; openssl req -x509 -newkey rsa:2048 -nodes -days 3650 \
         -subj /CN=NAME/ -keyout mok.key -outform DER -out mok.der makes one, with its certificate"
    )]
    NoKey,
    /// No certificate.
    #[error("this is no X.509 certificate, neither in DER nor in PEM")]
    NoCertificate,
    /// Key and certificate do not belong together.
    #[error(
        "the certificate is of another key; openssl req -x509 -key KEY -days 3650 -subj /CN=NAME/ \
         -outform DER -out NEW makes one of this key"
    )]
    Mismatch,
    /// The signature cannot be written down.
    #[error("the signature cannot be encoded: {0}")]
    Encoding(der::Error),
}

/// A private key for modules.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(RsaPrivateKey);

impl PrivateKey {
    /// Reads a key in PEM, PKCS#8 or PKCS#1.
    pub fn parse(pem: &[u8]) -> Result<Self, SigningError> {
        let text = std::str::from_utf8(pem).map_err(|_| SigningError::NoKey)?;
        if ["ENCRYPTED PRIVATE", "4,ENCRYPTED"].iter().any(|mark| text.contains(mark)) {
            return Err(SigningError::Encrypted);
        }
        let key = RsaPrivateKey::from_pkcs8_pem(text);
        let key = key.or_else(|_| RsaPrivateKey::from_pkcs1_pem(text));
        key.map(Self).map_err(|_| SigningError::NoKey)
    }
}

/// A private key with its certificate. It is serialised only to be handed to the sandbox.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "(String, Vec<u8>)")]
pub struct ModuleKey {
    key: PrivateKey,
    certificate: Certificate,
    der: Vec<u8>,
}

impl ModuleKey {
    /// The key with its certificate in DER or PEM.
    pub fn new(key: PrivateKey, certificate: &[u8]) -> Result<Self, SigningError> {
        let parsed = Certificate::from_der(certificate);
        let parsed = parsed.or_else(|_| Certificate::from_pem(certificate));
        let parsed = parsed.map_err(|_| SigningError::NoCertificate)?;
        let certified = parsed.tbs_certificate.subject_public_key_info.to_der();
        let own = key.0.to_public_key().to_public_key_der();
        match (certified, own) {
            (Ok(certified), Ok(own)) if certified == own.as_bytes() => {
                let der = parsed.to_der().map_err(|_| SigningError::NoCertificate)?;
                Ok(Self { key, certificate: parsed, der })
            }
            _ => Err(SigningError::Mismatch),
        }
    }

    /// The certificate in DER. It decides, with the module, what [`sign`](Self::sign) makes.
    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    /// The module with its signature behind it, in place of any other.
    pub fn sign(&self, module: &[u8]) -> Result<Vec<u8>, SigningError> {
        let module = unsigned(module);
        let signature = self.signature(module).map_err(SigningError::Encoding)?;
        let length = der::Length::try_from(signature.len()).map_err(SigningError::Encoding)?;
        Ok([module, &signature, &TRAILER, &u32::from(length).to_be_bytes(), MAGIC].concat())
    }

    fn signature(&self, module: &[u8]) -> der::Result<Vec<u8>> {
        // RFC 5754: SHA-256 has none; RFC 3370: RSA has NULL.
        let digest_alg = AlgorithmIdentifierOwned { oid: SHA256, parameters: None };
        let signature_algorithm =
            AlgorithmIdentifierOwned { oid: RSA, parameters: Some(Any::null()) };
        let signature = SigningKey::<Sha256>::new(self.key.0.clone()).sign(module);
        let certificate = &self.certificate.tbs_certificate;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: certificate.issuer.clone(),
                serial_number: certificate.serial_number.clone(),
            }),
            digest_alg: digest_alg.clone(),
            signed_attrs: None,
            signature_algorithm,
            signature: OctetString::new(signature.to_vec())?,
            unsigned_attrs: None,
        };
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![digest_alg])?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: DATA, econtent: None },
            certificates: None,
            crls: None,
            signer_infos: SetOfVec::try_from(vec![signer])?.into(),
        };
        ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()
    }
}

/// The module without a signature that it may have.
fn unsigned(module: &[u8]) -> &[u8] {
    let stripped = module.strip_suffix(MAGIC).and_then(|rest| {
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let (rest, _) = rest.split_last_chunk::<{ TRAILER.len() }>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.get(..rest.len().checked_sub(length)?)
    });
    stripped.unwrap_or(module)
}

impl Serialize for ModuleKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pem = self.key.0.to_pkcs8_pem(LineEnding::LF).map_err(ser::Error::custom)?;
        (pem.as_str(), &self.der).serialize(serializer)
    }
}

impl TryFrom<(String, Vec<u8>)> for ModuleKey {
    type Error = SigningError;

    fn try_from((key, certificate): (String, Vec<u8>)) -> Result<Self, SigningError> {
        Self::new(PrivateKey::parse(key.as_bytes())?, &certificate)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl fmt::Debug for ModuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleKey({})", self.certificate.tbs_certificate.subject)
    }
}

//! OpenPGP, as archives use it (RFC 9580, RFC 4880): signatures of `Release` files verified and made.
//!
//! All of rPGP that this project uses is in this file. A signature counts if it is made by a key of the
//! given keyring, or by a subkey that is bound to one for signing, with SHA-2, and if neither key nor
//! signature was expired or revoked. Where several signatures are, one good one is enough, as for apt;
//! but one that is wrong is an error even beside a good one.
//!
//! Not supported: webs of trust, keys with passwords, signatures over other things than whole texts.

use std::fmt;

use jiff::Timestamp;
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable, DetachedSignature, KeyType,
    SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey, SubpacketConfig,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, KeyVersion, Password, SignedUser, Tag};
use thiserror::Error;

/// Largest signature or keyring that is read, in bytes; Debian's keyring has 60 KiB.
const LIMIT: usize = 16 << 20;
/// Clocks differ: a signature may be this much younger than now, in seconds.
const SKEW: i64 = 24 * 3600;

/// Why a keyring or a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It holds nothing that is a key.
    #[error("there is no OpenPGP public key in it")]
    Empty,
    /// It is damaged.
    #[error("the OpenPGP keys cannot be read: {0}")]
    Damaged(String),
    /// A key could not be made or used.
    #[error("OpenPGP: {0}")]
    Failed(String),
}

/// Why a text is not taken as signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// There is no signature in it.
    #[error("it is not signed: {0}")]
    NotSigned(String),
    /// It, or its signature, is damaged.
    #[error("the OpenPGP signature cannot be read: {0}")]
    Damaged(String),
    /// Every signature is by a key that is not in the keyring.
    #[error(
        "it is signed by keys that are not in the keyring: {}; add the key if the archive is trusted",
        missing.join(", ")
    )]
    NoKey {
        /// Fingerprints or key ids.
        missing: Vec<String>,
    },
    /// A signature does not fit to the text.
    #[error("the signature by {key} is wrong: the text was changed after it was signed")]
    Bad {
        /// Fingerprint of the signing key.
        key: String,
    },
    /// No signature counts.
    #[error("no signature counts: {}", reasons.join("; "))]
    Refused {
        /// For each signature its key and why it does not count.
        reasons: Vec<String>,
    },
}

/// Public keys that are trusted for something.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the primary key, in upper-case hexadecimal digits.
    pub fingerprint: String,
    /// Fingerprint of the key that made the signature: the primary key or a subkey.
    pub signing_key: String,
    /// The first user id of the key.
    pub user: String,
    /// When the signature was made.
    pub created: Timestamp,
}

impl Keyring {
    /// Reads keys, binary (`.gpg`, not `keybox`) or armored (`.asc`, several blocks one after the other).
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
        if bytes.len() > LIMIT {
            return Err(KeyError::Damaged(format!("it has more than {} MiB", LIMIT >> 20)));
        }
        let damaged = |error: pgp::errors::Error| KeyError::Damaged(error.to_string());
        let mut keys = Vec::new();
        match std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) {
            Some(text) => {
                for block in text.split(BEGIN).skip(1) {
                    let Some((block, _)) = block.split_once(END) else {
                        return Err(KeyError::Damaged("an armored block has no end".to_owned()));
                    };
                    let block = format!("{BEGIN}{block}{END}\n");
                    let (read, _) = SignedPublicKey::from_string_many(&block).map_err(damaged)?;
                    for key in read {
                        keys.push(key.map_err(damaged)?);
                    }
                }
            }
            None => {
                for key in SignedPublicKey::from_bytes_many(bytes).map_err(damaged)? {
                    keys.push(key.map_err(damaged)?);
                }
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self { keys })
    }

    /// Adds the keys of another keyring.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Fingerprint and first user id of each primary key.
    pub fn keys(&self) -> Vec<(String, String)> {
        self.keys.iter().map(|key| (fingerprint(&key.primary_key), user(key))).collect()
    }

    /// The keys with these fingerprints only.
    pub fn only(&self, fingerprints: &[String]) -> Self {
        let wanted = |key: &&SignedPublicKey| fingerprints.contains(&fingerprint(&key.primary_key));
        Self { keys: self.keys.iter().filter(wanted).cloned().collect() }
    }

    /// Whether a text starts as one that [`Keyring::verify_cleartext`] reads.
    pub fn is_cleartext(text: &str) -> bool {
        text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----")
    }

    /// Verifies a cleartext-signed text (`InRelease`) at the time `now`. Returns the signed text alone
    /// (lines end with `\n`; blanks at their ends are cut, as the signature does not cover them) and
    /// who signed it. Anything before or after the signed message is an error.
    pub fn verify_cleartext(
        &self,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(String, Vec<Signer>), SignatureError> {
        let damaged = |what: &str| SignatureError::Damaged(what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8"))?;
        if !Self::is_cleartext(text) {
            return Err(SignatureError::NotSigned(
                "it does not start with \"-----BEGIN PGP SIGNED MESSAGE-----\"".to_owned(),
            ));
        }
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|error| damaged(&error.to_string()))?;
        let signed = message.signed_text();
        let signers = self.check(message.signatures(), signed.as_bytes(), now)?;
        let mut plain = signed.replace("\r\n", "\n");
        if !plain.ends_with('\n') {
            plain.push('\n');
        }
        Ok((plain, signers))
    }

    /// Verifies a text with its detached signature (`Release` and `Release.gpg`), armored or binary,
    /// at the time `now`.
    pub fn verify_detached(
        &self,
        text: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Signer>, SignatureError> {
        let damaged = |error: pgp::errors::Error| SignatureError::Damaged(error.to_string());
        if signature.len() > LIMIT {
            return Err(SignatureError::Damaged(format!("it has more than {} MiB", LIMIT >> 20)));
        }
        let mut signatures = Vec::new();
        let armored = std::str::from_utf8(signature)
            .ok()
            .filter(|text| text.trim_start().starts_with("-----BEGIN PGP SIGNATURE-----"));
        match armored {
            Some(text) => {
                let (read, _) =
                    DetachedSignature::from_string_many(text.trim_start()).map_err(damaged)?;
                for one in read {
                    signatures.push(one.map_err(damaged)?.signature);
                }
            }
            None => {
                for one in DetachedSignature::from_bytes_many(signature).map_err(damaged)? {
                    signatures.push(one.map_err(damaged)?.signature);
                }
            }
        }
        self.check(&signatures, text, now)
    }

    fn check(
        &self,
        signatures: &[Signature],
        text: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Signer>, SignatureError> {
        let mut signers = Vec::new();
        let mut missing = Vec::new();
        let mut reasons = Vec::new();
        if signatures.is_empty() {
            return Err(SignatureError::NotSigned("it has no signature".to_owned()));
        }
        for signature in signatures {
            let Some((key, subkey)) = self.find(signature) else {
                missing.push(issuer(signature));
                continue;
            };
            let signing_key = match subkey {
                Some(at) => key.public_subkeys.get(at).map(|subkey| fingerprint(&subkey.key)),
                None => Some(fingerprint(&key.primary_key)),
            }
            .unwrap_or_default();
            match examine(key, subkey, signature, text, now) {
                Ok(created) => signers.push(Signer {
                    fingerprint: fingerprint(&key.primary_key),
                    signing_key,
                    user: user(key),
                    created,
                }),
                Err(Problem::Bad) => return Err(SignatureError::Bad { key: signing_key }),
                Err(Problem::Refused(why)) => reasons.push(format!("{signing_key}: {why}")),
            }
        }
        match (signers.is_empty(), reasons.is_empty()) {
            (false, _) => Ok(signers),
            (true, true) => Err(SignatureError::NoKey { missing }),
            (true, false) => {
                reasons.extend(missing.iter().map(|key| format!("{key} is not in the keyring")));
                Err(SignatureError::Refused { reasons })
            }
        }
    }

    /// The key that made a signature; with the number of the subkey if it is one.
    fn find(&self, signature: &Signature) -> Option<(&SignedPublicKey, Option<usize>)> {
        let ids = signature.issuer_key_id();
        let fingerprints = signature.issuer_fingerprint();
        fn is<K: KeyDetails>(
            key: &K,
            ids: &[&pgp::types::KeyId],
            fingerprints: &[&pgp::types::Fingerprint],
        ) -> bool {
            // The fingerprint decides where there is one.
            match fingerprints {
                [] => ids.iter().any(|id| **id == key.legacy_key_id()),
                some => some.iter().any(|fingerprint| **fingerprint == key.fingerprint()),
            }
        }
        self.keys.iter().find_map(|key| {
            if is(&key.primary_key, &ids, &fingerprints) {
                return Some((key, None));
            }
            let mut subkeys = key.public_subkeys.iter();
            subkeys
                .position(|subkey| is(&subkey.key, &ids, &fingerprints))
                .map(|at| (key, Some(at)))
        })
    }
}

enum Problem {
    Bad,
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Refused(why.into()))
}

/// Checks one signature over a text; returns when it was made.
fn examine(
    key: &SignedPublicKey,
    subkey: Option<usize>,
    signature: &Signature,
    text: &[u8],
    now: Timestamp,
) -> Result<Timestamp, Problem> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return refused("it is not a signature of a text");
    }
    if !strong(signature) {
        return refused("its digest algorithm is weak; SHA-256 or better is needed");
    }
    let Some(created) = signature.created() else { return refused("it does not tell its time") };
    let made = i64::from(created.as_secs());
    if made > now.as_second() + SKEW {
        return refused("it is from the future; is this machine's clock right?");
    }
    let expires = signature.signature_expiration_time().map_or(0, |duration| duration.as_secs());
    if expires != 0 && made + i64::from(expires) < now.as_second() {
        return refused("the signature expired");
    }
    let primary = &key.primary_key;
    let revocations = &key.details.revocation_signatures;
    if revocations.iter().any(|revocation| revocation.verify_key(primary).is_ok()) {
        return refused("the key is revoked");
    }
    let lifetime = lifetime(key)
        .ok_or_else(|| Problem::Refused("the key has no valid signature of its own".to_owned()))?;
    let expired = |start: u32, lifetime: u32| {
        lifetime != 0 && i64::from(start) + i64::from(lifetime) < now.as_second()
    };
    let older = |key: u32| created.as_secs() < key;
    if older(primary.created_at().as_secs()) {
        return refused("it is older than its key");
    }
    if expired(primary.created_at().as_secs(), lifetime) {
        return refused("the key expired; is there a newer keyring?");
    }
    let bad = |_| Problem::Bad;
    let Some(at) = subkey else {
        signature.verify(primary, text).map_err(bad)?;
        return Ok(time(made));
    };
    let Some(subkey) = key.public_subkeys.get(at) else { return Err(Problem::Bad) };
    let bound = |binding: &&Signature| {
        binding.typ() == Some(SignatureType::SubkeyBinding)
            && strong(binding)
            && binding.verify_subkey_binding(primary, &subkey.key).is_ok()
    };
    if subkey.signatures.iter().any(|revocation| {
        revocation.typ() == Some(SignatureType::SubkeyRevocation)
            && revocation.verify_subkey_binding(primary, &subkey.key).is_ok()
    }) {
        return refused("the subkey is revoked");
    }
    let newest = subkey.signatures.iter().filter(bound).max_by_key(|binding| seconds(binding));
    let Some(binding) = newest else { return refused("the subkey is not bound to its key") };
    // A subkey that signs must itself have signed that it belongs to the key.
    let back = binding.embedded_signature();
    let agreed =
        back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !binding.key_flags().sign() || !agreed {
        return refused("the subkey is not meant for signatures");
    }
    let lifetime = binding.key_expiration_time().map_or(0, |duration| duration.as_secs());
    if older(subkey.key.created_at().as_secs()) {
        return refused("it is older than its subkey");
    }
    if expired(subkey.key.created_at().as_secs(), lifetime) {
        return refused("the subkey expired; is there a newer keyring?");
    }
    signature.verify(&subkey.key, text).map_err(bad)?;
    Ok(time(made))
}

fn strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn seconds(signature: &Signature) -> u32 {
    signature.created().map_or(0, |created| created.as_secs())
}

/// How long a key lives after it was made, in seconds, 0 for ever: what its newest valid signature of
/// itself says.
fn lifetime(key: &SignedPublicKey) -> Option<u32> {
    let primary = &key.primary_key;
    let direct = key
        .details
        .direct_signatures
        .iter()
        .filter(|signature| strong(signature) && signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            strong(signature)
                && signature.is_certification()
                && signature
                    .verify_certification(primary, pgp::types::Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    direct
        .chain(users)
        .max_by_key(|signature| seconds(signature))
        .map(|signature| signature.key_expiration_time().map_or(0, |duration| duration.as_secs()))
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn fingerprint(key: &impl KeyDetails) -> String {
    hex(key.fingerprint().as_bytes())
}

fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return hex(fingerprint.as_bytes());
    }
    signature
        .issuer_key_id()
        .first()
        .map_or_else(|| "a key without id".to_owned(), |id| hex(id.as_ref()))
}

fn user(key: &SignedPublicKey) -> String {
    let first = key.details.users.first();
    first.map(|user| String::from_utf8_lossy(user.id.id()).into_owned()).unwrap_or_default()
}

/// A key that signs the repositories of one darksite.
pub struct SigningKey {
    key: SignedSecretKey,
}

impl fmt::Debug for SigningKey {
    /// The secret is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}

impl SigningKey {
    /// Makes a key (Ed25519, version 4: what the gpgv and sqv of each supported release verify) with
    /// random numbers of the operating system. It has no password and does not expire.
    pub fn generate(user: &str, now: Timestamp) -> Result<Self, KeyError> {
        let failed = |error: String| KeyError::Failed(error);
        let params = SecretKeyParamsBuilder::default()
            .version(KeyVersion::V4)
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(stamp(now))
            .primary_user_id(user.to_owned())
            .preferred_hash_algorithms([HashAlgorithm::Sha512].into_iter().collect())
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let mut key =
            params.generate(rand::rngs::OsRng).map_err(|error| failed(error.to_string()))?;
        bind(&mut key, now).map_err(|error| failed(error.to_string()))?;
        Ok(Self { key })
    }

    /// Reads an armored secret key, as [`SigningKey::to_armor`] writes it.
    pub fn parse(armor: &str) -> Result<Self, KeyError> {
        let (key, _) = SignedSecretKey::from_string(armor)
            .map_err(|error| KeyError::Damaged(error.to_string()))?;
        Ok(Self { key })
    }

    /// The secret key in armor: who has it can sign. Keep it with mode 0600.
    pub fn to_armor(&self) -> Result<String, KeyError> {
        self.key
            .to_armored_string(ArmorOptions::default())
            .map_err(|error| KeyError::Failed(error.to_string()))
    }

    /// The public key in armor, for `Signed-By:` of apt.
    pub fn public_armor(&self) -> Result<String, KeyError> {
        self.key
            .to_public_key()
            .to_armored_string(ArmorOptions::default())
            .map_err(|error| KeyError::Failed(error.to_string()))
    }

    /// The public key as a keyring.
    pub fn keyring(&self) -> Keyring {
        Keyring { keys: vec![self.key.to_public_key()] }
    }

    /// Fingerprint in upper-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key.primary_key)
    }

    /// Signs a text (`Release`) so that it stays readable: `InRelease`.
    pub fn clearsign(&self, text: &str, now: Timestamp) -> Result<String, KeyError> {
        let failed = |error: pgp::errors::Error| KeyError::Failed(error.to_string());
        // The last line end is not covered, nor are blanks at the ends of lines: verifiers cut them.
        let text = text.strip_suffix('\n').unwrap_or(text);
        let lines: Vec<&str> =
            text.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\r'])).collect();
        let (hashed, unhashed) = self.subpackets(now).map_err(failed)?;
        let mut config =
            SignatureConfig::v4(SignatureType::Text, self.key.algorithm(), HashAlgorithm::Sha512);
        config.hashed_subpackets = hashed;
        config.unhashed_subpackets = unhashed;
        let message = CleartextSignedMessage::new(
            &lines.join("\n"),
            config,
            &self.key.primary_key,
            &Password::empty(),
        )
        .map_err(failed)?;
        message.to_armored_string(ArmorOptions::default()).map_err(failed)
    }

    /// The armored detached signature of a text: `Release.gpg`.
    pub fn detach_sign(&self, text: &[u8], now: Timestamp) -> Result<String, KeyError> {
        let failed = |error: pgp::errors::Error| KeyError::Failed(error.to_string());
        let (hashed, unhashed) = self.subpackets(now).map_err(failed)?;
        DetachedSignature::sign_binary_data_with_subpackets(
            rand::rngs::OsRng,
            &self.key.primary_key,
            &Password::empty(),
            HashAlgorithm::Sha512,
            text,
            SubpacketConfig::UserDefined { hashed, unhashed },
        )
        .and_then(|signature| signature.to_armored_string(ArmorOptions::default()))
        .map_err(failed)
    }

    fn subpackets(
        &self,
        now: Timestamp,
    ) -> Result<(Vec<Subpacket>, Vec<Subpacket>), pgp::errors::Error> {
        let key = &self.key.primary_key;
        // Verifiers take no signature that is older than its key, as one of SOURCE_DATE_EPOCH may be.
        let made = stamp(now).max(key.created_at());
        let hashed = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(made))?,
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        ];
        let unhashed = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
        Ok((hashed, unhashed))
    }
}

/// Dates what a key says of itself to when it is made. rPGP dates it to this second, and sqv, apt's verifier since
/// Debian 13, takes no signature that is older.
fn bind(key: &mut SignedSecretKey, made: Timestamp) -> Result<(), pgp::errors::Error> {
    let primary = &key.primary_key;
    for SignedUser { id, signatures } in &mut key.details.users {
        for signature in signatures {
            let Some(mut config) = signature.config().cloned() else { continue };
            let dated =
                |one: &Subpacket| matches!(one.data, SubpacketData::SignatureCreationTime(_));
            config.hashed_subpackets.retain(|one| !dated(one));
            let date = SubpacketData::SignatureCreationTime(stamp(made));
            config.hashed_subpackets.push(Subpacket::regular(date)?);
            let (public, nothing) = (primary.public_key(), Password::empty());
            *signature = config.sign_certification(primary, public, &nothing, Tag::UserId, id)?;
        }
    }
    Ok(())
}

fn stamp(now: Timestamp) -> pgp::types::Timestamp {
    pgp::types::Timestamp::from_secs(u32::try_from(now.as_second()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bound_when_it_is_made() {
        let made = "2020-05-20T12:00:00Z".parse().unwrap();
        let key = SigningKey::generate("Lab <lab@example.org>", made).unwrap().key;
        let user = &key.details.users[0];
        user.verify_bindings(key.primary_key.public_key()).unwrap();
        let dates: Vec<_> = user.signatures.iter().map(Signature::created).collect();
        assert_eq!(dates, [Some(stamp(made))]);
    }
}

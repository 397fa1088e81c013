//! Words of a recipe that follow rules: each is checked where it is read, so that the error has its line.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use pkg::recipe::inside;
use schemars::JsonSchema;
use serde::de::{Error, IgnoredAny, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A kind of text: its type, its rule, and what to say when it is broken.
macro_rules! checked {
    ($($(#[$doc:meta])* $name:ident: $fine:expr, $expected:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let fine: fn(&str) -> bool = $fine;
                match fine(&text) {
                    true => Ok(Self(text)),
                    false => Err(format!("{text:?}: {}", $expected)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                inside::<_, String, _>(from)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                text.to_owned().try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked! {
    /// The name of a machine, as `pear` or `pear.example.org`.
    HostName: rootfs::firstboot::is_host_name,
        "a host name is labels of a-z 0-9 - with at most 63 characters, with dots between";
    /// The name of a user or a group.
    Name: is_name,
        "a name of users and groups begins with a-z or _, and has only a-z 0-9 _ - behind, at most 32";
    /// A time zone, as `Europe/Berlin`.
    TimeZone: is_time_zone, "a time zone is like Europe/Berlin, Etc/UTC";
    /// A locale, as `de_DE.UTF-8` or `C.UTF-8`.
    Locale: is_locale, "a locale is like de_DE.UTF-8, C.UTF-8";
    /// The name of an image's file, without ending.
    FileName: is_file_name,
        "the name of an image has no /, no dot at its beginning, and at most 240 bytes; -o gives the directory";
    /// How the content of an image is compressed, as `zstd-9`.
    Compression: is_compression, "compression is off, lz4, zstd or zstd-1 to zstd-19";
    /// A systemd unit, as `nftables.service`.
    Unit: is_unit, "a unit is like nftables.service, fstrim.timer, getty@tty2.service";
    /// An absolute path without `.`, `..` and empty components.
    AbsolutePath: is_path, "an absolute path like /etc/motd is expected";
    /// Names of network interfaces, with `*` and `?`, as `en*`.
    Interface: is_interface, "an interface is a name like eth0, or a pattern like en*";
    /// One argument of the kernel.
    KernelArgument: is_argument, "one kernel argument without blanks is expected, like quiet or mitigations=auto";
    /// An SSH public key, as in `authorized_keys`.
    SshKey: is_ssh_key, "a public key is like: ssh-ed25519 AAAA... alice@pear";
}

fn is_name(text: &str) -> bool {
    let rest =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text.bytes().all(rest)
}

fn is_file_name(text: &str) -> bool {
    // File systems have names of 255 bytes, and an ending comes.
    (1..=240).contains(&text.len())
        && !text.starts_with('.')
        && !text.contains(|c: char| c == '/' || c.is_control())
}

fn is_time_zone(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    text.len() <= 64 && text.split('/').all(part)
}

fn is_locale(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(plain)
}

fn is_compression(text: &str) -> bool {
    text.parse::<zfs::Compression>().is_ok()
}

fn is_unit(text: &str) -> bool {
    const KINDS: [&str; 8] =
        ["service", "socket", "timer", "path", "target", "mount", "swap", "automount"];
    let Some((name, kind)) = text.rsplit_once('.') else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    text.len() <= 255 && !name.is_empty() && name.bytes().all(plain) && KINDS.contains(&kind)
}

fn is_path(text: &str) -> bool {
    let Some(path) = text.strip_prefix('/') else { return false };
    text.len() < 4096
        && !text.contains(|c: char| c.is_control())
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

fn is_interface(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:*?".contains(&byte);
    (1..16).contains(&text.len()) && text.bytes().all(plain)
}

fn is_argument(text: &str) -> bool {
    !text.is_empty() && text.len() < 1024 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_ssh_key(text: &str) -> bool {
    let kind = |word: &&str| {
        ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
    };
    let mut words = text.split(' ').skip_while(|word| !kind(word)).skip(1);
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    !text.contains(|c: char| c.is_control())
        && words.next().is_some_and(|blob| blob.len() > 32 && blob.bytes().all(base64))
}

/// A password as crypt(5) hashes it. Neither shown nor written anywhere but into the machine: as data
/// it is its own digest.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "TextOrOther")]
#[schemars(with = "String")]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash, for `/etc/shadow`.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// What else stands there may be a password too, which the usual error would show.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrOther {
    Text(String),
    Other(IgnoredAny),
}

impl TryFrom<TextOrOther> for PasswordHash {
    type Error = String;

    fn try_from(value: TextOrOther) -> Result<Self, String> {
        match value {
            TextOrOther::Text(text) => text.try_into(),
            TextOrOther::Other(IgnoredAny) => String::new().try_into(),
        }
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // The text may be a password: it is in no message.
        let graphic = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        // $METHOD$SALT$HASH, with parameters in front of the salt in some.
        let parts: Vec<&str> = text.split('$').collect();
        let hash = matches!(&*parts, ["", method, .., _, hash] if ![method, hash].contains(&&""));
        match text.len() < 512 && text.bytes().all(graphic) && (hash || text == "!" || text == "*")
        {
            true => Ok(Self(text)),
            false => {
                Err("this is no hash of a password; `mkpasswd` or `openssl passwd -6` makes one, \
                          \"!\" locks the account"
                    .to_owned())
            }
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&tree::Digest::of(self.0.as_bytes()))
    }
}

/// Permissions, as `"0644"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-7]{3,4}$"))]
pub struct Mode(pub u16);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let mode = octal.then(|| u16::from_str_radix(&text, 8).ok()).flatten();
        mode.map(Self)
            .ok_or_else(|| format!("{text:?}: permissions are octal digits like \"0644\""))
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

/// An address, IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "String")]
pub struct Ip(pub IpAddr);

impl<'de> Deserialize<'de> for Ip {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, String, _>(from)
    }
}

impl TryFrom<String> for Ip {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |_| format!("{text:?}: an address like 192.0.2.1 or 2001:db8::1 is expected");
        text.parse().map(Self).map_err(wrong)
    }
}

/// A number of bytes, as `20G` or `21474836480`; units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "NumberOrText")]
pub struct Size(pub u64);

/// A number of bytes, or one with K, M, G or T, as `"20G"`.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
#[allow(dead_code, reason = "describes what the visitor reads")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or text like \"20G\",")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                let wrong = |_| E::invalid_value(Unexpected::Signed(bytes), &self);
                bytes.try_into().map(Size).map_err(wrong)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Reader)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_size(text).map(Self)
    }
}

/// Parses `20G`, `512M`, `1048576`; units are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size: a number of bytes, or one with K, M, G or T");
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

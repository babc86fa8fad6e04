//! What a value must be to be sent, wherever it comes from. No message has a part of a value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::plan::Material;
use crate::domain::secret::SecretValue;

/// Most bytes of a value.
pub const VALUE_MAX: usize = 16 << 10;

/// What a value that cannot be sent must be instead, a phrase that follows `must`.
pub type Unsendable = &'static str;

/// Which half of a pair is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The user name.
    User,
    /// The password.
    Password,
}

fn require(holds: bool, be: Unsendable) -> Result<(), Unsendable> {
    if holds { Ok(()) } else { Err(be) }
}

/// Not too long to be sent.
pub fn require_length(value: &str) -> Result<(), Unsendable> {
    require(value.len() <= VALUE_MAX, "be at most 16 KiB long")
}

/// A header can carry it.
pub fn require_header(value: &str) -> Result<(), Unsendable> {
    require(!value.is_empty(), "not be empty")?;
    let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    require(
        is_plain && value.trim_matches(' ').len() == value.len(),
        "be visible ASCII, with spaces within but not at its ends, and without control characters",
    )
}

/// A cookie can carry it.
pub fn require_cookie(value: &str) -> Result<(), Unsendable> {
    require(!value.is_empty(), "not be empty")?;
    let octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
    require(
        value.bytes().all(octet),
        "be visible ASCII without spaces, quotes, ',', ';' and '\\' (RFC 6265, 4.1.1)",
    )
}

/// `Authorization: Bearer …`.
pub fn bearer(token: &str) -> Result<Material, Unsendable> {
    require(!token.is_empty(), "not be empty")?;
    let stem = token.trim_end_matches('=');
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    require(
        !stem.is_empty() && stem.bytes().all(sign),
        "be a token of letters, digits and - . _ ~ + /, with '=' at its end alone (RFC 6750, 2.1)",
    )?;
    Ok(authorization(["Bearer ", token].concat()))
}

/// `Authorization: Basic …`.
pub fn basic(user: &str, password: &str) -> Result<Material, (Half, Unsendable)> {
    let of_user = |be| (Half::User, be);
    let of_password = |be| (Half::Password, be);
    require(!user.contains(':'), "not contain ':' (RFC 7617, 2)").map_err(of_user)?;
    require(!user.contains(char::is_control), "not contain control characters").map_err(of_user)?;
    require(!password.contains(char::is_control), "not contain control characters").map_err(of_password)?;
    // Either may be empty: some providers want a key as the user name and no password, or the other way round.
    require(
        !(user.is_empty() && password.is_empty()),
        "not be empty while the user name is",
    )
    .map_err(of_password)?;
    let pair = SecretValue::new([user, ":", password].concat());
    Ok(authorization(format!("Basic {}", STANDARD.encode(pair.expose()))))
}

fn authorization(value: String) -> Material {
    Material::Header {
        name: "authorization".to_owned(),
        value: SecretValue::new(value),
    }
}

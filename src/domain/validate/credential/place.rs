//! Where a value goes in a request: `in`, `name` and `prefix`.

use super::value::{self, Unsendable};
use crate::api::bounds;
use crate::api::credential::KeyPlace;
use crate::domain::plan::Material;
use crate::domain::secret::SecretValue;
use crate::domain::validate::checks::Checks;

/// Checks the three fields, which stand in `object`.
pub fn check(checks: &mut Checks, object: &str, place: Option<KeyPlace>, name: Option<&str>, prefix: Option<&str>) {
    let place = place.unwrap_or_default();
    let field = format!("{object}.name");
    match name {
        None => checks.across(object, place == KeyPlace::Header, bounds::NAME_OUTSIDE_HEADERS),
        Some(name) => {
            checks.text(&field, name, bounds::KEY_NAME);
            let framing = || bounds::FRAMING_HEADERS.contains(&name.to_ascii_lowercase().as_str());
            checks.across(
                object,
                place == KeyPlace::Query || is_token(name),
                bounds::NAME_IS_TOKEN,
            );
            checks.across(object, place != KeyPlace::Header || !framing(), bounds::NAME_IS_FREE);
        }
    }
    if let Some(prefix) = prefix {
        checks.text(&format!("{object}.prefix"), prefix, bounds::PREFIX);
        checks.across(
            object,
            place == KeyPlace::Header || prefix.is_empty(),
            bounds::PREFIX_IN_HEADERS,
        );
    }
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `value` in its place.
pub fn put(place: Option<KeyPlace>, name: &str, prefix: &str, value: &str) -> Result<Material, Unsendable> {
    let material = match place.unwrap_or_default() {
        KeyPlace::Header => {
            value::require_header(value)?;
            Material::Header {
                name: name.to_ascii_lowercase(),
                value: SecretValue::new([prefix, value].concat()),
            }
        }
        KeyPlace::Query => {
            value::require_header(value)?;
            Material::Query {
                name: name.to_owned(),
                value: SecretValue::new(value),
            }
        }
        KeyPlace::Cookie => {
            value::require_cookie(value)?;
            Material::Cookie {
                name: name.to_owned(),
                value: SecretValue::new(value),
            }
        }
    };
    Ok(material)
}

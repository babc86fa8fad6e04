//! Where a value stands, and how it is escaped there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::IgnoredAny;
use url::Url;

use super::parse::{Part, Template};

/// All but the unreserved characters of RFC 3986, 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Path or query of a URL.
    Url,
    /// Value of a header.
    Header,
    /// A JSON body.
    Json,
    /// A form (`application/x-www-form-urlencoded`).
    Form,
    /// A body of any other form.
    Text,
}

impl Place {
    /// `value` as it stands here, as part `index` of `template`; or what it would have to be.
    pub fn escape(self, value: &str, template: &Template<'_>, index: usize) -> Result<String, &'static str> {
        match self {
            Self::Url => Ok(utf8_percent_encode(value, RESERVED).to_string()),
            Self::Form => Ok(url::form_urlencoded::byte_serialize(value.as_bytes()).collect()),
            Self::Header => {
                let visible = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
                let fits = visible && value.trim_matches(' ').len() == value.len();
                fits.then(|| value.to_owned())
                    .ok_or("a header can carry: visible ASCII, with spaces within")
            }
            Self::Json if in_string(&template.parts[..index]) => {
                let quoted = serde_json::Value::from(value).to_string();
                Ok(quoted[1..quoted.len() - 1].to_owned())
            }
            Self::Json => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits && value.len() <= 19 && (value == "0" || !value.starts_with('0'));
                number
                    .then(|| value.to_owned())
                    .ok_or("is a whole number, or stand in a JSON string")
            }
            Self::Text if template.parts.len() == 1 => Ok(value.to_owned()),
            Self::Text => {
                let plain = value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
                plain
                    .then(|| value.to_owned())
                    .ok_or("has only letters, digits and - . _ ~ + / = in a body that is neither JSON nor a form")
            }
        }
    }
}

/// What kind of body it is: by its content type, or, without one, JSON if it is JSON.
pub fn body_place(content_type: Option<&str>, template: &Template<'_>) -> Result<Place, &'static str> {
    let Some(content_type) = content_type else {
        return Ok(if is_json(template) { Place::Json } else { Place::Text });
    };
    if content_type.contains("{{") {
        return Err("must have a content-type without a template");
    }
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return if is_json(template) {
            Ok(Place::Json)
        } else {
            Err("must be JSON, as its content-type says, with every name in a string or in the place of a number")
        };
    }
    if essence == "application/x-www-form-urlencoded" {
        return if follows_percent(template) {
            Err("must not have `%` right before a name")
        } else {
            Ok(Place::Form)
        };
    }
    Ok(Place::Text)
}

/// Whether it is JSON with a string's content for each name that stands in a string, and a number for the others.
///
/// `x` after a backslash, or within `\u`, is no JSON: so no value can finish an escape that the template began.
fn is_json(template: &Template<'_>) -> bool {
    let mut text = String::new();
    for (index, part) in template.parts.iter().enumerate() {
        text.push_str(match part {
            Part::Literal(literal) => literal,
            Part::Name(_) if in_string(&template.parts[..index]) => "x",
            Part::Name(_) => "1",
        });
    }
    serde_json::from_str::<IgnoredAny>(&text).is_ok()
}

/// Whether what follows `parts` is inside a JSON string.
fn in_string(parts: &[Part<'_>]) -> bool {
    let (mut inside, mut escaped) = (false, false);
    for part in parts {
        match part {
            Part::Name(_) => escaped = false,
            Part::Literal(literal) => {
                for c in literal.chars() {
                    match c {
                        _ if escaped => escaped = false,
                        '\\' => escaped = inside,
                        '"' => inside = !inside,
                        _ => {}
                    }
                }
            }
        }
    }
    inside
}

/// Whether a value could finish a percent escape that the template began.
fn follows_percent(template: &Template<'_>) -> bool {
    template.parts.windows(2).any(|pair| match pair {
        [Part::Literal(literal), Part::Name(_)] => literal.bytes().rev().take(2).any(|byte| byte == b'%'),
        _ => false,
    })
}

/// Whether names stand in path and query alone, and the rest is a URL that can be called; or what it must be.
pub fn check_url(template: &Template<'_>) -> Result<(), &'static str> {
    let literals = || {
        template.parts.iter().filter_map(|part| match part {
            Part::Literal(literal) => Some(*literal),
            Part::Name(_) => None,
        })
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    if !literals().all(|literal| literal.bytes().all(plain)) {
        return Err("must be visible ASCII without `#`, `\\` and spaces");
    }
    let Some(Part::Literal(first)) = template.parts.first() else {
        return Err("must begin with `https://` or `http://`");
    };
    let lower = first.to_ascii_lowercase();
    let after = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let after = after.ok_or("must begin with `https://` or `http://`")?;
    // Parsers of URLs skip slashes: in `https:///a/b`, the host is `a`.
    if after.starts_with('/') || (template.parts.len() > 1 && !after.contains(['/', '?'])) {
        return Err("must have a host after `://`, and names in its path and its query alone");
    }
    if follows_percent(template) {
        return Err("must not have `%` right before a name");
    }
    let url = Url::parse(&template.with("x")).map_err(|_| "must be an http or https URL")?;
    if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err("must have a host, and no user name or password");
    }
    Ok(())
}

/// Whether the path of the URL `text` has a segment that goes elsewhere: `.` and `..`, also as `%2e`.
pub fn has_dot_segment(text: &str) -> bool {
    let path = text.split('?').next().unwrap_or_default();
    path.split('/').any(|segment| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    })
}

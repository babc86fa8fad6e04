//! The body of a token request, and `Authorization: Basic`, as RFC 6749 encodes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use crate::domain::secret::SecretValue;

/// Media type of the body (RFC 6749, 3.2).
pub const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Parameters in the order in which they were added, each name once (RFC 6749, 3.2).
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, SecretValue)>);

impl Form {
    /// Adds a parameter, unless one of that name is there already: the first one stays.
    pub fn add(&mut self, name: impl Into<String>, value: SecretValue) {
        let name = name.into();
        if self.get(&name).is_none() {
            self.0.push((name, value));
        }
    }

    /// The value of the parameter `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(there, _)| there == name)?;
        Some(value.expose())
    }

    /// The body.
    pub fn encode(&self) -> SecretValue {
        let mut body = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            body.append_pair(name, value.expose());
        }
        SecretValue::new(body.finish())
    }
}

/// Value of `Authorization` (RFC 6749, 2.3.1): both parts are form-encoded first, so that either may hold a colon.
pub fn basic(id: &str, secret: &SecretValue) -> SecretValue {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = SecretValue::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    SecretValue::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server reads, written down from RFC 6749 appendix B and not from the library that writes.
    fn decode(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap()
    }

    fn read(body: &str) -> Vec<(String, String)> {
        let pairs = body.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    #[test]
    fn a_body_is_what_the_rfc_shows() {
        let mut form = Form::default();
        for (name, value) in [
            ("grant_type", "client_credentials"),
            ("scope", "a:b c"),
            ("x", "%&+=;~*-._é"),
        ] {
            form.add(name, SecretValue::new(value));
        }
        assert_eq!(
            form.encode().expose(),
            "grant_type=client_credentials&scope=a%3Ab+c&x=%25%26%2B%3D%3B%7E*-._%C3%A9"
        );
        assert_eq!(
            basic("s6BhdRkqt3", &SecretValue::new("gX1fBat3bV")).expose(),
            "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW",
            "RFC 6749, 4.4.2"
        );
        assert_eq!(
            basic("a:b c", &SecretValue::new("ü%+")).expose(),
            format!("Basic {}", STANDARD.encode("a%3Ab+c:%C3%BC%25%2B"))
        );
    }

    #[test]
    fn a_name_is_sent_once_and_the_first_value_stays() {
        let mut form = Form::default();
        form.add("grant_type", SecretValue::new("ours"));
        form.add("grant_type", SecretValue::new("theirs"));
        assert_eq!(form.encode().expose(), "grant_type=ours");
        assert_eq!((form.get("grant_type"), form.get("scope")), (Some("ours"), None));
    }

    proptest! {
        #[test]
        fn a_server_reads_the_parameters_that_were_given(pairs in proptest::collection::btree_map(".{1,20}", ".{0,40}", 0..8)) {
            let mut form = Form::default();
            for (name, value) in &pairs {
                form.add(name.clone(), SecretValue::new(value.clone()));
            }
            let body = form.encode();
            prop_assert!(body.expose().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(read(body.expose()), pairs.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_server_reads_the_id_and_the_secret_that_were_given(id in ".{0,40}", secret in ".{0,40}") {
            let header = basic(&id, &SecretValue::new(secret.clone()));
            let pair = STANDARD.decode(header.expose().strip_prefix("Basic ").unwrap()).unwrap();
            let pair = String::from_utf8(pair).unwrap();
            let (user, password) = pair.split_once(':').unwrap();
            prop_assert!(!password.contains(':'));
            prop_assert_eq!((decode(user), decode(password)), (id, secret));
        }
    }
}

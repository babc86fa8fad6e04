//! Secrets and ConfigMaps into [`Data`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::api::{SECRET_ISSUED, SECRET_PENDING};
use crate::cluster::Data;
use crate::domain::secret::SecretValue;

/// The data of a Secret, if it may be named. The bytes move into the value that wipes them; no copy stays behind.
pub fn of_secret(secret: Secret) -> Option<Data> {
    if is_withheld(&secret) {
        return None;
    }
    let values = secret.data.unwrap_or_default().into_iter();
    Some(Data {
        version: secret.metadata.resource_version.unwrap_or_default(),
        values: values
            .map(|(key, bytes)| (key, String::from_utf8(bytes.0).ok().map(SecretValue::new)))
            .collect(),
    })
}

/// Who may make Credentials need not be one who may read Secrets, and what a Credential names goes to hosts of that
/// person's choice. So it must not be a way to what speaks for a ServiceAccount, or to what is issued for other hosts.
fn is_withheld(secret: &Secret) -> bool {
    let kind = secret.type_.as_deref().unwrap_or_default();
    let labels = secret.metadata.labels.as_ref();
    let ours = labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    let of_the_cluster = matches!(
        kind,
        "kubernetes.io/service-account-token" | "bootstrap.kubernetes.io/token"
    );
    of_the_cluster || matches!(kind, SECRET_ISSUED | SECRET_PENDING) || ours.is_some_and(|by| by == "tidegate")
}

/// The data of a ConfigMap; `binaryData` counts too, as far as it is text.
pub fn of_config_map(map: ConfigMap) -> Data {
    let mut values: BTreeMap<_, _> = map
        .binary_data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, bytes)| (key, String::from_utf8(bytes.0).ok().map(SecretValue::new)))
        .collect();
    values.extend(
        map.data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, text)| (key, Some(SecretValue::new(text)))),
    );
    Data {
        version: map.metadata.resource_version.unwrap_or_default(),
        values,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_known_but_have_no_value() {
        let secret = Secret {
            data: Some(
                [
                    ("text".into(), ByteString(b"abc".to_vec())),
                    ("raw".into(), ByteString(vec![0xff])),
                ]
                .into(),
            ),
            ..Secret::default()
        };
        let data = of_secret(secret).unwrap();
        assert_eq!(data.values["text"].as_ref().map(SecretValue::expose), Some("abc"));
        assert_eq!(data.values["raw"], None);
    }
}

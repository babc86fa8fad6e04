//! Whether an object that exists is what we want. Pure.
//!
//! Two questions, because either alone misses something: is all that we want there (else somebody changed it), and do we
//! still want what we wanted when we last wrote it (else something we no longer want stayed behind)?

use serde_json::Value;

use super::names;

/// Annotation with the hash of what was applied last.
pub const APPLIED: &str = "tidegate.dev/applied";

/// Hash of what is wanted. The values of a Secret are left out: the hash stands in metadata, which more people may read,
/// and whether the values are there is seen by comparing them.
pub fn fingerprint(wanted: &Value) -> String {
    let mut wanted = wanted.clone();
    if let Some(Value::Object(data)) = wanted.get_mut("data") {
        data.values_mut().for_each(|value| *value = Value::Null);
    }
    let mut hash = names::sha256(wanted.to_string().as_bytes());
    hash.truncate(16);
    hash
}

/// Whether `live` is as `wanted`, and was written for it.
pub fn is_as_wanted(live: &Value, wanted: &Value) -> bool {
    let applied = &live["metadata"]["annotations"][APPLIED];
    applied.as_str() == Some(&fingerprint(wanted)) && holds(live, wanted, &mut Vec::new())
}

/// Whether `live` has everything that `wanted` has; what it has besides is the server's or somebody else's.
fn holds<'a>(live: &Value, wanted: &'a Value, path: &mut Vec<&'a str>) -> bool {
    match (live, wanted) {
        (_, Value::Null) => true,
        // A selector with one more label selects something else; the server replaces it as a whole too.
        (live, wanted) if path.last().is_some_and(|name| name.ends_with("elector")) => live == wanted,
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            path.push(name);
            let held = match live.get(name) {
                Some(live) => holds(live, wanted, path),
                // The server leaves out what is empty.
                None => is_empty(wanted),
            };
            path.pop();
            held
        }),
        (Value::Array(live), Value::Array(wanted)) => match identity(path) {
            Some(key) => wanted.iter().all(|wanted| {
                let same = live.iter().find(|live| live.get(key) == wanted.get(key));
                same.is_some_and(|live| holds(live, wanted, path))
            }),
            None => {
                live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted, path))
            }
        },
        (Value::String(live), Value::String(wanted)) => {
            live == wanted || (path.contains(&"resources") && is_same_quantity(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The field by which server-side apply tells the items of the list at `path` apart, if it merges that list item by item.
/// Such a list may hold items of others, such as an injected container; every other list is ours as a whole.
fn identity(path: &[&str]) -> Option<&'static str> {
    match path {
        ["metadata", "ownerReferences"] => Some("uid"),
        // Of a Service; in a NetworkPolicy the ports stand deeper, and that list is ours as a whole.
        ["spec", "ports"] => Some("port"),
        [.., "spec", "containers" | "volumes"] | [.., "containers", "env"] => Some("name"),
        [.., "containers", "ports"] => Some("containerPort"),
        [.., "containers", "volumeMounts"] => Some("mountPath"),
        [.., "spec", "topologySpreadConstraints"] => Some("topologyKey"),
        _ => None,
    }
}

/// Whether two quantities are the same amount: the server writes `1024Mi` as `1Gi` and `0.5` as `500m`.
fn is_same_quantity(one: &str, other: &str) -> bool {
    matches!((thousandths(one), thousandths(other)), (Some(one), Some(other)) if one == other)
}

/// A quantity in thousandths; `None` where it is not one, or finer, or too large to be an amount of anything.
fn thousandths(text: &str) -> Option<u128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.checked_mul(scale)?;
    scaled.is_multiple_of(divisor).then(|| scaled / divisor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(live: &Value, wanted: &Value) -> bool {
        holds(live, wanted, &mut Vec::new())
    }

    #[test]
    fn what_the_server_and_others_add_is_no_difference() {
        let wanted = json!({
            "metadata": {"name": "a", "labels": {"x": "1"}, "ownerReferences": [{"uid": "u", "kind": "Integration"}]},
            "spec": {
                "replicas": 2,
                "template": {"spec": {"containers": [{"name": "worker", "image": "i", "env": []}]}},
            },
        });
        let live = json!({
            "metadata": {
                "name": "a", "uid": "s", "labels": {"x": "1", "y": "2"},
                "ownerReferences": [{"uid": "v", "kind": "App"}, {"uid": "u", "kind": "Integration"}],
            },
            "spec": {
                "replicas": 2,
                "progressDeadlineSeconds": 600,
                "template": {"spec": {
                    "containers": [{"name": "sidecar"}, {"name": "worker", "image": "i", "terminationMessagePath": "/"}],
                    "restartPolicy": "Always",
                }},
            },
            "status": {"replicas": 2},
        });
        assert!(held(&live, &wanted));
    }

    #[test]
    fn what_somebody_changed_is_a_difference() {
        let wanted = json!({"metadata": {"labels": {"x": "1"}}, "spec": {"replicas": 2, "selector": {"a": "b"}}});
        for (pointer, value) in [
            ("/metadata/labels/x", json!("2")),
            ("/spec/replicas", json!(3)),
            ("/spec/selector", json!(null)),
        ] {
            let mut live = wanted.clone();
            *live.pointer_mut(pointer).unwrap() = value;
            assert!(!held(&live, &wanted), "{pointer}");
        }
        assert!(!held(&json!({"spec": {"replicas": 2}}), &wanted), "missing");
    }

    #[test]
    fn item_added_to_a_list_of_ours_is_a_difference() {
        let rule = |namespaces: Value| json!({"spec": {"ingress": [{"ports": [{"port": 8080}], "from": namespaces}]}});
        let wanted = rule(json!(["shop"]));
        assert!(held(&wanted, &wanted));
        assert!(!held(&rule(json!(["shop", "intruder"])), &wanted));
        let mut open = wanted.clone();
        open["spec"]["ingress"].as_array_mut().unwrap().push(json!({}));
        assert!(!held(&open, &wanted), "a rule that lets everybody in");
        let mut ports = wanted.clone();
        ports["spec"]["ingress"][0]["ports"]
            .as_array_mut()
            .unwrap()
            .push(json!({"port": 9443}));
        assert!(!held(&ports, &wanted));
    }

    #[test]
    fn label_added_to_a_selector_is_a_difference() {
        for name in ["selector", "podSelector", "labelSelector", "namespaceSelector"] {
            let wanted = json!({"spec": {name: {"matchLabels": {"a": "b"}}}});
            let mut live = wanted.clone();
            assert!(held(&live, &wanted));
            live["spec"][name]["matchLabels"]["c"] = json!("d");
            assert!(!held(&live, &wanted), "{name}");
        }
    }

    #[test]
    fn amount_written_another_way_is_the_same() {
        let with = |memory: &str| json!({"resources": {"limits": {"memory": memory}}, "image": memory});
        for (one, other) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1000k", "1M"),
        ] {
            assert!(is_same_quantity(one, other), "{one} {other}");
            assert!(!held(&with(one), &with(other)), "an image is not an amount");
        }
        for (one, other) in [("1Mi", "1M"), ("1", "1m"), ("x", "x"), ("", "0"), ("1e3", "1000")] {
            assert!(!is_same_quantity(one, other), "{one} {other}");
        }
        let resources = |memory: &str| json!({"resources": {"limits": {"memory": memory}}});
        assert!(held(&resources("1Gi"), &resources("1024Mi")));
    }

    #[test]
    fn what_is_no_longer_wanted_shows_in_the_hash() {
        let before = json!({"metadata": {"name": "a"}, "spec": {"replicas": 2, "minReadySeconds": 5}});
        let after = json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}});
        let mut live = before.clone();
        live["metadata"]["annotations"] = json!({APPLIED: fingerprint(&before)});
        assert!(is_as_wanted(&live, &before));
        assert!(held(&live, &after) && !is_as_wanted(&live, &after));
    }

    #[test]
    fn values_of_a_secret_are_compared_but_not_hashed() {
        let with = |value: &str| json!({"metadata": {}, "data": {"plan.json": value}});
        assert_eq!(fingerprint(&with("YQ==")), fingerprint(&with("Yg==")));
        let mut live = with("YQ==");
        live["metadata"]["annotations"] = json!({APPLIED: fingerprint(&with("YQ=="))});
        assert!(is_as_wanted(&live, &with("YQ==")));
        assert!(!is_as_wanted(&live, &with("Yg==")));
        assert_ne!(
            fingerprint(&with("YQ==")),
            fingerprint(&json!({"metadata": {}, "data": {}})),
            "its keys are"
        );
    }
}

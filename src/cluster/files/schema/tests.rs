use super::super::tree::documents;
use serde_json::json;

use super::*;

const GOOD: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Integration
metadata: {name: payments-api, namespace: shop, labels: null}
spec:
  endpoints:
  - name: primary
    url: https://api.example.com
  retries:
    limit: 3
";

fn check(schema: &Schema, text: &str) -> Result<Json, Vec<Finding>> {
    let node = documents(text)[0].parse().ok().flatten().unwrap();
    schema.check(&node)
}

fn message(schema: &Schema, text: &str) -> String {
    let findings = check(schema, text).unwrap_err();
    let told = |finding: &Finding| format!("{}: {}: {}", finding.line, finding.field, finding.message);
    findings.iter().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_crds_have_a_schema() {
    for schema in [&INTEGRATION, &CREDENTIAL] {
        assert!(
            schema.root["properties"]["spec"]["properties"]
                .as_object()
                .is_some_and(|fields| fields.len() > 3)
        );
    }
}

#[test]
fn a_good_manifest_passes_without_its_nulls() {
    let json = check(&INTEGRATION, GOOD).unwrap();
    assert_eq!(json["metadata"], json!({"name": "payments-api", "namespace": "shop"}));
    assert_eq!(json["spec"]["endpoints"][0]["url"], "https://api.example.com");
    assert_eq!(json["spec"]["workers"]["replicas"], 2, "a default inside a default");
}

#[test]
fn a_finding_names_line_and_field_and_what_is_allowed() {
    for (from, to, wanted) in [
        (
            "limit: 3",
            "limits: 3",
            "9: spec.retries.limits: no such field; did you mean `limit`?",
        ),
        (
            "limit: 3",
            "jitter: 3",
            "9: spec.retries.jitter: no such field; there are backoff, budget, hedge, idempotencyKey, limit, methods, retryAfterMax, statuses",
        ),
        (
            "limit: 3",
            "backoff: {base: 30}",
            "9: spec.retries.backoff.base: must be a duration of one to four parts such as `1h30m`, `10s` or `250ms`, not a number",
        ),
        (
            "limit: 3",
            "limit: '3'",
            "9: spec.retries.limit: must be a whole number, not a string",
        ),
        (
            "limit: 3",
            "limit: 3.5",
            "9: spec.retries.limit: must be a whole number, not a number",
        ),
        ("limit: 3", "limit: 99999999999", "9: spec.retries.limit: must be from"),
        (
            "limit: 3",
            "backoff: {base: soon}",
            "9: spec.retries.backoff.base: must be a duration of one to",
        ),
        (
            "limit: 3",
            "methods: idempotent",
            "9: spec.retries.methods: must be one of",
        ),
        ("limit: 3", "methods: idempotent", "did you mean `Idempotent`?"),
        (
            "name: primary",
            "name: 7",
            "6: spec.endpoints[0].name: must be a string, not a number; put it in quotes",
        ),
        (
            "name: payments-api",
            "name: Payments",
            "3: metadata.name: must be lower case letters",
        ),
        (
            "- name: primary",
            "- {}\n  - name: primary",
            "6: spec.endpoints[0].name: must be given",
        ),
        (
            "retries:\n    limit: 3",
            "retries: no",
            "8: spec.retries: must be an object",
        ),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let told = message(&INTEGRATION, &text);
        assert!(told.contains(wanted), "{told}\n  has no\n{wanted}\n{text}");
    }
}

#[test]
fn every_finding_is_told_at_once_and_none_quotes_a_value() {
    let text =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: 4711}\ndata: canary\ncanaries: canary\n";
    let told = message(&SECRET, text);
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(
        !told.contains("4711") && !told.contains("canary\n") && !told.contains("`canary`"),
        "{told}"
    );
}

#[test]
fn any_json_is_kept_as_it_is_where_the_schema_takes_it() {
    let text = "\
apiVersion: tidegate.dev/v1alpha1
kind: Credential
metadata: {name: signer}
spec:
  allowedHosts: [api.example.com]
  jwt:
    algorithm: ES256
    keyRef: {name: a, key: b}
    claims: {tenant: 7, on: true, ratio: 0.5, roles: [a, {b: null}], nested: {deep: [1]}}
";
    let json = check(&CREDENTIAL, text).unwrap();
    assert_eq!(
        json["spec"]["jwt"]["claims"],
        json!({"tenant": 7, "on": true, "ratio": 0.5, "roles": ["a", {"b": null}], "nested": {"deep": [1]}})
    );
    let many = (0..65)
        .map(|index| format!("c{index}: 1, "))
        .collect::<Vec<_>>()
        .concat();
    let told = message(&CREDENTIAL, &text.replace("tenant: 7, ", &many));
    assert!(told.contains("spec.jwt.claims: must have at most 64 entries"), "{told}");
}

#[test]
fn what_only_a_server_writes_is_let_through() {
    let text =
        GOOD.replace("labels: null", "uid: x, managedFields: [{a: 1}], resourceVersion: '7'") + "status: {x: 1}\n";
    let json = check(&INTEGRATION, &text).unwrap();
    assert!(json["status"].is_null());
}

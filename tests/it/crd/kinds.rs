//! The kinds of credentials that are issued: a good manifest of each, and changes to it.

use super::table::{Bad, bad};

/// One kind.
pub struct Kind {
    /// A good manifest with as many fields set as can be together.
    pub good: &'static str,
    /// Changes that make it a bad one.
    pub bad: &'static [Bad],
    /// Changes that leave it good.
    pub fine: &'static [&'static str],
}

/// All of them.
pub const KINDS: [Kind; 5] = [OAUTH2, JWT, CERTIFICATE, GENERATED, STEPS];

const ISSUED: &str =
    "must be set only where a value is issued: with `oauth2`, `jwt`, `certificate.issue`, `generated` or";
const ENCRYPTED: &str = "must begin with 'https://', because secrets go there; 'http://' is allowed for 'localhost'";
const CONTROLS: &str = "must not contain control characters";
const OBJECT: &str = "must be the name of an object";
const KEY: &str = "must be a key of a Secret or ConfigMap";
const ENDPOINTS: &str = "must have exactly one of `tokenURL` and `issuerURL`";
const SUBJECT: &str =
    "must be set when `grant` is 'TokenExchange', may be when it is 'JWTBearer', and must not otherwise";
const CRON: &str = "must be five fields as in cron";
const STEP_URL: &str = "must be an absolute URL such as 'https://api.example.com/keys/{{ id }}', in ASCII";

/// `spec.oauth2`.
pub const OAUTH2: Kind = Kind {
    good: include_str!("kinds/oauth2.yaml"),
    bad: &[
        bad("spec: {oauth2: {grant: null}}", "spec.oauth2.grant", "Required value"),
        bad(
            "spec: {oauth2: {grant: AuthorizationCode}}",
            "spec.oauth2.grant",
            "supported values: \"ClientCredentials\", \"RefreshToken\", \"JWTBearer\", \"TokenExchange\"",
        ),
        bad("spec: {oauth2: {tokenURL: null}}", "spec.oauth2", ENDPOINTS),
        bad(
            "spec: {oauth2: {issuerURL: 'https://a.example'}}",
            "spec.oauth2",
            ENDPOINTS,
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'http://login.example.com/token'}}",
            "spec.oauth2.tokenURL",
            ENCRYPTED,
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'http://svc.example.com/token'}}",
            "spec.oauth2.tokenURL",
            ENCRYPTED,
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'http://localhost.example.com/token'}}",
            "spec.oauth2.tokenURL",
            ENCRYPTED,
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'http://127.0.0.1.example.com/token'}}",
            "spec.oauth2.tokenURL",
            ENCRYPTED,
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'http://login.svc/token'}}",
            "spec.oauth2.tokenURL",
            ENCRYPTED,
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'http://localhost@login.example.com/token'}}",
            "spec.oauth2.tokenURL",
            "must not contain a user name or password",
        ),
        bad(
            "spec: {oauth2: {tokenURL: 'https://a.example/token#x'}}",
            "spec.oauth2.tokenURL",
            "must not contain a fragment ('#')",
        ),
        bad(
            "spec: {oauth2: {tokenURL: login}}",
            "spec.oauth2.tokenURL",
            "must be an absolute URL",
        ),
        bad(
            "spec: {oauth2: {tokenURL: null, issuerURL: 'https://a.example?x'}}",
            "spec.oauth2.issuerURL",
            "must not contain a query or fragment ('?' or '#')",
        ),
        bad(
            "spec: {oauth2: {tokenURL: null, issuerURL: 'http://a.example'}}",
            "spec.oauth2.issuerURL",
            ENCRYPTED,
        ),
        bad(
            "spec: {oauth2: {clientID: null}}",
            "spec.oauth2.clientID",
            "must be set, unless `clientAuthentication` is 'None'",
        ),
        bad(
            "spec: {oauth2: {clientID: null, grant: JWTBearer, clientAuthentication: None, clientSecretRef: null, \
             subjectTokenRef: null, clientKeyRef: {name: a, key: b}}}",
            "spec.oauth2.clientID",
            "must be set, unless `clientAuthentication` is 'None'",
        ),
        bad(
            "spec: {oauth2: {clientID: \"a\\nb\"}}",
            "spec.oauth2.clientID",
            "must be visible ASCII or spaces",
        ),
        bad(
            "spec: {oauth2: {clientAuthentication: basic}}",
            "spec.oauth2.clientAuthentication",
            "supported values: \"Basic\", \"Post\", \"PrivateKeyJWT\", \"TLS\", \"None\"",
        ),
        bad(
            "spec: {oauth2: {grant: ClientCredentials, subjectTokenRef: null, clientSecretRef: null, \
             clientAuthentication: None}}",
            "spec.oauth2.clientAuthentication",
            "must not be 'None' when `grant` is 'ClientCredentials'",
        ),
        bad(
            "spec: {oauth2: {clientSecretRef: null}}",
            "spec.oauth2.clientSecretRef",
            "must be set when `clientAuthentication` is 'Basic' (the default) or 'Post', and only then",
        ),
        bad(
            "spec: {oauth2: {clientSecretRef: null, clientAuthentication: null}}",
            "spec.oauth2.clientSecretRef",
            "must be set when `clientAuthentication` is 'Basic' (the default) or 'Post', and only then",
        ),
        bad(
            "spec: {oauth2: {clientAuthentication: None}}",
            "spec.oauth2.clientSecretRef",
            "must be set when `clientAuthentication` is 'Basic' (the default) or 'Post', and only then",
        ),
        bad(
            "spec: {oauth2: {clientKeyRef: {name: a, key: b}}}",
            "spec.oauth2.clientKeyRef",
            "must be set when `clientAuthentication` is 'PrivateKeyJWT', or `grant` is 'JWTBearer'",
        ),
        bad(
            "spec: {oauth2: {clientAuthentication: PrivateKeyJWT, clientSecretRef: null}}",
            "spec.oauth2.clientKeyRef",
            "must be set when `clientAuthentication` is 'PrivateKeyJWT', or `grant` is 'JWTBearer'",
        ),
        bad(
            "spec: {oauth2: {grant: JWTBearer, subjectTokenRef: null}}",
            "spec.oauth2.clientKeyRef",
            "must be set when `clientAuthentication` is 'PrivateKeyJWT', or `grant` is 'JWTBearer'",
        ),
        bad(
            "spec: {oauth2: {clientAuthentication: TLS, clientSecretRef: null}}",
            "spec.oauth2.clientCertificateRef",
            "must be set when `clientAuthentication` is 'TLS', and only then",
        ),
        bad(
            "spec: {oauth2: {clientCertificateRef: {name: a}}}",
            "spec.oauth2.clientCertificateRef",
            "must be set when `clientAuthentication` is 'TLS', and only then",
        ),
        bad(
            "spec: {oauth2: {grant: RefreshToken, subjectTokenRef: null}}",
            "spec.oauth2.refreshTokenRef",
            "must be set when `grant` is 'RefreshToken', and only then",
        ),
        bad(
            "spec: {oauth2: {refreshTokenRef: {name: a, key: b}}}",
            "spec.oauth2.refreshTokenRef",
            "must be set when `grant` is 'RefreshToken', and only then",
        ),
        bad(
            "spec: {oauth2: {subjectTokenRef: null}}",
            "spec.oauth2.subjectTokenRef",
            SUBJECT,
        ),
        bad(
            "spec: {oauth2: {grant: ClientCredentials}}",
            "spec.oauth2.subjectTokenRef",
            SUBJECT,
        ),
        bad(
            "spec: {oauth2: {clientSecretRef: {name: A}}}",
            "spec.oauth2.clientSecretRef.name",
            OBJECT,
        ),
        bad(
            "spec: {oauth2: {subjectTokenRef: {key: 'a b'}}}",
            "spec.oauth2.subjectTokenRef.key",
            KEY,
        ),
        bad(
            "spec: {oauth2: {clientAuthentication: TLS, clientSecretRef: null, clientCertificateRef: {name: A}}}",
            "spec.oauth2.clientCertificateRef.name",
            OBJECT,
        ),
        bad(
            "spec: {oauth2: {scopes: ['a b']}}",
            "spec.oauth2.scopes[0]",
            "must be one scope: visible ASCII without spaces",
        ),
        bad(
            "spec: {oauth2: {scopes: [a, a]}}",
            "spec.oauth2.scopes[1]",
            "Duplicate value",
        ),
        bad("spec: {oauth2: {audience: \"a\\0\"}}", "spec.oauth2.audience", CONTROLS),
        bad(
            "spec: {oauth2: {audience: ''}}",
            "spec.oauth2.audience",
            "should be at least 1 chars long",
        ),
        bad(
            "spec: {oauth2: {resource: 'https://a.example/#b'}}",
            "spec.oauth2.resource",
            "must be an absolute URI",
        ),
        bad(
            "spec: {oauth2: {resource: '/a'}}",
            "spec.oauth2.resource",
            "must be an absolute URI",
        ),
        bad(
            "spec: {oauth2: {parameters: {client_secret: a}}}",
            "spec.oauth2.parameters",
            "must not have parameters that other fields set",
        ),
        bad(
            "spec: {oauth2: {parameters: {'a b': a}}}",
            "spec.oauth2.parameters",
            "must have names of 1 to 128 visible ASCII characters",
        ),
        bad(
            "spec: {oauth2: {parameters: {'': a}}}",
            "spec.oauth2.parameters",
            "must have names of 1 to 128 visible ASCII characters",
        ),
        bad(
            "spec: {oauth2: {parameters: {a: 1}}}",
            "spec.oauth2.parameters.a",
            "must be of type string",
        ),
        bad(
            "spec: {oauth2: {tls: {caRef: {name: A}}}}",
            "spec.oauth2.tls.caRef.name",
            OBJECT,
        ),
        bad(
            "spec: {oauth2: {tls: {caRef: {key: 'a/b'}}}}",
            "spec.oauth2.tls.caRef.key",
            KEY,
        ),
        bad("spec: {secretName: A}", "spec.secretName", OBJECT),
        bad(
            "spec: {rotation: {renewAt: 0}}",
            "spec.rotation.renewAt",
            "should be greater than or equal to 1",
        ),
        bad(
            "spec: {rotation: {renewAt: 96}}",
            "spec.rotation.renewAt",
            "should be less than or equal to 95",
        ),
        bad(
            "spec: {rotation: {interval: 1h}}",
            "spec.rotation.interval",
            "must be set only for what has no lifetime of its own",
        ),
        bad(
            "spec: {rotation: {overlap: 721h}}",
            "spec.rotation.overlap",
            "must be from '0s' to '720h'",
        ),
        bad(
            "spec: {rotation: {windows: [{duration: 1h}]}}",
            "spec.rotation.windows[0].schedule",
            "Required value",
        ),
        bad(
            "spec: {rotation: {windows: [{schedule: '0 2 * *', duration: 1h}]}}",
            "spec.rotation.windows[0].schedule",
            "should be at least 9 chars long",
        ),
        bad(
            "spec: {rotation: {windows: [{schedule: '30 12 * * * *', duration: 1h}]}}",
            "spec.rotation.windows[0].schedule",
            CRON,
        ),
        bad(
            "spec: {rotation: {windows: [{schedule: '@midnight', duration: 1h}]}}",
            "spec.rotation.windows[0].schedule",
            CRON,
        ),
        bad(
            "spec: {rotation: {windows: [{schedule: '0 2 * * *', duration: 25h}]}}",
            "spec.rotation.windows[0].duration",
            "must be from '1m' to '24h'",
        ),
        bad(
            "spec: {rotation: {windows: [{schedule: '0 2 * * *', duration: 1h, timeZone: '../x'}]}}",
            "spec.rotation.windows[0].timeZone",
            "must be the name of a time zone",
        ),
        bad(
            "spec: {rotation: {steps: {create: {generate: {}}, set: {request: {url: 'https://crm.example.com'}}}}}",
            "spec.rotation.steps",
            "must be set only with `apiKey`, `basic` or `bearer`",
        ),
    ],
    fine: &[
        "{}",
        "spec: {secretName: null, rotation: null}",
        "spec: {oauth2: {tokenURL: 'http://127.0.0.1:8080/token'}}",
        "spec: {oauth2: {tokenURL: 'http://[::1]:8080'}}",
        "spec: {oauth2: {tokenURL: 'HTTP://localhost/token?a=b'}}",
        "spec: {oauth2: {tokenURL: 'http://login.auth.svc:8080/token'}}",
        "spec: {oauth2: {tokenURL: 'http://login.auth.svc.cluster.local/token'}}",
        "spec: {oauth2: {tokenURL: null, issuerURL: 'https://login.example.com/realms/a'}}",
        "spec: {oauth2: {grant: ClientCredentials, clientAuthentication: null, subjectTokenRef: null, scopes: null, \
         audience: null, resource: null, parameters: null, tls: null}}",
        "spec: {oauth2: {grant: ClientCredentials, clientAuthentication: Basic, subjectTokenRef: null, tls: {}}}",
        "spec: {oauth2: {grant: ClientCredentials, clientAuthentication: TLS, clientSecretRef: null, subjectTokenRef: null, \
         clientCertificateRef: {name: a}}}",
        "spec: {oauth2: {grant: RefreshToken, subjectTokenRef: null, refreshTokenRef: {name: a, key: b}}}",
        "spec: {oauth2: {grant: RefreshToken, clientAuthentication: None, clientSecretRef: null, subjectTokenRef: null, \
         refreshTokenRef: {name: a, key: b}}}",
        "spec: {oauth2: {grant: JWTBearer}}",
        "spec: {oauth2: {grant: JWTBearer, clientAuthentication: None, clientSecretRef: null, subjectTokenRef: null, \
         clientKeyRef: {name: a, key: b}}}",
        "spec: {oauth2: {grant: JWTBearer, clientAuthentication: PrivateKeyJWT, clientSecretRef: null, \
         clientKeyRef: {name: a, key: b}}}",
        "spec: {oauth2: {clientID: null, clientAuthentication: None, clientSecretRef: null}}",
        "spec: {rotation: {windows: []}}",
    ],
};

/// `spec.jwt`.
pub const JWT: Kind = Kind {
    good: include_str!("kinds/jwt.yaml"),
    bad: &[
        bad("spec: {jwt: {algorithm: null}}", "spec.jwt.algorithm", "Required value"),
        bad(
            "spec: {jwt: {algorithm: none}}",
            "spec.jwt.algorithm",
            "supported values: \"RS256\", \"ES256\", \"EdDSA\", \"HS256\"",
        ),
        bad(
            "spec: {jwt: {generate: null}, rotation: {interval: null}}",
            "spec.jwt",
            "must have exactly one of `keyRef` and `generate`",
        ),
        bad(
            "spec: {jwt: {keyRef: {name: a, key: b}}}",
            "spec.jwt",
            "must have exactly one of `keyRef` and `generate`",
        ),
        bad(
            "spec: {jwt: {algorithm: HS256}}",
            "spec.jwt.generate",
            "must not be set when `algorithm` is 'HS256'",
        ),
        bad(
            "spec: {jwt: {keyID: key-1}}",
            "spec.jwt.keyID",
            "must not be set with `generate`",
        ),
        bad(
            "spec: {jwt: {generate: {overlap: 721h}}}",
            "spec.jwt.generate.overlap",
            "must be from '0s' to '720h'",
        ),
        bad(
            "spec: {jwt: {generate: null, keyRef: {name: a, key: ''}}, rotation: {interval: null}}",
            "spec.jwt.keyRef.key",
            "should be at least 1 chars long",
        ),
        bad(
            "spec: {jwt: {generate: null, keyRef: {name: a, key: b}}}",
            "spec.rotation.interval",
            "must be set only for what has no lifetime of its own",
        ),
        bad(
            "spec: {jwt: {generate: null, keyRef: {name: a, key: b}, keyID: \"a\\n\"}, rotation: {interval: null}}",
            "spec.jwt.keyID",
            CONTROLS,
        ),
        bad(
            "spec: {jwt: {issuer: ''}}",
            "spec.jwt.issuer",
            "should be at least 1 chars long",
        ),
        bad("spec: {jwt: {subject: \"\\t\"}}", "spec.jwt.subject", CONTROLS),
        bad(
            "spec: {jwt: {audience: [a]}}",
            "spec.jwt.audience",
            "must be of type string",
        ),
        bad("spec: {jwt: {claims: []}}", "spec.jwt.claims", "must be of type object"),
        bad(
            "spec: {jwt: {lifetime: 30s}}",
            "spec.jwt.lifetime",
            "must be from '1m' to '24h'",
        ),
        bad(
            "spec: {jwt: {in: Query, name: null, prefix: null}}",
            "spec.jwt.name",
            "must be set when `in` is 'Query' or 'Cookie'",
        ),
        bad(
            "spec: {jwt: {name: Host}}",
            "spec.jwt.name",
            "must not be a header that frames or routes the request",
        ),
        bad("spec: {jwt: {name: 'a b'}}", "spec.jwt.name", "must be"),
        bad(
            "spec: {jwt: {in: Cookie}}",
            "spec.jwt.prefix",
            "must be empty unless `in` is 'Header'",
        ),
        bad(
            "spec: {rotation: {interval: 59s}}",
            "spec.rotation.interval",
            "must be from '1m' to '17520h'",
        ),
    ],
    fine: &[
        "{}",
        "spec: {jwt: {generate: {overlap: null}, keyID: null, issuer: null, subject: null, audience: null, claims: null, \
         lifetime: null, in: null, name: null, prefix: null}, rotation: null}",
        "spec: {jwt: {algorithm: HS256, generate: null, keyRef: {name: a, key: b}}, rotation: {interval: null}}",
        "spec: {jwt: {in: Query, name: assertion, prefix: null, claims: {}}}",
        "spec: {jwt: {issuer: 'Söhne', name: Authorization, prefix: null}}",
    ],
};

/// `spec.certificate`.
pub const CERTIFICATE: Kind = Kind {
    good: include_str!("kinds/certificate.yaml"),
    bad: &[
        bad(
            "spec: {certificate: {issue: null}, secretName: null, rotation: null}",
            "spec.certificate",
            "must have exactly one of `secretRef` and `issue`",
        ),
        bad(
            "spec: {certificate: {secretRef: {name: a}}}",
            "spec.certificate",
            "must have exactly one of `secretRef` and `issue`",
        ),
        bad(
            "spec: {certificate: {issue: null, secretRef: {name: a}}, rotation: null}",
            "spec.secretName",
            ISSUED,
        ),
        bad(
            "spec: {certificate: {issue: null, secretRef: {name: a}}, secretName: null}",
            "spec.rotation",
            ISSUED,
        ),
        bad(
            "spec: {certificate: {issue: null, secretRef: {name: A}}, secretName: null, rotation: null}",
            "spec.certificate.secretRef.name",
            OBJECT,
        ),
        bad(
            "spec: {certificate: {issue: {caSecretRef: null}}}",
            "spec.certificate.issue.caSecretRef",
            "Required value",
        ),
        bad(
            "spec: {certificate: {issue: {caSecretRef: {name: A}}}}",
            "spec.certificate.issue.caSecretRef.name",
            OBJECT,
        ),
        bad(
            "spec: {certificate: {issue: {commonName: null, dnsNames: null, uris: null}}}",
            "spec.certificate.issue",
            "must have `commonName`, `dnsNames` or `uris`",
        ),
        bad(
            "spec: {certificate: {issue: {commonName: null, dnsNames: [], uris: []}}}",
            "spec.certificate.issue",
            "must have `commonName`, `dnsNames` or `uris`",
        ),
        bad(
            "spec: {certificate: {issue: {commonName: \"a\\nb\"}}}",
            "spec.certificate.issue.commonName",
            CONTROLS,
        ),
        bad(
            "spec: {certificate: {issue: {dnsNames: ['a.*.example']}}}",
            "spec.certificate.issue.dnsNames[0]",
            "must be a DNS name such as 'client.example.com'",
        ),
        bad(
            "spec: {certificate: {issue: {dnsNames: [10.0.0.1]}}}",
            "spec.certificate.issue.dnsNames[0]",
            "must be a DNS name, not an address",
        ),
        bad(
            "spec: {certificate: {issue: {dnsNames: [a, a]}}}",
            "spec.certificate.issue.dnsNames[1]",
            "Duplicate value",
        ),
        bad(
            "spec: {certificate: {issue: {uris: [client]}}}",
            "spec.certificate.issue.uris[0]",
            "must be an absolute URI such as 'spiffe://example.com/client'",
        ),
        bad(
            "spec: {certificate: {issue: {lifetime: 59m}}}",
            "spec.certificate.issue.lifetime",
            "must be from '1h' to '8760h'",
        ),
        bad(
            "spec: {certificate: {issue: {algorithm: DSA}}}",
            "spec.certificate.issue.algorithm",
            "supported values: \"ECDSA\", \"RSA\", \"Ed25519\"",
        ),
        bad(
            "spec: {rotation: {interval: 1h}}",
            "spec.rotation.interval",
            "must be set only for what has no lifetime of its own",
        ),
    ],
    fine: &[
        "{}",
        "spec: {certificate: {issue: null, secretRef: {name: a.b}}, secretName: null, rotation: null}",
        "spec: {certificate: {issue: {commonName: null, dnsNames: null, lifetime: null, algorithm: null}}}",
    ],
};

/// `spec.generated`.
pub const GENERATED: Kind = Kind {
    good: include_str!("kinds/generated.yaml"),
    bad: &[
        bad(
            "spec: {generated: {length: 15}}",
            "spec.generated.length",
            "should be greater than or equal to 16",
        ),
        bad(
            "spec: {generated: {length: 513}}",
            "spec.generated.length",
            "should be less than or equal to 512",
        ),
        bad(
            "spec: {generated: {encoding: Base32}}",
            "spec.generated.encoding",
            "supported values: \"Base64\", \"Hex\", \"Alphanumeric\"",
        ),
        bad(
            "spec: {rotation: {interval: 17521h}}",
            "spec.rotation.interval",
            "must be from '1m' to '17520h'",
        ),
        bad(
            "spec: {bearer: {secretRef: {name: a, key: b}}}",
            "spec",
            "must have exactly one of `apiKey`, `basic`, `bearer`, `oauth2`, `jwt`, `certificate` and `generated`",
        ),
    ],
    fine: &[
        "{}",
        "spec: {generated: {length: null, encoding: null}, secretName: null, rotation: null}",
    ],
};

/// `spec.rotation.steps`.
pub const STEPS: Kind = Kind {
    good: include_str!("kinds/steps.yaml"),
    bad: &[
        bad(
            "spec: {rotation: {steps: {create: null}}}",
            "spec.rotation.steps.create",
            "Required value",
        ),
        bad(
            "spec: {rotation: {steps: {create: {generate: {}}, set: {request: {url: 'https://api.example.com'}}}}}",
            "spec.rotation.steps.create",
            "must have exactly one of `generate` and `request`",
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: null, extract: null, credentialRef: null, expect: null}, find: null}}}",
            "spec.rotation.steps.create",
            "must have exactly one of `generate` and `request`",
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: null, extract: null, credentialRef: null, expect: null, \
             generate: {}}, find: null}}}",
            "spec.rotation.steps.set",
            "must be set when `create` has `generate`",
        ),
        bad(
            "spec: {rotation: {steps: {set: {request: {url: 'https://api.example.com'}}}}}",
            "spec.rotation.steps.set",
            "must be set when `create` has `generate`",
        ),
        bad(
            "spec: {rotation: {steps: {create: {generate: {length: 8}}}}}",
            "spec.rotation.steps.create.generate.length",
            "should be greater than or equal to 16",
        ),
        bad(
            "spec: {rotation: {steps: {create: {extract: null}}}}",
            "spec.rotation.steps.create.extract",
            "must be set when `request` is, and only then",
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: null, extract: null, expect: null, generate: {}}, find: null, \
             set: {request: {url: 'https://api.example.com'}}}}}",
            "spec.rotation.steps.create.credentialRef",
            "must be set only with `request`",
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: null, extract: null, credentialRef: null, generate: {}}, find: null, \
             set: {request: {url: 'https://api.example.com'}}}}}",
            "spec.rotation.steps.create.expect",
            "must be set only with `request`",
        ),
        bad(
            "spec: {rotation: {steps: {create: {extract: {value: ''}}}}}",
            "spec.rotation.steps.create.extract.value",
            "should be at least 1 chars long",
        ),
        bad(
            "spec: {rotation: {steps: {create: {extract: {value: null}}}}}",
            "spec.rotation.steps.create.extract.value",
            "Required value",
        ),
        bad(
            "spec: {rotation: {steps: {create: {credentialRef: {name: A}}}}}",
            "spec.rotation.steps.create.credentialRef.name",
            OBJECT,
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: {method: HEAD}}}}}",
            "spec.rotation.steps.create.request.method",
            "supported values: \"GET\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\"",
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: {url: 'https://{{ id }}.example.com/'}}}}}",
            "spec.rotation.steps.create.request.url",
            STEP_URL,
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: {url: 'https://api.example.com{{ id }}'}}}}}",
            "spec.rotation.steps.create.request.url",
            STEP_URL,
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: {url: 'https://u:p@api.example.com/'}}}}}",
            "spec.rotation.steps.create.request.url",
            STEP_URL,
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: {url: 'https://api.example.com:65536/'}}}}}",
            "spec.rotation.steps.create.request.url",
            STEP_URL,
        ),
        bad(
            "spec: {rotation: {steps: {create: {request: {url: 'http://api.example.com/'}}}}}",
            "spec.rotation.steps.create.request.url",
            ENCRYPTED,
        ),
        bad(
            "spec: {rotation: {steps: {revoke: {request: {url: 'https://api.example.com/#{{ previous.id }}'}}}}}",
            "spec.rotation.steps.revoke.request.url",
            "must not contain a fragment ('#')",
        ),
        bad(
            "spec: {rotation: {steps: {test: {request: {headers: {Host: a}}}}}}",
            "spec.rotation.steps.test.request.headers",
            "must not have headers that frame or route the request",
        ),
        bad(
            "spec: {rotation: {steps: {test: {request: {headers: {'X Key': a}}}}}}",
            "spec.rotation.steps.test.request.headers",
            "must have names of headers",
        ),
        bad(
            "spec: {rotation: {steps: {test: {request: {headers: {X-Key: \"a\\r\\nb: c\"}}}}}}",
            "spec.rotation.steps.test.request.headers",
            "must be ASCII without control characters",
        ),
        bad(
            "spec: {rotation: {steps: {test: {expect: {statuses: [ok, '200']}}}}}",
            "spec.rotation.steps.test.expect.statuses[0]",
            "should be at least 3 chars long",
        ),
        bad(
            "spec: {rotation: {steps: {test: {expect: {statuses: ['200', '200']}}}}}",
            "spec.rotation.steps.test.expect.statuses[1]",
            "Duplicate value",
        ),
        bad(
            "spec: {rotation: {steps: {revoke: null}}}",
            "spec.rotation.steps.find",
            "must be set only with `create.request`",
        ),
        bad(
            "spec: {rotation: {steps: {find: {extract: null}}}}",
            "spec.rotation.steps.find.extract",
            "Required value",
        ),
        bad(
            "spec: {rotation: {steps: {find: {extract: {ids: ''}}}}}",
            "spec.rotation.steps.find.extract.ids",
            "should be at least 1 chars long",
        ),
        bad(
            "spec: {apiKey: {secretRef: null}, rotation: {steps: null}, secretName: null}",
            "spec.apiKey.secretRef",
            "must be set unless `rotation.steps` makes the first value",
        ),
        bad(
            "spec: {apiKey: null, bearer: {}, rotation: null, secretName: null}",
            "spec.bearer.secretRef",
            "must be set unless `rotation.steps` makes the first value",
        ),
        bad(
            "spec: {apiKey: null, basic: {}, rotation: null, secretName: null}",
            "spec.basic.secretRef",
            "must be set unless `rotation.steps` makes the first value",
        ),
        bad(
            "spec: {apiKey: null, basic: {}, rotation: {steps: {create: {extract: {id: null}}}}}",
            "spec.basic.secretRef",
            "must be set unless `rotation.steps.create.extract.id` is",
        ),
        bad(
            "spec: {rotation: {steps: null, interval: null}, secretName: null}",
            "spec.rotation",
            ISSUED,
        ),
        bad("spec: {rotation: null}", "spec.secretName", ISSUED),
        bad(
            "spec: {apiKey: null, generated: {}}",
            "spec.rotation.steps",
            "must be set only with `apiKey`, `basic` or `bearer`",
        ),
    ],
    fine: &[
        "{}",
        "spec: {apiKey: {secretRef: null}}",
        "spec: {apiKey: null, bearer: {}}",
        "spec: {apiKey: null, basic: {}}",
        "spec: {apiKey: null, basic: {secretRef: {name: a}}, rotation: {steps: {create: {extract: {id: null}}}}}",
        "spec: {rotation: {steps: {create: {request: null, extract: null, credentialRef: null, expect: null, \
         generate: {length: 40}}, find: null, set: {request: {url: 'https://api.example.com:443/key', body: '{{ value }}'}}}}}",
        "spec: {rotation: {steps: {create: {credentialRef: null, expect: {statuses: []}, request: {method: null, \
         url: 'https://api.example.com?a={{ attempt.id }}', headers: {content-type: 'a/b', cookie: c}, body: ''}}}}}",
        "spec: {rotation: {steps: {test: null, revoke: null, find: null}}}",
    ],
};

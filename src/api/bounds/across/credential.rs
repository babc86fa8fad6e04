//! What holds between the fields of the kinds of a Credential.

use crate::api::bounds::Across;

/// `Credential.spec`.
pub const ONE_KIND: (&str, &str) = (
    "[has(self.apiKey), has(self.basic), has(self.bearer), has(self.oauth2), has(self.jwt), has(self.certificate), \
     has(self.generated)].exists_one(set, set)",
    "must have exactly one of `apiKey`, `basic`, `bearer`, `oauth2`, `jwt`, `certificate` and `generated`",
);

/// `oauth2`.
pub const ONE_TOKEN_ENDPOINT: (&str, &str) = (
    "has(self.tokenURL) != has(self.issuerURL)",
    "must have exactly one of `tokenURL` and `issuerURL`",
);

/// `oauth2`.
pub const CLIENT_ID_IS_KNOWN: Across = Across {
    cel: "has(self.clientID) || (has(self.clientAuthentication) && self.clientAuthentication == 'None' \
          && has(self.subjectTokenRef))",
    field: ".clientID",
    must: "must be set, unless `clientAuthentication` is 'None' and `subjectTokenRef` says who asks",
};

/// `oauth2`: RFC 6749, 4.4.
pub const CLIENT_CREDENTIALS_ARE_PROVEN: Across = Across {
    cel: "self.grant != 'ClientCredentials' || !has(self.clientAuthentication) || self.clientAuthentication != 'None'",
    field: ".clientAuthentication",
    must: "must not be 'None' when `grant` is 'ClientCredentials'",
};

/// `oauth2`.
pub const CLIENT_SECRET_IS_USED: Across = Across {
    cel: "has(self.clientSecretRef) == (!has(self.clientAuthentication) || self.clientAuthentication in ['Basic', 'Post'])",
    field: ".clientSecretRef",
    must: "must be set when `clientAuthentication` is 'Basic' (the default) or 'Post', and only then",
};

/// `oauth2`.
pub const CLIENT_KEY_IS_USED: Across = Across {
    cel: "has(self.clientKeyRef) == ((has(self.clientAuthentication) && self.clientAuthentication == 'PrivateKeyJWT') \
          || (self.grant == 'JWTBearer' && !has(self.subjectTokenRef)))",
    field: ".clientKeyRef",
    must: "must be set when `clientAuthentication` is 'PrivateKeyJWT', or `grant` is 'JWTBearer' without \
           `subjectTokenRef`, and only then",
};

/// `oauth2`.
pub const CLIENT_CERTIFICATE_IS_USED: Across = Across {
    cel: "has(self.clientCertificateRef) == (has(self.clientAuthentication) && self.clientAuthentication == 'TLS')",
    field: ".clientCertificateRef",
    must: "must be set when `clientAuthentication` is 'TLS', and only then",
};

/// `oauth2`.
pub const REFRESH_TOKEN_IS_USED: Across = Across {
    cel: "has(self.refreshTokenRef) == (self.grant == 'RefreshToken')",
    field: ".refreshTokenRef",
    must: "must be set when `grant` is 'RefreshToken', and only then",
};

/// `oauth2`.
pub const SUBJECT_TOKEN_IS_USED: Across = Across {
    cel: "self.grant == 'JWTBearer' || has(self.subjectTokenRef) == (self.grant == 'TokenExchange')",
    field: ".subjectTokenRef",
    must: "must be set when `grant` is 'TokenExchange', may be when it is 'JWTBearer', and must not otherwise",
};

/// `jwt`.
pub const ONE_SIGNING_KEY: (&str, &str) = (
    "has(self.keyRef) != has(self.generate)",
    "must have exactly one of `keyRef` and `generate`",
);

/// `jwt`.
pub const GENERATED_KEY_IS_PUBLIC: Across = Across {
    cel: "!has(self.generate) || self.algorithm != 'HS256'",
    field: ".generate",
    must: "must not be set when `algorithm` is 'HS256', which has no public key to hand out; use `keyRef`",
};

/// `jwt`.
pub const GENERATED_KEYS_NAME_THEMSELVES: Across = Across {
    cel: "!has(self.generate) || !has(self.keyID)",
    field: ".keyID",
    must: "must not be set with `generate`: our keys succeed each other, and each is known by its own thumbprint",
};

/// `certificate`.
pub const ONE_CERTIFICATE: (&str, &str) = (
    "has(self.secretRef) != has(self.issue)",
    "must have exactly one of `secretRef` and `issue`",
);

/// `certificate.issue`.
pub const SOME_SUBJECT: (&str, &str) = (
    "has(self.commonName) || (has(self.dnsNames) && self.dnsNames.size() > 0) || (has(self.uris) && self.uris.size() > 0)",
    "must have `commonName`, `dnsNames` or `uris`",
);

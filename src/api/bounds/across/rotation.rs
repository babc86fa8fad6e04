//! What holds between the fields of rotation, and between them and the kind.

use crate::api::bounds::Across;

/// Where the first value comes from, if no Secret has it.
const FIRST_VALUE: &str = "must be set unless `rotation.steps` makes the first value";

/// `Credential.spec`.
pub const API_KEY_HAS_SOURCE: Across = Across {
    cel: "!has(self.apiKey) || has(self.apiKey.secretRef) || (has(self.rotation) && has(self.rotation.steps))",
    field: ".apiKey.secretRef",
    must: FIRST_VALUE,
};

/// `Credential.spec`.
pub const BASIC_HAS_SOURCE: Across = Across {
    cel: "!has(self.basic) || has(self.basic.secretRef) || (has(self.rotation) && has(self.rotation.steps))",
    field: ".basic.secretRef",
    must: FIRST_VALUE,
};

/// `Credential.spec`.
pub const BASIC_HAS_USER: Across = Across {
    cel: "!has(self.basic) || has(self.basic.secretRef) || !has(self.rotation) || !has(self.rotation.steps) || \
          (has(self.rotation.steps.create.extract) && has(self.rotation.steps.create.extract.id))",
    field: ".basic.secretRef",
    must: "must be set unless `rotation.steps.create.extract.id` is, which is then the user name",
};

/// `Credential.spec`.
pub const BEARER_HAS_SOURCE: Across = Across {
    cel: "!has(self.bearer) || has(self.bearer.secretRef) || (has(self.rotation) && has(self.rotation.steps))",
    field: ".bearer.secretRef",
    must: FIRST_VALUE,
};

/// Only what we issue is kept in a Secret of ours and rotated by us.
const WHERE_ISSUED: &str = "must be set only where a value is issued: with `oauth2`, `jwt`, `certificate.issue`, \
                            `generated` or `rotation.steps`";

/// `Credential.spec`.
pub const SECRET_NAME_IS_USED: Across = Across {
    cel: "!has(self.secretName) || has(self.oauth2) || has(self.jwt) || has(self.generated) || \
          (has(self.certificate) && has(self.certificate.issue)) || (has(self.rotation) && has(self.rotation.steps))",
    field: ".secretName",
    must: WHERE_ISSUED,
};

/// `Credential.spec`.
pub const ROTATION_IS_USED: Across = Across {
    cel: "!has(self.rotation) || has(self.oauth2) || has(self.jwt) || has(self.generated) || \
          (has(self.certificate) && has(self.certificate.issue)) || has(self.rotation.steps)",
    field: ".rotation",
    must: WHERE_ISSUED,
};

/// `Credential.spec`.
pub const STEPS_HAVE_A_KEY: Across = Across {
    cel: "!has(self.rotation) || !has(self.rotation.steps) || has(self.apiKey) || has(self.basic) || has(self.bearer)",
    field: ".rotation.steps",
    must: "must be set only with `apiKey`, `basic` or `bearer`",
};

/// `Credential.spec`.
pub const INTERVAL_IS_USED: Across = Across {
    cel: "!has(self.rotation) || !has(self.rotation.interval) || has(self.generated) || has(self.rotation.steps) || \
          (has(self.jwt) && has(self.jwt.generate))",
    field: ".rotation.interval",
    must: "must be set only for what has no lifetime of its own: `generated`, the values of `rotation.steps`, and the \
           key of `jwt.generate`",
};

/// `rotation.steps`.
pub const SET_IS_USED: Across = Across {
    cel: "has(self.set) == has(self.create.generate)",
    field: ".set",
    must: "must be set when `create` has `generate`, because the provider has to be told the value, and only then",
};

/// `rotation.steps`.
pub const FIND_IS_USED: Across = Across {
    cel: "!has(self.find) || (has(self.revoke) && has(self.create.request))",
    field: ".find",
    must: "must be set only with `create.request`, whose orphans it finds, and `revoke`, which takes them away",
};

/// `rotation.steps.create`.
pub const ONE_ORIGIN: (&str, &str) = (
    "has(self.generate) != has(self.request)",
    "must have exactly one of `generate` and `request`",
);

/// `rotation.steps.create`.
pub const EXTRACT_IS_USED: Across = Across {
    cel: "has(self.extract) == has(self.request)",
    field: ".extract",
    must: "must be set when `request` is, and only then",
};

/// `rotation.steps.create`.
pub const AUTHORITY_IS_USED: Across = Across {
    cel: "!has(self.credentialRef) || has(self.request)",
    field: ".credentialRef",
    must: "must be set only with `request`",
};

/// `rotation.steps.create`.
pub const EXPECTATION_IS_USED: Across = Across {
    cel: "!has(self.expect) || has(self.request)",
    field: ".expect",
    must: "must be set only with `request`",
};

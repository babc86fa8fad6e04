//! How a provider's own keys are replaced.

use url::Url;

use super::generated;
use crate::api::bounds;
use crate::api::credential::rotation::{
    Create, CredentialNameRef, Extract, Find, FindExtract, StepCall, StepExpectation, StepRequest, Steps,
};
use crate::domain::hosts::{HostPattern, allowed};
use crate::domain::validate::checks::Checks;

/// Checks `spec.rotation.steps`. What templates and filters say is known to those who run them.
pub fn check(checks: &mut Checks, allowed_hosts: &[String], spec: &Steps) {
    let Steps {
        create,
        set,
        test,
        revoke,
        find,
    } = spec;
    let object = "spec.rotation.steps";
    let hosts: Vec<HostPattern> = allowed_hosts.iter().filter_map(|text| text.parse().ok()).collect();
    let mut steps = StepChecks { checks, hosts: &hosts };
    steps.create(create);
    for (name, call) in [("set", set), ("test", test), ("revoke", revoke)] {
        if let Some(call) = call {
            steps.call(&format!("{object}.{name}"), call);
        }
    }
    if let Some(find) = find {
        steps.find(find);
    }
    checks.across(object, set.is_some() == create.generate.is_some(), bounds::SET_IS_USED);
    let finds_orphans = create.request.is_some() && revoke.is_some();
    checks.across(object, find.is_none() || finds_orphans, bounds::FIND_IS_USED);
}

struct StepChecks<'a> {
    checks: &'a mut Checks,
    /// Where calls without an authority may go.
    hosts: &'a [HostPattern],
}

impl StepChecks<'_> {
    fn create(&mut self, spec: &Create) {
        let Create {
            generate,
            request,
            credential_ref,
            expect,
            extract,
        } = spec;
        let object = "spec.rotation.steps.create";
        if generate.is_some() == request.is_some() {
            self.checks.violated(object, bounds::ONE_ORIGIN.1);
        }
        if let Some(generate) = generate {
            generated::check(self.checks, "spec.rotation.steps.create.generate", generate);
        }
        if let Some(request) = request {
            self.request(object, request, credential_ref.as_ref());
        }
        self.authority(object, credential_ref.as_ref());
        self.expect(object, expect.as_ref());
        for (unused, rule) in [
            (credential_ref.is_some(), bounds::AUTHORITY_IS_USED),
            (expect.is_some(), bounds::EXPECTATION_IS_USED),
        ] {
            self.checks.across(object, !unused || request.is_some(), rule);
        }
        let extracts = extract.is_some() == request.is_some();
        self.checks.across(object, extracts, bounds::EXTRACT_IS_USED);
        if let Some(Extract { value, id, expires_at }) = extract {
            let field = |name| format!("{object}.extract.{name}");
            self.checks.text(&field("value"), value, bounds::FILTER);
            self.checks.text_if_set(&field("id"), id.as_ref(), bounds::FILTER);
            self.checks
                .text_if_set(&field("expiresAt"), expires_at.as_ref(), bounds::FILTER);
        }
    }

    fn call(&mut self, object: &str, spec: &StepCall) {
        let StepCall {
            request,
            credential_ref,
            expect,
        } = spec;
        self.request(object, request, credential_ref.as_ref());
        self.authority(object, credential_ref.as_ref());
        self.expect(object, expect.as_ref());
    }

    fn find(&mut self, spec: &Find) {
        let Find {
            request,
            credential_ref,
            extract: FindExtract { ids },
        } = spec;
        let object = "spec.rotation.steps.find";
        self.request(object, request, credential_ref.as_ref());
        self.authority(object, credential_ref.as_ref());
        self.checks
            .text("spec.rotation.steps.find.extract.ids", ids, bounds::FILTER);
    }

    fn request(&mut self, object: &str, spec: &StepRequest, authority: Option<&CredentialNameRef>) {
        let StepRequest {
            method: _,
            url,
            headers,
            body,
        } = spec;
        let field = |name: &str| format!("{object}.request.{name}");
        match bounds::STEP_URL.check(url) {
            Err(must) => self.checks.violated(field("url"), must),
            // With an authority, it is that one's `allowedHosts` that count.
            Ok(()) if authority.is_none() && !self.is_allowed(url) => self.checks.violated(
                field("url"),
                "must have a host that `allowedHosts` allows, because no `credentialRef` authorises the call",
            ),
            Ok(()) => (),
        }
        self.checks.entries(&field("headers"), headers, bounds::STEP_HEADERS);
        self.checks
            .text_if_set(&field("body"), body.as_ref(), bounds::STEP_BODY);
    }

    /// Whether the host of a template, which is none itself, is one of ours.
    fn is_allowed(&self, template: &str) -> bool {
        let path = template.find("://").map_or(0, |at| at + 3);
        let end = template[path..].find(['/', '?']).map_or(template.len(), |at| path + at);
        Url::parse(&template[..end]).is_ok_and(|url| {
            let target = url.host_str().zip(url.port_or_known_default());
            target.is_some_and(|(host, port)| allowed(self.hosts, host, port))
        })
    }

    fn authority(&mut self, object: &str, spec: Option<&CredentialNameRef>) {
        if let Some(CredentialNameRef { name }) = spec {
            let field = format!("{object}.credentialRef.name");
            self.checks.text(&field, name, bounds::OBJECT_NAME);
        }
    }

    fn expect(&mut self, object: &str, spec: Option<&StepExpectation>) {
        if let Some(StepExpectation { statuses }) = spec {
            let field = format!("{object}.expect.statuses");
            self.checks.texts(&field, statuses, 16, bounds::STATUS_RANGE);
        }
    }
}

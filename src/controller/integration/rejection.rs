//! What is said of credentials that the provider refuses, and whether anybody has to do something about it.

use crate::domain::aggregate::Rejection;
use crate::domain::plan::CredentialPlan;

/// What the rejections come to: a message that says what to do, and whether they pass only if somebody does it. `used` are
/// the credentials of the plan that workers run.
pub(super) fn told(rejected: &[Rejection], used: &[CredentialPlan]) -> (String, bool) {
    // Where the controller makes the values itself, it answers a 401 with another one. It mends no 403 that way.
    let is_renewed = |rejection: &&Rejection| {
        let renewable = |used: &CredentialPlan| used.name == rejection.credential && used.renewable;
        rejection.status == 401 && used.iter().any(renewable)
    };
    let (renewed, stuck): (Vec<_>, Vec<_>) = rejected.iter().partition(is_renewed);
    let (forbidden, invalid): (Vec<_>, Vec<_>) = stuck.iter().partition(|rejection| rejection.status == 403);
    let say = |rejections: &[&Rejection], what: &str| {
        let names: Vec<String> = rejections
            .iter()
            .map(|Rejection { credential, status }| format!("{credential} ({status})"))
            .collect();
        (!names.is_empty()).then(|| format!("the provider refuses {}; {what}", names.join(", ")))
    };
    let message = [
        say(&invalid, "put a valid value in its Secret"),
        say(
            &forbidden,
            "check what it is allowed to do there, or put another value in its Secret",
        ),
        say(&renewed, "another value is being obtained"),
    ];
    let message: Vec<_> = message.into_iter().flatten().collect();
    (message.join("; "), !stuck.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(name: &str, renewable: bool) -> CredentialPlan {
        CredentialPlan {
            name: name.to_owned(),
            revision: 1,
            allowed_hosts: Vec::new(),
            material: None,
            not_after: None,
            renewable,
        }
    }

    fn rejection(credential: &str, status: u16) -> Rejection {
        Rejection {
            credential: credential.to_owned(),
            status,
        }
    }

    #[test]
    fn only_a_401_of_a_value_that_we_make_passes_by_itself() {
        let used = [used("key", false), used("token", true)];
        for (rejected, message, stuck) in [
            (
                vec![rejection("key", 401)],
                "the provider refuses key (401); put a valid value in its Secret",
                true,
            ),
            (
                vec![rejection("token", 403)],
                "the provider refuses token (403); check what it is allowed to do there, or put another value in its Secret",
                true,
            ),
            (
                vec![rejection("token", 401)],
                "the provider refuses token (401); another value is being obtained",
                false,
            ),
            (
                vec![rejection("key", 401), rejection("token", 401)],
                "the provider refuses key (401); put a valid value in its Secret; \
                 the provider refuses token (401); another value is being obtained",
                true,
            ),
        ] {
            assert_eq!(told(&rejected, &used), (message.to_owned(), stuck));
        }
    }
}

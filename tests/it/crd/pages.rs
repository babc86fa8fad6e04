//! The manifests that people copy: those of the documentation are good ones, for the cluster and for files.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate::api::credential::{Credential, CredentialType};
use tidegate::cluster::files::manifest::{self, Object};
use tidegate::domain::validate;
use tidegate::provider::{extract, template};

use super::admission::create;
use super::kinds::KINDS;
use crate::support::apiserver;

/// Every whole manifest of ours in a page, with the page.
fn manifests() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    let mut found = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            for document in block.split("---\n") {
                if document.contains("apiVersion: tidegate.dev/") {
                    found.push((page.clone(), document.to_owned()));
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn every_manifest_in_the_documentation_is_taken() {
    let place = apiserver::namespace("pages").await;
    let mut kinds = Vec::new();
    let mut with_steps = 0;
    for (page, text) in manifests() {
        let reading = manifest::read(&text);
        assert_eq!(reading.problems, [], "{}: {text}", page.display());
        for (_, object) in reading.objects {
            if let Object::Credential(credential) = object {
                assert_eq!(validate::credential_spec(&credential.spec), [], "{text}");
                kinds.extend(credential.spec.credential_type());
                if let Some(steps) = credential.spec.steps() {
                    assert_eq!(template::check(steps), [], "{text}");
                    let extract = steps.create.extract.as_ref();
                    assert_eq!(extract.map(extract::check).unwrap_or_default(), [], "{text}");
                    let find = steps.find.as_ref().map(|find| extract::check_find(&find.extract));
                    assert_eq!(find.unwrap_or_default(), [], "{text}");
                    with_steps += 1;
                }
            }
        }
        let mut manifest: Value = serde_saphyr::from_str(&text).unwrap();
        manifest["metadata"]["namespace"] = place.namespace.clone().into();
        if let Err(error) = create(&place, manifest, true).await {
            panic!("{}: {error}\n{text}", page.display());
        }
    }
    assert!(with_steps >= 2, "no page has whole steps");
    let all = [
        CredentialType::APIKey,
        CredentialType::Basic,
        CredentialType::Bearer,
        CredentialType::OAuth2,
        CredentialType::JWT,
        CredentialType::Certificate,
        CredentialType::Generated,
    ];
    for kind in all {
        assert!(kinds.contains(&kind), "no page has a manifest of {kind:?}");
    }
}

/// What a file says arrives as the API server would have stored it.
#[test]
fn a_file_is_read_as_the_types_read_it() {
    for kind in KINDS {
        let reading = manifest::read(kind.good);
        assert_eq!(reading.problems, [], "{}", kind.good);
        let Object::Credential(read) = &reading.objects[0].1 else {
            panic!("{}", kind.good);
        };
        let typed: Credential = serde_saphyr::from_str(kind.good).unwrap();
        assert_eq!(read.spec, typed.spec);
    }
}

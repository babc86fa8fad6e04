use super::*;

fn plan() -> Plan {
    serde_json::from_str(include_str!("../../../tests/it/support/plan.json")).unwrap()
}

fn text(plan: &Plan) -> Vec<u8> {
    serde_json::to_vec(plan).unwrap()
}

/// A source over a directory with this plan in it, after the first look.
async fn source(plan: &Plan) -> (tempfile::TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), text(plan)).unwrap();
    let source = Source::new(directory.path());
    source.look().await;
    (directory, source)
}

fn revision(source: &Source) -> Option<u64> {
    source.plans().borrow().values().next().map(|plan| plan.revision)
}

#[test]
fn higher_revision_of_the_own_integration_wins() {
    let own = Identity::of(&plan());
    let with = |revision, generation| Plan {
        revision,
        generation,
        ..plan()
    };
    let cases = [
        (None, with(7, 3), Verdict::Taken),
        (Some(with(7, 3)), with(7, 3), Verdict::Running),
        (Some(with(7, 3)), with(8, 3), Verdict::Taken),
        (Some(with(7, 3)), with(7, 4), Verdict::Stale { running: 7 }),
        (Some(with(7, 3)), with(6, 4), Verdict::Stale { running: 7 }),
    ];
    for (running, offered, verdict) in cases {
        assert_eq!(judge(Some(&own), running.as_ref(), &offered), verdict);
    }
}

#[test]
fn plan_that_is_not_for_this_worker_is_refused() {
    let own = Identity::of(&plan());
    let other_uid = Plan {
        uid: "another".into(),
        revision: 9,
        ..plan()
    };
    let other_name = Plan {
        integration: Key::new("shop", "other"),
        revision: 9,
        ..plan()
    };
    for offered in [other_uid, other_name] {
        let verdict = judge(Some(&own), Some(&plan()), &offered);
        assert!(
            matches!(verdict, Verdict::Refused(Refusal::Foreign { .. })),
            "{verdict:?}"
        );
    }
    assert_eq!(judge(None, None, &plan()), Verdict::Refused(Refusal::Early));
    let empty = Plan {
        endpoints: Vec::new(),
        ..plan()
    };
    assert_eq!(judge(Some(&own), None, &empty), Verdict::Refused(Refusal::NoEndpoints));
}

#[test]
fn plan_of_another_format_is_refused_by_its_format_alone() {
    assert_eq!(parse(br#"{"format": 2, "shape": "unknown"}"#), Err(Refusal::Format(2)));
    assert_eq!(parse(br#"{"format": 0}"#), Err(Refusal::Format(0)));
}

#[test]
fn refusal_names_the_place_and_never_the_value() {
    let mut value = serde_json::to_value(plan()).unwrap();
    value["credentials"][0]["revision"] = "canary-secret".into();
    let refusal = parse(value.to_string().as_bytes()).unwrap_err().to_string();
    assert!(refusal.contains("credentials[0].revision"), "{refusal}");
    assert!(!refusal.contains("canary"), "{refusal}");
    let trailing = [&text(&plan())[..], b"canary"].concat();
    for garbage in [&b"canary"[..], b"", b"[]", b"\xff\xfe", &trailing] {
        let refusal = parse(garbage).unwrap_err().to_string();
        assert!(
            refusal.starts_with("is not a plan") && !refusal.contains("canary"),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn mounted_plan_is_served_and_a_newer_push_replaces_it() {
    let (_directory, source) = source(&plan()).await;
    assert_eq!(revision(&source), Some(7));
    let newer = Plan { revision: 8, ..plan() };
    assert_eq!(source.offer(&text(&newer)), Verdict::Taken);
    assert_eq!(source.offer(&text(&newer)), Verdict::Running);
    assert_eq!(source.offer(&text(&plan())), Verdict::Stale { running: 8 });
    assert_eq!(revision(&source), Some(8));
}

#[tokio::test]
async fn older_mount_does_not_take_back_a_push() {
    let (directory, source) = source(&plan()).await;
    source.offer(&text(&Plan { revision: 9, ..plan() }));
    std::fs::write(
        directory.path().join(FILE),
        text(&Plan {
            revision: 8,
            generation: 99,
            ..plan()
        }),
    )
    .unwrap();
    source.look().await;
    assert_eq!(revision(&source), Some(9));
}

#[tokio::test]
async fn broken_missing_or_foreign_mount_changes_nothing() {
    let (directory, source) = source(&plan()).await;
    let file = directory.path().join(FILE);
    let foreign = text(&Plan {
        uid: "another".into(),
        revision: 99,
        ..plan()
    });
    let mut plans = source.plans();
    plans.mark_unchanged();
    for content in [b"{ broken".to_vec(), Vec::new(), foreign, vec![b' '; MAX_PLAN + 1]] {
        std::fs::write(&file, content).unwrap();
        source.look().await;
    }
    std::fs::remove_file(&file).unwrap();
    source.look().await;
    assert!(!plans.has_changed().unwrap());
    std::fs::write(&file, text(&Plan { revision: 8, ..plan() })).unwrap();
    source.look().await;
    assert_eq!(revision(&source), Some(8), "and a good one is taken over again");
}

#[tokio::test]
async fn push_waits_for_the_mount_to_say_whose_worker_this_is() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    assert_eq!(source.offer(&text(&plan())), Verdict::Refused(Refusal::Early));
    assert_eq!(revision(&source), None);
}

#[tokio::test]
async fn swap_of_the_link_as_the_kubelet_does_it_is_noticed() {
    // plan.json -> ..data/plan.json, ..data -> ..1, and then ..data is renamed over.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let version = |name: &str, revision| {
        std::fs::create_dir(path.join(name)).unwrap();
        std::fs::write(path.join(name).join(FILE), text(&Plan { revision, ..plan() })).unwrap();
        std::os::unix::fs::symlink(name, path.join("..new")).unwrap();
        std::fs::rename(path.join("..new"), path.join("..data")).unwrap();
    };
    version("..1", 1);
    std::os::unix::fs::symlink("..data/plan.json", path.join(FILE)).unwrap();
    let source = Source::new(path);
    source.look().await;
    assert_eq!(revision(&source), Some(1));
    version("..2", 2);
    source.look().await;
    assert_eq!(revision(&source), Some(2));
}

#[tokio::test]
async fn plan_with_a_broken_certificate_or_url_is_refused_without_being_quoted() {
    use crate::domain::plan::Material;
    use crate::domain::secret::SecretValue;

    let (_directory, source) = source(&plan()).await;
    let made = || rcgen::generate_simple_self_signed(vec!["client.test".to_owned()]).unwrap();
    let (one, other) = (made(), made());
    let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let armour = "-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n".to_owned();
    let offer = |certificates: &[(&str, &str)]| {
        let mut offered = Plan { revision: 8, ..plan() };
        offered.credentials = certificates
            .iter()
            .map(|(chain, key)| {
                let mut credential = plan().credentials[0].clone();
                credential.allowed_hosts = vec!["api.example.com".to_owned()];
                credential.material = Some(Material::Certificate {
                    chain: (*chain).to_owned(),
                    key: SecretValue::new(*key),
                });
                credential
            })
            .collect();
        offered.endpoints[0].url = "https://api.example.com".to_owned();
        source.offer(&text(&offered))
    };
    let swapped = other.signing_key.serialize_pem();
    for (chain, key) in [
        ("canary", key.as_str()),
        ("-----BEGIN canary", &key),
        (&armour, &key),
        (&key, &key),
        (&chain, "canary"),
        (&chain, &swapped),
        (&chain, &chain),
    ] {
        let Verdict::Refused(refusal) = offer(&[(chain, key)]) else {
            panic!("a broken certificate was taken");
        };
        let refusal = refusal.to_string();
        assert!(refusal.contains("client certificate"), "{refusal}");
        let quotes = chain.lines().chain(key.lines()).any(|line| refusal.contains(line));
        assert!(!quotes && !refusal.contains("canary"), "{refusal}");
        assert_eq!(revision(&source), Some(7));
    }
    assert!(matches!(
        offer(&[(&chain, &key), (&chain, &key)]),
        Verdict::Refused(Refusal::Unusable(UnusablePlan::Certificates { .. }))
    ));
    assert_eq!(offer(&[(&chain, &key)]), Verdict::Taken);
}

#[tokio::test]
async fn unusable_mount_says_whose_worker_this_is() {
    let mut broken = plan();
    broken.endpoints[0].url = "ftp://api.example.com".to_owned();
    let (_directory, source) = source(&broken).await;
    assert_eq!(revision(&source), None);
    assert_eq!(source.offer(&text(&plan())), Verdict::Taken);
}

use super::*;

const UID: &str = "0c5f7a3e-11aa-4f0e-9a57-2f1f3c8f5d01";

fn start() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn after(number: u64) -> Timestamp {
    start() + days(number)
}

fn authority() -> Authority {
    Authority::make(start()).unwrap()
}

/// Whether a controller that trusts `authority` takes `tls` for `name`.
fn accepted(authority: &Authority, tls: &WorkerTls, name: &str, now: Timestamp) -> bool {
    let verifier = WebPkiServerVerifier::builder_with_provider(authority.roots().unwrap(), provider());
    let leaf = certificates(&tls.certificate).unwrap().remove(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
    let name = ServerName::try_from(name).unwrap();
    verifier
        .build()
        .unwrap()
        .verify_server_cert(&leaf, &[], &name, &[], now)
        .is_ok()
}

#[test]
fn worker_is_known_by_its_own_name_alone() {
    let authority = authority();
    let tls = authority.worker_tls(UID, None, start()).unwrap();
    assert!(accepted(&authority, &tls, &worker_name(UID), start()));
    for name in ["other.worker.tidegate.dev", "worker.tidegate.dev", CONTROLLER_NAME] {
        assert!(!accepted(&authority, &tls, name, start()), "{name}");
    }
}

#[test]
fn other_authority_vouches_for_nobody() {
    let tls = authority().worker_tls(UID, None, start()).unwrap();
    let other = authority();
    assert!(!accepted(&other, &tls, &worker_name(UID), start()));
    assert_ne!(
        other.worker_tls(UID, Some(tls.clone()), start()).unwrap().certificate,
        tls.certificate
    );
}

#[test]
fn certificate_is_kept_for_two_thirds_of_its_life() {
    let authority = authority();
    let tls = authority.worker_tls(UID, None, start()).unwrap();
    let later = |number| authority.worker_tls(UID, Some(tls.clone()), after(number)).unwrap();
    assert_eq!(later(0), tls);
    assert_eq!(later(243), tls);
    assert_ne!(later(244).certificate, tls.certificate);
}

#[test]
fn stored_material_that_does_not_serve_is_replaced() {
    let authority = authority();
    let tls = authority.worker_tls(UID, None, start()).unwrap();
    let other = authority.worker_tls("another-uid", None, start()).unwrap();
    let broken = [
        WorkerTls {
            certificate: String::new(),
            ..tls.clone()
        },
        WorkerTls {
            key: SecretValue::new("not a key"),
            ..tls.clone()
        },
        WorkerTls {
            key: other.key.clone(),
            ..tls.clone()
        },
        other,
    ];
    for stored in broken {
        let issued = authority.worker_tls(UID, Some(stored.clone()), start()).unwrap();
        assert_ne!(issued.certificate, stored.certificate);
        assert!(accepted(&authority, &issued, &worker_name(UID), start()));
    }
}

#[test]
fn lost_list_of_trusted_certificates_is_restored_without_a_new_certificate() {
    let authority = authority();
    let tls = authority.worker_tls(UID, None, start()).unwrap();
    let stored = WorkerTls {
        authority: String::new(),
        ..tls.clone()
    };
    assert_eq!(authority.worker_tls(UID, Some(stored), start()).unwrap(), tls);
}

#[test]
fn renewal_is_trusted_a_year_before_it_signs() {
    let first = authority();
    assert_eq!(first.renewed(after(2919)).unwrap(), None);

    let prepared = first.renewed(after(2921)).unwrap().unwrap();
    assert_eq!(prepared.signer, first.signer);
    assert!(prepared.trusted().starts_with(&first.trusted()));
    assert_eq!(certificates(&prepared.trusted()).unwrap().len(), 2);
    assert_eq!(prepared.renewed(after(3284)).unwrap(), None);

    let promoted = prepared.renewed(after(3286)).unwrap().unwrap();
    assert_eq!(Some(&promoted.signer), prepared.next.as_ref());
    assert_eq!(certificates(&promoted.trusted()).unwrap().len(), 2);
    // Who has not heard of the promotion knows the workers that have, and the other way round.
    let old = prepared.worker_tls(UID, None, after(3286)).unwrap();
    let new = promoted.worker_tls(UID, None, after(3286)).unwrap();
    assert!(accepted(&prepared, &new, &worker_name(UID), after(3286)));
    assert!(accepted(&promoted, &old, &worker_name(UID), after(3286)));

    let alone = promoted.renewed(after(3651)).unwrap().unwrap();
    assert_eq!(alone.trusted(), promoted.signer.certificate);
    assert_eq!(alone.renewed(after(3652)).unwrap(), None);
}

#[test]
fn authority_that_ended_unseen_is_replaced() {
    let first = authority();
    let made = first.renewed(after(4000)).unwrap().unwrap();
    assert_ne!(made.signer, first.signer);
    let tls = made.worker_tls(UID, None, after(4000)).unwrap();
    assert!(accepted(&made, &tls, &worker_name(UID), after(4000)));
}

#[test]
fn authority_is_read_as_it_was_written() {
    let first = authority();
    let prepared = first.renewed(after(2921)).unwrap().unwrap();
    let promoted = prepared.renewed(after(3286)).unwrap().unwrap();
    for authority in [first, prepared, promoted] {
        assert_eq!(Authority::from_data(&authority.to_data()).unwrap(), authority);
    }
}

#[test]
fn broken_data_is_told_by_its_key() {
    let data = authority().to_data();
    for key in [CERTIFICATE, KEY, TRUSTED] {
        let mut without = data.clone();
        without.remove(key);
        assert!(Authority::from_data(&without).is_err(), "{key}");
    }
    let mut garbage = data;
    garbage.insert(KEY.into(), b"garbage".to_vec());
    let error = Authority::from_data(&garbage).unwrap_err().to_string();
    assert!(error.contains("`tls.key`") && !error.contains("garbage"), "{error}");
}

#[test]
fn private_keys_are_not_printed() {
    let authority = authority();
    let tls = authority.worker_tls(UID, None, start()).unwrap();
    let printed = format!("{authority:?} {tls:?}");
    assert!(!printed.contains("PRIVATE KEY"));
}

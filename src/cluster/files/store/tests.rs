use super::super::manifest;
use super::server::uid;
use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn objects(limit: u32, value: &str) -> Vec<Object> {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Integration\nmetadata: {{name: a}}\nspec:\n  endpoints:\n  \
         - {{name: one, url: 'https://a.example'}}\n  retries: {{limit: {limit}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: {value}}}\n"
    );
    let reading = manifest::read(&text);
    assert_eq!(reading.problems, []);
    reading.objects.into_iter().map(|(_, object)| object).collect()
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

async fn drain(changes: &mut mpsc::Receiver<Change>) -> Vec<Change> {
    let mut all = Vec::new();
    while let Ok(Some(change)) = tokio::time::timeout(std::time::Duration::from_millis(20), changes.recv()).await {
        all.push(change);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_exists_is_announced_and_then_only_what_changes() {
    let store = Store::new();
    store.replace(objects(1, "x"), NOW);
    let mut changes = store.changes();
    assert_eq!(
        drain(&mut changes).await,
        [Change::Integration(key("a")), Change::Secret(key("s"))]
    );
    store.replace(objects(1, "x"), NOW);
    assert_eq!(drain(&mut changes).await, []);
    store.replace(objects(1, "y"), NOW);
    store.replace(objects(1, "z"), NOW);
    assert_eq!(drain(&mut changes).await, [Change::Secret(key("s"))]);
    store.replace(objects(1, "z").split_off(1), NOW);
    assert_eq!(drain(&mut changes).await, [Change::Integration(key("a"))]);
    assert_eq!(store.integration(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn generation_counts_edits_of_the_spec_alone() {
    let store = Store::new();
    let mut seen = Vec::new();
    for (limit, value) in [(1, "x"), (1, "y"), (2, "y"), (2, "y")] {
        store.replace(objects(limit, value), NOW);
        let metadata = store.integration(&key("a")).await.unwrap().unwrap().metadata;
        seen.push((metadata.generation.unwrap(), metadata.resource_version.unwrap()));
    }
    let generations: Vec<_> = seen.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(generations, [1, 1, 2, 2]);
    assert_eq!(seen[0].1, seen[1].1);
    assert_ne!(seen[1].1, seen[2].1);
    assert_eq!(seen[2].1, seen[3].1);
}

#[tokio::test(start_paused = true)]
async fn an_annotation_is_told_of_and_is_no_edit_of_the_spec() {
    let store = Store::new();
    store.replace(objects(1, "x"), NOW);
    let mut changes = store.changes();
    drain(&mut changes).await;
    let mut asked = objects(1, "x");
    let Object::Integration(object) = &mut asked[0] else {
        panic!()
    };
    object.metadata.annotations = Some([("tidegate.dev/reset-circuit".to_owned(), "1".to_owned())].into());
    store.replace(asked, NOW);
    assert_eq!(drain(&mut changes).await, [Change::Integration(key("a"))]);
    assert_eq!(store.integrations()[0].metadata.generation, Some(1));
}

#[tokio::test]
async fn an_edit_keeps_the_status_and_a_namesake_is_not_written() {
    let store = Store::new();
    store.replace(objects(1, "x"), NOW);
    let stored = store.integration(&key("a")).await.unwrap().unwrap();
    assert_eq!(stored.status.unwrap().observed_generation, Some(-1));
    let uid = stored.metadata.uid.unwrap();
    let status = IntegrationStatus {
        observed_generation: Some(1),
        ..IntegrationStatus::default()
    };
    store
        .write_integration_status(&key("a"), "another", &status)
        .await
        .unwrap();
    assert_eq!(
        store.integrations()[0].status.as_ref().unwrap().observed_generation,
        Some(-1)
    );
    store.write_integration_status(&key("a"), &uid, &status).await.unwrap();
    store.replace(objects(2, "x"), NOW);
    assert_eq!(store.integrations()[0].status.as_ref(), Some(&status));
}

#[tokio::test]
async fn a_secret_has_a_new_version_with_every_edit() {
    let store = Store::new();
    store.replace(objects(1, "x"), NOW);
    let before = store.secret(&key("s")).await.unwrap().unwrap();
    store.replace(objects(2, "x"), NOW);
    assert_eq!(store.secret(&key("s")).await.unwrap().unwrap(), before);
    store.replace(objects(2, "y"), NOW);
    let after = store.secret(&key("s")).await.unwrap().unwrap();
    assert_ne!(after.version, before.version);
    assert_eq!(after.values["k"].as_ref().unwrap().expose(), "y");
}

#[test]
fn a_uid_is_a_function_of_the_name() {
    let identity = |kind, name| Identity { kind, key: key(name) };
    let one = uid(&identity(Kind::Integration, "a"));
    assert_eq!(one, uid(&identity(Kind::Integration, "a")));
    assert_ne!(one, uid(&identity(Kind::Credential, "a")));
    assert_ne!(one, uid(&identity(Kind::Integration, "b")));
    assert_eq!((one.len(), &one[14..15], one.matches('-').count()), (36, "8", 4));
}

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::cluster::Cluster;
use crate::domain::key::Key;

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: {value}}}\n---\n")
}

struct Scene {
    directory: TempDir,
    store: Store,
    follower: Follower,
    instant: Instant,
}

/// Between two looks; longer than a file has to stay gone.
const PAUSE: Duration = Duration::from_millis(500);

impl Scene {
    fn new(files: &[(&str, String)]) -> (Self, Vec<String>) {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let store = Store::new();
        let (follower, problems) =
            Follower::load(vec![directory.path().to_owned()], store.clone(), Timestamp::UNIX_EPOCH).unwrap();
        let scene = Self {
            directory,
            store,
            follower,
            instant: Instant::now(),
        };
        let told = scene.told(&problems);
        (scene, told)
    }

    fn told(&self, problems: &[Problem]) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        problems
            .iter()
            .map(|problem| problem.to_string().replace(&directory, ""))
            .collect()
    }

    /// Writes a file, or removes it, and looks until that counts; what is wrong then.
    fn edit(&mut self, name: &str, text: Option<String>) -> Vec<String> {
        let path = self.directory.path().join(name);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        for _ in 0..3 {
            self.instant += PAUSE;
            if let (Some(problems), _) = self.follower.look(self.instant, Timestamp::UNIX_EPOCH) {
                return self.told(&problems);
            }
        }
        panic!("the edit of {name} was not seen");
    }

    async fn value(&self, name: &str) -> Option<String> {
        let data = self.store.config_map(&Key::new("default", name)).await.unwrap()?;
        data.values["k"].as_ref().map(|value| value.expose().to_owned())
    }
}

#[tokio::test]
async fn one_bad_object_does_not_stop_the_others_and_stays_as_it_was() {
    let text = config_map("a", "one") + &config_map("b", "one");
    let (mut scene, problems) = Scene::new(&[("x.yaml", text)]);
    assert!(problems.is_empty());
    let problems = scene.edit("x.yaml", Some(config_map("a", "[]") + &config_map("b", "two")));
    assert_eq!(
        problems,
        ["x.yaml:4: ConfigMap default/a: data.k: must be a string, not a list"]
    );
    assert_eq!(scene.value("a").await.as_deref(), Some("one"));
    assert_eq!(scene.value("b").await.as_deref(), Some("two"));
    assert!(scene.edit("x.yaml", Some(config_map("b", "two"))).is_empty());
    assert_eq!(scene.value("a").await, None, "it is not in the file any more");
}

#[tokio::test]
async fn a_file_that_cannot_be_parsed_loses_nothing() {
    let text = config_map("a", "one") + &config_map("b", "one");
    let (mut scene, _) = Scene::new(&[("x.yaml", text)]);
    let problems = scene.edit("x.yaml", Some(config_map("a", "two") + "kind: [ConfigMap\n"));
    assert!(
        problems[0].starts_with("x.yaml:") && problems[0].contains("not valid YAML"),
        "{problems:?}"
    );
    assert_eq!(scene.value("a").await.as_deref(), Some("two"));
    assert_eq!(scene.value("b").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn of_two_with_one_name_the_first_counts_until_it_goes() {
    let (mut scene, problems) = Scene::new(&[
        ("a.yaml", config_map("x", "first")),
        ("b.yaml", "\n".to_owned() + &config_map("x", "second")),
    ]);
    let place = scene
        .directory
        .path()
        .join("a.yaml")
        .display()
        .to_string()
        .replace("a.yaml", "");
    let told = problems[0].replace(&place, "");
    assert_eq!(
        told,
        "b.yaml:2: ConfigMap default/x: metadata.name: is taken by a.yaml:1; give another name or namespace"
    );
    assert_eq!(scene.value("x").await.as_deref(), Some("first"));
    assert!(scene.edit("a.yaml", None).is_empty());
    assert_eq!(scene.value("x").await.as_deref(), Some("second"));
}

#[tokio::test]
async fn following_sees_an_edit_and_ends_when_asked_to() {
    let (scene, _) = Scene::new(&[("x.yaml", config_map("a", "one"))]);
    let mut touched = scene.store.touched();
    let stop = CancellationToken::new();
    let following = tokio::spawn(scene.follower.follow(|| (), stop.clone()));
    fs::write(scene.directory.path().join("x.yaml"), config_map("a", "two")).unwrap();
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, touched.changed())
        .await
        .unwrap()
        .unwrap();
    let data = scene
        .store
        .config_map(&Key::new("default", "a"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(data.values["k"].as_ref().unwrap().expose(), "two");
    stop.cancel();
    tokio::time::timeout(deadline, following).await.unwrap().unwrap();
}

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A directory, what follows it, and a clock of its own.
struct Scene {
    directory: TempDir,
    disk: Disk,
    now: Instant,
}

impl Scene {
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let directory = TempDir::new().unwrap();
        prepare(directory.path());
        let mut disk = Disk::open(vec![directory.path().to_owned()]).unwrap();
        disk.load();
        Self {
            directory,
            disk,
            now: Instant::now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Looks after so many milliseconds; what changed, by file name.
    fn look_after(&mut self, milliseconds: u64) -> Vec<(String, Option<String>)> {
        self.now += Duration::from_millis(milliseconds);
        let look = self.disk.look(self.now);
        let told = |(path, content): (PathBuf, Option<Content>)| {
            let text = content.map(|content| match content {
                Content::Text(text) => text,
                Content::Unreadable(why) => format!("unreadable: {why}"),
            });
            (path.file_name().unwrap().to_string_lossy().into_owned(), text)
        };
        look.changed.into_iter().map(told).collect()
    }

    fn texts(&self) -> Vec<String> {
        let text = |(_, content): (&Path, &Content)| match content {
            Content::Text(text) => text.clone(),
            Content::Unreadable(why) => why.clone(),
        };
        self.disk.files().map(text).collect()
    }
}

fn changed(name: &str, text: &str) -> Vec<(String, Option<String>)> {
    vec![(name.into(), Some(text.into()))]
}

#[test]
fn an_edit_counts_when_it_stands_still() {
    let mut scene = Scene::new(|path| fs::write(path.join("a.yaml"), "1").unwrap());
    assert_eq!(scene.look_after(500), []);
    scene.write("a.yaml", "12");
    assert_eq!(scene.look_after(500), [], "it may still be written");
    scene.write("a.yaml", "123");
    assert_eq!(scene.look_after(50), [], "it was");
    assert_eq!(scene.look_after(50), changed("a.yaml", "123"));
    assert_eq!(scene.look_after(500), []);
}

#[test]
fn an_atomic_rename_counts() {
    let mut scene = Scene::new(|path| fs::write(path.join("a.yaml"), "1").unwrap());
    scene.write("a.yaml.tmp", "2");
    fs::rename(scene.path("a.yaml.tmp"), scene.path("a.yaml")).unwrap();
    scene.look_after(500);
    assert_eq!(scene.look_after(50), changed("a.yaml", "2"));
}

#[test]
fn a_rename_that_keeps_length_and_time_counts() {
    let mut scene = Scene::new(|path| fs::write(path.join("a.yaml"), "1").unwrap());
    scene.write("b", "2");
    let time = fs::metadata(scene.path("a.yaml")).unwrap().modified().unwrap();
    fs::File::options()
        .write(true)
        .open(scene.path("b"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    fs::rename(scene.path("b"), scene.path("a.yaml")).unwrap();
    scene.look_after(500);
    assert_eq!(scene.look_after(50), changed("a.yaml", "2"));
}

#[test]
fn an_edit_within_one_tick_of_the_clock_counts() {
    let mut scene = Scene::new(|path| fs::write(path.join("a.yaml"), "1").unwrap());
    scene.write("a.yaml", "2");
    // As if nothing but the text were another: the worst that a coarse clock can do.
    let stamp = stamp(&scene.path("a.yaml")).unwrap();
    scene.disk.files.get_mut(&scene.path("a.yaml")).unwrap().stamp = stamp;
    assert_eq!(scene.look_after(500), changed("a.yaml", "2"));
}

#[test]
fn truncation_on_the_way_to_a_new_text_is_not_seen() {
    let mut scene = Scene::new(|path| fs::write(path.join("a.yaml"), "1").unwrap());
    scene.write("a.yaml", "");
    assert_eq!(scene.look_after(500), []);
    assert_eq!(scene.look_after(100), []);
    scene.write("a.yaml", "2");
    assert_eq!(scene.look_after(100), []);
    assert_eq!(scene.look_after(100), changed("a.yaml", "2"));
}

#[test]
fn a_file_that_stays_gone_or_empty_counts() {
    let mut scene = Scene::new(|path| {
        fs::write(path.join("a.yaml"), "1").unwrap();
        fs::write(path.join("b.yaml"), "1").unwrap();
    });
    fs::remove_file(scene.path("a.yaml")).unwrap();
    scene.write("b.yaml", "");
    assert_eq!(scene.look_after(100), []);
    assert_eq!(scene.look_after(100), []);
    assert_eq!(
        scene.look_after(400),
        [("a.yaml".into(), None), ("b.yaml".into(), Some(String::new()))]
    );
    assert_eq!(scene.texts(), [""]);
}

#[test]
fn a_swapped_link_of_a_mounted_config_map_counts() {
    let mut scene = Scene::new(|path| {
        fs::create_dir(path.join("..1")).unwrap();
        fs::write(path.join("..1/a.yaml"), "1").unwrap();
        symlink("..1", path.join("..data")).unwrap();
        symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
    });
    assert_eq!(scene.texts(), ["1"]);
    fs::create_dir(scene.path("..2")).unwrap();
    scene.write("..2/a.yaml", "2");
    symlink("..2", scene.path("..data_tmp")).unwrap();
    fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    fs::remove_dir_all(scene.path("..1")).unwrap();
    scene.look_after(500);
    assert_eq!(scene.look_after(50), changed("a.yaml", "2"));
}

#[test]
fn new_manifests_count_and_other_files_do_not() {
    let mut scene = Scene::new(|_| ());
    for name in ["a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml", "f.yaml~", "g"] {
        scene.write(name, name);
    }
    fs::create_dir(scene.path("h.yaml")).unwrap();
    scene.look_after(500);
    scene.look_after(50);
    assert_eq!(scene.texts(), ["a.yaml", "b.yml", "c.json"]);
}

#[test]
fn a_file_that_is_not_text_is_told() {
    let mut scene = Scene::new(|path| fs::write(path.join("a.yaml"), [0xff]).unwrap());
    assert_eq!(scene.texts(), ["not UTF-8"]);
    scene.write("a.yaml", "text");
    scene.look_after(500);
    assert_eq!(scene.look_after(50), changed("a.yaml", "text"));
}

#[test]
fn a_path_that_does_not_exist_is_an_error_at_once() {
    assert_eq!(
        Disk::open(vec!["/dev/null".into()]).unwrap_err().0,
        Path::new("/dev/null")
    );
    let (path, error) = Disk::open(vec!["/nonexistent/a.yaml".into()]).unwrap_err();
    assert_eq!(
        (path.as_path(), error.kind()),
        (Path::new("/nonexistent/a.yaml"), ErrorKind::NotFound)
    );
}

//! The watch on real files. Waits are for notices, each under a watchdog; nothing sleeps.

use std::fs;
use std::path::Path;

use super::*;
use crate::clock::RealClock;

struct Bench {
    folder: tempfile::TempDir,
    watch: Watch,
    clock: Arc<RealClock>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(RealClock::new());
        // Resolved, as a temporary folder may stand behind a link itself.
        Self { folder: tempfile::tempdir().expect("a folder"), watch: Watch::start(clock.clone()), clock }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
        fs::write(&path, text).expect("written");
        path
    }

    async fn files(&self, files: &[&Path]) {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        self.arm(Watched { files, ..Watched::default() }).await;
    }

    /// Arms with a `since` in the future, so that nothing is assumed.
    async fn arm(&self, watched: Watched) {
        self.watch.replace(watched, self.clock.now() + Duration::from_secs(60)).await;
    }

    /// The next notice, a touch too.
    async fn any_notice(&mut self) -> Notice {
        let watchdog = self.clock.sleep_until(self.clock.now() + Duration::from_secs(20));
        tokio::select! {
            notice = self.watch.next() => notice.expect("the watch goes on"),
            () = watchdog => panic!("nothing was noticed within 20 s"),
        }
    }

    /// The next notice that is no mere hint.
    async fn notice(&mut self) -> Notice {
        loop {
            match self.any_notice().await {
                Notice::Touched(_) => {}
                notice => return notice,
            }
        }
    }

    async fn change(&mut self) -> Vec<PathBuf> {
        match self.notice().await {
            Notice::Changed(change) => change.files,
            other => panic!("expected a change, not {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_saved_together_are_one_change() {
    let mut bench = Bench::new();
    let (first, second) = (bench.write("a.yaml", "1"), bench.write("b.rhai", "1"));
    bench.files(&[&first, &second]).await;
    let before = bench.clock.now();
    bench.write("a.yaml", "2");
    bench.write("b.rhai", "2");
    bench.write("beside.txt", "nobody asked");
    let Notice::Changed(change) = bench.notice().await else { panic!("a change was expected") };
    assert_eq!(change.files, [first, second]);
    assert!(change.last_write >= before && change.quiet_at >= change.last_write + QUIET && !change.assumed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_comes_before_the_change_that_it_may_be() {
    let mut bench = Bench::new();
    let file = bench.write("a.yaml", "1");
    bench.files(&[&file]).await;
    let before = bench.clock.now();
    bench.write("a.yaml", "2");
    let (touched, quiet) = (bench.any_notice().await, bench.clock.now().since(before) >= QUIET);
    // On a machine that stood still for the whole time there is nothing to tell in advance.
    assert!(quiet || touched == Notice::Touched(vec![file.clone()]), "{touched:?}");
    assert!(matches!(&touched, Notice::Changed(_)) || bench.change().await == [file]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_are_unchanged() {
    let mut bench = Bench::new();
    let file = bench.write("a.yaml", "1");
    bench.files(&[&file]).await;
    bench.write("a.yaml", "1");
    assert_eq!(bench.notice().await, Notice::Unchanged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editors_rename_over_is_seen() {
    let mut bench = Bench::new();
    let file = bench.write("a.yaml", "1");
    bench.files(&[&file]).await;
    for text in ["2", "3"] {
        let draft = bench.write("a.yaml.swp", text);
        fs::rename(draft, &file).expect("renamed");
        assert_eq!(bench.change().await, std::slice::from_ref(&file));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_and_creating_again_is_seen() {
    let mut bench = Bench::new();
    let file = bench.write("a.yaml", "1");
    bench.files(&[&file]).await;
    fs::remove_file(&file).expect("removed");
    assert_eq!(bench.change().await, std::slice::from_ref(&file));
    bench.write("a.yaml", "1");
    assert_eq!(bench.change().await, [file]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_later_is_seen_with_its_folders() {
    let mut bench = Bench::new();
    let file = bench.path("scripts/deep/save.rhai");
    bench.files(&[&file]).await;
    bench.write("scripts/deep/save.rhai", "1");
    assert_eq!(bench.change().await, [file]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_replaced_is_watched_again() {
    let mut bench = Bench::new();
    let file = bench.write("pipelines/a.yaml", "1");
    bench.files(&[&file]).await;
    fs::remove_dir_all(bench.path("pipelines")).expect("removed");
    assert_eq!(bench.change().await, std::slice::from_ref(&file));
    for text in ["2", "3"] {
        bench.write("pipelines/a.yaml", text);
        assert_eq!(bench.change().await, std::slice::from_ref(&file));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_changed_and_removed_documents_are_seen_however_deep() {
    let mut bench = Bench::new();
    bench.write("docs/guide.md", "1");
    let docs = bench.path("docs");
    bench.arm(Watched { folders: vec![docs.clone()], ..Watched::default() }).await;
    bench.write("docs/new/deep/page.md", "1");
    assert_eq!(bench.change().await, [docs.join("new/deep/page.md")]);
    bench.write("docs/new/deep/page.md", "2");
    assert_eq!(bench.change().await, [docs.join("new/deep/page.md")]);
    fs::remove_dir_all(bench.path("docs/new")).expect("removed");
    assert_eq!(bench.change().await, [docs.join("new/deep/page.md")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_and_ignored_folders_do_not_count() {
    let mut bench = Bench::new();
    bench.write("docs/.git/index", "1");
    bench.write("docs/data/chat.db", "1");
    let docs = bench.path("docs");
    bench.arm(Watched { folders: vec![docs.clone()], ignored: vec![docs.join("data")], ..Watched::default() }).await;
    bench.write("docs/.git/index", "2");
    bench.write("docs/data/chat.db", "2");
    bench.write("docs/page.md", "1");
    assert_eq!(bench.change().await, [docs.join("page.md")]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_a_link_is_seen_and_so_is_the_link() {
    use std::os::unix::fs::symlink;

    let mut bench = Bench::new();
    bench.write("v1/a.yaml", "1");
    bench.write("v2/a.yaml", "2");
    symlink("v1", bench.path("current")).expect("linked");
    let file = bench.path("current/a.yaml");
    bench.files(&[&file]).await;
    bench.write("v1/a.yaml", "1 and more");
    assert_eq!(bench.change().await, std::slice::from_ref(&file));
    symlink("v2", bench.path("next")).expect("linked");
    fs::rename(bench.path("next"), bench.path("current")).expect("renamed");
    assert_eq!(bench.change().await, std::slice::from_ref(&file));
    bench.write("v2/a.yaml", "3");
    assert_eq!(bench.change().await, [file]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_lead_into_themselves_end() {
    use std::os::unix::fs::symlink;

    let mut bench = Bench::new();
    bench.write("docs/page.md", "1");
    symlink(bench.path("docs"), bench.path("docs/again")).expect("linked");
    let docs = bench.path("docs");
    bench.arm(Watched { folders: vec![docs.clone()], ..Watched::default() }).await;
    bench.write("docs/page.md", "2");
    assert!(bench.change().await.contains(&docs.join("page.md")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watched_set_can_be_replaced() {
    let mut bench = Bench::new();
    let (first, second) = (bench.write("a/a.yaml", "1"), bench.write("b/b.yaml", "1"));
    bench.files(&[&first]).await;
    bench.files(&[&second]).await;
    bench.write("a/a.yaml", "2");
    bench.write("b/b.yaml", "2");
    assert_eq!(bench.change().await, [second]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_while_watching_began_is_assumed_to_have_changed() {
    let mut bench = Bench::new();
    let since = bench.clock.now();
    let file = bench.write("a.yaml", "1");
    bench.watch.replace(Watched { files: vec![file.clone()], ..Watched::default() }, since).await;
    let Notice::Changed(change) = bench.notice().await else { panic!("a change was expected") };
    assert!(change.assumed);
    assert_eq!(change.files, [file]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_the_task() {
    let bench = Bench::new();
    bench.watch.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_flat_folder_only_the_wanted_files_directly_in_it_count() {
    let mut bench = Bench::new();
    let old = bench.write("all/a.yaml", "a");
    let flat = Flat { folder: bench.path("all"), endings: &["yaml"] };
    bench.arm(Watched { flat: vec![flat], ..Watched::default() }).await;
    bench.write("all/notes.md", "x");
    bench.write("all/.b.yaml", "x");
    bench.write("all/within/c.yaml", "x");
    let new = bench.write("all/d.yaml", "x");
    assert_eq!(bench.change().await, [new]);
    fs::remove_file(&old).expect("removed");
    assert_eq!(bench.change().await, [old]);
}

//! The data folder: where it is, and whether it can be used.

#[cfg(target_os = "linux")]
mod network;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::model::failure::{Failure, FailureKind};

/// The data folder's name where none is given: it stands beside the first file.
pub const DATA_FOLDER: &str = ".pipehost";

/// The code of a data folder in whose place something else stands.
pub const NOT_A_FOLDER: &str = "E0702";
/// The code of a data folder that cannot be made or written to.
pub const NOT_WRITABLE: &str = "E0703";

/// The code of the warning that the data folder lies on a network file system.
pub const NETWORK: &str = "W0735";

/// What may go wrong with a data folder that can be used.
pub(super) fn warning(folder: &Path) -> Option<Failure> {
    #[cfg(target_os = "linux")]
    {
        let kind = network::kind(folder)?;
        let folder = folder.display();
        let message = format!(
            "the data folder {folder} lies on a network file system ({kind}), which may not keep what it says is kept, and whose locks may not hold; name a folder on a disk of this machine with --data DIR"
        );
        Some(Failure::new(FailureKind::Permanent, message).with_code(NETWORK))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        None
    }
}

/// The data folder of these files where none is given.
pub fn default_folder(files: &[PathBuf]) -> PathBuf {
    let beside = match files.first() {
        // Beside the files that are in it.
        Some(folder) if folder.is_dir() => folder.as_path(),
        first => first.and_then(|file| file.parent()).unwrap_or(Path::new("")),
    };
    beside.join(DATA_FOLDER)
}

/// Makes the folder if it is not there, and makes sure that it can be written to.
///
/// # Errors
/// `invalid` with [`NOT_A_FOLDER`], or `denied` with [`NOT_WRITABLE`].
pub(super) fn prepare(folder: &Path) -> Result<(), Failure> {
    match fs::metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => return Err(not_a_folder(folder)),
        _ => {}
    }
    fs::create_dir_all(folder).map_err(|error| match error.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => not_a_folder(folder),
        _ => not_writable(folder, &error),
    })?;
    // Asking is not enough: a read-only file system grants the right and refuses the write.
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, []).and_then(|()| fs::remove_file(&probe)).map_err(|error| not_writable(folder, &error))
}

fn not_a_folder(folder: &Path) -> Failure {
    let folder = folder.display();
    let message =
        format!("{folder} is to be the data folder, and there is a file in its place; move it, or name another folder with --data DIR");
    Failure::new(FailureKind::Invalid, message).with_code(NOT_A_FOLDER)
}

fn not_writable(folder: &Path, error: &io::Error) -> Failure {
    let folder = folder.display();
    let message = format!("the data folder {folder} cannot be written to ({error}); name another with --data DIR");
    Failure::new(FailureKind::Denied, message).with_code(NOT_WRITABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_beside_the_first_file() {
        assert_eq!(default_folder(&["pipelines/chatbot.yaml".into()]), Path::new("pipelines/.pipehost"));
        assert_eq!(default_folder(&["chatbot.yaml".into()]), Path::new(".pipehost"));
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(default_folder(&[folder.path().to_owned()]), folder.path().join(".pipehost"));
    }

    #[test]
    fn it_is_made_with_what_is_above_it_and_may_be_there_already() {
        let bench = tempfile::tempdir().expect("a folder");
        let folder = bench.path().join("a/b");
        for _ in 0..2 {
            prepare(&folder).expect("it can be made");
        }
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 0, "nothing is left in it");
    }

    #[test]
    fn a_file_in_its_place_or_above_it_is_named_with_the_way_out() {
        let bench = tempfile::tempdir().expect("a folder");
        let file = bench.path().join("data");
        fs::write(&file, "x").expect("written");
        for folder in [file.clone(), file.join("below")] {
            let failure = prepare(&folder).expect_err("a file is in the way");
            assert_eq!(failure.code.as_deref(), Some(NOT_A_FOLDER));
            assert!(failure.message.contains("--data"), "{failure}");
        }
    }
}

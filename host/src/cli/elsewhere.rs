//! Where a data folder may be that is not where it was looked for: a host keeps its data beside its files, commands ask in the folder that they are in.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::{Exit, say};
use crate::app::DATA_FOLDER;
use crate::journal::sqlite::FILE;

/// So many entries of the current folder are looked at: this is a hint, and must not take long.
const ENTRIES: usize = 1_000;
/// So many folders are named.
const NAMED: usize = 3;

/// Says which data folders lie one folder below, if nothing was found because none was named. Gives the exit code as it is.
pub(super) fn say_where(exit: Exit, named: Option<&Path>) -> Exit {
    if exit == Exit::NotStarted
        && named.is_none()
        && let Some(hint) = hint(Path::new(""))
    {
        say(&hint);
    }
    exit
}

/// `None` if the folder has a journal in its own data folder, or none of the folders in it has.
fn hint(folder: &Path) -> Option<String> {
    if folder.join(DATA_FOLDER).join(FILE).exists() {
        return None;
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = fs::read_dir(here).ok()?.take(ENTRIES).filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut found: Vec<PathBuf> =
        names.map(|name| Path::new(&name).join(DATA_FOLDER)).filter(|data| folder.join(data).join(FILE).is_file()).collect();
    found.sort();
    let ways: Vec<String> = found.iter().take(NAMED).map(|data| format!("--data {}", data.display())).collect();
    (!ways.is_empty()).then(|| format!("help: there is one further down: {}\n", ways.join(", or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_journals(folders: &[&str]) -> tempfile::TempDir {
        let top = tempfile::tempdir().expect("a folder");
        for folder in folders {
            let data = top.path().join(folder).join(DATA_FOLDER);
            fs::create_dir_all(&data).expect("made");
            fs::write(data.join(FILE), "").expect("written");
        }
        top
    }

    #[test]
    fn data_folders_beside_files_further_down_are_named() {
        let top = with_journals(&["pipelines", "others"]);
        fs::create_dir_all(top.path().join("empty")).expect("made");
        let named = hint(top.path()).expect("there are two");
        assert_eq!(named, "help: there is one further down: --data others/.pipehost, or --data pipelines/.pipehost\n");
    }

    #[test]
    fn nothing_is_said_where_there_is_none_or_one_right_here() {
        assert_eq!(hint(with_journals(&[]).path()), None);
        assert_eq!(hint(with_journals(&["", "pipelines"]).path()), None);
    }
}

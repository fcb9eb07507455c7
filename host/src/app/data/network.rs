//! Whether the data folder lies on a disk of another machine, where locks and what lasts are not what SQLite counts on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// File systems whose files lie on another machine, by the name that the system has for them.
const KINDS: [&str; 18] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
];

/// Where the system tells what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The kind of network file system that this folder lies on; `None` if it lies on a disk of this machine, or the system does not tell.
///
/// Asking the system by `statfs` would need code that the compiler cannot check, and knows fewer kinds by a number than this list by name.
pub(super) fn kind(folder: &Path) -> Option<&'static str> {
    let mounts = std::fs::read(MOUNTS).ok()?;
    of(&mounts, &std::fs::canonicalize(folder).ok()?)
}

/// The same from what is mounted: one line each, the last one that holds the folder counts.
fn of(mounts: &[u8], folder: &Path) -> Option<&'static str> {
    let lines = mounts.split(|byte| *byte == b'\n').filter_map(mount);
    let (_, kind) =
        lines.filter(|(point, _)| folder.starts_with(point)).fold(None, |best: Option<(PathBuf, &[u8])>, found| match best {
            Some(best) if best.0.components().count() > found.0.components().count() => Some(best),
            _ => Some(found),
        })?;
    KINDS.into_iter().find(|known| known.as_bytes() == kind)
}

/// Where a line's file system is mounted, and its kind.
fn mount(line: &[u8]) -> Option<(PathBuf, &[u8])> {
    let mut words = line.split(|byte| *byte == b' ');
    let point = words.nth(4)?;
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    Some((PathBuf::from(OsString::from_vec(plain(point))), kind))
}

/// A path as it is, of which spaces and the like are written as `\040`.
fn plain(written: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| matches!(digit, b'0'..=b'7')));
        let byte = digits.and_then(|digits| digits.iter().try_fold(0_u8, |byte, digit| byte.checked_mul(8)?.checked_add(digit - b'0')));
        match byte {
            Some(byte) => {
                plain.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTED: &str = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /data rw shared:5 master:1 - nfs4 server:/export rw,vers=4.2
31 30 8:2 / /data/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /my\\040share rw - cifs //server/share rw
33 22 0:42 / /over rw - nfs server:/x rw
34 22 8:3 / /over rw - ext4 /dev/sdc1 rw
nonsense
";

    #[test]
    fn the_innermost_and_last_mount_of_a_folder_counts() {
        let kind = |folder: &str| of(MOUNTED.as_bytes(), Path::new(folder));
        assert_eq!(kind("/data/hosts/one"), Some("nfs4"));
        assert_eq!(kind("/my share/x"), Some("cifs"));
        for local in ["/data/local/x", "/database", "/over/x", "/"] {
            assert_eq!(kind(local), None, "{local}");
        }
    }

    #[test]
    fn a_disk_of_this_machine_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(kind(folder.path()), None);
    }

    #[test]
    fn what_is_escaped_is_read_and_what_only_looks_like_it_stays() {
        for (written, meant) in [("a\\040b\\134", "a b\\"), ("\\04", "\\04"), ("\\999", "\\999"), ("\\777", "\\777"), ("", "")] {
            assert_eq!(plain(written.as_bytes()), meant.as_bytes(), "{written}");
        }
    }
}

//! Where the socket is, and how it is made: for its owner only, in the place of one that nobody answers on.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::model::failure::{Failure, FailureKind};

/// The code of a socket that cannot be made.
pub const NO_SOCKET: &str = "E0721";
/// The code of a data folder that no host answers for.
pub const NO_HOST: &str = "E0722";

/// The socket's name in the data folder.
const NAME: &str = "control.sock";

/// The longest path of a socket in bytes: what fits the system's field with a zero after it.
const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// So many wait to be taken; more are refused by the system.
const BACKLOG: u32 = 64;

/// A way to the socket that the system takes.
#[derive(Debug)]
pub(super) struct Way {
    path: PathBuf,
    /// The folder, where the way goes through it because its own path is too long.
    _folder: Option<File>,
}

impl Way {
    /// The way to the socket of a data folder.
    ///
    /// # Errors
    /// The path is too long, and this system has no shorter one.
    fn to(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        if path.as_os_str().as_bytes().len() <= LONGEST_PATH {
            return Ok(Self { path, _folder: None });
        }
        if cfg!(target_os = "linux") {
            use std::os::fd::AsRawFd;
            // A path of fixed length to the same place, for as long as the folder is held open.
            let folder = File::open(data)?;
            let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(NAME);
            return Ok(Self { path, _folder: Some(folder) });
        }
        let length = path.as_os_str().as_bytes().len();
        let message =
            format!("its path has {length} bytes, and the system allows {LONGEST_PATH}: name a shorter data folder with --data DIR");
        Err(io::Error::new(io::ErrorKind::InvalidFilename, message))
    }
}

/// The socket of a running host. Its file goes with it.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    _file: SocketFile,
}

struct SocketFile(Way);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone with its folder.
        let _ = fs::remove_file(&self.0.path);
    }
}

/// Makes the socket of a data folder that this process owns.
///
/// # Errors
/// `conflict` with [`NO_SOCKET`]: somebody answers there, or something else stands in its place, or the system does not let us.
pub(super) async fn listen(data: &Path) -> Result<Socket, Failure> {
    let refuse = |why: String| {
        let message = format!("the socket in {} cannot be opened, so pipehost send does not reach this host: {why}", data.display());
        Failure::new(FailureKind::Conflict, message).with_code(NO_SOCKET)
    };
    let way = Way::to(data).map_err(|error| refuse(error.to_string()))?;
    clear(&way.path).await.map_err(&refuse)?;
    let open = || -> io::Result<UnixListener> {
        let socket = UnixSocket::new_stream()?;
        socket.bind(&way.path)?;
        // Before it listens: until then nobody gets through, whoever they are.
        fs::set_permissions(&way.path, Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)
    };
    let listener = open().map_err(|error| refuse(error.to_string()))?;
    Ok(Socket { listener, _file: SocketFile(way) })
}

/// Takes away what a host left that did not end in order.
async fn clear(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(format!("{NAME} is no socket; move it")),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err("another host answers there".to_owned()),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
            Ok(()) | Err(_) => Ok(()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Connects to the host of a data folder.
///
/// # Errors
/// `not_found` with [`NO_HOST`], saying how to start one.
pub(super) async fn connect(data: &Path) -> Result<UnixStream, Failure> {
    let refuse = |why: &str| {
        let folder = data.display();
        let message = format!(
            "no host answers for the data folder {folder} ({why}); start one with pipehost run FILE, or name its data folder with --data DIR"
        );
        Failure::new(FailureKind::NotFound, message).with_code(NO_HOST)
    };
    let way = match Way::to(data) {
        Ok(way) => way,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(refuse("there is no such folder")),
        Err(error) => return Err(refuse(&error.to_string())),
    };
    UnixStream::connect(&way.path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !data.is_dir() => refuse("there is no such folder"),
        io::ErrorKind::NotFound => refuse("none was started, or it has ended"),
        io::ErrorKind::ConnectionRefused => refuse("it ended without a farewell"),
        io::ErrorKind::PermissionDenied => refuse("it belongs to another user"),
        _ => refuse(&error.to_string()),
    })
}

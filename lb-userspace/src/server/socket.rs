//! The Unix socket, and the locks that keep a second daemon off it and off the pins.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::api::{Code, Failure};

/// Who may talk to `lbd`: owner and group.
const MODE: u32 = 0o660;

/// The right to a path: nobody else has it while this lives. The kernel takes it back when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

impl Claim {
    /// Claims the socket at `path`, by a lock file beside it.
    ///
    /// # Errors
    /// If another daemon has it, or the directory cannot be written.
    pub fn socket(path: &Path) -> Result<Self, Failure> {
        let unusable = |cause: io::Error| {
            Failure::new(
                Code::Internal,
                format!("cannot use {}: {cause}", path.display()),
            )
            .try_this("run as root, or name another socket with --socket")
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(unusable)?;
        }
        let beside = with_suffix(path, ".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(beside);
        let claim = claim(lock.map_err(unusable)?, path)?;
        // The lock is ours, so this would be a daemon that does not know of it.
        if UnixStream::connect(path).is_ok() {
            return Err(taken(path));
        }
        Ok(claim)
    }

    /// Claims the pins in `directory`; `None` if there is no such directory, and so nothing to claim
    /// yet.
    ///
    /// # Errors
    /// If another daemon has them.
    pub fn pins(directory: &Path) -> Result<Option<Self>, Failure> {
        // A file cannot be put on a BPF file system; the directory itself can be locked.
        match File::open(directory) {
            Ok(lock) => claim(lock, directory).map(Some),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => {
                let error = format!("cannot open {}: {cause}", directory.display());
                Err(Failure::new(Code::Internal, error)
                    .try_this("run as root, or name another directory with --pin-dir"))
            }
        }
    }
}

/// The socket file; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    _claim: Claim,
}

impl Socket {
    /// Listens at `path`. The file appears with its mode and listening, in the place of what a dead
    /// daemon left.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn listen(path: &Path, claim: Claim) -> io::Result<(Self, UnixListener)> {
        let new = with_suffix(path, ".new");
        match fs::remove_file(&new) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(MODE))?;
        fs::rename(&new, path)?;
        Ok((
            Self {
                path: path.to_owned(),
                _claim: claim,
            },
            listener,
        ))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(cause) = fs::remove_file(&self.path) {
            tracing::warn!("{} stays behind: {cause}", self.path.display());
        }
    }
}

fn claim(lock: File, what: &Path) -> Result<Claim, Failure> {
    match lock.try_lock() {
        Ok(()) => Ok(Claim { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(taken(what)),
        Err(TryLockError::Error(cause)) => Err(Failure::new(
            Code::Internal,
            format!("cannot lock {}: {cause}", what.display()),
        )),
    }
}

fn taken(what: &Path) -> Failure {
    Failure::new(
        Code::AlreadyRunning,
        format!("another lbd is running: it has {}", what.display()),
    )
    .try_this("use that one (lbctl status), or stop it first; forwarding goes on meanwhile")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_is_refused_until_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/lbd.sock");
        let first = Claim::socket(&path).unwrap();
        let refused = Claim::socket(&path).unwrap_err();
        assert_eq!(refused.code, Code::AlreadyRunning);
        assert!(
            refused.error.starts_with("another lbd is running"),
            "{}",
            refused.error
        );
        drop(first);
        Claim::socket(&path).unwrap();
    }

    #[test]
    fn pins_are_claimed_once_they_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let pins = directory.path().join("lb");
        assert!(Claim::pins(&pins).unwrap().is_none());
        fs::create_dir(&pins).unwrap();
        let first = Claim::pins(&pins).unwrap();
        assert!(first.is_some());
        assert_eq!(Claim::pins(&pins).unwrap_err().code, Code::AlreadyRunning);
    }

    #[tokio::test]
    async fn a_socket_replaces_a_dead_one_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lbd.sock");
        // Bound, then closed without removing: what a killed daemon leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let claim = Claim::socket(&path).unwrap();
        let (socket, listener) = Socket::listen(&path, claim).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
        UnixStream::connect(&path).unwrap();
        drop((socket, listener));
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_without_a_lock_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lbd.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(Claim::socket(&path).unwrap_err().code, Code::AlreadyRunning);
    }
}

//! What outlives the daemon: run-time weights, an applied configuration, the generated seed, and the
//! counters of endpoints that are gone.
//!
//! One JSON file, replaced as a whole, in two steps around the change it describes: [`Store::prepare`]
//! writes the new one beside the old, then the kernel is changed, then [`Pending::keep`] syncs and
//! renames. Syncing takes milliseconds that the change need not wait for: what a dead daemon wrote is
//! still there for the next one, and if the machine dies the kernel's state dies too. A complete new
//! file that was never renamed is a change that a crash cut short; [`Store::load`] takes it up.

mod carried;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use carried::Carried;

use crate::state::Overrides;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Generation last applied.
    pub generation: u64,
    /// Seed made at random for a configuration that names none; 16 hex digits in the file.
    #[serde(default, with = "hex_seed", skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Run-time weights, in billionths, by service and backend.
    #[serde(default)]
    pub weights: Overrides,
    /// A configuration applied at run time over the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedText>,
    /// Counters of endpoints that are gone. Of the program that is loaded: another one begins anew.
    #[serde(default, skip_serializing_if = "Carried::is_empty")]
    pub carried: Carried,
}

/// A configuration applied at run time. It holds until the file below it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedText {
    /// The TOML text.
    pub text: String,
    /// BLAKE3 of the file it was applied over.
    pub over: String,
}

/// The file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The store at `path`; its directory is made if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let store = Self {
            path: path.to_owned(),
        };
        fs::create_dir_all(store.directory())?;
        Ok(store)
    }

    /// What was kept, and a sentence if something was wrong with it.
    ///
    /// A file that makes no sense is put aside with `.bad` after its name.
    ///
    /// # Errors
    /// If the file is there and cannot be read, or cannot be put aside.
    pub fn load(&self) -> io::Result<(Kept, Option<String>)> {
        // Half a new file is a change that never came to be: the old file holds.
        if let Some(Ok(kept)) = read(&self.beside(NEW))? {
            return Ok((kept, None));
        }
        match read(&self.path)? {
            None => Ok(Default::default()),
            Some(Ok(kept)) => Ok((kept, None)),
            Some(Err(cause)) => {
                let aside = self.beside(".bad");
                fs::rename(&self.path, &aside)?;
                let note = format!(
                    "{} makes no sense ({cause}): it is kept as {}, and the configuration file's \
                     weights are in force.",
                    self.path.display(),
                    aside.display()
                );
                Ok((Kept::default(), Some(note)))
            }
        }
    }

    /// Writes what is to be kept beside what is.
    ///
    /// # Errors
    /// If the disk is full or refuses; what was kept before still is.
    pub fn prepare(&self, kept: &Kept) -> io::Result<Pending<'_>> {
        let file = self.write_new(kept).inspect_err(|_| self.remove_new())?;
        Ok(Pending { store: self, file })
    }

    fn write_new(&self, kept: &Kept) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut text = serde_json::to_vec_pretty(kept)?;
        text.push(b'\n');
        // The seed in it lets flows be aimed: for the owner only.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.beside(NEW))?;
        file.write_all(&text)?;
        Ok(file)
    }

    fn remove_new(&self) {
        // Its failure comes after another one, which is the one to tell.
        let _ = fs::remove_file(self.beside(NEW));
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

/// A change that is written and not yet kept.
#[derive(Debug)]
#[must_use = "keep it or cancel it: left alone, the next start takes it up"]
pub struct Pending<'a> {
    store: &'a Store,
    file: File,
}

impl Pending<'_> {
    /// Puts it in the place of what was kept, to outlive the machine.
    ///
    /// # Errors
    /// If the disk refuses; what was kept before still is.
    pub fn keep(self) -> io::Result<()> {
        let new = self.store.beside(NEW);
        let renamed = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&new, &self.store.path));
        renamed.inspect_err(|_| self.store.remove_new())?;
        // The rename itself is on disk only once the directory is.
        File::open(self.store.directory())?.sync_all()
    }

    /// Forgets it.
    pub fn cancel(self) {
        self.store.remove_new();
    }
}

/// Suffix of the file a change is prepared in. One fixed name, so that a crash leaves at most one.
const NEW: &str = ".new";

/// What is in the file at `path`: `None` if there is none.
fn read(path: &Path) -> io::Result<Option<serde_json::Result<Kept>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

mod hex_seed {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "serde asks for this signature")]
    pub(super) fn serialize<S: Serializer>(seed: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match seed {
            Some(seed) => to.collect_str(&format_args!("{seed:016x}")),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        u64::from_str_radix(&text, 16)
            .map(Some)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::Counters;
    use crate::desired::{Delivery, Idle, Ports, Protocol, Selection, Service};
    use crate::weights::Weight;

    fn kept() -> Kept {
        let mut weights = Overrides::new();
        let echo = weights.entry("echo".to_owned()).or_default();
        echo.insert("old".to_owned(), Weight::ALL);
        echo.insert("new".to_owned(), Weight::ZERO);
        let applied = AppliedText {
            text: "interfaces = []".into(),
            over: "00ff".into(),
        };
        Kept {
            generation: 3,
            seed: Some(0xff),
            weights,
            applied: Some(applied),
            carried: carried(),
        }
    }

    fn carried() -> Carried {
        let service = Service {
            name: "echo".into(),
            address: ([10, 99, 0, 1], 9000).into(),
            protocol: Protocol::Tcp,
            slots: 256,
            ports: Ports::One,
            selection: Selection::default(),
            idle: Idle::default(),
            delivery: Delivery::default(),
            echo: false,
            backends: Vec::new(),
        };
        let counters = Counters {
            opened: 5,
            ..Counters::default()
        };
        let mut carried = Carried::default();
        carried.add(&service, "old", counters);
        carried
    }

    fn store(directory: &tempfile::TempDir) -> Store {
        Store::open(&directory.path().join("lb/state.json")).unwrap()
    }

    fn save(store: &Store, kept: &Kept) {
        store.prepare(kept).unwrap().keep().unwrap();
    }

    #[test]
    fn what_is_kept_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        save(&store(&directory), &kept());
        assert_eq!(store(&directory).load().unwrap(), (kept(), None));
    }

    #[test]
    fn nothing_kept_is_no_mistake() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(store(&directory).load().unwrap(), (Kept::default(), None));
    }

    #[test]
    fn the_file_is_for_its_owner_and_readable_by_people() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        save(&store, &kept());
        assert_eq!(
            fs::metadata(&store.path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = fs::read_to_string(&store.path).unwrap();
        assert!(text.contains("\"seed\": \"00000000000000ff\""), "{text}");
        assert!(text.contains("\"old\": 1000000000"), "{text}");
    }

    #[test]
    fn a_crash_while_preparing_leaves_the_old_file_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        save(&store, &kept());
        let whole = fs::read(&store.path).unwrap();
        for length in 0..whole.len() - 2 {
            fs::write(store.beside(NEW), &whole[..length]).unwrap();
            assert_eq!(
                store.load().unwrap(),
                (kept(), None),
                "after {length} bytes"
            );
        }
    }

    #[test]
    fn a_crash_between_preparing_and_keeping_is_finished_by_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        save(&store, &kept());
        let next = Kept {
            generation: 4,
            ..kept()
        };
        drop(store.prepare(&next).unwrap());
        assert_eq!(store.load().unwrap(), (next.clone(), None));
        save(&store, &next);
        assert!(!store.beside(NEW).exists());
    }

    #[test]
    fn a_cancelled_change_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        save(&store, &kept());
        store.prepare(&Kept::default()).unwrap().cancel();
        assert_eq!(store.load().unwrap(), (kept(), None));
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        save(&store, &kept());
        // A full disk.
        std::os::unix::fs::symlink("/dev/full", store.beside(NEW)).unwrap();
        let refused = store.prepare(&Kept::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(store.load().unwrap(), (kept(), None));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_put_aside_and_said() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        for nonsense in ["", "{", "{\"generation\": 1, \"wieghts\": {}}"] {
            fs::write(&store.path, nonsense).unwrap();
            let (loaded, note) = store.load().unwrap();
            assert_eq!(loaded, Kept::default());
            assert!(note.unwrap().contains("state.json.bad"));
            assert!(!store.path.exists());
            assert_eq!(fs::read_to_string(store.beside(".bad")).unwrap(), nonsense);
        }
    }
}

//! A file of a repository, as the hub lists it, and the sums that tell that it arrived whole.

use std::io::Read;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::files::hexadecimal;

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path in the repository.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// git's hash of what git holds: of the file, or of the pointer that stands for a large one.
    pub oid: String,
    /// The SHA-256 of a large file.
    pub sha256: Option<String>,
    /// The hash that the hub's own storage has for it; other programs want to find it noted.
    pub xet: Option<String>,
}

impl Entry {
    /// The hash of its content, which is its name among the blobs.
    pub fn hash(&self) -> &str {
        self.sha256.as_deref().unwrap_or(&self.oid)
    }
}

/// The hashes of a file of known size, of its bytes in order.
pub(super) struct Sum {
    sha256: Sha256,
    /// git's, of "blob", the size and the bytes; only where it is what tells.
    git: Option<Sha1>,
}

impl Sum {
    pub fn new(entry: &Entry) -> Self {
        let git = entry.sha256.is_none().then(|| {
            let mut hasher = Sha1::new();
            hasher.update(format!("blob {}\0", entry.bytes));
            hasher
        });
        Self { sha256: Sha256::new(), git }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// Adds the rest of a file.
    pub fn read(&mut self, file: &mut impl Read) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.add(&buffer[..n]),
            }
        }
    }

    pub fn sha256(&self) -> String {
        hexadecimal(&self.sha256.clone().finalize())
    }

    /// Whether these are the entry's bytes.
    pub fn fits(&self, entry: &Entry) -> bool {
        match &self.git {
            Some(git) => hexadecimal(&git.clone().finalize()) == entry.oid,
            None => self.sha256() == entry.hash(),
        }
    }
}

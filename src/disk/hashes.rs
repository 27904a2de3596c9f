//! SHA-256 of files and bytes.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::ordinary;
use crate::error::{Error, Result};

/// SHA-256 of a file's bytes, in hexadecimal.
pub fn hash_file(path: &Path) -> Result<String> {
    let failed = |e| Error::reading(path, e);
    let mut file = ordinary::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

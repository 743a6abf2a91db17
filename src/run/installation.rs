//! Who this installation is to other sites: an id that is made once and kept in the data folder, so that its kills there are
//! known again as its own.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use ulid::Ulid;

use crate::store::private;

/// Its file in the data folder.
const FILE: &str = "installation";
/// Most that is read of it, bytes.
const LIMIT: u64 = 1024;

/// The id. Where none can be kept, or one lies there that may be another's, one for this process alone: it then ends no kill
/// that another process sent, so that what is closed at another site stays closed until somebody ends it there.
pub(super) fn id(data: &Path) -> String {
    let path = data.join(FILE);
    let kept = match read(&path) {
        Ok(known) => return known,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => None,
        Err(error) => Some(error),
    };
    let id = Ulid::generate().to_string();
    if let Some(error) = kept.or_else(|| keep(data, &id).err()) {
        tracing::warn!(
            file = %path.display(), %error,
            "the id of this installation cannot be kept: kills at other sites outlive this process and end there"
        );
    }
    id
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    private::trusted(path, None)?.take(LIMIT).read_to_string(&mut text)?;
    let id = Ulid::from_string(text.trim()).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(id.to_string())
}

/// Whole or not at all: half an id would be another installation.
fn keep(data: &Path, id: &str) -> io::Result<()> {
    let part = data.join("installation.part");
    // What a crash left. Removed, not written to: it may be a link that somebody laid.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private::make(&part)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, data.join(FILE))?;
    File::open(data)?.sync_all()
}

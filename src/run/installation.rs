//! Who this installation is to other sites: an id that is made once and kept in the data folder, so that its kills there are
//! known again as its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ulid::Ulid;

/// Its file in the data folder.
const FILE: &str = "installation";

/// The id. Where none can be kept, one for this process alone: it then ends no kill that another process sent, so that what
/// is closed at another site stays closed until somebody ends it there.
pub(super) fn id(data: &Path) -> String {
    let path = data.join(FILE);
    if let Ok(text) = fs::read_to_string(&path)
        && let Ok(known) = Ulid::from_string(text.trim())
    {
        return known.to_string();
    }
    let id = Ulid::generate().to_string();
    if let Err(error) = keep(data, &id) {
        tracing::warn!(
            file = %path.display(), %error,
            "the id of this installation cannot be kept: kills at other sites outlive this process and end there"
        );
    }
    id
}

/// Whole or not at all: half an id would be another installation.
fn keep(data: &Path, id: &str) -> io::Result<()> {
    let part = data.join("installation.part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, data.join(FILE))?;
    File::open(data)?.sync_all()
}

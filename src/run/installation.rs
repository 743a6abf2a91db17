//! Who this installation is to other sites: an id that is made once and kept in the data folder, so
//! that its kills there are known again as its own.

use std::io;
use std::path::Path;

use ulid::Ulid;

use super::kept;

/// Its file in the data folder.
const FILE: &str = "installation";

/// The id. Where none can be kept, or one lies there that may be another's, one for this process
/// alone: it then ends no kill that another process sent, so that what is closed at another site
/// stays closed until somebody ends it there.
pub(super) fn id(data: &Path) -> String {
    let path = data.join(FILE);
    let made = Ulid::generate().to_string();
    kept_or(&path, &made).unwrap_or_else(|error| {
        tracing::warn!(
            file = %path.display(), %error,
            "the id of this installation cannot be kept: kills at other sites outlive this process and end there"
        );
        made
    })
}

/// The id in the file, or this one, which is then put there. Half an id would be another
/// installation.
fn kept_or(path: &Path, made: &str) -> io::Result<String> {
    if let Some(known) = kept::read(path, None)?.and_then(|text| Ulid::from_string(&text).ok()) {
        return Ok(known.to_string());
    }
    kept::make(path, made)?;
    Ok(made.to_owned())
}

//! The other program to compare with: `BASE=path/to/echo-phoenix make bench` measures both in one
//! run, in turns, and tells one ratio a pair. On a machine that others use too, one run after the
//! other compares two machines.

use std::path::PathBuf;

/// The program that `BASE` names.
pub(crate) fn base() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("BASE").filter(|path| !path.is_empty())?);
    Some(
        path.canonicalize()
            .unwrap_or_else(|error| panic!("BASE={}: {error}", path.display())),
    )
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

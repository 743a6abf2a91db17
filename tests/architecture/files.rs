//! Which file knows which, within a module: by a `use` or by a path. What goes round in a circle can
//! only be read, tested and changed as one.
//!
//! A module is read from its file down: a file's `mod` and `pub use` of what stands below it do not
//! count, nor does what a file takes from those it stands below.

use std::collections::BTreeMap;

use crate::reader::Source;

/// Files that know each other, and where that is seen.
pub(crate) fn edges(files: &[(&str, Source)]) -> BTreeMap<(String, String), String> {
    let modules: BTreeMap<_, _> = files
        .iter()
        .map(|(path, _)| (module(path), *path))
        .collect();
    let mut edges = BTreeMap::new();
    for (path, source) in files {
        let here = module(path);
        for names in &source.paths {
            let is_given_on = source.given_on.contains(names);
            let Some(there) = named(&here, names, &modules) else {
                continue;
            };
            let is_ours = here.first() == there.first();
            if is_ours && !here.starts_with(there) && !(is_given_on && there.starts_with(&here)) {
                let last = there.last().map_or("", String::as_str);
                let line = source.line(&[&format!("use {last}"), &format!("::{last}"), last]);
                edges
                    .entry(((*path).to_owned(), modules[there].to_owned()))
                    .or_insert(format!("{path}:{line}"));
            }
        }
    }
    edges
}

/// The module that a file is, below the crate.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    path.split('/').skip(1).map(str::to_owned).collect()
}

/// The module of a file that a path leads to, seen from another: the longest that there is.
fn named<'a>(
    here: &[String],
    names: &[String],
    modules: &'a BTreeMap<Vec<String>, &str>,
) -> Option<&'a Vec<String>> {
    let path = match names.split_first() {
        Some((first, rest)) if first == "crate" => rest.to_vec(),
        _ => [here, names].concat(),
    };
    let of = |length: &usize| modules.get_key_value(&path[..*length]);
    let (there, _) = (1..=path.len()).rev().find_map(|length| of(&length))?;
    Some(there)
}

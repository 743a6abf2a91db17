//! One name, one type. Whoever reads a type's name in another file than its own must not have to
//! ask which of several it is; a type that only its own file names may be called what it likes, as
//! long as no name that goes further is taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::reader::{Source, Type};

/// Types of one name of which at least one is known outside its file, all but the first by path.
pub(crate) fn shared_names(files: &[(&str, Source)]) -> Vec<String> {
    let mut by_name = BTreeMap::<&str, BTreeMap<&[String], (&str, usize, bool)>>::new();
    for (path, source) in files {
        for one in &source.types {
            let line = source.line(&[&format!("{} {}", one.kind, one.name())]);
            let place = (*path, line, is_known_outside(path, one, files));
            // The same path a second time is the same type for another system.
            by_name
                .entry(one.name())
                .or_default()
                .entry(&one.path)
                .or_insert(place);
        }
    }
    let mut found = BTreeSet::new();
    for (name, types) in by_name {
        let mut places = types.into_values().collect::<Vec<_>>();
        places.sort_unstable();
        if let [(first, ..), others @ ..] = places.as_slice()
            && places.iter().any(|(.., is_known)| *is_known)
        {
            found.extend(others.iter().map(|(path, line, _)| {
                format!("{path}:{line}: name: {name} is a type of {first} too")
            }));
        }
    }
    found.into_iter().collect()
}

/// Whether a type is not private to its file: by a `pub` of any reach, or because another file
/// names it, as a file of a module below may.
fn is_known_outside(path: &str, one: &Type, files: &[(&str, Source)]) -> bool {
    let names = |source: &Source| source.paths.iter().any(|names| reaches(names, &one.path));
    one.is_public
        || files
            .iter()
            .any(|(other, source)| *other != path && names(source))
}

/// Whether a resolved path goes to this type or through it; `crate::a::*` goes to all of `a`.
fn reaches(names: &[String], path: &[String]) -> bool {
    let names = names.strip_prefix(&["crate".to_owned()]).unwrap_or(&[]);
    match names.split_last() {
        Some((last, module)) if last == "*" => {
            path.split_last().is_some_and(|(_, at)| at == module)
        }
        _ => names.starts_with(path),
    }
}

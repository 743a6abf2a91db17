//! Reads one source file: every path it names, resolved, and where each function begins and ends.
//!
//! `syn` says what the code names; it keeps no line numbers here, so those come from the text with
//! its comments and literals blanked out. Knows no rule.

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};

/// One file as the rules see it.
pub(crate) struct Source {
    /// Top-level module it belongs to: `store` for src/store/sqlite/rows.rs, `main` and `lib` for
    /// those two.
    pub(crate) module: String,
    /// Paths it names. Ours begin with `crate`, whether they were written with `crate`, `self`,
    /// `super` or our name.
    pub(crate) paths: Vec<Vec<String>>,
    /// Those of them that it gives on under its own name: what it says `pub use` of.
    pub(crate) given_on: Vec<Vec<String>>,
    /// Macros it calls, by their last name.
    pub(crate) macros: Vec<String>,
    /// Attributes by name; of `cfg_attr` those within.
    pub(crate) attributes: Vec<String>,
    /// Types it defines, wherever they stand in it.
    pub(crate) types: Vec<Type>,
    /// Whether anything in it is `async` or waits.
    pub(crate) waits: bool,
    /// Its code, line by line, without comments and literals.
    pub(crate) code: String,
    /// What stands between quotes in it, each with its line.
    pub(crate) texts: Vec<(usize, String)>,
}

/// One struct, enum, union, trait or alias.
pub(crate) struct Type {
    pub(crate) kind: &'static str,
    /// The modules it stands in, below the crate, then its name.
    pub(crate) path: Vec<String>,
    /// Whether there is a `pub` before it, of whatever reach.
    pub(crate) is_public: bool,
}

impl Type {
    pub(crate) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

/// One function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    /// Reads a file; an error says why it is no Rust.
    pub(crate) fn read(path: &str, text: &str) -> Result<Self, String> {
        let file = syn::parse_file(text).map_err(|error| error.to_string())?;
        let mut at: Vec<String> = path
            .trim_end_matches(".rs")
            .split('/')
            .skip(1)
            .map(str::to_owned)
            .collect();
        let module = at.first().cloned().unwrap_or_default();
        if matches!(module.as_str(), "lib" | "main") {
            at.clear();
        }
        let code = blanked(text);
        let source = Self {
            module,
            paths: Vec::new(),
            given_on: Vec::new(),
            macros: Vec::new(),
            attributes: Vec::new(),
            types: Vec::new(),
            waits: false,
            code,
            texts: quoted(text),
        };
        let mut reader = Reader { source, at };
        reader.visit_file(&file);
        Ok(reader.source)
    }

    /// First line with one of these texts as whole words, the first text first.
    pub(crate) fn line(&self, texts: &[&str]) -> usize {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let whole = |line: &str, text: &str| {
            line.match_indices(text).any(|(at, _)| {
                let within_before = line[..at].ends_with(is_word) && text.starts_with(is_word);
                let within_after =
                    line[at + text.len()..].starts_with(is_word) && text.ends_with(is_word);
                !within_before && !within_after
            })
        };
        let find = |text: &&str| self.code.lines().position(|line| whole(line, text));
        texts.iter().find_map(find).map_or(1, |index| index + 1)
    }

    /// The line where its tests begin, which stand last.
    pub(crate) fn line_of_tests(&self) -> usize {
        let lines: Vec<_> = self.code.lines().collect();
        let begin = lines
            .windows(2)
            .position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod "));
        begin.map_or(usize::MAX, |index| index + 1)
    }

    /// Every function that has a body, from the line with `fn` to the one with the last brace.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code = self.code.as_str();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let begins = code
            .match_indices("fn ")
            .filter(|(at, _)| !code[..*at].ends_with(is_word));
        let functions = begins.filter_map(|(at, _)| {
            let name: String = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
            let lines = body_end(&code[at..]).map(|end| code[at..at + end].lines().count())?;
            (!name.is_empty()).then(|| Function {
                name,
                line: code[..at].matches('\n').count() + 1,
                lines,
            })
        });
        functions.collect()
    }
}

/// Where the body of the function ends that begins this text; `None` if it has none.
fn body_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return None,
            _ => {}
        }
        if c == '}' && depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The text with blanks for comments and literals, each line where it was.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let end = opaque_end(&chars, at).map_or(at, |end| end.min(chars.len()));
        code.extend(
            chars[at..end]
                .iter()
                .map(|c| if *c == '\n' { '\n' } else { ' ' }),
        );
        if end == at {
            code.push(chars[at]);
        }
        at = end.max(at + 1);
    }
    code
}

/// What its literals say, each with the line it begins in; of characters and comments nothing.
fn quoted(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = opaque_end(&chars, at).map_or(at + 1, |end| end.min(chars.len()));
        let opaque: String = chars[at..end].iter().collect();
        let said = opaque.split_once('"').filter(|_| !opaque.starts_with('/'));
        if let Some((_, rest)) = said.filter(|_| end > at + 1) {
            let text = rest.rsplit_once('"').map_or(rest, |(text, _)| text);
            found.push((line, text.to_owned()));
        }
        line += opaque.matches('\n').count();
        at = end;
    }
    found
}

/// Where the comment or the literal ends that begins here, if one does.
fn opaque_end(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let within_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let prefixed = at > 0 && matches!(chars[at - 1], 'b' | 'c');
    match rest {
        ['/', '/', ..] => Some(at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => {
            let (mut depth, mut end) = (0, at);
            loop {
                match chars.get(end..end + 2)? {
                    ['/', '*'] => (depth, end) = (depth + 1, end + 2),
                    ['*', '/'] => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
                if depth == 0 {
                    return Some(end);
                }
            }
        }
        ['r', '#' | '"', ..] if !within_word || prefixed => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let close: Vec<char> = std::iter::once('"')
                .chain(std::iter::repeat_n('#', hashes))
                .collect();
            let body = (rest.get(1 + hashes) == Some(&'"')).then(|| &rest[2 + hashes..])?;
            body.windows(close.len())
                .position(|w| w == close)
                .map(|end| at + 2 + hashes + end + close.len())
        }
        ['"', ..] => {
            let mut end = at + 1;
            while chars.get(end).is_some_and(|c| *c != '"') {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            Some(end + 1)
        }
        ['\'', '\\', _, tail @ ..] => tail
            .iter()
            .position(|c| *c == '\'')
            .map(|end| at + 3 + end + 1),
        ['\'', _, '\'', ..] => Some(at + 3),
        _ => None,
    }
}

struct Reader {
    source: Source,
    /// Path of the module being read.
    at: Vec<String>,
}

impl Reader {
    fn name(&mut self, path: Vec<String>) {
        let ours = |module: &[String], rest: &[String]| {
            std::iter::once("crate".to_owned())
                .chain(module.iter().cloned())
                .chain(rest.iter().cloned())
                .collect()
        };
        let ups = path
            .iter()
            .skip_while(|part| *part == "self")
            .take_while(|part| *part == "super")
            .count();
        let resolved = match path.first().map(String::as_str) {
            Some("crate" | "echo_phoenix") => ours(&[], &path[1..]),
            Some("self" | "super") => {
                let rest = path
                    .iter()
                    .position(|part| part != "self" && part != "super")
                    .unwrap_or(path.len());
                ours(&self.at[..self.at.len().saturating_sub(ups)], &path[rest..])
            }
            _ => path,
        };
        self.source.paths.push(resolved);
    }

    fn defines(&mut self, kind: &'static str, name: &syn::Ident, visibility: &syn::Visibility) {
        let path = self.at.iter().cloned().chain([name.to_string()]);
        self.source.types.push(Type {
            kind,
            path: path.collect(),
            is_public: !matches!(visibility, syn::Visibility::Inherited),
        });
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| {
            before
                .iter()
                .cloned()
                .chain([ident.to_string()])
                .collect::<Vec<_>>()
        };
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.name(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.name(with(&rename.ident)),
            syn::UseTree::Glob(_) => {
                self.name(before.iter().cloned().chain(["*".to_owned()]).collect())
            }
            syn::UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.use_tree(tree, before)),
        }
    }

    /// What the inside of a macro or an attribute names; `syn` leaves those as they are.
    fn tokens(&mut self, mut cursor: Cursor<'_>, before: &[String]) {
        let (mut path, mut joined) = (Vec::<String>::new(), false);
        while !cursor.eof() {
            let mut next = cursor.token_tree().map(|(_, next)| next);
            if let Some((ident, _)) = cursor.ident() {
                if !joined {
                    self.loose(std::mem::take(&mut path), before);
                }
                path.push(ident.to_string());
                joined = false;
            } else if let Some((mark, after)) = cursor.punct() {
                let second = after
                    .punct()
                    .filter(|(second, _)| mark.as_char() == ':' && second.as_char() == ':');
                joined = second.is_some() && !path.is_empty();
                match (mark.as_char(), after.any_group()) {
                    ('!', Some(_)) => self.source.macros.extend(path.last().cloned()),
                    ('#', Some((inside, ..))) => {
                        self.source
                            .attributes
                            .extend(inside.ident().map(|(ident, _)| ident.to_string()));
                    }
                    _ => {}
                }
                if !joined {
                    self.loose(std::mem::take(&mut path), before);
                }
                next = second.map(|(_, after)| after).or(next);
            } else if let Some((inside, ..)) = cursor.any_group() {
                let prefix = if joined {
                    std::mem::take(&mut path)
                } else {
                    Vec::new()
                };
                self.loose(std::mem::take(&mut path), before);
                joined = false;
                self.tokens(inside, &prefix);
            }
            let Some(next) = next else { break };
            cursor = next;
        }
        self.loose(path, before);
    }

    fn loose(&mut self, path: Vec<String>, before: &[String]) {
        self.source.waits |= path == ["async"] || path == ["await"];
        let path: Vec<String> = before.iter().cloned().chain(path).collect();
        if path.len() > 1 {
            self.name(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let before = self.source.paths.len();
        self.use_tree(&item.tree, &[]);
        if !matches!(item.vis, syn::Visibility::Inherited) {
            let given_on = self.source.paths[before..].iter().cloned();
            self.source.given_on.extend(given_on);
        }
        visit::visit_item_use(self, item);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.name(vec![item.ident.to_string()]);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.defines("struct", &item.ident, &item.vis);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.defines("enum", &item.ident, &item.vis);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.defines("union", &item.ident, &item.vis);
        visit::visit_item_union(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.defines("trait", &item.ident, &item.vis);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.defines("type", &item.ident, &item.vis);
        visit::visit_item_type(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // One name alone is local, or came by a `use` that is counted there; `pub(crate)` is one
        // too.
        if path.segments.len() > 1 {
            self.name(
                path.segments
                    .iter()
                    .map(|segment| segment.ident.to_string())
                    .collect(),
            );
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.source.macros.extend(
            mac.path
                .segments
                .last()
                .map(|segment| segment.ident.to_string()),
        );
        self.visit_path(&mac.path);
        self.tokens(TokenBuffer::new2(mac.tokens.clone()).begin(), &[]);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let name = attribute
            .path()
            .segments
            .last()
            .map(|segment| segment.ident.to_string())
            .unwrap_or_default();
        if let syn::Meta::List(list) = &attribute.meta {
            let buffer = TokenBuffer::new2(list.tokens.clone());
            self.tokens(buffer.begin(), &[]);
            let (mut cursor, is_condition) = (buffer.begin(), name == "cfg_attr");
            while let Some((_, next)) = cursor.token_tree().filter(|_| is_condition) {
                self.source
                    .attributes
                    .extend(cursor.ident().map(|(ident, _)| ident.to_string()));
                cursor = next;
            }
        }
        self.source.attributes.push(name);
        visit::visit_attribute(self, attribute);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.source.waits |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.source.waits = true;
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.source.waits |= closure.asyncness.is_some();
        visit::visit_expr_closure(self, closure);
    }
}

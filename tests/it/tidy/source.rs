//! Rust source as the rules see it: code without comments and texts, comments without code, and the paths that code names.

/// One file, taken apart. Both views have the same lines as the file.
pub(super) struct Source {
    /// The code; comments and the inside of texts are blank.
    pub(super) code: String,
    /// The comments; everything else is blank.
    pub(super) comments: String,
}

/// A path that code names, as `["crate", "model", "id"]`, with its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The line, from 1.
    pub(super) line: usize,
    /// Its parts.
    pub(super) parts: Vec<String>,
}

impl Source {
    /// Takes a file apart.
    pub(super) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut code = bytes.to_vec();
        let mut comments: Vec<u8> = bytes.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }).collect();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let after_word = at > 0 && is_word(bytes[at - 1]);
            if rest.starts_with(b"//") {
                let end = at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                comments[at..end].copy_from_slice(&bytes[at..end]);
                blank(&mut code[at..end]);
                at = end;
            } else if rest.starts_with(b"/*") {
                let end = at + block_comment(rest);
                comments[at..end].copy_from_slice(&bytes[at..end]);
                blank(&mut code[at..end]);
                at = end;
            } else if let Some(length) = raw_text(rest).filter(|_| !after_word) {
                blank(&mut code[at..at + length]);
                at += length;
            } else if rest[0] == b'"' {
                let length = text_length(rest);
                blank(&mut code[at..at + length]);
                at += length;
            } else if let Some(length) = character_length(rest).filter(|_| !after_word || bytes[at - 1] == b'b') {
                blank(&mut code[at..at + length]);
                at += length;
            } else {
                at += 1;
            }
        }
        let view = |bytes| String::from_utf8(bytes).expect("whole characters were blanked");
        Self { code: view(code), comments: view(comments) }
    }

    /// The code without its `#[cfg(test)]` items.
    pub(super) fn code_without_tests(&self) -> String {
        let mark = "#[cfg(test)]";
        let mut code = self.code.clone().into_bytes();
        let mut from = 0;
        while let Some(found) = self.code[from..].find(mark) {
            let start = from + found;
            let end = item_end(self.code.as_bytes(), start + mark.len());
            blank(&mut code[start..end]);
            from = end;
        }
        String::from_utf8(code).expect("whole characters were blanked")
    }
}

/// Every path in this code: those of `use` with their groups taken apart, and those that stand in the code.
pub(super) fn paths(code: &str) -> Vec<Named> {
    let mut named = Vec::new();
    let mut rest = code.as_bytes().to_vec();
    for (start, end) in use_statements(code) {
        let tree = code[start..end].trim();
        expand(tree, &[], code, start, &mut named);
        blank(&mut rest[start..end]);
    }
    let rest = String::from_utf8(rest).expect("whole characters were blanked");
    let imported: Vec<String> = named.iter().filter(|path| path.parts.len() > 1).filter_map(|path| path.parts.last().cloned()).collect();
    let declared = declared_modules(&rest);
    for path in inline_paths(&rest) {
        let first = &path.parts[0];
        if !imported.contains(first) && !declared.contains(first) {
            named.push(path);
        }
    }
    named.sort_by_key(|path| path.line);
    named
}

/// The modules that this code declares: `mod name;`.
pub(super) fn declared_modules(code: &str) -> Vec<String> {
    code.lines()
        .filter_map(|line| line.trim().strip_suffix(';'))
        .filter_map(|line| line.strip_prefix("mod ").or_else(|| line.split_once(" mod ").map(|(_, name)| name)))
        .map(|name| name.trim().to_owned())
        .collect()
}

/// Where the trees of `use` statements stand: after the word, before the semicolon.
fn use_statements(code: &str) -> Vec<(usize, usize)> {
    let bytes = code.as_bytes();
    code.match_indices("use ")
        .filter(|(at, _)| *at == 0 || matches!(bytes[at - 1], b'\n' | b' ' | b'{' | b';'))
        .filter_map(|(at, word)| code[at..].find(';').map(|length| (at + word.len(), at + length)))
        .collect()
}

/// Takes `a::{b, c::d}` apart into `a::b` and `a::c::d`. A renaming keeps the name it gives as the last part.
fn expand(tree: &str, before: &[String], code: &str, offset: usize, named: &mut Vec<Named>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut parts = before.to_vec();
        parts.extend(split(&tree[..open]));
        let inside = tree[open + 1..].trim_end().trim_end_matches('}');
        let inside = if tree.trim_end().ends_with('}') { &tree[open + 1..tree.trim_end().len() - 1] } else { inside };
        for (at, item) in items(inside) {
            expand(item, &parts, code, offset + open + 1 + at, named);
        }
        return;
    }
    if tree.is_empty() {
        return;
    }
    let mut parts = before.to_vec();
    let (path, new_name) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim())));
    parts.extend(split(path));
    parts.extend(new_name.map(str::to_owned));
    named.push(Named { line: line_of(code, offset), parts });
}

/// The items of a group, which may hold groups, with where they begin.
fn items(group: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push((start, &group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push((start, &group[start..]));
    found.into_iter().map(|(at, item)| (at + (item.len() - item.trim_start().len()), item)).collect()
}

fn split(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Paths of at least two parts, from their first word on.
fn inline_paths(code: &str) -> Vec<Named> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len()
            && (is_word(bytes[at]) || (bytes[at..].starts_with(b"::") && bytes.get(at + 2).is_some_and(|next| is_word(*next))))
        {
            at += if bytes[at] == b':' { 2 } else { 1 };
        }
        // What follows `::` is the tail of a path such as `<T as Trait>::name`.
        if code[start..at].contains("::") && !code[..start].ends_with("::") {
            found.push(Named { line: line_of(code, start), parts: split(&code[start..at]) });
        }
    }
    found
}

fn line_of(code: &str, offset: usize) -> usize {
    code.as_bytes()[..offset.min(code.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where the item that follows an attribute ends: behind its braces, or behind its semicolon.
fn item_end(code: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The length of `r"…"`, `r#"…"#`, `br"…"` and the like, if one begins here.
fn raw_text(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    if !(1..=2).contains(&prefix) || !bytes[..prefix].contains(&b'r') {
        return None;
    }
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let inside = prefix + hashes + 1;
    if bytes.get(inside - 1) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let end = bytes[inside..].windows(close.len()).position(|window| window == close.as_slice());
    Some(end.map_or(bytes.len(), |end| inside + end + close.len()))
}

fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character_length(bytes: &[u8]) -> Option<usize> {
    if bytes[0] != b'\'' {
        return None;
    }
    if bytes.get(1) == Some(&b'\\') {
        return bytes[3.min(bytes.len())..].iter().position(|byte| *byte == b'\'').map(|end| end + 4);
    }
    let width = match bytes.get(1)? {
        0x00..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: &str) -> Vec<String> {
        paths(&Source::new(code).code).into_iter().map(|path| format!("{}:{}", path.line, path.parts.join("::"))).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        let code = "use crate::{\n    model::id::{RunId, JobId},\n    plan,\n};\npub use super::x as y;\n";
        assert_eq!(shown(code), ["2:crate::model::id::RunId", "2:crate::model::id::JobId", "3:crate::plan", "5:super::x::y"]);
    }

    #[test]
    fn a_path_through_an_import_is_not_taken_for_an_outside_crate() {
        assert_eq!(shown("use super::rhai;\nfn f() { rhai::Rhai::new(); }\n"), ["1:super::rhai"]);
        assert_eq!(shown("pub mod rhai;\nfn f() { rhai::Rhai::new(); }\n"), Vec::<String>::new());
        assert_eq!(shown("fn f() { rhai::Engine::new(); }\n"), ["1:rhai::Engine::new"]);
    }

    #[test]
    fn comments_and_texts_are_no_code() {
        let code = "//! crate::cli\nfn f<'a>(x: &'a str) -> char { let _ = \"crate::cli \\\" \"; let _ = r#\"crate::\"cli\"#; /* crate::cli /* x */ */ '\\'' }\n";
        assert_eq!(shown(code), Vec::<String>::new());
        assert!(Source::new(code).comments.contains("//! crate::cli"));
    }

    #[test]
    fn test_modules_can_be_left_out() {
        let source = Source::new("use a::b;\n#[cfg(test)]\nmod tests {\n    use c::d;\n    fn f() { {} }\n}\nuse e::f;\n");
        let named: Vec<_> = paths(&source.code_without_tests()).into_iter().map(|path| path.parts.join("::")).collect();
        assert_eq!(named, ["a::b", "e::f"]);
    }
}

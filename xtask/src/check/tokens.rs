//! Rust source as a flat list of tokens with lines, without comments and, when asked, without
//! test code. What a text search would be, without its false alarms.

use std::str::FromStr as _;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One token. A group is its opening sign, its content and its closing sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// As written; one character for punctuation.
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Whether code under `#[cfg(test)]` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tests {
    Included,
    LeftOut,
}

/// The tokens of a source file.
///
/// # Errors
/// When `source` is not Rust.
pub(crate) fn tokens(source: &str, tests: Tests) -> Result<Vec<Token>> {
    let stream = TokenStream::from_str(source).map_err(|error| anyhow!("not Rust: {error}"))?;
    let mut flat = Vec::new();
    flatten(stream, tests, &mut flat);
    Ok(flat)
}

/// The lines at which `pattern` starts.
pub(crate) fn find(tokens: &[Token], pattern: &[&str]) -> Vec<usize> {
    tokens
        .windows(pattern.len())
        .filter(|window| {
            window
                .iter()
                .zip(pattern)
                .all(|(token, text)| token.text == *text)
        })
        .map(|window| window[0].line)
        .collect()
}

fn flatten(stream: TokenStream, tests: Tests, flat: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let is_attribute = matches!(&tree, TokenTree::Punct(sign) if sign.as_char() == '#');
        if tests == Tests::LeftOut && is_attribute && trees.peek().is_some_and(is_cfg_test) {
            // The attribute's item ends with its body, or with a semicolon when it has none.
            trees.next();
            for tree in trees.by_ref() {
                if ends_item(&tree) {
                    break;
                }
            }
            continue;
        }
        push(tree, tests, flat);
    }
}

fn is_cfg_test(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else {
        return false;
    };
    let text = group.stream().to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(sign) => sign.as_char() == ';',
        _ => false,
    }
}

fn push(tree: TokenTree, tests: Tests, flat: &mut Vec<Token>) {
    let line = tree.span().start().line;
    let TokenTree::Group(group) = tree else {
        flat.push(Token {
            text: tree.to_string(),
            line,
        });
        return;
    };
    let (open, close) = match group.delimiter() {
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::None => ("", ""),
    };
    flat.push(Token {
        text: open.to_owned(),
        line,
    });
    flatten(group.stream(), tests, flat);
    flat.push(Token {
        text: close.to_owned(),
        line: group.span_close().start().line,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &str, tests: Tests, pattern: &[&str]) -> Vec<usize> {
        find(&tokens(source, tests).unwrap(), pattern)
    }

    #[test]
    fn a_pattern_is_found_across_spaces_and_on_every_line() {
        let source = "fn f() {\n  a . unwrap ( );\n  b.unwrap();\n}\n";
        assert_eq!(
            lines(source, Tests::Included, &[".", "unwrap", "("]),
            [2, 3]
        );
    }

    #[test]
    fn comments_documentation_and_strings_do_not_count() {
        let source = "/// unsafe\n// unsafe\n/* unsafe */ fn f() { g(\"unsafe\") }\n";
        assert!(lines(source, Tests::Included, &["unsafe"]).is_empty());
    }

    #[test]
    fn test_code_is_left_out_when_asked() {
        let source = "fn f() { x.unwrap(); }\n#[cfg(test)]\nmod tests {\n fn g() { y.unwrap(); }\n}\n\
                      fn h() { z.unwrap(); }\n#[cfg(test)]\nuse q;\nfn i() { w.unwrap(); }\n";
        let pattern = &["unwrap"];
        assert_eq!(lines(source, Tests::LeftOut, pattern), [1, 6, 9]);
        assert_eq!(lines(source, Tests::Included, pattern), [1, 4, 6, 9]);
    }
}

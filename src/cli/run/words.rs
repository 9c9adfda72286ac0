//! Words of a configuration file, as a shell splits them: quotes and backslashes, nothing else.

/// The words of a line; an error when a quote is not closed. A `#` at a word's beginning starts a comment.
pub fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '#' if word.is_none() => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        None => return Err("a quote is not closed"),
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => match rest.next() {
                            None => return Err("a quote is not closed"),
                            Some(e @ ('"' | '\\')) => into.push(e),
                            Some(other) => into.extend(['\\', other]),
                        },
                        Some(other) => into.push(other),
                    }
                }
            }
            '\\' => match rest.next() {
                None => return Err("it ends with a backslash"),
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_as_by_a_shell() {
        assert_eq!(
            split(r#"-n 2  'a b' "c \"d\" \x" e\ f '' # g"#).unwrap(),
            ["-n", "2", "a b", r#"c "d" \x"#, "e f", ""]
        );
        assert_eq!(split("  # nothing").unwrap(), Vec::<String>::new());
        assert_eq!(split("a#b").unwrap(), ["a#b"]);
        assert!(split("'a").is_err() && split("\"a").is_err() && split("a\\").is_err());
    }
}

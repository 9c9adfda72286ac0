//! The files that the AWS tools keep under ~/.aws: sections of names and values.
//!
//! Format: "Shared config and credentials files" of the AWS SDKs and Tools Reference Guide.

use std::collections::HashMap;

/// A section's values by name; names in lower case, nested ones as `outer.inner`.
pub type Section = HashMap<String, String>;

/// Sections by what stands between the brackets, with single blanks and without quotes. A section that comes twice is
/// one, and the later value counts. Lines that are neither are passed over, as the AWS tools do.
pub fn parse(text: &str) -> HashMap<String, Section> {
    let mut sections: HashMap<String, Section> = HashMap::new();
    let mut current: Option<String> = None;
    // The name whose value is continued by indented lines.
    let mut outer: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indented = line.starts_with([' ', '\t']);
        if trimmed.starts_with('[') && !indented {
            outer = None;
            current = trimmed[1..].split_once(']').map(|(name, _)| title(name));
            continue;
        }
        let Some(section) = &current else {
            continue;
        };
        let Some((name, value)) = trimmed.split_once('=') else {
            continue;
        };
        let name = name.trim().to_ascii_lowercase();
        let value = without_comment(value).to_string();
        let into = sections.entry(section.clone()).or_default();
        match (&outer, indented) {
            (Some(outer), true) => {
                into.insert(format!("{outer}.{name}"), value);
            }
            _ => {
                outer = value.is_empty().then(|| name.clone());
                into.insert(name, value);
            }
        }
    }
    sections
}

/// `profile  "my dev" ` becomes `profile my dev`.
fn title(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace(['"', '\''], "")
}

/// A comment begins after white space; `a#b` is a value, and keys do hold `#` and `;` never, but secrets may hold `/+=`.
fn without_comment(value: &str) -> &str {
    let comment = value
        .char_indices()
        .find(|&(at, c)| matches!(c, '#' | ';') && value[..at].ends_with([' ', '\t']));
    match comment {
        Some((at, _)) => value[..at].trim(),
        None => value.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sections_hold_names_and_values() {
        let text = "stray = 1\n# comment\n[default]\nAWS_Access_Key_ID=AKID\naws_secret_access_key = a/b+c=#d \n\
                    region = eu-west-1 ; here\n\n[ profile  \"my dev\" ] ; c\nregion=us-east-1\n\
                    s3 =\n  max_concurrent_requests = 20\n  endpoint_url = http://x\ncredential_process = /bin/x --a \"b c\" --d=e\n\
                    [default]\nregion = eu-west-2\nno value\n[broken\nregion = lost";
        let sections = parse(text);
        let get = |section: &str, name: &str| {
            sections
                .get(section)
                .and_then(|s| s.get(name))
                .map(String::as_str)
        };
        assert_eq!(get("default", "aws_access_key_id"), Some("AKID"));
        assert_eq!(get("default", "aws_secret_access_key"), Some("a/b+c=#d"));
        assert_eq!(get("default", "region"), Some("eu-west-2"));
        assert_eq!(get("profile my dev", "region"), Some("us-east-1"));
        assert_eq!(get("profile my dev", "s3.endpoint_url"), Some("http://x"));
        assert_eq!(
            get("profile my dev", "credential_process"),
            Some("/bin/x --a \"b c\" --d=e")
        );
        assert_eq!(sections.len(), 2);
        assert!(parse("").is_empty() && parse("]\n[\n=\n[]\n=x").len() <= 1);
    }
}

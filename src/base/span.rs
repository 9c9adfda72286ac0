//! Numbers in few words: `3, 7-9, 12`.

use std::fmt;

/// Numbers that follow each other, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    first: u32,
    last: u32,
}

impl Span {
    /// How many numbers it has; never 0.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Ascending numbers, in as few spans as possible.
pub fn spans(numbers: &[u32]) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    for &number in numbers {
        match out.last_mut() {
            Some(span) if span.last + 1 == number => span.last = number,
            _ => out.push(Span {
                first: number,
                last: number,
            }),
        }
    }
    out
}

/// With commas between them.
pub fn list(spans: &[Span]) -> String {
    let shown: Vec<String> = spans.iter().map(Span::to_string).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_said_in_spans() {
        assert_eq!(list(&spans(&[0, 1, 2, 5, 7, 8])), "0-2, 5, 7-8");
        assert_eq!(list(&spans(&[])), "");
        let counts: u32 = spans(&[4, 5, 9]).into_iter().map(Span::count).sum();
        assert_eq!(counts, 3);
    }
}

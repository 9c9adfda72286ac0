//! HTTP/1.1 by hand, so that the tests see what goes over the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request or response's head: its first line, and its fields with names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn read(from: &mut impl BufRead) -> Option<Head> {
        let mut line = || {
            let mut text = String::new();
            from.read_line(&mut text).ok().filter(|&n| n > 0)?;
            Some(text.trim_end().to_string())
        };
        let mut head = Head {
            line: line()?,
            fields: Vec::new(),
        };
        loop {
            let text = line()?;
            let Some((name, value)) = text.split_once(':') else {
                return text.is_empty().then_some(head);
            };
            let pair = (name.to_lowercase(), value.trim().to_string());
            head.fields.push(pair);
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        let word = self.line.split(' ').nth(1).unwrap_or("");
        word.parse().unwrap_or(0)
    }

    /// A body of a known length.
    pub fn body(&self, from: &mut impl Read) -> Vec<u8> {
        let length = self.field("content-length").and_then(|n| n.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        from.read_exact(&mut body).unwrap();
        body
    }
}

/// An answer that may still be arriving.
pub struct Answer {
    pub head: Head,
    reader: BufReader<TcpStream>,
}

pub struct Client(pub u16);

impl Client {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.0)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Whoever refuses a large body need not read it.
        let _ = stream.write_all(body);
        stream
    }

    /// Returns when the answer begins.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        Answer::of(self.send(method, path, body))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, body.as_bytes())
    }

    /// Status and text of a request's answer.
    pub fn short(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask(method, path, body.as_bytes());
        (answer.head.status(), answer.rest())
    }
}

impl Answer {
    pub fn of(stream: TcpStream) -> Answer {
        let mut reader = BufReader::new(stream);
        let head = Head::read(&mut reader).expect("an answer");
        Answer { head, reader }
    }

    /// The next chunk; none at the end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes.split_off(length), b"\r\n");
        (length > 0).then_some(bytes)
    }

    /// The body from here to its end.
    pub fn rest(mut self) -> String {
        let mut body = Vec::new();
        if self.head.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        } else {
            body = self.head.clone().body(&mut self.reader);
        }
        String::from_utf8(body).unwrap()
    }
}

pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}

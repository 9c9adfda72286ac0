//! HTTP as the tests speak it to a service of ours: a request a connection, byte by byte as it is written down.

use mayfly::rendezvous::client::response_head;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Who does not answer within twenty seconds never will.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let longest = Some(Duration::from_secs(20));
    stream.set_read_timeout(longest).unwrap();
    stream
}

/// Status, head (in small letters) and body of the answer.
pub fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    answer(&mut stream)
}

pub fn answer(stream: &mut TcpStream) -> (u16, String, String) {
    let (status, head) = response_head(stream).unwrap();
    let mut body = String::new();
    let _ = stream.read_to_string(&mut body);
    (status, head.to_lowercase(), body)
}

pub fn request(method: &str, path: &str, bearer: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn get(path: &str, bearer: &str) -> String {
    request("GET", path, bearer, "")
}

//! A server for one page on this machine: `GET` and `HEAD` over HTTP/1.1, a thread a connection, nothing else. A
//! library would bring more than these hundred lines need.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The most bytes of a request's lines.
const LONGEST_REQUEST: u64 = 1 << 14;
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is at a path.
pub enum Answer {
    /// Content, and what it is.
    Bytes(Vec<u8>, &'static str),
    NotFound,
}

/// Answers requests until the program ends. Only pages of this machine may ask: a request whose `Host` is another name
/// is of a foreign page that had its name point here. A connection that goes wrong is closed, and its page asks again.
pub fn serve(listener: TcpListener, answer: &(dyn Fn(&str) -> Answer + Sync)) {
    std::thread::scope(|threads| {
        for stream in listener.incoming().flatten() {
            threads.spawn(move || converse(stream, answer));
        }
    });
}

/// One request, and its answer.
fn converse(mut stream: TcpStream, answer: &dyn Fn(&str) -> Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(LONGEST_REQUEST));
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut host = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            host = value.trim().into();
        }
    }
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    if !["127.0.0.1", "localhost"].contains(&name) {
        return respond(&mut stream, "403 Forbidden", "text/plain", b"ask for 127.0.0.1\n", true);
    }
    if !["GET", "HEAD"].contains(&method) {
        return respond(&mut stream, "405 Method Not Allowed", "text/plain", b"GET alone\n", true);
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let is_get = method == "GET";
    match answer(path) {
        Answer::Bytes(bytes, kind) => respond(&mut stream, "200 OK", kind, &bytes, is_get),
        Answer::NotFound => respond(&mut stream, "404 Not Found", "text/plain", b"there is no such file\n", is_get),
    }
}

fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8], is_get: bool) -> io::Result<()> {
    // The last two let a page share memory among threads.
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if is_get {
        stream.write_all(body)?;
    }
    stream.flush()
}

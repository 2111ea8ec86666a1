//! Downloads of a set's files: from the first mirror that has them, checked before they take their name.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use ureq::Agent;

use super::idx;
use super::progress::{Progress, Report};
use super::sets::Published;
use crate::error::{Error, Result};
use crate::files;

/// How much longer than its content a gzip file may be: random bytes grow by less than 0.1 %, plus a header.
const fn compressed_limit(bytes: u64) -> u64 {
    bytes + bytes / 1000 + 4096
}

/// How long to wait for the network, and how to reach it.
#[derive(Debug)]
pub struct Client {
    /// For finding out whether mirrors answer at all: names, connections, first replies, all mirrors together.
    pub connecting: Duration,
    /// For each read of a running download; one that makes progress may take longer in all.
    pub stall: Duration,
    /// What connections go through; `None` connects directly.
    pub proxy: Option<ureq::Proxy>,
}

impl Default for Client {
    /// 10 s without network; the proxy of the environment's `HTTPS_PROXY` and the like.
    fn default() -> Client {
        let proxy = ureq::Proxy::try_from_env();
        Client { connecting: Duration::from_secs(10), stall: Duration::from_secs(10), proxy }
    }
}

/// One file to download.
#[derive(Debug)]
pub struct Wanted {
    /// Appended to a mirror's address, and the file's name on disk.
    name: String,
    published: Published,
    /// Whether `published` is of the content after decompression, or of the file as it is.
    decompressed: bool,
}

impl Wanted {
    /// A file known by its content after decompression.
    pub fn new(name: String, content: Published) -> Wanted {
        Wanted { name, published: content, decompressed: true }
    }

    /// A file known by its own bytes.
    pub fn as_it_is(name: String, file: Published) -> Wanted {
        Wanted { name, published: file, decompressed: false }
    }

    /// The most bytes the file may have.
    fn limit(&self) -> u64 {
        if self.decompressed { compressed_limit(self.published.bytes) } else { self.published.bytes }
    }
}

/// Downloads all `wanted` files into `folder`, which is created once there is something to put into it.
///
/// A file is written beside its place, checked, and renamed: under its name there is a whole file or none. `report` is
/// told of the bytes as they come.
///
/// # Errors
/// `Error::Network` with one line for each mirror that failed, or `Error::Io` for the local disk. Files that arrived
/// before stay.
pub fn fetch(mirrors: &[&str], wanted: &[Wanted], folder: &Path, client: &Client, report: &mut Report) -> Result<()> {
    let agent = client.agent();
    let mut wanted = wanted.iter().peekable();
    let mut failures: Vec<String> = Vec::new();
    let mut connecting = client.connecting;
    for (i, mirror) in mirrors.iter().enumerate() {
        let Some(first) = wanted.peek() else { break };
        // A mirror that never answers leaves their share to the mirrors after it.
        let share = connecting / (mirrors.len() - i) as u32;
        let start = Instant::now();
        let mut outcome = probe(&agent, &format!("{mirror}{}", first.name), share);
        connecting = connecting.saturating_sub(start.elapsed());
        while let (Ok(()), Some(file)) = (&outcome, wanted.peek()) {
            outcome = fetch_file(&agent, mirror, file, folder, report);
            if outcome.is_ok() {
                wanted.next();
            }
        }
        match outcome {
            Ok(()) => {}
            Err(Error::Network(reason)) => failures.push(format!("  {reason}")),
            Err(other) => return Err(other),
        }
    }
    match wanted.peek() {
        None => Ok(()),
        Some(_) => Err(Error::Network(failures.join("\n"))),
    }
}

impl Client {
    fn agent(&self) -> Agent {
        Agent::config_builder()
            .proxy(self.proxy.clone())
            .http_status_as_error(false)
            .max_redirects(3)
            .timeout_resolve(Some(self.stall))
            .timeout_connect(Some(self.stall))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .build()
            .into()
    }
}

/// Whether anything answers at `url` within `limit`, whatever it says. The download that follows has no limit on its
/// whole time, so the limit on connecting needs this request of its own; the connection is used again.
fn probe(agent: &Agent, url: &str, limit: Duration) -> Result<()> {
    let answer = agent.head(url).config().timeout_global(Some(limit)).build().call();
    answer.map(|_| ()).map_err(|error| failed(url, error))
}

fn failed(url: &str, reason: impl std::fmt::Display) -> Error {
    Error::Network(format!("{url}: {reason}"))
}

fn fetch_file(agent: &Agent, mirror: &str, file: &Wanted, folder: &Path, report: &mut Report) -> Result<()> {
    let url = format!("{mirror}{}", file.name);
    let mut response = agent.get(&url).call().map_err(|error| failed(&url, error))?;
    if response.status() != 200 {
        return Err(failed(&url, format!("the server answers {}", response.status())));
    }
    let limit = file.limit();
    let total = response.body().content_length();
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut partial = files::temporary(folder, &file.name).map_err(Error::io("create a file in", folder))?;
    let mut body = response.body_mut().as_reader().take(limit + 1);
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        let read = body.read(&mut buffer).map_err(|error| failed(&url, error))?;
        if read == 0 {
            break;
        }
        partial.write_all(&buffer[..read]).map_err(Error::io("write", partial.path()))?;
        received += read as u64;
        report(Progress::Bytes { name: &file.name, done: received, total });
    }
    report(Progress::Bytes { name: &file.name, done: received, total: Some(received) });
    if received > limit {
        return Err(failed(&url, format!("longer than the {limit} bytes expected at most")));
    }
    check(partial.path(), &url, file)?;
    let place = folder.join(&file.name);
    files::publish(partial, &place).map_err(Error::io("create", &place))
}

/// Compares what arrived, decompressed where need be, with what was published, without holding it in memory.
fn check(path: &Path, url: &str, wanted: &Wanted) -> Result<()> {
    let Published { bytes, sha256: expected } = wanted.published;
    let file = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
    let (what, plain): (&str, Box<dyn Read>) = if wanted.decompressed {
        ("the content", idx::decompressed(file).map_err(Error::io("read", path))?)
    } else {
        ("the file", Box::new(file))
    };
    let mut plain = plain.take(bytes + 1);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) => return Err(failed(url, format!("damaged on the way: {error}"))),
        }
    }
    let sha256 = idx::hexadecimal(hash);
    if sha256 != expected {
        return Err(failed(url, format!("expected SHA-256 {expected} of {what}, found {sha256}")));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::super::idx::tests::gzip;
    use super::super::sets::tests::{Fixture, offline};
    use super::*;

    /// What a test server does with one request for a file.
    pub enum Reply {
        Whole(Vec<u8>),
        /// Announces the first number of bytes and sends fewer.
        Cut(usize, Vec<u8>),
        /// Sends these bytes of an announced 1000 and then nothing, keeping the connection.
        Stall(Vec<u8>),
        Missing,
    }

    /// A server on the loopback address; `reply` chooses by the requested file's name. Returns its base address.
    /// It lives until the test process ends.
    pub fn serve(reply: impl Fn(&str) -> Reply + Send + Sync + Clone + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/set/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let reply = reply.clone();
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(|line| line.ok());
                    let Some(request) = lines.next() else { return };
                    lines.find(|line| line.is_empty());
                    let (method, rest) = request.split_once(' ').unwrap();
                    let name = rest.split_once(" HTTP").unwrap().0.strip_prefix("/set/").unwrap();
                    let (status, length, body) = match reply(name) {
                        Reply::Whole(body) => ("200 OK", body.len(), body),
                        Reply::Cut(length, body) => ("200 OK", length, body),
                        Reply::Stall(body) => ("200 OK", 1000, body),
                        Reply::Missing => ("404 Not Found", 0, Vec::new()),
                    };
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    if method != "HEAD" {
                        let _ = stream.write_all(&body);
                        if let Reply::Stall(_) = reply(name) {
                            thread::sleep(Duration::from_secs(60));
                        }
                    }
                });
            }
        });
        address
    }

    /// A server whose replies are the fixture's files, changed by `change`.
    fn serve_files(fixture: &Fixture, change: impl Fn(Vec<u8>) -> Reply + Send + Sync + Clone + 'static) -> String {
        let files: Vec<(String, Vec<u8>)> =
            (0..4).map(|i| (format!("{}.gz", fixture.name(i)), gzip(&fixture.files[i]))).collect();
        serve(move |name| match files.iter().find(|(file, _)| file == name) {
            Some((_, content)) => change(content.clone()),
            None => Reply::Missing,
        })
    }

    fn fetch_all(fixture: &Fixture, mirrors: &[&str]) -> Result<()> {
        fetch_by(&offline(), fixture, mirrors)
    }

    fn fetch_by(client: &Client, fixture: &Fixture, mirrors: &[&str]) -> Result<()> {
        let published = fixture.set.published.unwrap();
        let wanted: Vec<Wanted> =
            (0..4).map(|i| Wanted::new(format!("{}.gz", fixture.name(i)), published[i])).collect();
        fetch(mirrors, &wanted, fixture.folder(), client, &mut |_| ())
    }

    #[track_caller]
    fn refused(fixture: &Fixture, mirror: &str, word: &str) {
        let message = fetch_all(fixture, &[mirror]).unwrap_err().to_string();
        assert!(message.contains(mirror) && message.contains(word), "no {word:?} in: {message}");
        let left: Vec<_> = fs::read_dir(fixture.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    #[test]
    fn whole_files_arrive_and_are_read() {
        let mut fixture = Fixture::new();
        let address = serve_files(&fixture, Reply::Whole);
        fixture.set.sources = vec![&*address.leak()].leak();
        let (mut notice, mut files) = (String::new(), Vec::new());
        let mut report = |progress: Progress| match progress {
            Progress::Notice(text) => notice += text,
            Progress::Bytes { name, done, total } if total == Some(done) => files.push((name.to_string(), done)),
            _ => {}
        };
        let data = fixture.set.open(&fixture.places(), &offline(), &mut report).unwrap();
        assert_eq!((data.train.count, data.test.labels()), (5, Some(&[4, 5, 6][..])));
        assert!(notice.starts_with("downloading mnist to"), "{notice}");
        // The last news of a file is that all of it is there.
        files.dedup();
        let whole = |i: usize| (format!("{}.gz", fixture.name(i)), gzip(&fixture.files[i]).len() as u64);
        assert_eq!(files, [0, 1, 2, 3].map(whole));
        let mut names: Vec<String> = fs::read_dir(fixture.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let mut expected = [0, 1, 2, 3].map(|i| format!("{}.gz", fixture.name(i)));
        expected.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn only_what_is_missing_is_downloaded() {
        let mut fixture = Fixture::new();
        fixture.write_all();
        let lost = fixture.folder().join(fixture.name(2));
        fs::remove_file(&lost).unwrap();
        let (name, content) = (format!("{}.gz", fixture.name(2)), gzip(&fixture.files[2]));
        let address = serve(move |file| if file == name { Reply::Whole(content.clone()) } else { Reply::Missing });
        fixture.set.sources = vec![&*address.leak()].leak();
        assert!(fixture.set.open(&fixture.places(), &offline(), &mut |_| ()).is_ok());
    }

    #[test]
    fn truncated_corrupt_and_other_content_is_refused_and_removed() {
        let fixture = Fixture::new();
        let cut = serve_files(&fixture, |file| Reply::Cut(file.len(), file[..file.len() / 2].to_vec()));
        refused(&fixture, &cut, "train-images");
        let short = serve_files(&fixture, |file| Reply::Whole(file[..file.len() / 2].to_vec()));
        refused(&fixture, &short, "damaged on the way");
        let corrupt = serve_files(&fixture, |mut file| {
            let middle = file.len() / 2;
            file[middle] ^= 0x55;
            Reply::Whole(file)
        });
        refused(&fixture, &corrupt, "train-images");
        let other = serve_files(&fixture, |_| Reply::Whole(gzip(b"some other content")));
        refused(&fixture, &other, "expected SHA-256");
        let bomb = gzip(&vec![0; 1 << 24]);
        let bomb = serve_files(&fixture, move |_| Reply::Whole(bomb[..4000].to_vec()));
        refused(&fixture, &bomb, "expected SHA-256");
        let long = serve_files(&fixture, |_| Reply::Whole(vec![0; 100_000]));
        refused(&fixture, &long, "longer than");
        refused(&fixture, &serve(|_| Reply::Missing), "404");
    }

    #[test]
    fn a_stalled_download_is_given_up() {
        let fixture = Fixture::new();
        let address = serve_files(&fixture, |file| Reply::Stall(file[..10].to_vec()));
        let start = Instant::now();
        refused(&fixture, &address, "time");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn the_next_mirror_takes_over() {
        let fixture = Fixture::new();
        let corrupt = serve_files(&fixture, |_| Reply::Whole(gzip(b"other")));
        let good = serve_files(&fixture, Reply::Whole);
        fetch_all(&fixture, &["http://127.0.0.1:9/", &corrupt, &good]).unwrap();
        assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), 4);
    }

    #[test]
    fn mirrors_that_never_answer_share_the_time_for_connecting() {
        let fixture = Fixture::new();
        // Bound and never accepted from: connections succeed, answers do not come.
        let silent = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = silent.each_ref().map(|listener| format!("http://{}/", listener.local_addr().unwrap()));
        // Only the time for connecting may end the wait.
        let client = Client { stall: Duration::from_secs(20), ..offline() };
        let start = Instant::now();
        let mirrors = addresses.each_ref().map(String::as_str);
        let message = fetch_by(&client, &fixture, &mirrors).unwrap_err().to_string();
        let elapsed = start.elapsed();
        assert!(elapsed > Duration::from_millis(1500) && elapsed < Duration::from_secs(3), "{elapsed:?}");
        assert_eq!(message.lines().count(), 3, "{message}");
    }
}

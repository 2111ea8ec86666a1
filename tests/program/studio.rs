//! `elbo studio`: what it serves, and what it does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn elbo() -> Command {
    Command::new(env!("CARGO_BIN_EXE_elbo"))
}

/// A page of two files.
fn page(folder: &Path) {
    std::fs::create_dir_all(folder.join("engine")).unwrap();
    std::fs::write(folder.join("index.html"), "<!doctype html><title>studio</title>").unwrap();
    std::fs::write(folder.join("engine/elbo_web_bg.wasm"), b"\0asm").unwrap();
    std::fs::write(folder.join("../secret"), "nobody's business").unwrap();
}

fn serve(arguments: &[&str], files: &Path) -> Server {
    let mut command = elbo();
    command.arg("studio").args(arguments).args(["--port", "0", "--files"]).arg(files).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    Server { address: address.unwrap_or_else(|| panic!("no address in {line:?}")).to_string(), child }
}

/// The head and the body of the answer to a request of one line.
fn ask(server: &Server, request: &str, host: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

#[test]
fn the_page_is_served_to_this_machine_alone() {
    let home = tempfile::tempdir().unwrap();
    let files = home.path().join("page");
    page(&files);
    let server = serve(&[], &files);
    let get = |path: &str| ask(&server, &format!("GET {path}"), &server.address);
    let (head, body) = get("/?mock");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/html"), "{head}");
    assert!(head.contains("Cross-Origin-Embedder-Policy: require-corp"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("studio"));
    let (head, body) = get("/engine/elbo_web_bg.wasm");
    assert!(head.contains("application/wasm") && body == b"\0asm", "{head}");
    for path in ["/../secret", "/engine/../../secret", "/%2e%2e/secret", "//etc/passwd", "/nothing", "/run/data.json"] {
        assert!(get(path).0.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(ask(&server, "POST /", &server.address).0.starts_with("HTTP/1.1 405"));
    // A foreign page whose name was made to point here.
    assert!(ask(&server, "GET /", "example.org").0.starts_with("HTTP/1.1 403"));
    let (head, body) = ask(&server, "HEAD /", &server.address);
    assert!(head.contains("Content-Length: 36") && body.is_empty(), "{head}");
}

#[test]
fn a_run_is_served_with_its_data_and_its_state() {
    let home = tempfile::tempdir().unwrap();
    let (files, run) = (home.path().join("page"), home.path().join("run"));
    page(&files);
    let trained = elbo()
        .args(["train", "mnist-mlp", "--dataset", "digits", "--train-limit", "64", "--test-limit", "32"])
        .args(["--epochs", "1", "--batch-size", "32", "--hidden", "8", "--latent", "2", "--device", "cpu", "--out"])
        .arg(&run)
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let server = serve(&[run.to_str().unwrap()], &files);
    let get = |name: &str| ask(&server, &format!("GET /run/{name}"), &server.address).1;
    let data: serde_json::Value = serde_json::from_slice(&get("data.json")).unwrap();
    assert_eq!((&data["name"], &data["shape"]), (&"digits".into(), &serde_json::json!([1, 28, 28])));
    assert_eq!((&data["classes"], &data["has_state"]), (&10.into(), &true.into()));
    assert_eq!([get("train.pictures").len(), get("test.pictures").len()], [64 * 784, 32 * 784]);
    assert_eq!([get("train.labels").len(), get("test.labels").len()], [64, 32]);
    for name in ["model.safetensors", "state.safetensors"] {
        assert_eq!(get(name), std::fs::read(run.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let home = tempfile::tempdir().unwrap();
    let files = home.path().join("page");
    page(&files);
    let refused = |arguments: &[&str], words: &str| {
        let output = elbo().arg("studio").args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && message.contains(words), "{arguments:?}: {message}");
    };
    let files = files.to_str().unwrap();
    refused(&["--files", home.path().to_str().unwrap()], "web/build.sh");
    refused(&["no/such/run", "--files", files], "holds no run");
    let server = serve(&[], Path::new(files));
    let port = server.address.rsplit_once(':').unwrap().1.to_string();
    refused(&["--files", files, "--port", &port], "--port");
}

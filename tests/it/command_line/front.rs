//! What may stand between a command and its service: somebody who answers anything, or a way that
//! loses what it carries.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to one connection.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// None.
    None,
    /// It is closed before anything of it is passed on.
    Refuse,
    /// It is passed on, and the answer is thrown away.
    LoseAnswer,
}

/// A listener of our own; ends with the test's process.
pub(super) struct Front {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// Answers everything like this.
    pub(super) fn answering(status: u16, kind: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n",
            body.len()
        );
        Self::saying(format!("{head}connection: close\r\n\r\n{body}"))
    }

    /// Answers each path like this, and everything else with 404.
    pub(super) fn routing(answers: Vec<(&'static str, u16, &'static str, String)>) -> Self {
        Self::start(move |mut stream, request| {
            let path = request.split(' ').nth(1).unwrap_or_default();
            let found = answers.iter().find(|(known, ..)| *known == path);
            let (status, kind, body) = found
                .map_or((404, "text/plain", ""), |(_, status, kind, body)| {
                    (*status, *kind, body)
                });
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
        })
    }

    /// Sends everybody elsewhere.
    pub(super) fn redirecting(to: &str) -> Self {
        Self::saying(format!(
            "HTTP/1.1 307 X\r\nlocation: {to}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
    }

    fn saying(answer: String) -> Self {
        Self::start(move |mut stream, _| {
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    /// Passes on to a service; the first connections meet these faults.
    pub(super) fn before(service: SocketAddr, faults: Vec<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (
            listener.local_addr().unwrap(),
            Arc::new(Mutex::new(Vec::new())),
        );
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            let mut faults = faults.into_iter();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let fault = faults.next();
                if matches!(fault, Some(Fault::Refuse)) {
                    continue;
                }
                let request = read_request(&mut stream);
                seen.lock().unwrap().push(request.clone());
                let answer = pass_on(service, &request);
                if !matches!(fault, Some(Fault::LoseAnswer)) {
                    let _ = stream.write_all(&answer);
                }
            }
        });
        Self { address, requests }
    }

    fn start(answer: impl Fn(TcpStream, &str) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (
            listener.local_addr().unwrap(),
            Arc::new(Mutex::new(Vec::new())),
        );
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                answer(stream, &request);
                seen.lock().unwrap().push(request);
            }
        });
        Self { address, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests arrived.
    pub(super) fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The Idempotency-Key of each command that arrived.
    pub(super) fn keys(&self) -> Vec<String> {
        let key = |request: &String| {
            let line = request
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "));
            line.expect("a command bears a key").to_owned()
        };
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| request.starts_with("POST "))
            .map(key)
            .collect()
    }
}

/// A request, head and body.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0");
            if body.len() >= length.parse::<usize>().unwrap() {
                return text;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn pass_on(service: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(service).unwrap();
    let closing = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(closing.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

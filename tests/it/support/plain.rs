//! HTTP by hand, for requests that no client library sends and no server library takes: an app that
//! serves anything, and how to ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// An app that serves whatever comes, as 200 with the head that it got, but for `/break`, where it
/// hangs up.
pub(crate) struct PlainApp {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl PlainApp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    /// Heads of the requests that reached it since the last call, byte by byte as Latin-1.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

impl Drop for PlainApp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = find(&buffer) {
                break end;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let head = latin(&buffer[..end]);
        let length = header(&head, "content-length")
            .first()
            .map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end + length {
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        buffer.drain(..end + length);
        heads.lock().unwrap().push(head.clone());
        if path(&head) == "/break" {
            return;
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-app: mine\r\n\r\n{head}",
            head.chars().count()
        );
        let answer: Vec<u8> = answer
            .chars()
            .map(|char| u8::try_from(char).unwrap())
            .collect();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn find(buffer: &[u8]) -> Option<usize> {
    buffer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The path and query in a head's first line.
pub(crate) fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// All values of a header in a head.
pub(crate) fn header(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// What came back, as Latin-1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request from an address of loopback, a line and its headers as they are, and reads until
/// the other side ends.
pub(crate) async fn ask(to: SocketAddr, from: IpAddr, request: &[u8]) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is its end too.
    let _ = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
        .await
        .expect("it answers");
    let answer = latin(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("{answer:?}")),
        body: body.to_owned(),
    }
}

/// A request's bytes, its first line and headers by hand; the text is Latin-1.
pub(crate) fn request(method: &str, path: &str, headers: &str) -> Vec<u8> {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{headers}\r\n"
    );
    text.chars()
        .map(|char| u8::try_from(char).unwrap())
        .collect()
}

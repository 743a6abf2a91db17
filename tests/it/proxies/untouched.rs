//! Once admitted, a request and its answer pass as they are.

use std::time::Duration;

use reqwest::Method;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Street;
use super::obeys::forged;

pub(super) async fn passes_as_it_is(street: &Street) {
    let (client, proxy, name) = (&street.client, &street.proxy, street.kind.name);
    for body in [
        Vec::new(),
        b"100".to_vec(),
        (0..3_000_000u32).map(|n| (n % 251) as u8).collect(),
    ] {
        let wanted = format!(
            "paid {} {} POST []",
            body.len(),
            hex::encode(Sha256::digest(&body))
        );
        let answer = forged(client.post(proxy.url("/pay")))
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["x-app"], "mine", "{name}");
        assert_eq!(
            answer.text().await.unwrap(),
            wanted,
            "{name}: body and what was forged"
        );
    }
    let refused = client.get(proxy.url("/forbidden")).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-app"]),
        (403, &"mine".parse().unwrap()),
        "{name}"
    );
    assert_eq!(refused.text().await.unwrap(), "the app says no", "{name}");

    let head = client.head(proxy.url("/pay")).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers().contains_key("x-app")),
        (200, true),
        "{name}"
    );
    let options = client
        .request(Method::OPTIONS, proxy.url("/pay"))
        .header("origin", "http://other.example");
    let options = options
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (options.status().as_u16(), &options.headers()["allow"]),
        (204, &"GET, POST".parse().unwrap()),
        "{name}"
    );
    let told = timeout(Duration::from_secs(10), upgraded(street))
        .await
        .expect("the upgraded connection answers");
    assert_eq!(told, b"ping over an upgraded connection", "{name}");
}

/// What comes back over an upgraded connection.
async fn upgraded(street: &Street) -> Vec<u8> {
    let mut stream = upgrade(street).await;
    let sent = b"ping over an upgraded connection";
    stream.write_all(sent).await.unwrap();
    let mut told = vec![0; sent.len()];
    stream.read_exact(&mut told).await.unwrap();
    told
}

/// A connection that the app has upgraded.
pub(super) async fn upgrade(street: &Street) -> TcpStream {
    let mut stream = TcpStream::connect(street.proxy.address).await.unwrap();
    let request = format!(
        "GET /socket HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
        street.proxy.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 "),
        "{}: {head}",
        street.kind.name
    );
    stream
}

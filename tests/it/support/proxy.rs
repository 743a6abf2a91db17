//! The real proxies before a backend, each with the very configuration that its page in docs/ prints.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Process, eventually, free_port, http, prepared};

/// Addresses as the pages print them.
const WEB: &str = "127.0.0.1:8000";
const ECHO: &str = "127.0.0.1:8081";
const APP: &str = "127.0.0.1:3000";

/// What nginx needs around `http { … }` to run from a folder, and the page's part in it.
const NGINX: &str = "daemon off;
master_process off;
pid @ROOT@/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  client_max_body_size 8m;
  client_body_temp_path @ROOT@/body;
  proxy_temp_path @ROOT@/proxy;
  fastcgi_temp_path @ROOT@/fastcgi;
  uwsgi_temp_path @ROOT@/uwsgi;
  scgi_temp_path @ROOT@/scgi;
@PAGE@
}
";

/// One of the proxies, with what its clients see of a verdict.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    page: &'static str,
    file: &'static str,
    /// Status of a request while killed.
    pub(crate) killed: u16,
    /// Status of a request while nobody decides.
    pub(crate) undecided: u16,
}

pub(crate) const NGINX_KIND: Kind = Kind {
    name: "nginx",
    page: include_str!("../../../docs/nginx.md"),
    file: "nginx.conf",
    killed: 503,
    undecided: 500,
};
pub(crate) const CADDY: Kind = Kind {
    name: "caddy",
    page: include_str!("../../../docs/caddy.md"),
    file: "Caddyfile",
    killed: 503,
    undecided: 502,
};
pub(crate) const TRAEFIK: Kind = Kind {
    name: "traefik",
    page: include_str!("../../../docs/traefik.md"),
    file: "traefik.yaml",
    killed: 503,
    undecided: 500,
};
pub(crate) const ENVOY: Kind = Kind {
    name: "envoy",
    page: include_str!("../../../docs/envoy.md"),
    file: "envoy.yaml",
    killed: 403,
    undecided: 503,
};

/// A running proxy.
pub(crate) struct Proxy {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Starts a proxy in `folder` with its page's configuration, asking `echo` about `backend`.
    pub(crate) async fn start(kind: Kind, folder: &Path, echo: SocketAddr, backend: SocketAddr) -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let root = folder.join(kind.name);
        std::fs::create_dir_all(&root).unwrap();
        let block = kind.page.split("\n```").nth(1).expect("the page's first block is the configuration");
        let block = block.split_once('\n').unwrap().1;
        let mut config = block.to_owned();
        for (printed, real) in [(WEB, address), (ECHO, echo), (APP, backend)] {
            let (host, port) = printed.split_once(':').unwrap();
            let apart = format!("address: {host}, port_value: {port}}}"); // as Envoy writes it
            assert!(config.contains(printed) || config.contains(&apart) || kind.file == "traefik.yaml", "{printed}");
            config = config.replace(printed, &real.to_string());
            config = config.replace(&apart, &format!("address: {}, port_value: {}}}", real.ip(), real.port()));
        }
        if kind.name == "nginx" {
            config = NGINX.replace("@PAGE@", &config).replace("@ROOT@", &root.display().to_string());
        }
        let file = root.join(kind.file);
        std::fs::write(&file, config).unwrap();
        let log = root.join("log");
        let mut process = Process::start(&mut command(kind, &root, &file, address), &log);
        eventually(&format!("{} answers", kind.name), Duration::from_secs(30), async || {
            assert!(process.runs(), "{} ended:\n{}", kind.name, process.said());
            let answer = http().get(format!("http://{address}/")).send().await.ok()?;
            (answer.status() != 404).then_some(()) // Traefik, before it has read its file
        })
        .await;
        Self { process, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its last words, for a failure.
    pub(crate) fn said(&self) -> String {
        let said = self.process.said();
        said.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }
}

fn command(kind: Kind, root: &Path, file: &Path, address: SocketAddr) -> Command {
    let tools = prepared("ECHO_TEST_TOOLS").join("bin");
    let mut command = Command::new(tools.join(kind.name));
    command.env("HOME", root);
    match kind.name {
        "nginx" => command.args(["-e", "stderr", "-p"]).arg(root).arg("-c").arg(file),
        "caddy" => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file),
        "traefik" => command
            .arg(format!("--entryPoints.web.address={address}"))
            .arg(format!("--providers.file.filename={}", file.display()))
            .args(["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]),
        _ => command.args(["--concurrency", "2", "--use-dynamic-base-id", "-l", "warn", "-c"]).arg(file),
    };
    command
}

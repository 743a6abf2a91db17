//! The real proxies before an app, each with the very recipe that its page in docs/ prints.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Process, eventually, free_port, http, prepared};

/// What nginx needs around the files of `conf.d` to run from a folder.
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
  include @ROOT@/conf.d/*.conf;
}
";

/// One of the proxies, with what its clients see of a verdict.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    page: &'static str,
    /// What its configurations are printed as.
    language: &'static str,
    file: &'static str,
    /// Status of a request while killed.
    pub(crate) killed: u16,
    /// Status of a request while nobody decides.
    pub(crate) undecided: u16,
}

pub(crate) const NGINX_KIND: Kind = Kind {
    name: "nginx",
    page: include_str!("../../../docs/nginx.md"),
    language: "nginx",
    file: "conf.d/echo.conf",
    killed: 503,
    undecided: 500,
};
pub(crate) const CADDY: Kind = Kind {
    name: "caddy",
    page: include_str!("../../../docs/caddy.md"),
    language: "caddy",
    file: "Caddyfile",
    killed: 503,
    undecided: 502,
};
pub(crate) const TRAEFIK: Kind = Kind {
    name: "traefik",
    page: include_str!("../../../docs/traefik.md"),
    language: "yaml",
    file: "gate.yaml",
    killed: 503,
    undecided: 500,
};
pub(crate) const ENVOY: Kind = Kind {
    name: "envoy",
    page: include_str!("../../../docs/envoy.md"),
    language: "yaml",
    file: "envoy.yaml",
    killed: 403,
    undecided: 503,
};

/// One recipe of a page: a whole configuration, and the command that runs it where the page has
/// one.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) heading: String,
    pub(crate) configuration: String,
    pub(crate) command: Option<String>,
}

impl Kind {
    /// All recipes of its page. Panics where a page prints anything else than one configuration
    /// under a heading.
    pub(crate) fn recipes(self) -> Vec<Recipe> {
        let mut recipes = Vec::new();
        for section in self.page.split("\n## ").skip(1) {
            let heading = section.lines().next().unwrap().to_owned();
            let blocks: Vec<_> = section.split("\n```").skip(1).step_by(2).collect();
            let printed = |language: &str| -> Vec<String> {
                let of = |block: &&str| {
                    Some(block.split_once('\n')?.1.to_owned() + "\n")
                        .filter(|_| block.starts_with(language))
                };
                blocks.iter().filter_map(of).collect()
            };
            let (mut configurations, mut commands) = (printed(self.language), printed("sh\n"));
            assert_eq!(
                configurations.len() + commands.len(),
                blocks.len(),
                "{}: {heading}",
                self.name
            );
            assert!(
                configurations.len() == 1 && commands.len() <= 1,
                "{}: {heading}",
                self.name
            );
            let (configuration, command) = (configurations.remove(0), commands.pop());
            recipes.push(Recipe {
                heading,
                configuration,
                command,
            });
        }
        recipes
    }

    /// The recipe under a heading.
    pub(crate) fn recipe(self, heading: &str) -> Recipe {
        let found = self
            .recipes()
            .into_iter()
            .find(|recipe| recipe.heading == heading);
        found.unwrap_or_else(|| panic!("{}: no recipe {heading}", self.name))
    }
}

/// A running proxy.
pub(crate) struct Proxy {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Starts a proxy in `folder` with the recipe of its page, asking `echo` about `app`.
    pub(crate) async fn start(
        kind: Kind,
        folder: &Path,
        echo: SocketAddr,
        app: SocketAddr,
    ) -> Self {
        Self::with(
            kind,
            &kind.recipe("The whole site"),
            folder,
            free_port(),
            echo,
            app,
        )
        .await
    }

    /// The same with any recipe, on a port that was free.
    pub(crate) async fn with(
        kind: Kind,
        recipe: &Recipe,
        folder: &Path,
        port: u16,
        echo: SocketAddr,
        app: SocketAddr,
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let root = folder.join(kind.name);
        std::fs::create_dir_all(root.join("conf.d")).unwrap();
        // The three ports that every page prints, and the one by which Traefik asks through itself.
        let ports = [
            (8000, port),
            (8081, echo.port()),
            (3000, app.port()),
            (8082, free_port()),
        ];
        std::fs::write(
            root.join(kind.file),
            with_ports(&recipe.configuration, &ports),
        )
        .unwrap();
        let mut command = command(kind, &root);
        if let Some(printed) = &recipe.command {
            let printed = with_ports(printed, &ports).replace("\\\n", " ");
            let mut words = printed.split_whitespace();
            assert_eq!(words.next(), Some(kind.name));
            command.args(words);
        }
        let mut process = Process::start(&mut command, &root.join("log"));
        eventually(
            &format!("{} answers", kind.name),
            Duration::from_secs(30),
            async || {
                assert!(process.runs(), "{} ended:\n{}", kind.name, process.said());
                let answer = http().get(format!("http://{address}/")).send().await.ok()?;
                (answer.status() != 404).then_some(()) // Traefik, before it has read its file
            },
        )
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

/// Text with each number that is a printed port replaced.
fn with_ports(text: &str, ports: &[(u16, u16)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|char: char| char.is_ascii_digit()) {
        let end = rest[start..]
            .find(|char: char| !char.is_ascii_digit())
            .map_or(rest.len(), |length| start + length);
        let number = &rest[start..end];
        let real = ports
            .iter()
            .find(|(printed, _)| printed.to_string() == number);
        out += &rest[..start];
        out += &real.map_or_else(|| number.to_owned(), |(_, real)| real.to_string());
        rest = &rest[end..];
    }
    out + rest
}

/// The program in its folder, with what a page need not say.
fn command(kind: Kind, root: &Path) -> Command {
    let tools = prepared("ECHO_TEST_TOOLS").join("bin");
    let mut command = Command::new(tools.join(kind.name));
    command.env("HOME", root).current_dir(root);
    match kind.name {
        "nginx" => {
            let whole = root.join("nginx.conf");
            std::fs::write(&whole, NGINX.replace("@ROOT@", &root.display().to_string())).unwrap();
            command
                .args(["-e", "stderr", "-p"])
                .arg(root)
                .arg("-c")
                .arg(whole)
        }
        "caddy" => command.args(["run", "--adapter", "caddyfile", "--config", kind.file]),
        "traefik" => command.args([
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
        ]),
        _ => command.args([
            "--concurrency",
            "2",
            "--use-dynamic-base-id",
            "-l",
            "warn",
            "-c",
            kind.file,
        ]),
    };
    command
}

//! A cluster for tests: the shared one that `make test` starts, or one of a test's own; and an
//! installation in it.
//!
//! Our programs run beside the cluster as the chart's ServiceAccounts, with tokens of `kubectl
//! create token` and nothing more. Those who run an operator take turns on the shared cluster: an
//! operator acts on all namespaces.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::{Echo, prepared, program, run};

/// One operator at a time on the shared cluster.
static TURN: Mutex<()> = Mutex::const_new(());

/// A control plane.
pub(crate) struct Cluster {
    folder: PathBuf,
    own: bool,
}

impl Cluster {
    /// The one that `make test` started.
    pub(crate) fn shared() -> Self {
        Self {
            folder: prepared("ECHO_TEST_CLUSTER"),
            own: false,
        }
    }

    /// The shared one, for a test that runs an operator.
    pub(crate) async fn turn() -> (Self, MutexGuard<'static, ()>) {
        (Self::shared(), TURN.lock().await)
    }

    /// One of the test's own, to be broken at will; beside the shared one, so that `make test` ends
    /// it in any case.
    pub(crate) fn own() -> Self {
        Self::start(true)
    }

    /// One of the test's own that has an API server and etcd only: nothing runs what it is told of.
    pub(crate) fn bare() -> Self {
        Self::start(false)
    }

    fn start(controllers: bool) -> Self {
        let folder =
            prepared("ECHO_TEST_CLUSTER").with_file_name(format!("own-{}", ulid::Ulid::generate()));
        run(script("up", &folder).env("CONTROLLERS", u8::from(controllers).to_string()));
        Self { folder, own: true }
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    /// kubectl as the administrator.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/kubectl"));
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments);
        command
    }

    /// A kubeconfig of the administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// `kubectl VERB -f -` with a text.
    pub(crate) fn feed(&self, verb: &str, manifest: &str) -> Result<String, String> {
        let mut command = self.command(&[verb, "-f", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), manifest.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).into_owned())
        } else {
            Err(said)
        }
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// A namespace that no other test has.
    pub(crate) fn namespace(&self, prefix: &str) -> String {
        let name = format!(
            "{prefix}-{}",
            ulid::Ulid::generate().to_string().to_lowercase()
        );
        self.kubectl(&["create", "namespace", &name]);
        name
    }

    /// Where the API server is, and by which authority it is known.
    pub(crate) fn server(&self) -> Value {
        self.json(&["config", "view", "--raw"])["clusters"][0]["cluster"].take()
    }

    /// Requests of a user, as the API server has them in its audit log, with the time each came.
    pub(crate) fn requests(&self, user: &str) -> Vec<(jiff::Timestamp, Value)> {
        let log = std::fs::read_to_string(self.folder.join("audit.log")).unwrap();
        let time = |event: &Value| {
            let text = event["requestReceivedTimestamp"].as_str().unwrap();
            text.parse().unwrap()
        };
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|event: &Value| event["user"]["username"] == user)
            .map(|event| (time(&event), event))
            .collect()
    }

    /// Requests of a user that the API server forbade, but for the first two seconds in which roles
    /// begin to bite.
    pub(crate) fn forbidden(&self, user: &str) -> Vec<String> {
        let events = self.requests(user);
        let Some(first) = events.iter().map(|(at, _)| *at).min() else {
            panic!("{user} asked nothing: is the audit log on?")
        };
        let late = |at: &jiff::Timestamp| at.duration_since(first).as_secs_f64() > 2.0;
        // A namespace that is being deleted answers 403 as well, but that is no matter of roles.
        let decision =
            |event: &Value| event["annotations"]["authorization.k8s.io/decision"] == "forbid";
        let refused = events
            .iter()
            .filter(|(at, event)| late(at) && decision(event));
        refused
            .map(|(_, event)| format!("{} {}", event["verb"], event["requestURI"]))
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own {
            run(&mut script("down", &self.folder));
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn script(action: &str, folder: &Path) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster.sh");
    let mut command = Command::new("bash");
    command
        .arg(script)
        .arg(action)
        .arg(folder)
        .env("BIN", prepared("ECHO_TEST_RIG"));
    command
}

/// Echo Phoenix as the chart installs it.
pub(crate) struct Installed {
    pub(crate) namespace: String,
    pub(crate) folder: TempDir,
    /// What runs in its pods.
    pub(crate) program: PathBuf,
    operator: PathBuf,
    gate: PathBuf,
}

impl Installed {
    /// Installs the chart with helm; its pods are ours to run, so it makes none.
    pub(crate) fn into(cluster: &Cluster) -> Self {
        let namespace = cluster.namespace("echo");
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/echo-phoenix");
        let mut helm = Command::new(prepared("ECHO_TEST_RIG").join("helm"));
        helm.args(["install", "echo-phoenix", chart, "--namespace", &namespace])
            .args(["--set", "operator.replicas=0,gate.replicas=0"])
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig());
        run(&mut helm);
        let folder = tempfile::tempdir().unwrap();
        let config = |role: &str| {
            let account = format!("echo-phoenix-{role}");
            let token = cluster.kubectl(&[
                "create",
                "token",
                &account,
                "-n",
                &namespace,
                "--duration=1h",
            ]);
            let path = folder.path().join(format!("{role}.kubeconfig"));
            std::fs::write(&path, kubeconfig(cluster, token.trim())).unwrap();
            path
        };
        let (operator, gate) = (config("operator"), config("gate"));
        Self {
            namespace,
            operator,
            gate,
            folder,
            program: program(),
        }
    }

    /// Starts an operator; the same name continues with the same record.
    pub(crate) async fn operator(&self, name: &str, more: &[(&str, String)]) -> Echo {
        let data = self.folder.path().join(name).display().to_string();
        let variables = [
            &self.variables(&self.operator, name)[..],
            &[("ECHO_DATA_DIR", data)],
            more,
        ]
        .concat();
        Echo::start_of(&self.program, "operator", &variables, self.folder.path()).await
    }

    /// Starts a gate.
    pub(crate) async fn gate(&self, name: &str) -> Echo {
        Echo::start_of(
            &self.program,
            "gate",
            &self.variables(&self.gate, name),
            self.folder.path(),
        )
        .await
    }

    /// From now on operators that start find the API server at this address, without TLS.
    pub(crate) fn reaches(&self, api: SocketAddr) {
        let text = std::fs::read_to_string(&self.operator).unwrap();
        let lines = text.lines().map(|line| match line.split_once("server: ") {
            Some((before, _)) => format!("{before}server: http://{api}\n"),
            None => format!("{line}\n"),
        });
        std::fs::write(&self.operator, lines.collect::<String>()).unwrap();
    }

    /// The user a role is for the API server.
    pub(crate) fn user(&self, role: &str) -> String {
        format!(
            "system:serviceaccount:{}:echo-phoenix-{role}",
            self.namespace
        )
    }

    fn variables(&self, kubeconfig: &Path, name: &str) -> Vec<(&'static str, String)> {
        vec![
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("POD_NAME", name.to_owned()),
            ("POD_NAMESPACE", self.namespace.clone()),
        ]
    }
}

/// A kubeconfig that has nothing but the server and a token.
fn kubeconfig(cluster: &Cluster, token: &str) -> String {
    let at = cluster.server();
    let authority = match at["certificate-authority-data"].as_str() {
        Some(data) => format!("certificate-authority-data: {data}"),
        None => format!(
            "certificate-authority: {}",
            at["certificate-authority"].as_str().unwrap()
        ),
    };
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    server: {}\n    {authority}\nusers:\n- name: u\n  \
         user:\n    token: {token}\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\n",
        at["server"].as_str().unwrap()
    )
}

/// A Deployment of three and the throttle that acts on it, as Git would have them.
pub(crate) fn shop(namespace: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: checkout, namespace: {namespace}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: checkout}}}}
  template:
    metadata: {{labels: {{app: checkout}}}}
    spec: {{nodeName: n1, containers: [{{name: app, image: app}}]}}
---
apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoThrottle
metadata: {{name: checkout, namespace: {namespace}, labels: {{tier: payments}}}}
spec:
  throttlePercent: 0
  ramp: {{maxPercentPerSecond: 20}}
  targets:
  - gate: {{}}
  - scale: {{apiVersion: apps/v1, kind: Deployment, name: checkout}}
"
    )
}

/// A kill of that throttle, as a person on call would create it.
pub(crate) fn kill(namespace: &str) -> String {
    format!(
        "apiVersion: echo-phoenix.dev/v1alpha1
kind: EchoOverride
metadata: {{name: stop, namespace: {namespace}}}
spec:
  throttleRef: checkout
  kill: {{confirmation: CONFIRM_KILL}}
  operator: dana
  reason: double charges
"
    )
}

/// What a test waits for at the longest: a tick of 5 s and room for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

//! The examples that `--help` ends with: what a person wants to type, not what can be typed.

pub(super) const ALL: &str = "Examples:
  echo-phoenix serve                                   a service on 127.0.0.1:8080, record in ./data
  echo-phoenix status                                  what holds, since when, by whom, what next
  echo-phoenix kill --reason \"double charges\" --operator dana
  echo-phoenix verify --data-dir ./data                re-read every stored value of the record
  echo-phoenix crd | kubectl apply -f -                the custom resources, then: echo-phoenix operator
Variables may also stand in a file .env; a flag beats the environment, which beats .env.
Exit codes: 0 done, 1 failed (a kill that is not whole too), 2 usage or configuration.";

pub(super) const SERVE: &str = "Examples:
  echo-phoenix serve                                   everything with its defaults: a key is made and shown once
  echo-phoenix serve --listen 0.0.0.0:8080 --gate-listen 127.0.0.1:8081
                                                       the API for people, verdicts for the proxy beside it
  ENVIRONMENT=production ECHO_API_KEY=$(openssl rand -hex 32) echo-phoenix serve --data-dir /var/lib/echo
A new service is at full stop until it is opened: POST /control with target_throttle 0.";

pub(super) const OPERATOR: &str = "Examples:
  echo-phoenix crd | kubectl apply -f -                once: the custom resources
  echo-phoenix operator --pod-namespace echo-phoenix   the control plane, by the kubeconfig of the environment
  echo-phoenix operator --kubeconfig ~/.kube/config --data-dir ./data --listen 127.0.0.1:8080";

pub(super) const GATE: &str = "Examples:
  echo-phoenix gate --pod-name gate-1 --listen 0.0.0.0:8080
                                                       answers verdicts for every throttle of the cluster
  echo-phoenix gate --gate-listen 127.0.0.1:8081       verdicts on a listener that only the proxy reaches";

pub(super) const VERIFY: &str = "Examples:
  echo-phoenix verify --data-dir ./data                while the service runs, too
  echo-phoenix verify --head 5120:9f2c…                a head out of last week's log: was anything cut or rewritten since?
  echo-phoenix verify --head evidence_ledger=88:41d0…  the same for payment events
  echo-phoenix verify --file echo-2026-01-14.db        a backup
Prints `head SEQ:HASH` of the audit log and `TABLE head SEQ:HASH` of the others. A bad row is named, and the exit code is 1.
The service writes all heads to its log and its metrics each minute.";

pub(super) const BACKUP: &str = "Examples:
  echo-phoenix backup echo-$(date +%F).db              while the service writes
  echo-phoenix backup /mnt/backup/echo.db --data-dir /var/lib/echo
  echo-phoenix verify --file echo-2026-01-14.db        prove it again, elsewhere
The copy is of one moment, mode 0600, and bears its name only once it was read back whole; prints its heads.
To restore: stop the service, copy it to ledger.db in an empty data folder, start. Kills that were still on their way into
the ledger are in the journal beside it, not in the backup.";

pub(super) const COMPLETIONS: &str = "Examples:
  echo-phoenix completions bash > ~/.local/share/bash-completion/completions/echo-phoenix
  echo-phoenix completions zsh > \"${fpath[1]}/_echo-phoenix\"
  echo-phoenix completions fish > ~/.config/fish/completions/echo-phoenix.fish";

pub(super) const CRD: &str = "Examples:
  echo-phoenix crd | kubectl apply -f -
  echo-phoenix crd | kubectl diff -f -                 what a new version would change";

pub(super) const OPENAPI: &str = "Examples:
  echo-phoenix openapi > openapi.json
  echo-phoenix openapi | jq '.paths | keys'            every route";

pub(super) const SETUP_AIRTABLE: &str = "Examples:
  AIRTABLE_API_KEY=pat… AIRTABLE_BASE_ID=app… echo-phoenix setup-airtable --dry-run
                                                       what is missing, without making it
  AIRTABLE_API_KEY=pat… AIRTABLE_BASE_ID=app… echo-phoenix setup-airtable";

pub(super) const HEALTHCHECK: &str = "Examples:
  echo-phoenix healthcheck                             exit code 0 while the process is sound
  echo-phoenix healthcheck --listen 127.0.0.1:9090
  HEALTHCHECK CMD [\"echo-phoenix\", \"healthcheck\"]      in a Dockerfile; never looks at the store";

pub(super) const STATUS: &str = "Examples:
  echo-phoenix status                                  what holds, since when, by whom, what next
  echo-phoenix status --watch
  echo-phoenix status -o json | jq '.throttles[] | {name, holds}'
  ECHO_URL=https://echo-phoenix.fly.dev echo-phoenix status
Exit code 0 means that the service told, not that all is well: that is `.health` and `.throttles`.";

pub(super) const KILL: &str = "Examples:
  echo-phoenix kill --reason \"double charges\" --operator dana
                                                       asks to type CONFIRM_KILL, then stops everything
  echo-phoenix kill --reason \"double charges\" --operator dana --throttle checkout
  echo-phoenix kill --reason \"alert 4711\" --operator pager --confirm CONFIRM_KILL
                                                       without a terminal
Exit code 0 means that the kill is whole: every target stopped, recorded, and safe from a crash. 1: it was refused, nobody
answered, or something is missing (it says what; what could be stopped is). 2: usage; nothing was stopped.";

pub(super) const REVIVE: &str = "Examples:
  echo-phoenix revive --operator dana --reason \"fixed in 4.2.1\"
  echo-phoenix revive --throttle checkout --operator dana --reason \"only checkout was hit\"
  echo-phoenix revive --epoch 01KA3N…                  this kill alone, should there be others
Ends kills, and nothing opens at once: the level goes down step by step to what is declared. What a manifest, a spec or an
override holds ends where it was declared; that is exit code 1 and says so.";

pub(super) const PLAN: &str = "Examples:
  echo-phoenix plan                                    what the service does next by itself
  echo-phoenix plan -f throttles.yaml                  what it would do if this were its manifest
  echo-phoenix plan -f throttles.yaml -o json | jq -e 'all(.throttles[]; .change == \"none\")'
  ECHO_URL=https://echo-phoenix.fly.dev echo-phoenix plan --file throttles.yaml
Reads, and changes nothing. The file is held against the rules of `serve --manifest`; what is wrong with it is exit code 2.
Without a service it tells what the file declares, and that it was not compared.";

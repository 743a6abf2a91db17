//! The examples that `--help` ends with: what a person wants to type, not what can be typed.

pub(super) const ALL: &str = "Examples:
  # a service on 127.0.0.1:8080, record in ./data
  echo-phoenix serve
  # what holds, since when, by whom, what next
  echo-phoenix status
  echo-phoenix kill --reason \"double charges\" --operator dana
  # refuse a quarter of the work from now on; 0 opens
  echo-phoenix set 25% --operator dana --reason \"fraud wave\"
  # who did what, when and why
  echo-phoenix audit --since 2026-01-14
  # re-read every stored value of the record
  echo-phoenix verify --data-dir ./data
  # the custom resources, then: echo-phoenix operator
  echo-phoenix crd | kubectl apply -f -

Variables may also stand in a file .env; a flag beats the environment, which beats .env.

Exit codes: 0 done, 1 failed (a kill that is not whole too), 2 usage or configuration, 3 an order of which it is not known \
     whether it was done.";

pub(super) const SERVE: &str = "Examples:
  # everything with its defaults: a key is made and shown once
  echo-phoenix serve
  # the API for people, verdicts for the proxy beside it
  echo-phoenix serve --listen 0.0.0.0:8080 --gate-listen 127.0.0.1:8081
  ENVIRONMENT=production ECHO_API_KEY=$(openssl rand -hex 32) echo-phoenix serve --data-dir /var/lib/echo

A new service is at full stop until it is opened: echo-phoenix set 0 --operator YOU --reason WHY.";

pub(super) const OPERATOR: &str = "Examples:
  # once: the custom resources
  echo-phoenix crd | kubectl apply -f -
  # the control plane, by the kubeconfig of the environment
  echo-phoenix operator --pod-namespace echo-phoenix
  echo-phoenix operator --kubeconfig ~/.kube/config --data-dir ./data --listen 127.0.0.1:8080";

pub(super) const GATE: &str = "Examples:
  # answers verdicts for every throttle of the cluster
  echo-phoenix gate --pod-name gate-1 --listen 0.0.0.0:8080
  # verdicts on a listener that only the proxy reaches
  echo-phoenix gate --gate-listen 127.0.0.1:8081";

pub(super) const VERIFY: &str = "Examples:
  # while the service runs, too
  echo-phoenix verify --data-dir ./data
  # a head out of last week's log: was anything cut or rewritten since?
  echo-phoenix verify --head 5120:9f2c…
  # the same for payment events; of a hash the first 12 digits will do
  echo-phoenix verify --head evidence_ledger=88:41d0…
  # a backup
  echo-phoenix verify --file echo-2026-01-14.db

Prints `head SEQ:HASH` of the audit log and `TABLE head SEQ:HASH` of the others. A bad row is named, and the exit \
     code is 1. The service writes all heads to its log each minute.";

pub(super) const BACKUP: &str = "Examples:
  # while the service writes
  echo-phoenix backup echo-$(date +%F).db
  echo-phoenix backup /mnt/backup/echo.db --data-dir /var/lib/echo
  # prove it again, elsewhere
  echo-phoenix verify --file echo-2026-01-14.db

The copy is of one moment, mode 0600, and bears its name only once it was read back whole; prints its heads. To \
     restore: stop the service, copy it to ledger.db in an empty data folder, start. Kills that were still on their way into the ledger are in the journal beside it, not in the backup.";

pub(super) const COMPLETIONS: &str = "Examples:
  echo-phoenix completions bash > ~/.local/share/bash-completion/completions/echo-phoenix
  echo-phoenix completions zsh > \"${fpath[1]}/_echo-phoenix\"
  echo-phoenix completions fish > ~/.config/fish/completions/echo-phoenix.fish";

pub(super) const CRD: &str = "Examples:
  echo-phoenix crd | kubectl apply -f -
  # what a new version would change
  echo-phoenix crd | kubectl diff -f -";

pub(super) const OPENAPI: &str = "Examples:
  echo-phoenix openapi > openapi.json
  # every route
  echo-phoenix openapi | jq '.paths | keys'";

pub(super) const SETUP_AIRTABLE: &str = "Examples:
  # what is missing, without making it
  AIRTABLE_API_KEY=pat… AIRTABLE_BASE_ID=app… echo-phoenix setup-airtable --dry-run
  AIRTABLE_API_KEY=pat… AIRTABLE_BASE_ID=app… echo-phoenix setup-airtable";

pub(super) const HEALTHCHECK: &str = "Examples:
  # exit code 0 while the process is sound
  echo-phoenix healthcheck
  echo-phoenix healthcheck --listen 127.0.0.1:9090
  # in a Dockerfile; never looks at the store
  HEALTHCHECK CMD [\"echo-phoenix\", \"healthcheck\"]";

pub(super) const STATUS: &str = "Examples:
  # what holds, since when, by whom, what next
  echo-phoenix status
  echo-phoenix status --watch
  echo-phoenix status -o json | jq '.throttles[] | {name, holds}'
  ECHO_URL=https://echo-phoenix.fly.dev echo-phoenix status

Exit code 0 means that the service told, not that all is well: that is `.health` and `.throttles`.";

pub(super) const KILL: &str = "Examples:
  # asks to type CONFIRM_KILL, then stops everything
  echo-phoenix kill --reason \"double charges\" --operator dana
  echo-phoenix kill --reason \"double charges\" --operator dana --throttle checkout
  # without a terminal
  echo-phoenix kill --reason \"alert 4711\" --operator pager --confirm CONFIRM_KILL

Exit code 0 means that the kill is whole: every target stopped, recorded, and safe from a crash. 1: it was refused, \
     nobody was reached, or something is missing (it says what; what could be stopped is). 2: usage, configuration, or the word \
     was not given; nothing was stopped. 3: its answer was lost, so it may have been done: send it again.";

pub(super) const REVIVE: &str = "Examples:
  echo-phoenix revive --operator dana --reason \"fixed in 4.2.1\"
  echo-phoenix revive --throttle checkout --operator dana --reason \"only checkout was hit\"
  # this kill alone, should there be others
  echo-phoenix revive --epoch 01KA3N…

Ends kills and levels that people set on top of a manifest, once something is killed, and names each; --throttle ends \
     those of one throttle, --epoch one. A kill of all is ended whole or not at all. Nothing opens at once: the level goes \
     down step by step to what is declared. What a manifest, a spec or an override holds ends where it was declared; that \
     is exit code 1 and says so, and so is an epoch that no hold has. 3: whether it was done, or still will be, is not known; \
     echo-phoenix status tells what became of it.";

pub(super) const PLAN: &str = "Examples:
  # what the service does next by itself
  echo-phoenix plan
  # what it would do if this were its manifest
  echo-phoenix plan -f throttles.yaml
  echo-phoenix plan -f throttles.yaml -o json | jq -e 'all(.throttles[]; .change == \"none\")'
  ECHO_URL=https://echo-phoenix.fly.dev echo-phoenix plan --file throttles.yaml

Reads, and changes nothing. The file is held against the rules of `serve --manifest`; what is wrong with it is exit \
     code 2. Without a service it tells what the file declares, and that it was not compared.";

pub(super) const SET: &str = "Examples:
  # open: step by step, as fast as what is measured allows
  echo-phoenix set 0 --operator dana --reason \"go live\"
  # refuse a quarter; both say the same
  echo-phoenix set 25% --operator dana --reason \"fraud wave\"
  echo-phoenix set 0.25 --throttle payments.checkout --operator dana --reason \"fraud wave\"

More is in force before the answer; less opens by the ramp. It is a declaration alone: nothing is taken as measured. A \
     kill stands above it: echo-phoenix revive. Exit code 3: whether it was done, or still will be, is not known; \
     echo-phoenix status tells what became of it.";

pub(super) const AUDIT: &str = "Examples:
  # all of it
  echo-phoenix audit
  # what concerned one throttle since a day (UTC) or a moment
  echo-phoenix audit --throttle payments.checkout --since 2026-01-14
  echo-phoenix audit --since 2026-01-14T21:30:00Z -o json | jq '.[] | select(.action == \"kill\")'

Newest first. WHO is who they say they are, and the name of their key in brackets.";

//! Texts that break one rule each, with what must be found, whole: nothing less and nothing else.

/// One text or a few, and the beginnings of the violations in them.
pub(crate) struct Plant {
    pub(crate) what: &'static str,
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) found: &'static [&'static str],
}

const fn one(
    what: &'static str,
    files: &'static [(&'static str, &'static str)],
    found: &'static [&'static str],
) -> Plant {
    Plant { what, files, found }
}

/// Names everything that is forbidden, and all of it in comments, texts and names that only look
/// alike.
const INNOCENT: &str = r##"//! Never `todo!()`, see [`crate::store`] and tokio::spawn.

/* dbg!(/* nested */ crate::run::serve) async */
use crate::domain::level::Level;

/// Reads `Timestamp::now` and `#[ignore]`.
pub(crate) fn quiet<'a>(kube: &'a str, rand: char) -> Option<&'a str> {
    let text = r#"use crate::store::X; " todo!() fn a() {"#;
    let (quote, brace, escaped) = ('"', '{', '\'');
    tracing::info!(%kube, "tokio::spawn {} dbg!()", text);
    kube.split("axum::").find(|part| !part.contains([quote, brace, escaped, rand]))
}
"##;

pub(crate) const PLANTS: &[Plant] = &[
    one("nothing", &[("src/decide/quiet.rs", INNOCENT)], &[]),
    one(
        "loud",
        &[
            (
                "src/cli/x.rs",
                "//! x\nfn f() {\n    eprintln!(\"x\");\n}\n",
            ),
            ("tests/x.rs", "//! x\nfn f() {\n    println!();\n}\n"),
        ],
        &["src/cli/x.rs:3: loud: eprintln! breaks when nobody hears it"],
    ),
    one(
        "disk",
        &[
            (
                "src/http/x.rs",
                "//! x\nuse std::fs;\nfn f(p: &std::path::Path) {\n    fs::read(p);\n    p.exists();\n    g.sync_data();\n}\n",
            ),
            (
                "src/latch/x.rs",
                "//! x\nuse std::fs::File;\nfn f() {\n    FromFile::g(NoFile::open, resync_all);\n}\n",
            ),
            ("src/store/journal/file.rs", "//! x\nuse std::fs::File;\n"),
            ("tests/x.rs", "//! x\nuse std::fs;\n"),
        ],
        &[
            "src/http/x.rs:2: disk: std::fs where",
            "src/http/x.rs:5: disk: .exists() where",
            "src/http/x.rs:6: disk: sync_data where",
            "src/latch/x.rs:2: disk: std::fs where",
        ],
    ),
    one(
        "path",
        &[
            (
                "src/http/x.rs",
                "//! x\n/// `\"/kill\"`\nfn f(p: &str) {\n    let a = p == \"/kill\";\n    g(\"see /kill\", \"/\", '/');\n    h!(b\"/v1/audit\", x);\n    format!(r#\"/{p}\"#);\n}\n\n#[cfg(test)]\nmod tests {\n    const A: &str = \"/kill\";\n}\n",
            ),
            (
                "src/telemetry/metrics.rs",
                "//! x\nconst A: &[(&str, &str)] = &[\n    (\"/observe\", \"observe\"),\n];\n",
            ),
            (
                "src/telemetry/process.rs",
                "//! x\nconst A: &str = \"/proc/self\";\nconst B: &str = \"/metrics\";\n",
            ),
            (
                "src/http/routes/x.rs",
                "//! x\nconst A: &str = \"/kill\";\n",
            ),
            ("src/client/x.rs", "//! x\nconst A: &str = \"/kill\";\n"),
        ],
        &[
            "src/http/x.rs:4: path: /kill stands",
            "src/http/x.rs:6: path: /v1/audit stands",
            "src/http/x.rs:7: path: /{p} stands",
            "src/telemetry/metrics.rs:3: path: /observe stands",
            "src/telemetry/process.rs:3: path: /metrics stands",
        ],
    ),
    one(
        "arguments",
        &[
            (
                "src/http/x.rs",
                "//! x\n#[allow(clippy::too_many_arguments, reason = \"x\")]\nfn f() {}\n",
            ),
            (
                "src/latch.rs",
                "//! Never too_many_arguments.\nconst A: &str = \"too_many_arguments\";\n",
            ),
        ],
        &["src/http/x.rs:2: arguments: too_many_arguments is not"],
    ),
    one(
        "shared unseen",
        &[
            (
                "src/gate/x.rs",
                "//! x\nuse std::sync::atomic::AtomicU64;\nuse std::sync::Arc;\nuse parking_lot::Mutex;\n",
            ),
            (
                "src/store/journal.rs",
                "//! x\nuse crate::sync::Mutex;\nfn f() {\n    std::thread::spawn(g);\n}\n",
            ),
            ("src/store/sqlite/x.rs", "//! x\nuse parking_lot::Mutex;\n"),
        ],
        &[
            "src/gate/x.rs:4: shared: parking_lot is",
            "src/store/journal.rs:4: shared: std::thread is",
        ],
    ),
    one(
        "locks that a panic poisons",
        &[
            (
                "src/http/x.rs",
                "//! x\nuse std::sync::{Arc, Mutex};\nuse tokio::sync::RwLock;\n",
            ),
            (
                "src/run/x.rs",
                "//! x\nfn f() {\n    g(std::sync::RwLock::new(0));\n}\n",
            ),
            ("src/store/x.rs", "//! x\nuse parking_lot::Mutex;\n"),
            ("tests/x.rs", "//! x\nuse std::sync::Mutex;\n"),
        ],
        &[
            "src/http/x.rs:2: lock: std's Mutex is",
            "src/run/x.rs:3: lock: std's RwLock is",
        ],
    ),
    // Imports, in every form a path can take.
    one(
        "use",
        &[(
            "src/gate/x.rs",
            "//! x\n\nuse crate::store::SqliteLedger;\n",
        )],
        &["src/gate/x.rs:3: import: gate may not import store"],
    ),
    one(
        "nested group",
        &[(
            "src/mirror/x.rs",
            "//! x\nuse crate::{domain::level::Level, ports::{Clock, Ledger},\n    run::{clock::SystemClock}};\n",
        )],
        &["src/mirror/x.rs:3: import: mirror may not import run"],
    ),
    one(
        "rename",
        &[("src/store.rs", "//! x\nuse crate::latch as ports;\n")],
        &["src/store.rs:2: import: store may not import latch"],
    ),
    one(
        "type",
        &[(
            "src/gate.rs",
            "//! x\nstruct X(Vec<crate::latch::Latch>);\n",
        )],
        &["src/gate.rs:2: import: gate may not import latch"],
    ),
    one(
        "expression",
        &[(
            "src/http/x.rs",
            "//! x\nfn f() -> u8 {\n    crate::cluster::lane::f()\n}\n",
        )],
        &["src/http/x.rs:3: import: http may not import cluster"],
    ),
    one(
        "turbofish",
        &[(
            "src/gate.rs",
            "//! x\nfn f() {\n    g!(a::b::<crate::store::X>());\n}\n",
        )],
        &["src/gate.rs:3: import: gate may not import store"],
    ),
    one(
        "super chain",
        &[(
            "src/latch/watch.rs",
            "//! x\nuse super::super::reconcile::Parts;\n",
        )],
        &["src/latch/watch.rs:2: import: latch may not import reconcile"],
    ),
    one(
        "super out of a module in a file",
        &[(
            "src/store/chain.rs",
            "//! x\nmod tests {\n    use super::super::super::mirror::X;\n}\n",
        )],
        &["src/store/chain.rs:3: import: store may not import mirror"],
    ),
    one(
        "visibility",
        &[("src/gate/x.rs", "//! x\npub(in crate::http) fn f() {}\n")],
        &["src/gate/x.rs:2: import: gate may not import http"],
    ),
    one(
        "the record itself, by what is declared",
        &[(
            "src/desired/x.rs",
            "//! x\nuse crate::ports::Ledger;\n\nuse crate::store::SqliteLedger;\n",
        )],
        &["src/desired/x.rs:4: import: desired may not import store"],
    ),
    one(
        "a rule of the domain, by what listens",
        &[(
            "src/server/x.rs",
            "//! x\nuse crate::domain::level::Level;\nuse crate::http::App;\n",
        )],
        &["src/server/x.rs:2: import: server may not import domain"],
    ),
    one(
        "inside a macro",
        &[(
            "src/reconcile.rs",
            "//! x\nfn f() {\n    tokio::select! { _ = crate::http::f() => {} }\n}\n",
        )],
        &["src/reconcile.rs:3: import: reconcile may not import http"],
    ),
    one(
        "group inside a macro",
        &[(
            "src/gate.rs",
            "//! x\nm! { use crate::{domain::X, store::Y}; }\n",
        )],
        &["src/gate.rs:2: import: gate may not import store"],
    ),
    one(
        "inside an attribute",
        &[(
            "src/domain/x.rs",
            "//! x\n#[error(\"{}\", crate::store::LEDGER_FILE)]\nstruct X;\n",
        )],
        &["src/domain/x.rs:2: import: domain may not import store"],
    ),
    one(
        "the whole crate",
        &[("src/gate.rs", "//! x\nuse super::*;\n")],
        &["src/gate.rs:2: import: the whole crate"],
    ),
    one(
        "the crate renamed",
        &[("src/gate.rs", "//! x\nuse crate as all;\n")],
        &["src/gate.rs:2: import: the whole crate"],
    ),
    one(
        "shared, by a pure module",
        &[("src/ports.rs", "//! x\nuse crate::config::Keys;\n")],
        &["src/ports.rs:2: import: ports may not import config"],
    ),
    one(
        "cli, by run",
        &[("src/run/x.rs", "//! x\nuse crate::cli;\n")],
        &["src/run/x.rs:2: import: run may not import cli"],
    ),
    one(
        "more than cli, by main",
        &[(
            "src/main.rs",
            "//! x\nfn main() {\n    echo_phoenix::run::serve()\n}\n",
        )],
        &["src/main.rs:3: import: main may not import run"],
    ),
    one(
        "a module nobody placed",
        &[("src/utils.rs", "//! x\n")],
        &["src/utils.rs:1: import: module utils has no row"],
    ),
    // Cycles: the first is of edges that the table allows, so that nothing else finds it.
    one(
        "a cycle of two files",
        &[
            ("src/config.rs", "//! x\nuse crate::telemetry::Metrics;\n"),
            ("src/telemetry.rs", "//! x\n\nuse crate::config::Keys;\n"),
        ],
        &["src/telemetry.rs:3: cycle: config → telemetry → config"],
    ),
    one(
        "a cycle of three files",
        &[
            ("src/gate.rs", "//! x\nuse crate::decide::X;\n"),
            ("src/latch/a.rs", "//! x\nuse crate::gate::X;\n"),
            ("src/decide/a.rs", "//! x\nfn f(_: crate::latch::X) {}\n"),
        ],
        &[
            "src/decide/a.rs:2: import: decide may not import latch",
            "src/gate.rs:2: cycle: decide → latch → gate → decide",
        ],
    ),
    one(
        "files of a module in a circle, by a use, by a path and by a file below",
        &[
            ("src/gate.rs", "//! x\nmod a;\nmod b;\nmod c;\n"),
            ("src/gate/a.rs", "//! x\nuse super::b::{X, Y};\n"),
            ("src/gate/b.rs", "//! x\nmod d;\nfn f() -> d::X {}\n"),
            (
                "src/gate/b/d.rs",
                "//! x\nfn f() {\n    crate::gate::c::f();\n}\n",
            ),
            ("src/gate/c.rs", "//! x\n\nuse crate::gate::a::X;\n"),
        ],
        &[
            "src/gate/c.rs:3: cycle: src/gate/a.rs → src/gate/b.rs → src/gate/b/d.rs → src/gate/c.rs → src/gate/a.rs",
        ],
    ),
    one(
        "files that give on what stands below them, and files that take from above",
        &[
            (
                "src/gate.rs",
                "//! x\nmod a;\nmod b;\npub use a::X;\npub(crate) use self::b::Y;\n",
            ),
            (
                "src/gate/a.rs",
                "//! x\nuse super::Y;\nuse crate::gate::Z;\n",
            ),
            ("src/gate/b.rs", "//! x\nfn f(_: super::a::X) {}\n"),
            ("src/gate/c.rs", "//! x\nmod d;\nuse d::X;\nuse super::Y;\n"),
            ("src/gate/c/d.rs", "//! x\nuse super::Y;\n"),
        ],
        &[],
    ),
    // Crates.
    one(
        "a runtime in domain",
        &[("src/domain/x.rs", "//! x\nuse tokio::sync::Notify;\n")],
        &["src/domain/x.rs:2: crate: domain must never name tokio"],
    ),
    one(
        "dice in decide",
        &[(
            "src/decide/x.rs",
            "//! x\nfn f() -> u8 {\n    rand::random()\n}\n",
        )],
        &["src/decide/x.rs:3: crate: decide must never name rand"],
    ),
    one(
        "a runtime in ports",
        &[(
            "src/ports.rs",
            "//! x\nuse {async_trait::async_trait, tokio};\n",
        )],
        &["src/ports.rs:2: crate: ports must never name tokio"],
    ),
    one(
        "SQL in config",
        &[("src/config.rs", "//! x\nextern crate rusqlite;\n")],
        &["src/config.rs:2: crate: config must never name rusqlite"],
    ),
    one(
        "kube in gate",
        &[("src/gate.rs", "//! x\nfn f(_: kube::Client) {}\n")],
        &["src/gate.rs:2: crate: gate must never name kube"],
    ),
    one(
        "a client in store",
        &[("src/store/x.rs", "//! x\nuse reqwest::Client;\n")],
        &["src/store/x.rs:2: crate: store must never name reqwest"],
    ),
    one(
        "a server in latch",
        &[("src/latch.rs", "//! x\nuse axum::Json;\n")],
        &["src/latch.rs:2: crate: latch must never name axum"],
    ),
    one(
        "SQL in desired",
        &[("src/desired/x.rs", "//! x\nuse rusqlite::Connection;\n")],
        &["src/desired/x.rs:2: crate: desired must never name rusqlite"],
    ),
    one(
        "SQL in targets",
        &[("src/targets/x.rs", "//! x\nuse sqlx::Row;\n")],
        &["src/targets/x.rs:2: crate: targets must never name sqlx"],
    ),
    one(
        "kube in mirror",
        &[("src/mirror/x.rs", "//! x\nuse k8s_openapi::api;\n")],
        &["src/mirror/x.rs:2: crate: mirror must never name k8s_openapi"],
    ),
    one(
        "SQL in http",
        &[("src/http/x.rs", "//! x\nuse ::rusqlite::Connection;\n")],
        &["src/http/x.rs:2: crate: http must never name rusqlite"],
    ),
    one(
        "kube beyond the derive in source",
        &[(
            "src/source/x.rs",
            "//! x\nuse kube::{Client, CustomResource};\n",
        )],
        &["src/source/x.rs:2: crate: source names kube::Client"],
    ),
    // Time.
    one(
        "a clock in domain",
        &[(
            "src/domain/x.rs",
            "//! x\nfn f() -> jiff::Timestamp {\n    jiff::Timestamp::now()\n}\n",
        )],
        &["src/domain/x.rs:3: clock: domain names Timestamp::now"],
    ),
    one(
        "a clock by its type",
        &[(
            "src/store/x.rs",
            "//! x\nuse std::time::{Duration, Instant};\n",
        )],
        &["src/store/x.rs:2: clock: store names time::Instant"],
    ),
    one(
        "a clock in a made-up id",
        &[(
            "src/latch.rs",
            "//! x\nfn f() -> ulid::Ulid {\n    ulid::Ulid::generate()\n}\n",
        )],
        &["src/latch.rs:3: clock: latch names Ulid::generate"],
    ),
    one(
        "an age by the wall clock",
        &[(
            "src/gate/x.rs",
            "//! x\nfn f(now: Timestamp, at: Timestamp) -> bool {\n    now.duration_since(at) > LIMIT\n}\n",
        )],
        &["src/gate/x.rs:3: moment: duration_since()"],
    ),
    one(
        "an age by a minus, over two lines",
        &[(
            "src/latch/x.rs",
            "//! x\nfn f(x: &X) -> Span {\n    x.clock.now()\n        - x.taken_at\n}\n",
        )],
        &["src/latch/x.rs:4: moment: a minus beside `taken_at`"],
    ),
    one(
        "an age of seconds",
        &[(
            "src/http/x.rs",
            "//! x\nfn f(x: Timestamp, y: i64) -> i64 {\n    x.as_second() - y\n}\n",
        )],
        &["src/http/x.rs:3: moment: as_second()"],
    ),
    one(
        "an age within a macro, and by the type's name",
        &[(
            "src/store/x.rs",
            "//! x\nfn f() {\n    tracing::info!(age = ?now.until(then), \"x\");\n    let age = Timestamp::since;\n}\n",
        )],
        &[
            "src/store/x.rs:3: moment: until()",
            "src/store/x.rs:4: moment: since()",
        ],
    ),
    one(
        "ages as they should be",
        &[(
            "src/gate/x.rs",
            "//! x\nfn f(now: Duration, at: Duration) -> Duration {\n    let x: i64 = -1;\n    now.saturating_sub(at) * (count - 1)\n}\n",
        )],
        &[],
    ),
    one(
        "async fn in decide",
        &[("src/decide/x.rs", "//! x\npub async fn f() {}\n")],
        &["src/decide/x.rs:2: async: decide waits for nothing"],
    ),
    one(
        "async block in decide",
        &[(
            "src/decide/x.rs",
            "//! x\nfn f() -> impl Future {\n    async {}\n}\n",
        )],
        &["src/decide/x.rs:3: async: decide waits for nothing"],
    ),
    // Names.
    one(
        "two types of one name, and one of another kind",
        &[
            ("src/gate.rs", "//! x\npub(crate) struct Found;\n"),
            ("src/latch.rs", "//! x\n\npub(super) enum Found {}\n"),
            (
                "src/ports.rs",
                "//! x\nmod a {\n    pub type Found = u8;\n}\n",
            ),
        ],
        &[
            "src/latch.rs:3: name: Found is a type of src/gate.rs too",
            "src/ports.rs:3: name: Found is a type of src/gate.rs too",
        ],
    ),
    one(
        "a private type that takes a name that is known",
        &[
            ("src/gate.rs", "//! x\nstruct Found;\n"),
            ("src/latch.rs", "//! x\npub trait Found {}\n"),
        ],
        &["src/latch.rs:2: name: Found is a type of src/gate.rs too"],
    ),
    one(
        "types that a module below takes from above",
        &[
            ("src/gate.rs", "//! x\nstruct Found;\nstruct Told;\n"),
            (
                "src/gate/x.rs",
                "//! x\nfn f(_: super::Found) {\n    super::Told::g();\n}\n",
            ),
            ("src/http.rs", "//! x\nstruct Found;\n"),
            ("src/http/x.rs", "//! x\nuse super::*;\n"),
            ("src/latch.rs", "//! x\nstruct Told;\n"),
        ],
        &[
            "src/http.rs:2: name: Found is a type of src/gate.rs too",
            "src/latch.rs:2: name: Told is a type of src/gate.rs too",
        ],
    ),
    one(
        "private types of one name, and one that is made for two systems",
        &[
            (
                "src/gate.rs",
                "//! x\nstruct Found;\n#[cfg(unix)]\npub struct Seen;\n#[cfg(not(unix))]\npub struct Seen;\n",
            ),
            (
                "src/latch.rs",
                "//! x\nstruct Found;\nuse crate::gate::Found2;\n",
            ),
            ("tests/it/x.rs", "//! x\npub struct Seen;\n"),
        ],
        &[],
    ),
    // Files.
    one(
        "mod.rs",
        &[("src/gate/mod.rs", "//! x\n")],
        &["src/gate/mod.rs:1: mod.rs"],
    ),
    one(
        "no header",
        &[("tests/it/x.rs", "// x\nfn f() {}\n")],
        &["tests/it/x.rs:1: header"],
    ),
    one(
        "no Rust",
        &[("src/gate.rs", "//! x\nfn f( {}\n")],
        &["src/gate.rs:1: syntax"],
    ),
    one(
        "ignored",
        &[(
            "tests/it/x.rs",
            "//! x\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n",
        )],
        &["tests/it/x.rs:3: ignored"],
    ),
    one(
        "ignored on a condition",
        &[(
            "tests/it/x.rs",
            "//! x\n#[cfg_attr(unix, ignore)]\nfn f() {}\n",
        )],
        &["tests/it/x.rs:2: ignored"],
    ),
    one(
        "ignored inside a macro",
        &[(
            "tests/rules/x.rs",
            "//! x\nproptest! {\n    #[test]\n    #[ignore]\n    fn f(x: u8) {}\n}\n",
        )],
        &["tests/rules/x.rs:4: ignored"],
    ),
    one(
        "todo",
        &[("src/gate.rs", "//! x\nfn f() {\n    todo!()\n}\n")],
        &["src/gate.rs:3: unfinished: todo!"],
    ),
    one(
        "unimplemented",
        &[(
            "src/gate.rs",
            "//! x\nfn f() {\n    unimplemented!(\"later\")\n}\n",
        )],
        &["src/gate.rs:3: unfinished: unimplemented!"],
    ),
    one(
        "dbg, inside another macro",
        &[(
            "tests/it/x.rs",
            "//! x\nfn f() {\n    assert!(dbg!(1) > 0);\n}\n",
        )],
        &["tests/it/x.rs:3: unfinished: dbg!"],
    ),
];

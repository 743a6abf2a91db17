//! fly.toml, read and obeyed: the program starts with its variables, and the check it names
//! answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;

use crate::support::{Echo, free_port, http, run};

/// The values of fly.toml that matter, by section and key. A TOML parser reads the file: Python's
/// own.
fn fly() -> BTreeMap<String, String> {
    let script = "import json, tomllib, sys
f = tomllib.load(open(sys.argv[1], 'rb'))
flat = {'env.' + k: v for k, v in f['env'].items()}
s, m = f['http_service'], f['mounts']
flat |= {'port': str(s['internal_port']), 'stop': str(s['auto_stop_machines']), 'least': str(s['min_machines_running'])}
flat |= {'check': s['checks'][0]['path'], 'method': s['checks'][0]['method'], 'mount': m['destination']}
flat |= {'signal': f['kill_signal'], 'machines': str(len(f['vm']))}
print(json.dumps(flat))";
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fly.toml");
    let printed =
        run(std::process::Command::new(crate::python::interpreter()).args(["-c", script, file]));
    serde_json::from_str(&printed).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_starts_as_fly_toml_says() {
    let fly = fly();
    assert_eq!(
        (fly["check"].as_str(), fly["method"].as_str()),
        ("/livez", "GET"),
        "neither a kill nor the store may fail it"
    );
    assert_eq!(
        (
            fly["stop"].as_str(),
            fly["least"].as_str(),
            fly["machines"].as_str()
        ),
        ("off", "1", "1")
    );
    assert_eq!(
        fly["env.ECHO_DATA_DIR"], fly["mount"],
        "the record is on the volume"
    );
    assert_eq!(fly["signal"], "SIGTERM");
    let port = format!(":{}", fly["port"]);
    assert!(
        fly["env.ECHO_LISTEN"].ends_with(&port),
        "it listens where Fly looks"
    );

    // As there, but for the folder, which only a machine of Fly's has, and the ports, which are
    // ours to choose.
    let folder = tempfile::tempdir().unwrap();
    let changed = |name: &str, value: &str| match name {
        "ECHO_DATA_DIR" => folder.path().join("data").display().to_string(),
        "ECHO_LISTEN" => value.replace(&port, ":0"),
        "ECHO_GATE_LISTEN" => format!("[::]:{}", free_port()),
        _ => value.to_owned(),
    };
    let variables: Vec<(&str, String)> = fly
        .iter()
        .filter_map(|(name, value)| {
            name.strip_prefix("env.")
                .map(|name| (name, changed(name, value)))
        })
        .collect();
    let mut echo = Echo::start("serve", &variables, folder.path()).await;
    let check = http()
        .get(format!(
            "http://127.0.0.1:{}{}",
            echo.address.port(),
            fly["check"]
        ))
        .send()
        .await
        .unwrap();
    assert!(check.status().is_success());
    assert!(
        echo.process.terminate().success(),
        "Fly's signal ends it with 0"
    );
}

//! Help teaches by example, and no example names what is not there.

use std::process::Command;

use crate::support::{program, run};

fn help(of: &[&str]) -> String {
    run(Command::new(program()).args(of).arg("--help").env_clear())
}

/// Every command that is listed.
fn commands() -> Vec<String> {
    let text = help(&[]);
    let listed = text
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let names = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_teaches_by_example() {
    let commands = commands();
    let known = [
        "serve",
        "operator",
        "gate",
        "status",
        "kill",
        "revive",
        "verify",
        "backup",
        "completions",
        "healthcheck",
    ];
    assert!(
        known
            .iter()
            .all(|name| commands.iter().any(|listed| listed == name)),
        "{commands:?}"
    );
    for name in &commands {
        let text = help(&[name]);
        let (options, examples) = text
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("{name} has no examples"));
        assert!(
            examples.contains(&format!("echo-phoenix {name}")),
            "{name}: {examples}"
        );
        // A line that goes on belongs to the command before it; what follows a pipe is another
        // program's.
        for line in examples.lines().filter(|line| line.starts_with("  ")) {
            let ours = line.split(['|', '>']).next().unwrap();
            if !ours.contains(&format!("echo-phoenix {name}")) {
                continue;
            }
            for flag in ours
                .split_whitespace()
                .filter(|word| word.starts_with("--"))
            {
                assert!(
                    options.contains(flag),
                    "{name}: {flag} is in an example, and is no option"
                );
            }
        }
    }
}

#[test]
fn every_flag_that_a_variable_can_set_names_it_and_never_its_value() {
    let reference = run(Command::new(program())
        .args(["reference", "configuration"])
        .env_clear());
    let rows = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let mut seen = 0;
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        let variable = cells[0].trim_end_matches('`');
        if cells.len() < 5
            || variable.starts_with('-')
            || !variable
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b == b'_')
        {
            continue;
        }
        for command in cells[3].split(", ") {
            let said = Command::new(program())
                .args([command, "--help"])
                .env_clear()
                .env(variable, "127.0.0.9:77")
                .output();
            let said = String::from_utf8(said.unwrap().stdout).unwrap();
            let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                flat.contains(&format!("[env: {variable}]")),
                "{command} does not name {variable}: {said}"
            );
            assert!(
                !said.contains("127.0.0.9:77"),
                "{command} tells what {variable} is"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn the_first_help_names_the_exit_codes_and_only_commands_that_are_there() {
    let text = help(&[]);
    assert!(text.contains("Exit codes: 0 done"), "{text}");
    let commands = commands();
    let examples = text.split("Examples:\n").nth(1).unwrap();
    for after in examples.split("echo-phoenix ").skip(1) {
        let name = after.split_whitespace().next().unwrap();
        assert!(
            commands.iter().any(|known| known == name),
            "{name} is no command"
        );
    }
    assert_eq!(
        Command::new(program())
            .arg("no-such-command")
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
}

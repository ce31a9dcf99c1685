//! What the README says to type is understood, and works.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use lb_userspace::cli::Cli;
use lb_userspace::daemon::Daemon;
use lb_userspace::lab::{Configuration, Topology, Transport};
use libtest_mimic::Trial;

use super::scene::{ECHO, Scene};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("every command of the README is one", every_command_is_one),
        trial("the README's lbctl commands work", commands_work),
    ]
}

fn every_command_is_one() -> Result<()> {
    let commands = commands(&read()?);
    ensure!(!commands.is_empty(), "the README shows no lbctl or lbd");
    for words in commands {
        let parsed = match words.first().map(String::as_str) {
            Some("lbd") => Daemon::try_parse_from(&words).map(drop),
            _ => Cli::try_parse_from(&words).map(drop),
        };
        match parsed {
            // `--help` and `--version` end the parsing, too.
            Err(error) if error.use_stderr() => bail!("`{}`: {error}", words.join(" ")),
            _ => {}
        }
    }
    Ok(())
}

/// Runs them in their order against a service `echo` with the backends `old` and `new`. Not run:
/// what ends lbd, needs a file or a person, or has a trial of its own.
fn commands_work() -> Result<()> {
    let mut scene = Scene::without_lbd(&Topology::two_nets())?;
    let (one, two) = (scene.lab().endpoint("one")?, scene.lab().endpoint("two")?);
    let configuration = Configuration::on(&scene.lab().node().interfaces())
        .service("echo", Transport::Tcp, ECHO.address())
        .backend("old", 1, &[ECHO.at(one)])
        .backend("new", 1, &[ECHO.at(two)]);
    scene.start(&configuration)?;
    let mut ran = 0;
    for words in commands(&read()?) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        if let [
            "lbctl",
            command @ ("set-weight" | "status" | "get" | "completion"),
            ..,
        ] = words[..]
        {
            let said = scene.lbctl(&words[1..])?;
            ensure!(
                said.code == Some(0),
                "`lbctl {command} …`: `{}`: {:?}: {}",
                words.join(" "),
                said.code,
                said.stderr
            );
            ran += 1;
        }
    }
    ensure!(ran > 0, "the README shows no command that can be run");
    Ok(())
}

fn read() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Every `lbctl` and `lbd` in code blocks, as words: behind a prompt or sudo, up to a comment, a pipe
/// or a redirection.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut in_code = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            commands.extend(command(line));
        }
    }
    commands
}

fn command(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line).trim_start();
    let line = line.strip_prefix("# ").unwrap_or(line);
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    let mut words = words(line);
    let end = words
        .iter()
        .position(|word| word.starts_with(['#', '|', '>', '<', '&', ';']))
        .unwrap_or(words.len());
    words.truncate(end);
    matches!(words.first()?.as_str(), "lbctl" | "lbd")
        .then_some(words)
        // `lbctl …` in a sentence of output is no command.
        .filter(|words| !words.iter().any(|word| word.contains('…')))
}

/// Words as a shell splits them, as far as a README needs it: blanks, and quotes that keep them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), it) if it == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, it) => word.get_or_insert_default().push(it),
        }
    }
    words.extend(word);
    words
}

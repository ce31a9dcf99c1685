//! What the README says to type is understood, and works.

use std::path::Path;
use std::process::Command;
use std::{env, fs, iter};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use lb_userspace::cli::Cli;
use lb_userspace::client::DEFAULT_SOCKET;
use lb_userspace::daemon::Daemon;
use lb_userspace::lab::Topology;
use libtest_mimic::Trial;

use super::scene::{ECHO, Scene, program};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("every command of the README is one", every_command_is_one),
        trial(
            "what the README says to type works as it stands",
            commands_work,
        ),
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

/// Types the README's own lines into a shell, in their order, in a lab where its example is right as it
/// stands. Only where lbd has its files is the lab's. What needs cargo is tried by xtask.
fn commands_work() -> Result<()> {
    let readme = read()?;
    let mut scene = Scene::without_lbd(&Topology::one_net())?;
    give_addresses(&scene)?;
    let examples = blocks(&readme, "toml");
    let [example] = &examples[..] else {
        bail!("{} examples of a configuration", examples.len());
    };
    fs::write(scene.lab().config(), example)?;
    let mut runs = false;
    let mut typed = Vec::new();
    for line in blocks(&readme, "sh").iter().flat_map(|it| it.lines()) {
        let words = words(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["cargo" | "install", ..] | [] => continue,
            ["lbd"] => {
                scene.start_again()?;
                runs = true;
            }
            ["lbd", ..] => type_line(
                &scene,
                &format!("{line} --config {}", scene.lab().config().display()),
            )?,
            ["lbctl", "detach", ..] => {
                type_line(&scene, line)?;
                let status = scene.take_balancer()?.stop()?;
                ensure!(status.success(), "`{line}`: lbd ended with {status}");
                runs = false;
            }
            ["lbctl", ..] => type_line(&scene, line)?,
            // The shell would not mind if lbctl failed.
            ["source", ..] => type_line(&scene, &format!("{line}\ndeclare -F _lbctl"))?,
            ["curl", ..] => {
                if !runs {
                    scene.start_again()?;
                }
                let socket = scene.lab().socket().display().to_string();
                let line = line.replacen(DEFAULT_SOCKET, &socket, 1);
                ensure!(line.contains(&socket), "`{line}` names another socket");
                type_line(&scene, &line)?;
            }
            _ => bail!("the README says to type `{line}`: no test does"),
        }
        if runs {
            follows_the_weights(&scene).with_context(|| format!("after `{line}`"))?;
        }
        typed.push(words[..words.len().min(2)].join(" "));
    }
    for part in [
        "lbd",
        "lbd check",
        "lbctl set-weight",
        "lbctl apply",
        "lbctl detach",
        "curl --unix-socket",
    ] {
        ensure!(
            typed.iter().any(|it| it == part),
            "the README does not type `{part}`: {typed:?}"
        );
    }
    Ok(())
}

/// Gives the hosts the addresses of the example.
fn give_addresses(scene: &Scene) -> Result<()> {
    let lab = scene.lab();
    for (host, addresses) in [
        (lab.node(), &["10.64.1.1/24", "10.64.2.1/24"][..]),
        (lab.endpoint("one")?, &["10.64.1.2/24"]),
        (lab.endpoint("two")?, &["10.64.2.2/24"]),
    ] {
        for address in addresses {
            host.ip(&["address", "add", address, "dev", "eth0"])?;
        }
    }
    Ok(())
}

/// Types a line on the node, where `lb.toml` is the example; it must succeed.
fn type_line(scene: &Scene, line: &str) -> Result<()> {
    let lbctl = program("lbctl")?;
    let directory = lbctl.parent().context("lbctl lies nowhere")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(iter::once(directory.to_owned()).chain(env::split_paths(&path)))?;
    let mut bash = Command::new("bash");
    bash.args(["-e", "-c", line])
        .env("PATH", path)
        .env("LB_SOCKET", scene.lab().socket())
        .current_dir(scene.lab().directory());
    let said = scene.run(bash)?;
    let hint = match said.code {
        Some(127) => "not installed: `cargo xtask setup` installs what the tests need\n",
        _ => "",
    };
    ensure!(
        said.code == Some(0),
        "`{line}`: {:?}: {hint}{}{}",
        said.code,
        said.stdout,
        said.stderr
    );
    Ok(())
}

/// Every new flow is answered, by whom the weights say.
fn follows_the_weights(scene: &Scene) -> Result<()> {
    let status = scene.json(&["status"])?;
    let percent = status["services"][0]["backends"][1]["percent"].as_f64();
    scene.ask_for_share(ECHO, 30, percent.context("no share of `new`")? / 100.0)
}

fn read() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The code blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```") else {
            continue;
        };
        let content: Vec<_> = lines.by_ref().take_while(|it| *it != "```").collect();
        if name == language {
            blocks.push(content.join("\n"));
        }
    }
    blocks
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

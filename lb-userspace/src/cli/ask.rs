//! `lbctl`: from what was typed to an exit code. Decides nothing: `lbd` does.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::CommandFactory as _;

use super::output::Page;
use super::{Cli, Command, Flows, Get, SetWeight, apply, decap};
use crate::api::{self, Failure, FlowsQuery};
use crate::client::{self, Client};
use crate::exit::Exit;
use crate::{demo, render, weights};

/// Does what `cli` asks for, prints the answer or what went wrong, and says how to end.
pub async fn run(cli: Cli) -> Exit {
    let client = Client::new(&cli.socket);
    let page = Page::of(cli.output);
    let done = match cli.command {
        Command::SetWeight(asked) => set_weight(&client, asked, page).await,
        Command::Status => status(&client, page).await,
        Command::Get(what) => get(&client, what, page).await,
        Command::Apply(asked) => apply::apply(&client, asked, page).await,
        Command::Detach { yes } => detach(&client, yes, page).await,
        Command::Decap(asked) => decap::decap(asked, page),
        Command::Completion { shell } => completion(shell, page),
        Command::Demo => show(page).await,
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(trouble) => trouble.tell(),
    }
}

/// What ends a command early.
pub(super) enum Trouble {
    Lbd(client::Error),
    Printing(io::Error),
}

impl From<client::Error> for Trouble {
    fn from(cause: client::Error) -> Self {
        Self::Lbd(cause)
    }
}

impl From<Failure> for Trouble {
    fn from(cause: Failure) -> Self {
        Self::Lbd(cause.into())
    }
}

impl From<io::Error> for Trouble {
    fn from(cause: io::Error) -> Self {
        Self::Printing(cause)
    }
}

impl Trouble {
    fn tell(self) -> Exit {
        let (text, exit) = match self {
            Self::Lbd(cause) => (cause.to_string(), cause.exit()),
            // Whoever read the output has seen enough: `lbctl get flows | head`.
            Self::Printing(cause) if cause.kind() == io::ErrorKind::BrokenPipe => return Exit::Ok,
            Self::Printing(cause) => (format!("cannot print: {cause}"), Exit::Failure),
        };
        // If nobody reads that either, the exit code still tells.
        let _ = writeln!(io::stderr(), "lbctl: {text}");
        exit
    }
}

type Done = Result<(), Trouble>;

async fn set_weight(client: &Client, asked: SetWeight, page: Page) -> Done {
    // A mistake in the grammar is told without lbd, in the same words.
    weights::parse(&asked.changes).map_err(Failure::from)?;
    let SetWeight {
        changes,
        service,
        dry_run,
    } = asked;
    let answer = client
        .set_weights(&api::SetWeights {
            service,
            changes,
            dry_run,
        })
        .await?;
    Ok(page.print(&answer, render::weights)?)
}

async fn status(client: &Client, page: Page) -> Done {
    Ok(page.print(&client.status().await?, render::status)?)
}

async fn get(client: &Client, what: Get, page: Page) -> Done {
    match what {
        Get::Services => page.print(&client.services().await?, render::services)?,
        Get::Backends => page.print(&client.backends().await?, render::backends)?,
        Get::Reasons => page.print(&client.reasons().await?, render::reasons)?,
        Get::Flows(Flows {
            limit,
            service,
            backend,
            client: from,
        }) => {
            let query = FlowsQuery {
                limit: Some(limit),
                service,
                backend,
                client: from,
            };
            page.print(&client.flows(&query).await?, render::flows)?
        }
    }
    Ok(())
}

async fn detach(client: &Client, yes: bool, page: Page) -> Done {
    if !yes && !agreed(client).await? {
        return Ok(());
    }
    Ok(page.print(&client.detach().await?, |answer, _| render::detach(answer))?)
}

async fn agreed(client: &Client) -> Result<bool, Trouble> {
    if !io::stdin().is_terminal() {
        let error = "detach cuts live flows and nobody is here to ask";
        return Err(Failure::new(api::Code::BadRequest, error)
            .try_this("lbctl detach --yes")
            .into());
    }
    let status = client.status().await?;
    let names: Vec<&str> = status
        .interfaces
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    let live = status.live.opening + status.live.open + status.live.closing;
    let question = format!(
        "Take lb off {}? {live} live flows will be cut. [y/N] ",
        names.join(", ")
    );
    let mut terminal = io::stderr();
    terminal.write_all(question.as_bytes())?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn completion(shell: clap_complete::Shell, page: Page) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lbctl", &mut script);
    Ok(page.print_bytes(&script)?)
}

async fn show(page: Page) -> Done {
    let style = page.style().ok_or_else(|| {
        Failure::new(
            api::Code::BadRequest,
            "the demo is for people: it has no JSON",
        )
        .try_this("lbctl demo")
    })?;
    let shown = tokio::task::spawn_blocking(move || demo::run(style)).await;
    let shown = shown.unwrap_or_else(|cause| Err(cause.into()));
    let broken = match shown {
        Ok(verdict) => verdict.broken(),
        Err(cause) if demo::is_unread(&cause) => return Ok(()),
        Err(cause) => return Err(Failure::new(api::Code::Internal, format!("{cause:#}")).into()),
    };
    if broken.is_empty() {
        return Ok(());
    }
    let error = format!("the demo broke a promise: {}", broken.join("; "));
    Err(Failure::new(api::Code::Internal, error).into())
}

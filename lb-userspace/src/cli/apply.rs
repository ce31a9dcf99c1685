//! `lbctl apply`.

use std::io::{self, Read as _};
use std::path::Path;

use super::Apply;
use super::ask::Trouble;
use super::output::Page;
use crate::api::{Code, ConfigQuery, Failure};
use crate::client::Client;
use crate::render;

pub(super) async fn apply(client: &Client, asked: Apply, page: Page) -> Result<(), Trouble> {
    let text = read(&asked.file).map_err(|cause| {
        let error = format!("cannot read {}: {cause}", asked.file.display());
        Failure::new(Code::BadConfig, error).try_this("name a readable TOML file, or - for stdin")
    })?;
    let file = Some(asked.file.display().to_string());
    let answer = client
        .configure(
            &ConfigQuery {
                dry_run: asked.dry_run,
                file,
            },
            text,
        )
        .await?;
    Ok(page.print(&answer, render::config)?)
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

//! Columns without lines: they survive `cut`, `awk` and narrow terminals.

use comfy_table::{Cell, CellAlignment, Table};

use super::Style;

/// A column: its title and where its cells stand.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
}

use Column::{Number, Text};

/// A table with a title line, or `empty` if there are no rows.
pub(crate) fn table(
    columns: &[Column],
    rows: Vec<Vec<String>>,
    empty: &str,
    style: Style,
) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Text(title) => Cell::new(title),
        Number(title) => Cell::new(title).set_alignment(CellAlignment::Right),
    }));
    for row in rows {
        table.add_row(
            row.into_iter()
                .zip(columns)
                .map(|(text, column)| match column {
                    Text(_) => Cell::new(text),
                    Number(_) => Cell::new(text).set_alignment(CellAlignment::Right),
                }),
        );
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let mut lines = text.lines().map(str::trim_end);
    let title = lines
        .next()
        .map(|line| style.bold(line) + "\n")
        .unwrap_or_default();
    lines.fold(title, |text, line| text + line + "\n")
}

//! `hermes sessions export`.

use std::io::{BufWriter, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, ValueHint};
use hermes_host::file;
use hermes_wire::exit;
use hermes_worker::stored::Look;

use super::super::Call;
use super::super::json;
use super::super::output::Output;
use super::words::many;
use super::{find, look, place};
use crate::error::{HermesError, StoredError};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The file, which nobody else can read; `-` is standard output.
    #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    file: Utf8PathBuf,
    /// Only those that came this way.
    #[arg(long, value_name = "SOURCE", conflicts_with = "session", value_hint = ValueHint::Other)]
    source: Option<String>,
    /// Only this one: its id, the beginning of it, or its title.
    #[arg(long = "session-id", visible_alias = "session", value_name = "SESSION", value_hint = ValueHint::Other)]
    session: Option<String>,
}

pub(super) fn run(args: &ExportArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (_, look) = look(call)?;
    let ids = match (&args.session, &look) {
        (Some(name), look) => vec![find(look.as_ref(), name)?],
        (None, Some(look)) => look.all(args.source.as_deref()).map_err(StoredError::from)?,
        (None, None) => Vec::new(),
    };
    let Some(path) = place(Some(&args.file)) else {
        for id in &ids {
            if let Some(line) = line(look.as_ref(), id)? {
                // On a terminal what it would obey is shown, everywhere else the line is as it is.
                out.line(&line)?;
            }
        }
        return Ok(exit::OK);
    };
    let path = call.env.current_dir.join(path);
    let written = write(look.as_ref(), &ids, &path)?;
    let written = many(i64::try_from(written).unwrap_or(i64::MAX), "session");
    out.line(&format!("Exported {written} to {path}"))?;
    Ok(exit::OK)
}

/// One session on one line; `None`: it is gone meanwhile.
fn line(look: Option<&Look>, id: &str) -> Result<Option<String>, HermesError> {
    let Some(look) = look else { return Ok(None) };
    Ok(look.export(id).map_err(StoredError::from)?.map(|session| json::compact(&session)))
}

/// Writes the file whole or not at all. How many sessions are in it.
fn write(look: Option<&Look>, ids: &[String], path: &Utf8Path) -> Result<usize, HermesError> {
    let failed = |source| HermesError::from(StoredError::File { path: path.to_owned(), source });
    let dir = path.parent().unwrap_or(Utf8Path::new("."));
    let mut temporary = file::temporary(dir).map_err(failed)?;
    let mut written = 0;
    {
        let mut to = BufWriter::new(temporary.as_file_mut());
        for id in ids {
            if let Some(line) = line(look, id)? {
                writeln!(to, "{line}").map_err(failed)?;
                written += 1;
            }
        }
        to.flush().map_err(failed)?;
    }
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))?;
    Ok(written)
}

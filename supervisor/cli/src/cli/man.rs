//! `hermes man`: manual pages, made from the command tree that parses the command line, so that they cannot say anything else.

use camino::Utf8PathBuf;
use clap::{Args, CommandFactory as _, ValueHint};
use hermes_host::disk;
use hermes_host::refusal::Io;
use hermes_wire::exit;

use super::Cli;
use super::output::Output;
use crate::error::HermesError;

/// Printed at the foot of every page; the same in every build, so that the pages are.
const SOURCE: &str = concat!("hermes ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hermes man | man -l -                        read it\n  \
    hermes man --dir ~/.local/share/man/man1     install every page")]
pub(super) struct ManArgs {
    /// Write the page of every command into this directory, instead of printing the first one.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<Utf8PathBuf>,
}

pub(super) fn run(args: &ManArgs, mut out: Output) -> Result<u8, HermesError> {
    let pages = pages();
    let Some(dir) = &args.dir else {
        out.write(&pages[0].1)?;
        return Ok(exit::OK);
    };
    fs_err::create_dir_all(dir).map_err(Io::at("make the directory", dir.as_path()))?;
    for (name, text) in &pages {
        let path = dir.join(name);
        disk::write_public(&path, text.as_bytes()).map_err(Io::at("write", path.as_path()))?;
    }
    out.line(&format!("✓ {} pages are in {dir}", pages.len()))?;
    Ok(exit::OK)
}

/// File name and text of every page, that of `hermes` itself first.
pub(super) fn pages() -> Vec<(String, String)> {
    let mut tree = Cli::command().color(clap::ColorChoice::Never);
    tree.build();
    let mut pages = Vec::new();
    collect(&tree, "hermes", &mut pages);
    pages
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, String)>) {
    // The name of a page is that of the command with hyphens, as for git's: hermes-gateway-run(1). Leaked: a short text each, in a
    // command that ends with them.
    let own = command.clone().name(&*name.to_owned().leak()).version(env!("CARGO_PKG_VERSION"));
    // The commit is no part of a page: it would be another one with each.
    let own = own.long_version(env!("CARGO_PKG_VERSION"));
    let page = clap_mangen::Man::new(own).source(SOURCE).manual("Hermes").date("");
    let mut text = Vec::new();
    page.render(&mut text).expect("writing to memory does not fail");
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages);
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    /// 7: the pages in `deploy/man` are those of this command tree; `hermes man --dir deploy/man` brings them up to date.
    #[test]
    fn n07_the_pages_in_deploy_are_up_to_date() {
        let dir = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/man");
        let pages = pages();
        assert!(pages.len() > 30 && pages[0].0 == "hermes.1");
        let mut names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let mut there: Vec<String> =
            dir.read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned()).collect();
        there.sort_unstable();
        assert_eq!(there, names);
        for (name, text) in &pages {
            assert!(text.contains(".SH NAME") && !text.contains('\x1b'), "{name}");
            assert_eq!(&fs_err::read_to_string(dir.join(name)).unwrap(), text, "deploy/man/{name} is stale");
        }
    }
}

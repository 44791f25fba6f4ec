//! JSON on one line as Python's `json.dumps` prints it: a blank behind commas and colons. Clients of 0.19.0 compare bytes with it.

use std::io;

use serde_json::ser::Formatter;

/// `{"a": 1, "b": [2, 3]}`; letters are written as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

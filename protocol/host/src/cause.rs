//! What is behind an error: its causes, one after the other, and all of them on one line.

use std::error::Error;
use std::fmt;

/// The causes of `error`, the nearest first, itself left out.
pub fn causes<'a>(error: &'a (dyn Error + 'a)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

/// Prints an error and its causes on one line: `cannot open x: permission denied`.
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        causes(self.0).try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// [`Chain`] as a text.
pub fn chain(error: &dyn Error) -> String {
    Chain(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Of(&'static str, Option<Box<Of>>);

    impl fmt::Display for Of {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Of {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| -> &(dyn Error + 'static) { cause })
        }
    }

    #[test]
    fn causes_come_after_what_they_caused() {
        let error = Of("a", Some(Box::new(Of("b", Some(Box::new(Of("c", None)))))));
        assert_eq!(chain(&error), "a: b: c");
        assert_eq!(causes(&error).last().unwrap().to_string(), "c");
        assert_eq!(chain(&Of("alone", None)), "alone");
    }
}

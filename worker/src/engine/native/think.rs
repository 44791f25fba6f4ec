//! Reasoning that a model writes into its answer: `<think>…</think>` at the start. Servers without a parser for their model pass
//! it on as content.

/// What opens reasoning, and what closes it. ASCII letters match in any case.
const MARKS: [(&str, &str); 9] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reasoning_scratchpad>", "</reasoning_scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
];

/// So much white space may stand before it, in bytes.
const MAX_SPACE: usize = 256;

/// A piece of content, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sorted {
    /// What is said.
    pub(super) answer: String,
    /// What is only thought.
    pub(super) reasoning: String,
}

/// Sorts the pieces of one content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sorter {
    state: State,
    /// Not sorted yet.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing but white space came.
    #[default]
    Start,
    /// Nothing but white space came since reasoning ended.
    Between,
    /// Up to this mark.
    Within(&'static str),
    /// All that follows is the answer.
    Answer,
}

impl Sorter {
    /// The next piece. What may be the beginning of a mark is held back.
    pub(super) fn push(&mut self, piece: &str) -> Sorted {
        let mut sorted = Sorted::default();
        if self.state == State::Answer {
            piece.clone_into(&mut sorted.answer);
            return sorted;
        }
        self.held.push_str(piece);
        while self.step(&mut sorted) {}
        sorted
    }

    /// What was held back when no more comes: a mark that was never closed leaves nothing but reasoning.
    pub(super) fn rest(&mut self) -> Sorted {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Within(_) => Sorted { reasoning: held, ..Sorted::default() },
            State::Between => Sorted { answer: held.trim_start().to_owned(), ..Sorted::default() },
            State::Start | State::Answer => Sorted { answer: held, ..Sorted::default() },
        }
    }

    /// Sorts a part of what is held; whether there may be more to do.
    fn step(&mut self, sorted: &mut Sorted) -> bool {
        match self.state {
            State::Start | State::Between => self.open(sorted),
            State::Within(close) => self.close(close, sorted),
            State::Answer => false,
        }
    }

    fn open(&mut self, sorted: &mut Sorted) -> bool {
        let text = self.held.trim_start();
        let space = self.held.len() - text.len();
        let near = self.state == State::Between || space <= MAX_SPACE;
        if near && text.is_empty() {
            return false;
        }
        let mark = MARKS.iter().find(|(open, _)| begins(text, open));
        match mark.filter(|_| near) {
            Some((open, close)) if text.len() >= open.len() => {
                self.held.drain(..space + open.len());
                self.state = State::Within(close);
                true
            }
            Some(_) => false,
            None => {
                let held = std::mem::take(&mut self.held);
                let skipped = if self.state == State::Between { space } else { 0 };
                sorted.answer.push_str(&held[skipped..]);
                self.state = State::Answer;
                false
            }
        }
    }

    fn close(&mut self, close: &str, sorted: &mut Sorted) -> bool {
        let starts = |from: usize| begins(&self.held[from..], close);
        let at = self.held.char_indices().map(|(at, _)| at).find(|at| starts(*at));
        let at = at.unwrap_or(self.held.len());
        sorted.reasoning.extend(self.held.drain(..at));
        if self.held.len() < close.len() {
            return false;
        }
        self.held.drain(..close.len());
        self.state = State::Between;
        true
    }
}

/// Whether `text` begins with `mark`, or `mark` with all of `text`.
fn begins(text: &str, mark: &str) -> bool {
    let length = text.len().min(mark.len());
    text.as_bytes()[..length].eq_ignore_ascii_case(&mark.as_bytes()[..length])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sort<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let (mut sorter, mut answer, mut reasoning) = (Sorter::default(), String::new(), String::new());
        let mut keep = |sorted: Sorted| {
            answer.push_str(&sorted.answer);
            reasoning.push_str(&sorted.reasoning);
        };
        for piece in pieces {
            keep(sorter.push(piece));
        }
        keep(sorter.rest());
        (answer, reasoning)
    }

    /// Wires 1: reasoning at the start of the content is no part of the answer.
    #[test]
    fn w1_reasoning_is_told_from_the_answer() {
        for (text, answer, reasoning) in [
            ("hello <think>x</think>", "hello <think>x</think>", ""),
            ("<think>hm</think>\n\nhello", "hello", "hm"),
            ("\n <THINK>\nhm\n</Think>hello", "hello", "\nhm\n"),
            ("<think></think> <thinking>a<b</thinking>hello", "hello", "a<b"),
            ("[THINK]a[/THINK]hello", "hello", "a"),
            ("◁think▷ä◁/think▷hello ◁", "hello ◁", "ä"),
            ("<think>never closed", "", "never closed"),
            ("<think>never closed</thi", "", "never closed</thi"),
            ("<thin", "<thin", ""),
            ("<thinly>", "<thinly>", ""),
            ("  ", "  ", ""),
            ("  a", "  a", ""),
            ("<think>a</think> ", "", "a"),
            ("", "", ""),
        ] {
            assert_eq!(sort([text]), (answer.to_owned(), reasoning.to_owned()), "{text}");
            let pieces = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
            assert_eq!(sort(pieces), (answer.to_owned(), reasoning.to_owned()), "{text}");
        }
        let far = format!("{}<think>x", " ".repeat(MAX_SPACE + 1));
        assert_eq!(sort([&far[..]]).0, far);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(pieces in prop::collection::vec("[</>thinkTHINK ◁▷]{0,6}|<think>|</think>|\\[THINK\\]", 0..8)) {
            let whole = pieces.concat();
            prop_assert_eq!(sort(pieces.iter().map(String::as_str)), sort([&whole[..]]));
        }
    }
}

//! What is read, what is said about it, and that no message shows a value.

use super::*;

fn get(text: &str) -> Dotenv {
    judge_in(&crate::REGISTRY, text.as_bytes(), &Env::default())
}

fn all(text: &str) -> Vec<(String, String)> {
    get(text).env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn codes(text: &str) -> Vec<(&'static str, u32)> {
    get(text).flaws.iter().map(|flaw| (flaw.code, flaw.line)).collect()
}

/// Wires 11: every form of python-dotenv.
#[test]
fn lines_are_read_as_the_old_program_reads_them() {
    for (text, expected) in [
        (
            "\u{feff}# comment\r\n\r\nA=1\r\nexport B = two words \n  C='single' # note\nD=\"x # y\"\nE=a#b\nF=v # note\n",
            "A=1|B=two words|C=single|D=x # y|E=a#b|F=v",
        ),
        (
            "G=\nH= # nothing\nI=\"it's\"\nJ=a=b\nK='\"'\nA=1\nA=2\nexport=x\n",
            "A=2|G=|H=|I=it's|J=a=b|K=\"|export=x",
        ),
        ("A=\"one\ntwo\\nthree\"\nB='one\n\\'two\\n'\nC=c\n", "A=one\ntwo\nthree|B=one\n'two\\n|C=c"),
        ("A=\"q\\\"\\\\\\t\\x\"#c\nB='x'#c\nC=x#c\n", "A=q\"\\\t\\x|B=x|C=x#c"),
        ("A=\"one\r\ntwo\"\r\nB=2\rC=3", "A=one\ntwo|B=2|C=3"),
        (
            "A=1\nB=${A}2\nC='${B}3'\nD=${NO}x\nE=${NO:-d}${A:-d}\nF=$A ${A\nG=${A:x}\n",
            "A=1|B=12|C=123|D=x|E=d1|F=$A ${A|G=${A:x}",
        ),
        ("A=1\nA\nB=${A:-d}\n'q k'=1\nexport C\nD=\\\\n\\n\n", "B=|D=\\\\n\\n|q k=1"),
        ("A = \"x\"\t\nB=\u{a0}x\u{a0}\nC=a\u{a0}#c\n", "A=x|B=x|C=a"),
        ("A=\"C:\\\\dir\\\\\"\nB=\"x\"\n", "A=C:\\dir\\|B=x"),
        ("A='x'y\nB=1\nC D=2\n=3\nE=\"open\nF=4\n", "B=1|F=4"),
        ("A=\"one\nB=\"two\"\nC=3\n", "C=3"),
        ("bad-name=1\na.b=2\n1X=3\n", "1X=3|a.b=2|bad-name=1"),
    ] {
        let read: Vec<_> = all(text).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(read.join("|"), expected, "{text:?}");
    }
    let file = get("A=1\nB=\"x\ny\"\nA=2\n");
    assert_eq!((file.lines["A"], file.lines["B"]), (4, 2));
}

/// Wires 11: the file comes before the surroundings, which hold what no line above sets.
#[test]
fn references_are_replaced_from_the_lines_above_then_from_the_surroundings() {
    let around = Env::default().with("HOME", "/home/u").with("A", "outer");
    let read = parse_in(b"B=${A}\nA=inner\nC=${A}:${HOME}\nD=${HOME:-no}\nE\nF=${E}\n", &around);
    let value = |name: &str| read.env.raw(name).map(str::to_owned);
    assert_eq!(
        ["B", "C", "D", "F"].map(|name| value(name).unwrap()),
        ["outer", "inner:/home/u", "/home/u", ""]
    );
    assert!(read.flaws.iter().all(|flaw| flaw.code == "env_line"), "{:?}", read.flaws);
    assert_eq!(codes("A=${NOPE}\nB=pa${sSword}\n"), [("env_reference", 1), ("env_reference", 2)]);
    assert!(!format!("{:?}", get("B=pa${sSword}\n").flaws).contains("sSword"));
    let mut bomb = "A=0123456789\n".to_owned();
    for _ in 0..40 {
        bomb.push_str("A=${A}${A}\n");
    }
    assert!(get(&bomb).flaws.iter().any(|flaw| flaw.message.contains("8 MiB")));
}

#[test]
fn odd_lines_are_named_by_number_and_never_quoted() {
    let text = "GOOD=1\nhunter2\n1X=hunter2\nQ=\"hunter2\nZ='hunter2'hunter2\n=hunter2\nN hunter2=1\n";
    let file = get(text);
    assert_eq!(file.flaws.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    assert!(!format!("{:?}", file.flaws).contains("hunter2"));
    assert_eq!(file.env.len(), 2);
}

/// Wires 11: whatever an editor saved, it is read, or refused with the true reason.
#[test]
fn encodings_are_read_or_named() {
    let utf16 = |text: &str, mark: &[u8]| {
        let little = mark != [0xfe, 0xff];
        let units =
            text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() });
        [mark.to_vec(), units.collect()].concat()
    };
    let text = "A_KEY=sk-ü\r\n# kommentar\r\nB=2\r\n";
    for bytes in [utf16(text, &[0xff, 0xfe]), utf16(text, &[0xfe, 0xff]), utf16(text, &[])] {
        let read = parse(&bytes);
        assert_eq!((read.env.raw("A_KEY"), read.env.raw("B")), (Some("sk-ü"), Some("2")));
        assert_eq!(read.flaws[0].code, "env_encoding");
        assert_eq!(super::super::dotenv_edit::text(&bytes).unwrap(), (text.to_owned(), Some("UTF-16")));
    }
    let latin1 = b"# f\xfcr\nA=1\nB=\xfc\nC=\xc3\xbc\n";
    let read = parse(latin1);
    assert_eq!((read.env.raw("A"), read.env.raw("B"), read.env.raw("C")), (Some("1"), Some("ü"), Some("ü")));
    assert_eq!((read.flaws.len(), read.flaws[0].line), (1, 3));
    assert!(parse(b"# f\xfcr\nA=1\n").flaws.is_empty());
    for (bytes, why) in
        [(&b"\xff\xfe\0\0A\0\0\0"[..], "UTF-32"), (b"\xff\xfeA", "cut"), (b"\xff\xfe\x00\xd8", "half")]
    {
        let read = parse(bytes);
        assert!(read.flaws[0].fatal && read.flaws[0].message.contains(why), "{:?}", read.flaws);
    }
    assert_eq!(parse(b"A=a\0b\n").env.raw("A"), Some("ab"));
}

/// Wires 11: two lines that became one, and what nobody sees.
#[test]
fn slips_are_said_and_not_corrected() {
    let said =
        |text: &str| get(text).flaws.into_iter().map(|flaw| flaw.message).collect::<Vec<_>>().join("\n");
    assert!(
        said("A_KEY=xOPENAI_API_KEY=y\n").contains("`OPENAI_API_KEY=` stands within the value of `A_KEY`")
    );
    assert_eq!(get("A_KEY=xOPENAI_API_KEY=y\n").env.raw("A_KEY"), Some("xOPENAI_API_KEY=y"));
    assert!(said("A_KEY=sk-1OPENAI_BASE_URL=https://x\n").contains("OPENAI_BASE_URL"));
    assert!(said("GLM_API_KEY=1LM_API_KEY=2\n").contains("`LM_API_KEY="));
    assert!(said("A_TOKEN=hunterSECRET_MINE_TOKEN=2\n").contains("another NAME="));
    for fine in [
        "URL=https://h/?API_KEY=x\n",
        "A_KEY=abc==\n",
        "A_KEY=QUFB_QQ==\n",
        "A=x OPENAI_API_KEY=y\n",
        "A=https://h/OPENAI_API_KEY=1\n",
    ] {
        assert_eq!(said(fine), "", "{fine}");
    }
    assert!(said("OPENAI\u{200b}_API_KEY=x\n").contains("U+200B"));
    assert!(said("OPENAI_API_KEY=sk\u{200b}x\n").contains("the value of `OPENAI_API_KEY` holds"));
    assert_eq!(said("GREETING=👩\u{200d}💻\n"), "");
}

//! Programs of two releases meet: a command that speaks message version 2 and a gateway of this build. What is sent are the bytes
//! that version froze.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use hermes_tests::{Gateway, Home};
use hermes_wire::handshake::{ANSWER_HEAD, Answer, Offer};
use hermes_wire::v2::reply::ClientReply;
use hermes_wire::v3::client::ClientRequest;
use hermes_wire::{codec, frame};

/// Everything that a gateway answers to one request of version 2.
fn ask(gateway: &Gateway<'_>, request: &ClientRequest) -> Vec<ClientReply> {
    let socket = format!("{}/supervisor.sock", gateway.status().gateway.runtime_dir.unwrap());
    let mut stream = UnixStream::connect(socket).unwrap();
    let offer = Offer { versions: 2..=2, build: "hermes of the release before".to_owned() };
    stream.write_all(&offer.encode()).unwrap();
    let mut answer = vec![0; ANSWER_HEAD];
    stream.read_exact(&mut answer).unwrap();
    answer.resize(ANSWER_HEAD + Answer::text_len(&answer).unwrap(), 0);
    stream.read_exact(&mut answer[ANSWER_HEAD..]).unwrap();
    assert_eq!(Answer::decode(&answer).unwrap().into_version(), Ok(2));
    let payload = codec::encode(request).unwrap();
    stream.write_all(&[frame::head(payload.len()).unwrap().as_slice(), &payload].concat()).unwrap();
    let mut replies = Vec::new();
    let mut head = [0; 4];
    while stream.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; frame::payload_len(head).unwrap()];
        stream.read_exact(&mut payload).unwrap();
        replies.push(codec::decode(&payload).unwrap());
    }
    replies
}

#[test]
fn a_command_of_the_release_before_is_understood() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let status = ask(&gateway, &ClientRequest::Status { profile: None });
    let done = ClientReply::Done(String::new());
    assert!(
        matches!(&status[..], [ClientReply::Gateway(_), ClientReply::Profile(_), ClientReply::Profile(_), last] if *last == done),
        "{status:?}"
    );
    let before = gateway.worker("coder");
    let restarted = ask(&gateway, &ClientRequest::Restart { profile: "coder".parse().unwrap() });
    assert!(matches!(restarted.last(), Some(ClientReply::Done(_))), "{restarted:?}");
    assert_ne!(gateway.worker("coder"), before);
    let stopped = ask(&gateway, &ClientRequest::Shutdown);
    assert!(matches!(stopped.last(), Some(ClientReply::Done(_))), "{stopped:?}");
}

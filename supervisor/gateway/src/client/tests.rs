//! Against a supervisor's side made by hand, on real sockets.

use std::os::unix::net::{UnixListener, UnixStream};

use hermes_wire::handshake::OFFER_HEAD;

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    socket: Utf8PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let socket = Utf8PathBuf::from_path_buf(dir.path().join("s")).unwrap();
    Place { _dir: dir, socket }
}

/// Accepts one connection and answers the handshake, then hands it over.
fn serve(
    place: &Place,
    answer: Answer,
    then: impl FnOnce(UnixStream) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(&place.socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        greet(&mut stream, &answer);
        then(stream);
    })
}

/// Reads an offer and answers it.
fn greet(stream: &mut UnixStream, answer: &Answer) {
    let mut head = [0; OFFER_HEAD];
    stream.read_exact(&mut head).unwrap();
    let mut text = vec![0; Offer::text_len(&head).unwrap()];
    stream.read_exact(&mut text).unwrap();
    stream.write_all(&answer.encode()).unwrap();
}

fn welcome() -> Answer {
    Answer::Welcome { version: hermes_wire::version::NEWEST, build: "test".to_owned() }
}

fn request(stream: &mut UnixStream) -> ClientRequest {
    received(stream)
}

fn received<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> T {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; frame::payload_len(head).unwrap()];
    stream.read_exact(&mut payload).unwrap();
    hermes_wire::codec::decode(&payload).unwrap()
}

fn send(stream: &mut UnixStream, reply: &ClientReply) {
    let payload = hermes_wire::codec::encode(reply).unwrap();
    stream.write_all(&frame::head(payload.len()).unwrap()).unwrap();
    stream.write_all(&payload).unwrap();
}

#[test]
fn progress_comes_before_the_outcome() {
    let place = place();
    let server = serve(&place, welcome(), |mut stream| {
        assert_eq!(request(&mut stream), ClientRequest::Shutdown);
        send(&mut stream, &ClientReply::Progress("draining".to_owned()));
        send(&mut stream, &ClientReply::Done(String::new()));
    });
    let mut lines = Vec::new();
    let client = Client::open(&place.socket).unwrap();
    let outcome = client.ask(&ClientRequest::Shutdown, SHORT, |line| lines.push(line.to_owned())).unwrap();
    assert_eq!((lines, outcome), (vec!["draining".to_owned()], Outcome::Done(String::new())));
    server.join().unwrap();
}

/// A gateway that runs the release before understands a command of this one: an update asks it to take the new program up.
#[test]
fn an_older_gateway_is_asked_in_its_words() {
    let place = place();
    let older = Answer::Welcome { version: 2, build: "hermes 0.0.1".to_owned() };
    let server = serve(&place, older, |mut stream| {
        assert_eq!(request(&mut stream), ClientRequest::Renew);
        send(&mut stream, &ClientReply::Done("as you wish".to_owned()));
    });
    let outcome = Client::open(&place.socket).unwrap().ask(&ClientRequest::Renew, SHORT, |_| {}).unwrap();
    assert_eq!(outcome, Outcome::Done("as you wish".to_owned()));
    server.join().unwrap();
}

#[test]
fn refusals_hang_ups_and_strangers_are_told_apart() {
    let place = place();
    assert!(matches!(Client::open(&place.socket), Err(ClientError::NobodyThere { .. })));

    let rejected = Answer::Reject { reason: "too old".to_owned() };
    let server = serve(&place, rejected, drop);
    assert!(matches!(Client::open(&place.socket), Err(ClientError::Handshake(HandshakeError::Rejected(_)))));
    server.join().unwrap();
    // The socket file is there, its listener is not: what a killed gateway leaves behind.
    assert!(matches!(Client::open(&place.socket), Err(ClientError::NobodyThere { .. })));

    fs_err::remove_file(&place.socket).unwrap();
    let server = serve(&place, welcome(), |mut stream| {
        request(&mut stream);
    });
    let client = Client::open(&place.socket).unwrap();
    let cut = client.status(None);
    assert!(matches!(cut, Err(ClientError::CutShort | ClientError::NobodyThere { .. })), "{cut:?}");
    server.join().unwrap();

    fs_err::remove_file(&place.socket).unwrap();
    let server = serve(&place, welcome(), |mut stream| {
        request(&mut stream);
        stream.write_all(&[0xff; 4]).unwrap();
        // Kept open: only the announced length may end it.
        let _ = stream.read(&mut [0]);
    });
    let client = Client::open(&place.socket).unwrap();
    let huge = client.status(None);
    assert!(matches!(huge, Err(ClientError::TooLarge)), "{huge:?}");
    server.join().unwrap();
}

#[test]
fn somebody_else_on_the_socket_is_not_believed() {
    let place = place();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    let error = Client::open(&place.socket).unwrap_err();
    assert!(matches!(error, ClientError::Handshake(HandshakeError::Magic)), "{error:?}");
    server.join().unwrap();
}

#[test]
fn nobody_is_waited_for_without_a_limit() {
    let place = place();
    let server = serve(&place, welcome(), |mut stream| {
        request(&mut stream);
        let _ = stream.read(&mut [0]);
    });
    let client = Client::open(&place.socket).unwrap();
    let limit = Duration::from_millis(50);
    let late = client.ask(&ClientRequest::Shutdown, limit, |_| {});
    assert!(matches!(late, Err(ClientError::Timeout { after }) if after == limit), "{late:?}");
    server.join().unwrap();
}

#[test]
fn the_recorded_runtime_directory_is_the_first_place_to_look() {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
    let (home, elsewhere) = (path.join("home"), path.join("elsewhere"));
    fs_err::create_dir_all(&home).unwrap();
    fs_err::create_dir_all(&elsewhere).unwrap();
    let places = SocketPlaces { xdg_runtime_dir: Some(path.join("mine")), uid: 1 };
    let profile = hermes_wire::ProfileName::default_profile();
    let instance = instance::Instance::acquire(&home, &profile, Vec::new(), &elsewhere).unwrap();
    let place = Place { _dir: dir, socket: elsewhere.join("supervisor.sock") };
    let server = serve(&place, welcome(), drop);
    assert_eq!(Client::connect(&home, &places).unwrap().path(), place.socket);
    server.join().unwrap();
    // A record whose process is gone leads nowhere.
    drop(instance);
    assert!(matches!(Client::connect(&home, &places), Err(ClientError::NobodyThere { .. })));
}

/// A gateway that becomes another program cuts off who has not been answered: a look is taken again, at whoever listens then, and
/// whatever changes something is asked once.
#[test]
fn a_look_that_was_cut_off_is_taken_again() {
    let place = place();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let mut asked = 0;
        // Cut off before the greeting, after it, and after a part of the answer; then a refusal, and once more a cut.
        for turn in 0..6 {
            let (mut stream, _) = listener.accept().unwrap();
            if turn == 0 {
                continue;
            }
            greet(&mut stream, &welcome());
            let what = request(&mut stream);
            asked += u32::from(what == ClientRequest::Shutdown);
            if turn == 2 || turn == 4 {
                let refused = ClientReply::Refused { code: 9, message: "known".to_owned(), hint: None };
                send(&mut stream, &refused);
            }
        }
        asked
    });
    let look = || Client::open(&place.socket).and_then(|client| client.status(None));
    for _ in 0..2 {
        assert!(matches!(look(), Err(ClientError::Refused { code: 9, .. })));
    }
    let client = Client::open(&place.socket).unwrap();
    assert!(matches!(client.ask(&ClientRequest::Shutdown, SHORT, |_| {}), Err(ClientError::CutShort)));
    assert_eq!(server.join().unwrap(), 1);
}

use super::*;

/// Reads `stream` in pieces of `size` bytes; `Ok` is the phase at its end, `Err` why it was refused, and how much was passed
/// on by then.
fn read_in_pieces(stream: &str, size: usize) -> Result<Phase, Refused> {
    let mut framing = Framing::default();
    let mut passed = 0;
    for piece in stream.as_bytes().chunks(size) {
        let mut piece = piece.to_vec();
        match framing.read(&mut piece) {
            Ok(()) => passed += piece.len(),
            Err(Refused::Ambiguous(end)) => {
                assert_eq!(piece[end - 1], 0, "what is refused is spoilt");
                return Err(Refused::Ambiguous(passed + end));
            }
            Err(Refused::Foreign) => return Err(Refused::Foreign),
        }
    }
    Ok(framing.phase())
}

fn check(stream: &str, expected: Result<Phase, ()>) {
    for size in [1, 2, 3, 7, 64, 65, stream.len()] {
        let found = read_in_pieces(stream, size);
        assert_ne!(found, Err(Refused::Foreign), "{stream:?}");
        assert_eq!(found.map_err(|_| ()), expected, "{stream:?} in pieces of {size}");
    }
}

#[test]
fn another_protocol_is_told_from_http_that_is_bad() {
    for stream in [
        "INVALID CONNECTION PREFACE\r\n\r\n",
        "\r\nINVALID CONNECTION PREFACE\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\n\r\n",
        "DESCRIBE rtsp://a RTSP/1.0\r\n\r\n",
        "220 mail.example.com ESMTP\r\n",
    ] {
        for size in [1, 3, 64, stream.len()] {
            assert_eq!(read_in_pieces(stream, size), Err(Refused::Foreign), "{stream:?}");
        }
    }
    for stream in [
        "GET /a b HTTP/1.1\r\n",
        "GET / http/1.1\r\n",
        "GET / HTTP/2.0\r\n",
        "GET / HTTP\r\n",
        "GET /\r\n",
        "GET\r\n",
        // Only the first line says what is spoken.
        "GET / HTTP/1.1\r\n\r\nINVALID CONNECTION PREFACE\r\n",
    ] {
        check(stream, Ok(Phase::Head));
    }
    let long = format!("GET /{} PREFACE\r\n", "a".repeat(100));
    check(&long, Ok(Phase::Head));
}

#[test]
fn the_rest_of_a_line_is_waited_for_only_where_it_may_be_foreign() {
    for (first, waits) in [
        ("INVALID CONNECTION PREFA", true),
        ("\r\nINVALID CONNECTION P", true),
        ("GET /a b", true),
        ("OPTIONS sip:a@b SIP/2.0\r", true),
        ("GET /a b HTTP/1", false),
        ("GET / HT", false),
        ("GET /a ", false),
        ("GET", false),
        ("INVALID CONNECTION PREFACE\r\n", false),
    ] {
        assert_eq!(may_be_foreign(first.as_bytes()), waits, "{first:?}");
    }
    let long = format!("GET /{} PREFACE", "a".repeat(100));
    assert!(!may_be_foreign(long.as_bytes()));
}

#[test]
fn what_has_one_meaning_passes_in_whatever_pieces_it_comes() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "v".repeat(500));
    let long_name = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: v\r\n\r\n", "n".repeat(100));
    for stream in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncd",
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked \r\n\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &long,
        &long_name,
    ] {
        check(stream, Ok(Phase::Between));
    }
}

#[test]
fn the_phase_tells_what_is_missing() {
    for (stream, phase) in [
        ("", Phase::Between),
        ("G", Phase::Head),
        ("GET / HTTP/1.1\r\n", Phase::Head),
        ("GET / HTTP/1.1\r\nHost: a\r\n", Phase::Head),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Phase::Body),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcd", Phase::Body),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
            Phase::Body,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            Phase::Body,
        ),
    ] {
        check_phase(stream, phase);
    }
}

fn check_phase(stream: &str, phase: Phase) {
    let mut framing = Framing::default();
    assert_eq!(framing.read(&mut stream.as_bytes().to_vec()), Ok(()));
    assert_eq!(framing.phase(), phase, "{stream:?}");
}

#[test]
fn what_has_two_meanings_is_refused_in_whatever_pieces_it_comes() {
    let padded = format!("POST / HTTP/1.1\r\nContent-Length:{}5\r\n\r\n", " ".repeat(100));
    let zeros = format!(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}3\r\nabc\r\n0\r\n\r\n",
        "0".repeat(70)
    );
    let padded_te = format!(
        "POST / HTTP/1.1\r\nTransfer-Encoding:{}chunked\r\n\r\n",
        " ".repeat(100)
    );
    for stream in [
        // CL.TE, TE.CL, TE.TE
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        // Lengths.
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        // Lines.
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        // Chunks.
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\t\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 ;x\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
        &zeros,
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\r\n w\r\n\r\n",
        // The second request of a connection is read as strictly as the first.
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\r\n\r\n",
        &padded,
        &padded_te,
    ] {
        check(stream, Err(()));
    }
}

#[test]
fn nothing_passes_after_a_refusal() {
    let mut framing = Framing::default();
    let mut bytes = b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec();
    assert_eq!(framing.read(&mut bytes), Err(Refused::Ambiguous(15)));
    assert_eq!(
        framing.read(&mut b"GET / HTTP/1.1\r\n".to_vec()),
        Err(Refused::Ambiguous(1))
    );
}

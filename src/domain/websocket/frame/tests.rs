use proptest::prelude::*;

use super::*;

const CALLER: Rules = Rules {
    masked: true,
    deflate: false,
    limit: 1000,
};
const PROVIDER: Rules = Rules {
    masked: false,
    ..CALLER
};
const DEFLATED: Rules = Rules {
    deflate: true,
    ..PROVIDER
};

/// What was read, with neighbouring data joined: (opcode or none, bytes, whether a frame ended).
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    pieces: Vec<(Option<u8>, Vec<u8>, bool)>,
    violation: Option<Violation>,
}

fn read(rules: Rules, chunks: &[&[u8]]) -> Seen {
    let mut reader = Reader::new(rules);
    let mut seen = Seen::default();
    for chunk in chunks {
        let mut rest = *chunk;
        loop {
            match reader.read(&mut rest) {
                Ok(None) => break,
                Ok(Some(Piece::Data { bytes, ends })) => match seen.pieces.last_mut() {
                    Some((None, joined, ended @ false)) => {
                        joined.extend(bytes);
                        *ended = ends;
                    }
                    _ => seen.pieces.push((None, bytes.to_vec(), ends)),
                },
                Ok(Some(Piece::Control { opcode, frame, payload })) => {
                    seen.pieces.push((Some(opcode), [frame, payload].concat(), true));
                }
                Err(violation) => {
                    seen.violation = Some(violation);
                    return seen;
                }
            }
        }
        assert!(rest.is_empty(), "what is not taken would be lost");
    }
    seen
}

/// A frame with this first byte.
fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { MASKED } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(masked | u8::try_from(short).unwrap()),
        long @ 126..=0xffff => {
            frame.push(masked | 0x7e);
            frame.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
        longer => {
            frame.push(masked | 0x7f);
            frame.extend((longer as u64).to_be_bytes());
        }
    }
    frame.extend(key.into_iter().flatten());
    let start = frame.len();
    frame.extend(payload);
    if let Some(key) = key {
        mask(&mut frame[start..], key);
    }
    frame
}

#[test]
fn data_passes_as_it_is_and_control_frames_come_whole() {
    let (text, ping) = (frame(0x81, b"hello", None), frame(0x89, b"there?", None));
    let seen = read(PROVIDER, &[&[text.clone(), ping.clone(), text.clone()].concat()]);
    let data = (None, text, true);
    assert_eq!(
        seen.pieces,
        [data.clone(), (Some(PING), [&ping[..], b"there?"].concat(), true), data]
    );
    let key = Some([0xde, 0xad, 0xbe, 0xef]);
    let (part, pong, rest) = (frame(0x02, b"a", key), frame(0x8a, b"yes", key), frame(0x80, b"b", key));
    let seen = read(CALLER, &[&[part.clone(), pong.clone(), rest.clone()].concat()]);
    let pong = (Some(PONG), [&pong[..], b"yes"].concat(), true);
    assert_eq!(seen.pieces, [(None, part, true), pong, (None, rest, true)]);
    assert_eq!(seen.violation, None);
}

#[test]
fn every_rule_of_the_protocol_that_is_broken_is_seen() {
    let key = Some([1, 2, 3, 4]);
    for (rules, bytes) in [
        (CALLER, frame(0x81, b"x", None)),
        (PROVIDER, frame(0x81, b"x", key)),
        // Reserved bits, and RSV1 where it has no meaning.
        (PROVIDER, frame(0xc1, b"x", None)),
        (PROVIDER, frame(0xa1, b"x", None)),
        (PROVIDER, frame(0x91, b"x", None)),
        (DEFLATED, frame(0xe1, b"x", None)),
        (DEFLATED, frame(0xc9, b"x", None)),
        (DEFLATED, [frame(0x41, b"x", None), frame(0xc0, b"x", None)].concat()),
        // Reserved opcodes.
        (PROVIDER, frame(0x83, b"", None)),
        (PROVIDER, frame(0x87, b"", None)),
        (PROVIDER, frame(0x8b, b"", None)),
        (PROVIDER, frame(0x8f, b"", None)),
        // Fragments.
        (PROVIDER, frame(0x80, b"x", None)),
        (PROVIDER, frame(0x00, b"x", None)),
        (PROVIDER, [frame(0x01, b"x", None), frame(0x81, b"x", None)].concat()),
        (PROVIDER, [frame(0x81, b"x", None), frame(0x80, b"x", None)].concat()),
        // Control frames.
        (PROVIDER, frame(0x09, b"x", None)),
        (PROVIDER, frame(0x08, b"", None)),
        (PROVIDER, frame(0x89, &[0; 126], None)),
        // Lengths.
        (PROVIDER, vec![0x82, 126, 0, 125]),
        (PROVIDER, vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        (PROVIDER, vec![0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        // Closes.
        (PROVIDER, frame(0x88, &[3], None)),
        (PROVIDER, frame(0x88, &999u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &1004u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &1005u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &1006u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &1015u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &2999u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &5000u16.to_be_bytes(), None)),
    ] {
        let seen = read(rules, &[&bytes]);
        assert_eq!(seen.violation.map(Violation::code), Some(1002), "{bytes:02x?}");
    }
    let seen = read(PROVIDER, &[&frame(0x88, &[3, 0xe8, 0xff], None)]);
    assert_eq!(seen.violation, Some(Violation::NotText));
}

#[test]
fn what_is_allowed_is_let_through() {
    for (rules, bytes) in [
        (DEFLATED, frame(0xc1, b"x", None)),
        (DEFLATED, [frame(0x41, b"x", None), frame(0x80, b"x", None)].concat()),
        (PROVIDER, frame(0x88, b"", None)),
        (
            PROVIDER,
            frame(0x88, &[&1000u16.to_be_bytes()[..], "é".as_bytes()].concat(), None),
        ),
        (PROVIDER, frame(0x88, &1014u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x88, &4999u16.to_be_bytes(), None)),
        (PROVIDER, frame(0x82, &[7; 126], None)),
        (
            PROVIDER,
            [frame(0x01, b"", None), frame(0x89, b"", None), frame(0x80, b"", None)].concat(),
        ),
    ] {
        let seen = read(rules, &[&bytes]);
        assert_eq!((seen.violation, seen.pieces.is_empty()), (None, false), "{bytes:02x?}");
    }
}

#[test]
fn a_message_over_the_limit_is_seen_before_a_byte_of_it_passes() {
    // The head of 100 MB says enough.
    let mut announced = vec![0x82, 127];
    announced.extend(100_000_000_u64.to_be_bytes());
    let seen = read(PROVIDER, &[&announced]);
    assert_eq!((seen.violation, seen.pieces), (Some(Violation::TooLarge(1000)), vec![]));
    assert_eq!(read(PROVIDER, &[&frame(0x82, &[0; 1000], None)]).violation, None);
    assert_eq!(
        read(PROVIDER, &[&frame(0x82, &[0; 1001], None)]).violation,
        Some(Violation::TooLarge(1000))
    );
}

#[test]
fn fragments_count_together_with_their_heads_and_the_next_message_starts_anew() {
    let (first, next, last) = (
        frame(0x02, &[0; 900], None),
        frame(0x00, b"", None),
        frame(0x80, b"", None),
    );
    let fragments = |count| [first.clone(), next.repeat(count), last.clone(), first.clone()].concat();
    assert_eq!(read(PROVIDER, &[&fragments(49)]).violation, None);
    assert_eq!(
        read(PROVIDER, &[&fragments(50)]).violation,
        Some(Violation::TooLarge(1000))
    );
}

prop_compose! {
    fn any_frame()(
        opcode in prop_oneof![Just(0_u8), Just(1), Just(2), Just(8), Just(9), Just(10), 0_u8..16],
        fin in prop::bool::weighted(0.7),
        reserved in prop_oneof![9 => Just(0_u8), 1 => 0_u8..8],
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..10),
            prop::collection::vec(any::<u8>(), 120..140),
            prop::collection::vec(any::<u8>(), 300..400),
        ],
        key in any::<Option<[u8; 4]>>(),
    ) -> Vec<u8> {
        frame(if fin { FIN } else { 0 } | reserved << 4 | opcode, &payload, key)
    }
}

proptest! {
    #[test]
    fn however_the_bytes_come_in_the_frames_are_the_same(
        frames in prop::collection::vec(any_frame(), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        masked in any::<bool>(),
        deflate in any::<bool>(),
    ) {
        let rules = Rules { masked, deflate, limit: 1000 };
        let bytes = [frames.concat(), noise].concat();
        let whole = read(rules, &[&bytes]);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&read(rules, &chunks), &whole);
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(rules, &single), &whole);
    }

    #[test]
    fn no_input_panics_and_no_byte_is_invented(bytes in prop::collection::vec(any::<u8>(), 0..400), masked in any::<bool>()) {
        let seen = read(Rules { masked, deflate: true, limit: u64::MAX }, &[&bytes]);
        let passed: usize = seen.pieces.iter().filter(|piece| piece.0.is_none()).map(|piece| piece.1.len()).sum();
        prop_assert!(passed <= bytes.len());
    }

    #[test]
    fn what_keeps_the_rules_passes_byte_for_byte(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 1_usize..5, any::<bool>()), 0..6),
        key in any::<[u8; 4]>(),
        masked in any::<bool>(),
    ) {
        let key = masked.then_some(key);
        let mut bytes = Vec::new();
        for (payload, parts, pinged) in &messages {
            let size = payload.len().div_ceil(*parts).max(1);
            let parts: Vec<_> = if payload.is_empty() { vec![&[][..]] } else { payload.chunks(size).collect() };
            for (number, part) in parts.iter().enumerate() {
                let opcode = if number == 0 { BINARY } else { CONTINUATION };
                let fin = if number + 1 == parts.len() { FIN } else { 0 };
                bytes.extend(frame(fin | opcode, part, key));
                if *pinged {
                    bytes.extend(frame(FIN | PONG, b"", key));
                }
            }
        }
        let mut reader = Reader::new(Rules { masked, deflate: false, limit: 10_000 });
        let (mut rest, mut passed) = (&bytes[..], Vec::<u8>::new());
        while let Some(piece) = reader.read(&mut rest).unwrap() {
            match piece {
                Piece::Data { bytes, .. } => passed.extend(bytes),
                Piece::Control { frame, .. } => passed.extend(frame),
            }
        }
        prop_assert_eq!(passed, bytes);
    }
}

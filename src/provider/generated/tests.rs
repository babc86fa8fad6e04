use proptest::prelude::*;

use super::*;

fn asked(length: Option<i32>, encoding: Option<Encoding>) -> Generated {
    Generated { length, encoding }
}

/// A source that counts: 0, 1, 2, … 255, 0, …
fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u8;
    move |buffer| {
        for byte in buffer {
            *byte = next;
            next = next.wrapping_add(1);
        }
    }
}

#[test]
fn length_counts_bytes_or_characters() {
    for (length, encoding, characters) in [
        (None, None, 44),
        (Some(32), Some(Encoding::Base64), 44),
        (Some(16), Some(Encoding::Hex), 32),
        (None, Some(Encoding::Alphanumeric), 32),
        (Some(100), Some(Encoding::Alphanumeric), 100),
        (Some(-5), Some(Encoding::Hex), 2),
        (Some(i32::MAX), Some(Encoding::Alphanumeric), 1024),
    ] {
        let value = make(&asked(length, encoding), &mut counting());
        assert_eq!(value.expose().len(), characters, "{length:?} {encoding:?}");
    }
}

#[test]
fn value_is_the_random_bytes_and_nothing_else() {
    let hex = make(&asked(Some(20), Some(Encoding::Hex)), &mut counting());
    assert_eq!(hex.expose(), "000102030405060708090a0b0c0d0e0f10111213");
    let base64 = make(&asked(Some(4), None), &mut counting());
    assert_eq!(base64.expose(), "AAECAw==");
}

#[test]
fn every_letter_and_digit_is_as_likely_as_any_other() {
    let mut counts = BTreeMap::new();
    for byte in 0..=255 {
        *counts.entry(character(byte)).or_insert(0) += 1;
    }
    let left_out = counts.remove(&None);
    assert_eq!(left_out, Some(8), "of 256 bytes, 62 times 4 mean a character");
    assert_eq!(counts.len(), 62);
    assert!(counts.values().all(|times| *times == 4), "{counts:?}");
}

#[test]
fn bytes_that_mean_nothing_are_drawn_again() {
    let mut rounds = 0;
    let mut fill = |buffer: &mut [u8]| {
        rounds += 1;
        buffer.fill(if rounds < 4 { 255 } else { 0 });
    };
    let value = make(&asked(Some(8), Some(Encoding::Alphanumeric)), &mut fill);
    assert_eq!(value.expose(), "AAAAAAAA");
    assert_eq!(rounds, 4);
}

proptest! {
    #[test]
    fn alphanumeric_has_its_length_and_its_characters(length in 1..200_i32, seed: u64) {
        let mut state = seed | 1;
        let mut fill = |buffer: &mut [u8]| for byte in buffer {
            // xorshift64: any source that is not constant will do.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        };
        let value = make(&asked(Some(length), Some(Encoding::Alphanumeric)), &mut fill);
        prop_assert_eq!(value.expose().len(), usize::try_from(length).unwrap());
        prop_assert!(value.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}

#[test]
fn issued_value_is_the_one_that_was_written_down() {
    let mut order = crate::provider::sample::Sample::new(serde_json::json!({"generated": {}}));
    let error = issue(&order.order()).unwrap_err();
    assert!(matches!(error, IssueError::NotSent { .. }), "{error}");
    order.attempt.candidate = Some(SecretValue::new("chosen"));
    let minted = issue(&order.order()).unwrap();
    assert_eq!(minted, issue(&order.order()).unwrap(), "however often it is issued");
    assert_eq!(minted.values[VALUE].expose(), "chosen");
    assert_eq!((minted.id, minted.not_before, minted.not_after), (None, None, None));
}

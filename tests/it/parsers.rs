//! Every parser that reads what a stranger wrote, over thousands of mutated examples. The claims are those of `fuzz/`,
//! where libFuzzer takes them further.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

#[path = "../../fuzz/src/lib.rs"]
mod claims;

use claims::{TARGETS, Target};

/// Inputs for each parser.
const INPUTS: u64 = 20_000;

/// What tends to be where parsers trip.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"\"",
    b"\\",
    b"%",
    b"..",
    b"/",
    b"?",
    b"#",
    b"@",
    b"{{",
    b"}}",
    b"{{ value }}",
    b"{{id}}",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"1e400",
    b"\xff",
    b"\xc2\xa0",
    b"\xef\xbb\xbf",
    b"chunked",
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"&a",
    b"*a",
    b"!!",
    b"---\n",
    b"\x80",
    b"\x7f",
    b"((((((((",
    b"[[[[[[[[",
];

/// The example, changed in a few places.
fn mutate(example: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = example.to_vec();
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 9));
        match rng.random_range(0..6) {
            0 => drop(bytes.splice(at..end, [])),
            1 => drop(bytes.splice(at..at, [rng.random::<u8>()])),
            2 => drop(bytes.splice(at..at, PIECES.choose(rng).unwrap_or(&PIECES[0]).iter().copied())),
            3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            4 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
        }
    }
    bytes
}

fn attack(target: &Target, inputs: u64) {
    for example in target.examples {
        (target.check)(example.as_bytes());
    }
    let mut understood = 0;
    for seed in 0..inputs {
        // A seed for each input, so that the one that fails can be told and run again alone.
        let mut rng = SmallRng::seed_from_u64(seed);
        let example = target.examples.choose(&mut rng).unwrap();
        let input = mutate(example.as_bytes(), &mut rng);
        let checked = std::panic::catch_unwind(|| (target.check)(&input));
        let Ok(held) = checked else {
            panic!("{} fails on {:?}", target.name, String::from_utf8_lossy(&input));
        };
        understood += u64::from(held);
    }
    println!("{}: {understood} of {inputs} were understood", target.name);
    // Where nearly all is refused at the door, nothing behind it was tried.
    assert!(
        understood * 50 > inputs,
        "{}: only {understood} of {inputs} were understood",
        target.name
    );
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

#[test]
fn requests_are_framed_alike_in_whatever_pieces_they_come() {
    attack(target("http1_framing"), INPUTS);
}

#[test]
fn frames_are_read_alike_in_whatever_pieces_they_come() {
    attack(target("websocket_frames"), INPUTS);
}

#[test]
fn a_handshake_is_whole_or_refused() {
    attack(target("websocket_handshake"), INPUTS);
}

#[test]
fn no_mutation_is_taken_for_a_query() {
    attack(target("graphql_document"), INPUTS);
    attack(target("graphql_request"), INPUTS);
}

#[test]
fn errors_are_found_by_whoever_has_the_whole_answer() {
    attack(target("graphql_answer"), INPUTS);
}

#[test]
fn no_target_leads_to_another_host() {
    attack(target("caller_target"), INPUTS);
}

#[test]
fn no_host_is_chosen_of_two() {
    attack(target("caller_host"), INPUTS);
}

#[test]
fn a_pause_that_is_asked_for_is_a_time() {
    attack(target("provider_pause"), INPUTS);
}

#[test]
fn values_are_written_as_they_are_read() {
    attack(target("api_values"), INPUTS);
}

#[test]
fn manifests_are_read_to_their_end() {
    attack(target("manifests"), INPUTS / 20);
}

#[test]
fn a_value_stays_where_its_template_puts_it() {
    attack(target("step_templates"), INPUTS);
}

#[test]
fn expressions_compile_or_are_refused() {
    attack(target("expressions"), INPUTS / 20);
}

#[test]
fn keys_are_read_or_refused() {
    attack(target("keys"), INPUTS / 4);
}

#[test]
fn every_claim_is_tested_here_and_has_a_target_for_libfuzzer() {
    let tests = include_str!("parsers.rs");
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(
            tests.contains(&format!("target(\"{}\")", target.name)),
            "{}",
            target.name
        );
        assert!(
            manifest.contains(&format!("name = \"{}\"", target.name)),
            "{}",
            target.name
        );
        let text = std::fs::read_to_string(directory.join(format!("fuzz_targets/{}.rs", target.name))).unwrap();
        assert!(
            text.contains(&format!("tidegate_fuzz::{}(data)", target.name)),
            "{text}"
        );
    }
}

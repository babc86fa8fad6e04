//! Tidegate on a whole node: kubelet, containers, Services, DNS and Helm, as a user has them.
//!
//! `tests/cluster/test-node` starts the node and then this. The claims hold in the order in which they stand here, since
//! each goes on with what the one before it left; the first that fails ends the test, after all that could explain it has
//! been printed.

// It prints what holds, and nothing is documented for others.
#![allow(clippy::print_stdout, missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Instant;

use world::{Outcome, World};

mod calls;
mod dump;
mod faults;
mod install;
mod issued;
mod live;
mod provider;
mod rights;
mod serve;
mod world;

type Claim = (
    &'static str,
    fn(&mut World) -> Pin<Box<dyn Future<Output = Outcome> + '_>>,
);

macro_rules! claims {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |world| Box::pin($module::$name(world)))),*]
    };
}

const CLAIMS: &[Claim] = claims![
    install::helm_installs_and_the_controller_is_ready,
    serve::an_applied_integration_becomes_ready,
    serve::a_pod_calls_through_the_service_and_the_provider_gets_the_key,
    serve::the_workers_pass_pod_security_restricted_and_hold_no_token,
    serve::a_provider_that_breaks_is_seen_open_by_kubectl,
    serve::a_provider_that_mends_is_seen_closed_by_kubectl,
    serve::the_api_server_and_loopback_are_refused_as_endpoints,
    live::scale_changes_the_number_of_workers,
    live::an_edited_secret_is_live_without_a_restart,
    issued::a_key_of_the_provider_is_replaced_without_a_lost_call,
    live::an_edit_is_programmed_on_running_workers,
    live::a_helm_upgrade_replaces_the_workers_without_losing_a_call,
    faults::a_killed_worker_does_not_end_the_service,
    faults::traffic_goes_on_and_workers_start_without_a_controller,
    faults::a_killed_controller_comes_back_and_reports_again,
    install::a_deleted_integration_leaves_nothing,
    issued::a_deleted_credential_is_revoked_and_leaves_nothing,
    rights::the_controller_was_refused_nothing_and_has_no_right_that_it_does_not_use,
    install::helm_uninstalls_and_leaves_what_it_says,
];

#[tokio::main]
async fn main() -> ExitCode {
    let mut world = match World::from_environment().await {
        Ok(world) => world,
        Err(failure) => {
            println!("the test could not start: {failure}");
            return ExitCode::FAILURE;
        }
    };
    // `cargo test --test node -- NAME` leaves out what does not contain NAME, for those who know what it needs.
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut passed = 0;
    for (name, claim) in CLAIMS.iter().filter(|(name, _)| name.contains(&filter)) {
        let start = Instant::now();
        let outcome = claim(&mut world).await;
        let seconds = start.elapsed().as_secs_f64();
        if let Err(failure) = outcome {
            println!("FAILED {seconds:6.1} s  {name}\n\n{failure}\n");
            dump::everything(&world).await;
            println!("{passed} passed, 1 failed");
            return ExitCode::FAILURE;
        }
        println!("ok     {seconds:6.1} s  {name}");
        passed += 1;
    }
    println!("{passed} passed, 0 failed");
    ExitCode::SUCCESS
}

//! What has to hold at the end of a life, by the provider's ledger and by what is stored.

use std::time::Duration;

use tidegate::api::condition::ConditionStatus;
use tidegate::domain::key::Key;
use tokio::time::sleep;

use super::life::{Life, Step, unheld};
use super::scenario::{Promise, own};
use crate::support::memory::Process;
use crate::support::simulator::{Issued, Kind};

/// For so long a value may be alive that is in no Secret, where it can be found: a call that may be under way is waited
/// for, then it is looked for.
const UNHELD: Duration = Duration::from_secs(240);

/// How a life ended.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What should not be.
    pub wrong: Vec<String>,
    /// The value is lost, and a person was told.
    pub lost: bool,
    /// For how long what workers used was refused, or there was nothing to use.
    pub outage: Duration,
}

/// What a life without faults did until now, in this step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usual {
    pub mints: usize,
}

fn condition(life: &Life, kind: &str) -> Option<(ConditionStatus, String, String)> {
    let status = life.world.credential(&own())?.status?;
    let condition = status.conditions.into_iter().find(|it| it.type_ == kind)?;
    Some((condition.status, condition.reason, condition.message))
}

pub fn mints(life: &Life) -> usize {
    life.simulator.read(|it| it.mints().count())
}

/// Judges a life after `step`, in which `faults` things went wrong; `before` is how many values there had been.
pub async fn judge(life: &mut Life, step: Step, faults: usize, before: usize, usual: Usual) -> Verdict {
    let mut verdict = Verdict::default();
    if step == Step::Deleted {
        gone(life, &mut verdict);
        return verdict;
    }
    let ready = condition(life, "Ready");
    let stalled = condition(life, "Stalled");
    verdict.lost = lost(life, &mut verdict);
    // I1: what is published is accepted.
    if !verdict.lost {
        if ready.as_ref().is_none_or(|ready| ready.0 != ConditionStatus::True) {
            verdict.wrong.push(format!("not Ready: {ready:?}"));
        }
        match life.value() {
            Some(value) if life.scenario.kind.is_some() && !life.simulator.accepts(&value) => {
                verdict
                    .wrong
                    .push(format!("I1: the published value {value} is refused"));
            }
            None if life.scenario.first.is_none() => verdict.wrong.push("I1: nothing is published".into()),
            _ => {}
        }
        if let Some(stalled) = stalled {
            verdict.wrong.push(format!("Stalled: {stalled:?}"));
        }
        if life.world.all_held().len() > 1 {
            let names: Vec<Key> = life.world.all_held().into_keys().collect();
            verdict
                .wrong
                .push(format!("more than the issued Secret is left: {names:?}"));
        }
        let handled = life.world.credential(&own()).and_then(|it| it.status?.handled?.rotate);
        if step != Step::First && handled.as_deref() != Some("asked") {
            verdict.wrong.push(format!("the request is not answered: {handled:?}"));
        }
    }
    outages(life, step, faults, &mut verdict);
    ledger(life, faults, before, usual, &mut verdict);
    idle(life, &mut verdict).await;
    verdict
}

/// Whether the value is lost. It may be only if the provider gave another one that we never had, and has to be told.
fn lost(life: &Life, verdict: &mut Verdict) -> bool {
    let Some(stalled) = condition(life, "Stalled") else {
        return false;
    };
    if life.scenario.promise != Promise::MayLose {
        return false;
    }
    let refreshes = life.scenario.kind == Some(Kind::Access);
    let reason = if refreshes {
        "ReauthorizationRequired"
    } else {
        "IssueFailed"
    };
    if stalled.1 != reason {
        verdict.wrong.push(format!("lost, and told as {stalled:?}"));
    }
    // One by itself is told as a failure where a last try was refused.
    let told = |it: &tidegate::cluster::Notice| it.reason == reason || !refreshes && it.reason == "RotationFailed";
    if !life.notices.iter().any(|it| it.warning && told(it)) {
        verdict.wrong.push("lost, and no event tells".into());
    }
    let held: Vec<String> = life
        .world
        .all_held()
        .values()
        .flat_map(|held| held.values.values().map(|value| value.expose().to_owned()))
        .collect();
    let never_had = |it: &Issued| {
        let one = it.kind == if refreshes { Kind::Refresh } else { Kind::SelfRotating };
        one && !it.seeded && !held.iter().any(|text| text.contains(&it.value))
    };
    let unavoidable = life.simulator.read(|it| {
        it.issued
            .iter()
            .filter(|it| it.ended.is_none_or(|end| end.1 != "rotated"))
            .any(never_had)
    });
    if !unavoidable {
        verdict.wrong.push("lost, and it need not have been".into());
    }
    true
}

/// What workers saw.
fn outages(life: &Life, step: Step, faults: usize, verdict: &mut Verdict) {
    let unheld = UNHELD * u32::try_from(faults.max(1)).unwrap();
    let seen = life.seen.lock().unwrap();
    let refused = seen.refused.iter().filter(|it| Some(&it.1) != life.ended.as_ref());
    let times: Vec<_> = refused.map(|it| it.0).chain(seen.absent.iter().copied()).collect();
    verdict.outage = match (times.iter().min(), times.iter().max()) {
        (Some(first), Some(last)) => *last - *first + Duration::from_secs(3),
        _ => Duration::ZERO,
    };
    if life.scenario.promise == Promise::NoOutage && step != Step::Rejected && !times.is_empty() {
        verdict.wrong.push(format!(
            "I1/I4: workers were refused {} times and without a value {} times",
            seen.refused.len(),
            seen.absent.len()
        ));
    }
    let named = |label: &str| life.notices.iter().any(|it| it.note.contains(label));
    for (label, longest) in &seen.longest_unheld {
        let excused = life.scenario.names_orphans && named(label) || !life.scenario.revokes;
        // Access tokens end by themselves, and what replaces is not labelled.
        if *longest > unheld && !excused {
            verdict.wrong.push(format!(
                "I3: a value of attempt {label} was in no Secret for {longest:?}"
            ));
        }
    }
}

/// I2, I3, I5 and I6.
fn ledger(life: &Life, faults: usize, before: usize, usual: Usual, verdict: &mut Verdict) {
    let Some(kind) = life.scenario.kind else { return };
    let most = life.simulator.read(|it| it.most_live(kind));
    let spare = usize::from(life.scenario.names_orphans || life.scenario.first == Some(Kind::Key));
    if matches!(kind, Kind::Key | Kind::Secret) && most > 2 + faults + spare {
        verdict.wrong.push(format!("I2: {most} values were alive at once"));
    }
    for (value, label) in unheld(&life.world, &life.simulator) {
        if !life.scenario.revokes {
            break;
        }
        let named = life.notices.iter().any(|it| it.note.contains(&label));
        if !(life.scenario.names_orphans && named) {
            verdict
                .wrong
                .push(format!("I3: {value} of attempt {label} is alive and in no Secret"));
        }
    }
    let (most_refreshes, twice, replays) = life.simulator.read(|it| {
        let twice = it
            .issued
            .iter()
            .filter(|one| it.successors(&one.value).count() > 1)
            .count();
        (it.most_refreshes_in_flight, twice, it.replays.len())
    });
    if most_refreshes > 1 {
        verdict.wrong.push(format!("I5: {most_refreshes} refreshes at once"));
    }
    if twice > 0 {
        verdict.wrong.push("I5: a refresh token has two successors".into());
    }
    if replays > usize::from(verdict.lost) {
        verdict
            .wrong
            .push(format!("I5: {replays} families were revoked for a replay"));
    }
    let made = mints(life) - before;
    // Of two that lead at once each asks for a token of its own; one too many ends by itself.
    let beside = usize::from(kind == Kind::Access && life.scenario.promise == Promise::NoOutage);
    if made > usual.mints + faults + beside {
        verdict
            .wrong
            .push(format!("I6: {made} values were made instead of {}", usual.mints));
    }
}

/// A further run, by the same process and by a new one, does nothing.
async fn idle(life: &mut Life, verdict: &mut Verdict) {
    life.world.take_writes();
    let calls = life.line.calls();
    sleep(Duration::from_secs(950)).await;
    let next = Process::start(&life.world);
    std::mem::replace(&mut life.process, next).kill().await;
    sleep(Duration::from_secs(60)).await;
    let mut writes = life.world.take_writes();
    if verdict.lost {
        // That the renewal is overdue is told when somebody looks.
        writes.retain(|it| !it.starts_with("status"));
    }
    if !writes.is_empty() {
        verdict.wrong.push(format!("a further run writes {writes:?}"));
    }
    if life.line.calls() != calls {
        verdict
            .wrong
            .push(format!("a further run makes {} calls", life.line.calls() - calls));
    }
}

/// A deleted Credential leaves nothing behind that is not named.
fn gone(life: &Life, verdict: &mut Verdict) {
    if life.world.credential(&own()).is_some() {
        verdict.wrong.push("the Credential is still there".into());
    }
    if !life.world.all_held().is_empty() {
        verdict.wrong.push("Secrets are left".into());
    }
    for left in life.simulator.unheld(&[]) {
        let named = |it: &tidegate::cluster::Notice| {
            it.note.contains(&left.id) || left.label.as_ref().is_some_and(|label| it.note.contains(label))
        };
        if life.scenario.revokes && !life.notices.iter().any(named) {
            verdict
                .wrong
                .push(format!("I3: {} is alive and nobody was told", left.value));
        }
    }
    let plan = life.world.plan(&life.integration);
    if plan.is_some_and(|plan| plan.credentials.iter().any(|it| it.material.is_some())) {
        verdict.wrong.push("workers still have the value".into());
    }
}

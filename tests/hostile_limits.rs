//! Descriptor tables that are full at any step of a handshake, and hostile peers of another user.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::role;
use fdring::{Attach, options::SessionOptions};
use guest::{Guest, Invited};
use hostile::*;
use peer::{Peer, argument, say, told};
use rustix::fd::AsFd;
use rustix::io::Errno;
use stage::{CAPACITY, Client, Hosting, Stage, name_of, plays_a_role};
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

/// More than a handshake needs, on either side.
const ENOUGH: u32 = 16;

#[test]
fn a_host_whose_table_is_full_at_any_step_refuses_and_recovers() {
    if plays_a_role() {
        return;
    }
    let test = "a_host_whose_table_is_full_at_any_step_refuses_and_recovers";
    let mut stage = Stage::new(test, Hosting::default());
    let held: u32 = stage.held();
    let mut outcomes = Vec::new();
    for more in 0..=ENOUGH {
        stage.ask(&format!("limit {}", held + more));
        // Long enough for a busy machine, and not so long that a host which cannot accept takes all day.
        let options = SessionOptions::new().deadline(Duration::from_secs(2));
        let outcome = options.connect(&*stage.address).and_then(|session| session.attach_one(Attach::new()));
        outcomes.push(match &outcome {
            Ok(_) => "attached".to_owned(),
            Err(fdring::Error::Refused { refusal, .. }) => format!("refused with code {}", refusal.code()),
            Err(error) => name_of(error).to_owned(),
        });
        drop(outcome);
        stage.ask("limit 512");
        stage.goes_on();
        stage.forgets();
    }
    // At first it cannot even accept, then it says why not.
    let known = ["TimedOut", "refused with code 7", "attached"];
    assert!(outcomes.is_sorted_by_key(|outcome| known.iter().position(|known| known == outcome).expect(outcome)));
    for expected in known {
        assert!(outcomes.iter().any(|outcome| outcome == expected), "{expected} is not among {outcomes:?}");
    }
    stage.ends_undisturbed();
}

#[test]
fn a_client_whose_table_is_full_at_any_step_says_so_and_keeps_nothing() {
    if plays_a_role() {
        return;
    }
    let test = "a_client_whose_table_is_full_at_any_step_says_so_and_keeps_nothing";
    let mut stage = Stage::new(test, Hosting::default());
    let mut client = Client::start(test, &stage.address);
    let mut failures = 0;
    for more in 0..=ENOUGH {
        client.0.tell(&format!("connect 30000 {more}"));
        let outcome = client.outcome();
        match &*outcome.kind {
            "attached" => client.leave(),
            "Os" => {
                assert!(outcome.sentence.contains("Too many open files"), "{outcome:?}");
                assert!(outcome.sentence.contains("ulimit -n"), "{outcome:?}");
                failures += 1;
            }
            _ => panic!("with {more} descriptors: {outcome:?}"),
        }
        stage.goes_on();
        stage.forgets();
    }
    assert!((3..ENOUGH).contains(&failures), "{failures} failures");
    stage.ends_undisturbed();
}

/// What a hostile consumer of another user tries.
#[allow(unsafe_code, reason = "becomes another user")]
fn stranger() {
    const NOBODY: u32 = 65534;
    // SAFETY: changes the user of this process, which has no other business.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    let in_place = Invited::knock(&argument());
    let seat = in_place.map_seat();
    rustix::fs::fcntl_add_seals(&in_place.seat, rustix::fs::SealFlags::FUTURE_WRITE).unwrap();
    in_place.wire.send(&attach(1, IN_PLACE)).unwrap();
    assert_eq!(in_place.wire.last_words(), [(REFUSE, 4)], "no stranger reads in place");
    drop((seat, in_place));
    let mut guest = Guest::join(&argument(), COPIES);
    let bell = &guest.offer.lanes[0];
    assert_eq!(bell.bell_kind, 2, "an eventfd would let it block the producer");
    // Nothing can be sent to the producer through its bell, a socket that lingers least of all.
    let bell = Wire(bell.bell.try_clone().unwrap());
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(bell.send(&[1]), Err(Errno::PIPE));
    assert_eq!(bell.send_fds(&[1], &[null.as_fd()]), Err(Errno::PIPE));
    // It never drains: the producer rings until the bell is full, and then some.
    let end = guest.lanes[0].position + 16 * CAPACITY;
    while guest.lanes[0].position < end {
        guest.seat.u32(WAIT_EPOCH).fetch_add(1, Release);
        guest.receive();
        guest.give_back();
    }
    say("withholding");
    told();
    guest.say_consumed(u64::MAX - 7);
    assert_eq!(guest.wire().last_words(), [(BYE, 2)]);
    say("out");
}

#[test]
fn a_hostile_consumer_of_another_user_harms_itself_only() {
    const TEST: &str = "a_hostile_consumer_of_another_user_harms_itself_only";
    if role().as_deref() == Some("stranger") {
        return stranger();
    }
    if plays_a_role() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        common::skipped("only root can run a process of another user");
        return;
    }
    let mut stage = Stage::new(TEST, Hosting { anyone: true, ..Hosting::default() });
    let mut stranger = Peer::start(TEST, "stranger", &stage.address);
    stranger.expect("withholding");
    assert_eq!(stage.ask("try"), format!("stuck, held by {}", stranger.pid()));
    stranger.tell("lie");
    stage.goes_on();
    stranger.expect("out");
    stranger.finish();
    stage.ends_undisturbed();
}

//! The calls of a caller and the requests of its service, between which a hostile process writes what it likes.

use super::Script;
use crate::call::calls::{CallLimits, Calls, Next};
use crate::call::intake::{Intake, Taken};
use crate::call::prefix::{Kind, Prefix, Way};

/// What a plain reading of the rules knows of a call: every answer that may be handed out still, in order.
#[derive(Debug, Default)]
struct PlainCall {
    /// The numbers of the answers that came, and whether each ends the call.
    came: Vec<(u64, bool)>,
    lost: Option<u8>,
    is_over: bool,
}

impl PlainCall {
    fn is_awaited(&self) -> bool {
        !self.is_over && self.lost.is_none() && !self.came.iter().any(|(_, ends)| *ends)
    }
}

/// Takes limits and then steps from `data`: calls that begin and are given up, answers with any number, sessions that
/// are lost. What each call gets is what a plain list of everything that came makes it, and
/// nothing of any other call. Records of any bytes then go to a service's machine.
pub fn calls(data: &[u8]) {
    let mut script = Script::new(data);
    let limits = CallLimits { open_max: script.below(6), stored_bytes_max: u64::from(script.u8()) };
    let mut calls: Calls<u64, u8> = Calls::new(limits);
    // Call n is the one with the number n + 1.
    let mut plain: Vec<PlainCall> = Vec::new();
    let mut answers = 0_u64;
    while !script.is_empty() {
        match script.u8() % 8 {
            0 => {
                let open = plain.iter().filter(|call| !call.is_over).count();
                assert_eq!(calls.is_full(), open >= limits.open_max);
                if !calls.is_full() {
                    assert_eq!(calls.begin(), plain.len() as u64 + 1);
                    // One that is answered at once is never kept.
                    let is_kept = !script.u8().is_multiple_of(4);
                    if is_kept {
                        calls.keep();
                    }
                    plain.push(PlainCall { is_over: !is_kept, ..PlainCall::default() });
                }
            }
            1..=3 => {
                answers += 1;
                let id = script.word_near(&[1, plain.len() as u64]);
                let (choice, len) = (script.u8(), u64::from(script.u8() % 16));
                let (is_last, may_pass) = (choice % 4 >= 2, choice >= 192);
                let call = id.checked_sub(1).and_then(|index| plain.get_mut(usize::try_from(index).ok()?));
                let call = call.filter(|call| call.is_awaited());
                if may_pass {
                    // It goes to the program at once, if nothing before it is still to be taken.
                    let passes = call.as_ref().is_some_and(|call| call.came.is_empty());
                    assert_eq!(calls.pass(id, is_last), passes);
                    call.into_iter().filter(|_| passes).for_each(|call| call.is_over = is_last);
                    continue;
                }
                assert_eq!((calls.awaits(id), calls.file(id, answers, is_last, len)), (call.is_some(), call.is_some()));
                call.into_iter().for_each(|call| call.came.push((answers, is_last)));
            }
            4 | 5 => look(&mut calls, &mut plain, &mut script),
            6 => {
                let Some(index) = script.below(8).checked_sub(1).filter(|index| *index < plain.len()) else { continue };
                let call = &mut plain[index];
                assert_eq!(calls.cancel(index as u64 + 1), call.is_awaited());
                call.is_over = true;
                call.came.clear();
            }
            _ => match script.u8() {
                0 => return take_in(&mut script),
                why @ 1..=9 => {
                    let awaited = plain.iter_mut().filter(|call| call.is_awaited());
                    let lost = awaited.map(|call| call.lost = Some(why)).count();
                    assert_eq!(calls.lose_all(&why), lost as u64);
                }
                _ => {}
            },
        }
        assert_eq!(calls.len(), plain.iter().filter(|call| !call.is_over).count());
        let stored = plain.iter().map(|call| call.came.len()).sum::<usize>();
        assert!(calls.stored_bytes() <= 15 * stored as u64, "bytes of what was handed out");
    }
}

/// Asks for what there is of a call.
fn look(calls: &mut Calls<u64, u8>, plain: &mut [PlainCall], script: &mut Script<'_>) {
    let id = u64::from(script.u8() % 8);
    let next = calls.next(id);
    let call = id.checked_sub(1).and_then(|index| plain.get_mut(index as usize)).filter(|call| !call.is_over);
    let Some(call) = call else { return assert_eq!(next, Next::Unknown) };
    if call.came.is_empty() {
        let expected = call.lost.map_or(Next::Pending, Next::Lost);
        assert_eq!(next, expected);
        call.is_over = expected != Next::Pending;
        return;
    }
    let (number, ends) = call.came.remove(0);
    let Next::Answer(answer) = next else { panic!("answer {number} is there, and {next:?} came") };
    assert_eq!(answer, number, "an answer to another call");
    call.is_over = ends;
}

/// Gives a service's machine records of any bytes.
fn take_in(script: &mut Script<'_>) {
    let mut intake: Intake<u64> = Intake::new(script.below(6));
    let (mut last, mut open) = (0, Vec::new());
    while !script.is_empty() {
        let mut record = [0; 32];
        let id = script.word_near(&[last, last.wrapping_add(1)]);
        record[..8].copy_from_slice(&id.to_le_bytes());
        record[8] = script.u8();
        record[16] = script.choose(&[1, 1, 5, 0, 2, 255]);
        record[17 + script.below(7)] = script.choose(&[0, 0, 0, 1]);
        let len = script.choose(&[32, 24, 23, 0]);
        let Ok((prefix, body)) = Prefix::parse_bytes(&record[..len], 24, Way::ToService) else { continue };
        assert_eq!((prefix.id, body.len()), (id, len - 24));
        let mut written = [0xff; 24];
        prefix.write(&mut written);
        assert_eq!(written, record[..24], "a prefix of two spellings");
        let now = u64::from(script.u8());
        if prefix.kind == Kind::Cancellation {
            assert_eq!(intake.get_mut(id).is_some(), open.contains(&id));
            continue;
        }
        if intake.is_full() {
            continue;
        }
        let taken = intake.take(id, prefix.deadline_ns, |deadline| now >= deadline);
        // The same number, or a lower one, is a fault, after which nothing more is taken of that caller.
        let Ok(taken) = taken else { return assert!(id <= last) };
        assert!(id > last);
        last = id;
        let is_late = prefix.deadline_ns != 0 && now >= prefix.deadline_ns;
        assert_eq!(taken, if is_late { Taken::Expired } else { Taken::Open });
        if !is_late {
            *intake.get_mut(id).expect("it is open") = id;
            open.push(id);
        }
        if script.u8().is_multiple_of(4) && !open.is_empty() {
            let id = open.swap_remove(script.below(open.len().min(256)));
            assert_eq!((intake.close(id), intake.close(id)), (Some(id), None));
        }
        assert_eq!(intake.open_count(), open.len());
    }
}

//! The calls of a caller that are in flight, as a machine without memory and clocks.
//!
//! The invariant: a number is given out once, and a reply is filed under the call that has its number and waits for it,
//! or under none. So no reply ever answers another call, however late, doubled or made up it is (design invariant 26).

use super::numbered::Numbered;
use std::collections::VecDeque;

/// The calls in flight. `R` is a reply, `W` says why a session was lost.
#[derive(Debug)]
pub(crate) struct Calls<R, W> {
    /// The number of the last call.
    last_id: u64,
    open: Numbered<Call<R, W>>,
    /// The bytes of replies that nobody has taken yet.
    stored_bytes: u64,
    limits: CallLimits,
}

/// What a caller keeps at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallLimits {
    /// Calls whose last reply was not taken.
    pub(crate) open_max: usize,
    /// Bytes of replies that were not taken. The reply that passes it is kept, too.
    pub(crate) stored_bytes_max: u64,
}

#[derive(Debug)]
struct Call<R, W> {
    deadline_ns: Option<u64>,
    /// What was not taken yet, with its length in bytes.
    replies: VecDeque<(Answer<R>, u64)>,
    lost: Option<W>,
    /// A last reply, or a refusal, has come.
    is_answered: bool,
}

/// What came for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<R> {
    Reply(R),
    LastReply(R),
    Refusal(R),
}

/// What there is of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<R, W> {
    /// An answer. After a last reply or a refusal the call is over.
    Answer(Answer<R>),
    /// Nothing yet.
    Pending,
    /// Nothing in time. The call is over.
    Expired,
    /// Nothing more, since the session is lost. The call is over.
    Lost(W),
    /// It is over, or never was.
    Unknown,
}

impl<R, W> Call<R, W> {
    fn is_awaited(&self) -> bool {
        !self.is_answered && self.lost.is_none()
    }
}

impl<R, W: Clone> Calls<R, W> {
    pub(crate) fn new(limits: CallLimits) -> Self {
        Self { last_id: 0, open: Numbered::default(), stored_bytes: 0, limits }
    }

    /// Whether no other call may begin.
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= self.limits.open_max
    }

    /// The number of the next call that begins.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// Begins a call, which is waited for until then; its number.
    pub(crate) fn begin(&mut self, deadline_ns: Option<u64>) -> u64 {
        self.last_id = self.next_id();
        let call = Call { deadline_ns, replies: VecDeque::new(), lost: None, is_answered: false };
        self.open.push(self.last_id, call);
        self.last_id
    }

    /// How many calls are not over.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Whether another reply can be filed.
    pub(crate) fn has_room(&self) -> bool {
        self.stored_bytes <= self.limits.stored_bytes_max
    }

    /// Whether an answer with this number is waited for.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.open.get(id).is_some_and(Call::is_awaited)
    }

    /// Files an answer of `len_bytes` bytes. Returns whether it was waited for.
    pub(crate) fn file(&mut self, id: u64, answer: Answer<R>, len_bytes: u64) -> bool {
        if !self.awaits(id) {
            return false;
        }
        if let Some(call) = self.open.get_mut(id) {
            call.is_answered = !matches!(answer, Answer::Reply(_));
            call.replies.push_back((answer, len_bytes));
            self.stored_bytes += len_bytes;
        }
        true
    }

    /// Takes note of an answer that goes to the program at once; whether it may: it is waited for, and none that came
    /// before it has still to be taken.
    pub(crate) fn pass(&mut self, id: u64, is_last: bool) -> bool {
        let passes = self.open.get(id).is_some_and(|call| call.is_awaited() && call.replies.is_empty());
        if passes && is_last {
            self.open.remove(id);
        }
        passes
    }

    /// What there is of a call. A reply that came is there, however late it is asked for. `has_come` says whether its
    /// deadline has.
    pub(crate) fn next(&mut self, id: u64, has_come: impl FnOnce(u64) -> bool) -> Next<R, W> {
        let Some(call) = self.open.get_mut(id) else { return Next::Unknown };
        let next = match call.replies.pop_front() {
            Some((answer, len_bytes)) => {
                self.stored_bytes -= len_bytes;
                Next::Answer(answer)
            }
            None => match &call.lost {
                Some(why) => Next::Lost(why.clone()),
                None if call.deadline_ns.is_some_and(has_come) => Next::Expired,
                None => return Next::Pending,
            },
        };
        if !matches!(next, Next::Answer(Answer::Reply(_))) {
            self.forget(id);
        }
        next
    }

    /// Gives a call up; whether the service may still be at it.
    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        let is_awaited = self.awaits(id);
        self.forget(id);
        is_awaited
    }

    /// The session is lost: whatever was not answered is lost with it; how many calls that are.
    pub(crate) fn lose_all(&mut self, why: &W) -> u64 {
        let mut lost = 0;
        for call in self.open.values_mut().filter(|call| call.is_awaited()) {
            call.lost = Some(why.clone());
            lost += 1;
        }
        lost
    }

    fn forget(&mut self, id: u64) {
        if let Some(call) = self.open.remove(id) {
            self.stored_bytes -= call.replies.iter().map(|(_, len_bytes)| len_bytes).sum::<u64>();
        }
    }
}

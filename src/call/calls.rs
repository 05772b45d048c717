//! The calls of a caller that are in flight, as a machine without memory and clocks.
//!
//! The invariant: a number is given out once, and an answer is filed under the call that has its number and waits for
//! it, or under none. So no reply ever answers another call, however late, doubled or made up it is (invariant
//! 26).

use super::numbered::Numbered;
use std::collections::VecDeque;

/// The calls in flight. `A` is an answer, `W` says why a session was lost.
#[derive(Debug)]
pub(crate) struct Calls<A, W> {
    /// The number of the last call.
    last_id: u64,
    open: Numbered<Call<A, W>>,
    /// The bytes of answers that nobody has taken yet.
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
struct Call<A, W> {
    /// A last reply, or a refusal, has come.
    is_answered: bool,
    /// In memory of its own: a call that is waited for at once needs none, and begins and ends in few stores.
    filed: Option<Box<Filed<A, W>>>,
}

/// What came of a call that was not waited for.
#[derive(Debug)]
struct Filed<A, W> {
    /// What was not taken yet, with its length in bytes.
    answers: VecDeque<(A, u64)>,
    lost: Option<W>,
}

/// What there is of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<A, W> {
    /// An answer. After one that was filed as the last, the call is over.
    Answer(A),
    /// Nothing yet.
    Pending,
    /// Nothing more, since the session is lost. The call is over.
    Lost(W),
    /// It is over, or never was.
    Unknown,
}

impl<A, W> Call<A, W> {
    fn is_awaited(&self) -> bool {
        !self.is_answered && self.filed.as_ref().is_none_or(|filed| filed.lost.is_none())
    }

    fn has_answers(&self) -> bool {
        self.filed.as_ref().is_some_and(|filed| !filed.answers.is_empty())
    }

    fn file(&mut self) -> &mut Filed<A, W> {
        self.filed.get_or_insert_with(|| Box::new(Filed { answers: VecDeque::new(), lost: None }))
    }
}

impl<A, W: Clone> Calls<A, W> {
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

    /// Begins a call; its number. It is in flight from [`keep`](Self::keep) on: one whose answer is there at once never
    /// is.
    #[inline]
    pub(crate) fn begin(&mut self) -> u64 {
        self.last_id = self.next_id();
        self.last_id
    }

    /// The call that began last is in flight from now on.
    #[inline]
    pub(crate) fn keep(&mut self) {
        self.open.push(self.last_id, Call { is_answered: false, filed: None });
    }

    /// How many calls are not over.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Whether another answer can be filed.
    pub(crate) fn has_room(&self) -> bool {
        self.stored_bytes <= self.limits.stored_bytes_max
    }

    /// Whether an answer with this number is waited for.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.open.get(id).is_some_and(Call::is_awaited)
    }

    /// Files an answer of `len_bytes` bytes. Returns whether it was waited for.
    pub(crate) fn file(&mut self, id: u64, answer: A, is_last: bool, len_bytes: u64) -> bool {
        let Some(call) = self.open.get_mut(id).filter(|call| call.is_awaited()) else { return false };
        call.is_answered = is_last;
        call.file().answers.push_back((answer, len_bytes));
        self.stored_bytes += len_bytes;
        true
    }

    /// Takes note of an answer that goes to the program at once; whether it may: it is waited for, and none that came
    /// before it has still to be taken.
    #[inline]
    pub(crate) fn pass(&mut self, id: u64, is_last: bool) -> bool {
        let passes = self.open.get(id).is_some_and(|call| call.is_awaited() && !call.has_answers());
        if passes && is_last {
            self.open.remove(id);
        }
        passes
    }

    /// What there is of a call. An answer that came is there, however late it is asked for.
    #[inline]
    pub(crate) fn next(&mut self, id: u64) -> Next<A, W> {
        match self.open.get(id) {
            Some(Call { filed: None, .. }) => Next::Pending,
            Some(_) => self.next_filed(id),
            None => Next::Unknown,
        }
    }

    fn next_filed(&mut self, id: u64) -> Next<A, W> {
        let Some(call) = self.open.get_mut(id) else { return Next::Unknown };
        let is_answered = call.is_answered;
        let filed = call.file();
        let (next, is_over) = match (filed.answers.pop_front(), &filed.lost) {
            (Some((answer, len_bytes)), _) => {
                self.stored_bytes -= len_bytes;
                (Next::Answer(answer), is_answered && filed.answers.is_empty())
            }
            (None, Some(why)) => (Next::Lost(why.clone()), true),
            (None, None) => (Next::Pending, false),
        };
        if is_over {
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
            call.file().lost = Some(why.clone());
            lost += 1;
        }
        lost
    }

    fn forget(&mut self, id: u64) {
        if let Some(Call { filed: Some(filed), .. }) = self.open.remove(id) {
            self.stored_bytes -= filed.answers.iter().map(|(_, len_bytes)| len_bytes).sum::<u64>();
        }
    }
}

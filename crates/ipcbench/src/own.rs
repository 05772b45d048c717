//! Contenders from outside, as one process has them: opened and connected.

use crate::contender::{Contender, ContenderKind, Fallible, KindId, Role};
use crate::plan::Case;
use crate::shared::{Shared, Word};
use std::sync::atomic::Ordering;

/// One process's ends of all contenders from outside, with their numbers from 1 on.
pub(crate) struct Own(Vec<(u64, KindId, Box<dyn Contender>)>);

impl Own {
    /// Opens those that these cases need; `shared` says which is being opened.
    pub(crate) fn open(
        kinds: &'static [ContenderKind],
        cases: &[Case],
        (role, run): (Role, &str),
        shared: &Shared,
    ) -> Fallible<Self> {
        let mut opened = Vec::new();
        for (number, kind) in (1..).zip(kinds) {
            if cases.iter().any(|case| case.own() == Some(KindId(kind))) {
                shared.word(Word::Opening).store(number, Ordering::Release);
                opened.push((number, KindId(kind), (kind.open)(role, run)?));
            }
        }
        shared.word(Word::Opening).store(0, Ordering::Release);
        Ok(Self(opened))
    }

    /// Connects all of them, once the other process has opened its ends.
    pub(crate) fn connect(&mut self, shared: &Shared) -> Fallible {
        for (number, _, contender) in &mut self.0 {
            shared.word(Word::Opening).store(*number, Ordering::Release);
            contender.connect()?;
        }
        shared.word(Word::Opening).store(0, Ordering::Release);
        Ok(())
    }

    pub(crate) fn get(&mut self, kind: KindId) -> &mut dyn Contender {
        let found = self.0.iter_mut().find(|(_, each, _)| *each == kind);
        found.expect("an end of every contender that is measured").2.as_mut()
    }
}

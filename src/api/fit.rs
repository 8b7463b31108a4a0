//! A conversation that outgrows the context: its oldest turns are left out.

use super::request::Truncation;
use crate::engine::{AbortSignal, Engine, Error, GenerateParams, Generation};
use crate::gpu::GpuError;
use crate::text::{Message, RenderOptions};
use std::collections::btree_map::{BTreeMap, Entry};

/// Tokens that are kept free for an answer, if its length is not limited and the context is not small.
const ANSWER_TOKENS: u32 = 512;

/// A conversation as a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FittedChat {
    /// The prompt, with the assistant's answer about to begin.
    pub ids: Vec<u32>,
    /// Messages that were left out: the first so many behind the leading system messages.
    pub dropped: usize,
    /// Tokens that prompt and answer may have together.
    pub room: u32,
}

/// What is told while a conversation is answered.
#[derive(Debug, Clone, Copy)]
pub enum AnswerEvent<'a> {
    /// This prompt is about to run. Another, shorter one may follow, if the device has no memory for it, but not once there was text.
    Prompt(&'a FittedChat),
    /// The answer goes on with this, which may be empty.
    Text(&'a str),
}

/// Messages through the model's chat template to ids, with the assistant's answer about to begin.
///
/// # Errors
/// A template that refuses the messages; text that the vocabulary cannot express.
pub fn encode_chat(engine: &Engine, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>, Error> {
    let rendered = engine.template().render(messages, options)?;
    Ok(engine.tokenizer().encode_rendered(&rendered)?)
}

/// Answers a conversation, with [`Truncation::Auto`] without its oldest turns where they would leave no room for an answer of
/// `params.max_tokens`, or of as many as is usual, in the context, or where the device has no memory for them.
///
/// # Errors
/// As [`encode_chat`]; a prompt that is too long, whatever may be left out of it: both come before any event. As [`Engine::answer`].
pub async fn answer_chat(
    engine: &mut Engine,
    messages: &[Message],
    options: &RenderOptions,
    truncation: Truncation,
    params: &GenerateParams,
    tell: &mut dyn FnMut(AnswerEvent<'_>),
    abort: &AbortSignal,
) -> Result<(Generation, FittedChat), Error> {
    // What the device refused another time it may have now.
    let mut room = engine.context();
    let mut refusal = None;
    loop {
        let fitted = match (fit(engine, messages, options, truncation, params.max_tokens, room), refusal.take()) {
            // No prompt is short enough: it is memory that lacks.
            (Err(Error::ContextExceeded { .. }), Some(refusal)) => return Err(refusal),
            (fitted, _) => fitted?,
        };
        tell(AnswerEvent::Prompt(&fitted));
        let mut begun = false;
        let mut on_token = |text: &str, _id: u32| {
            begun = true;
            tell(AnswerEvent::Text(text));
        };
        match engine.answer(&fitted.ids, params, &mut on_token, abort).await {
            // The device had no room for the prompt, as is known now: it has for a shorter one.
            Err(error @ Error::Gpu(GpuError::OutOfMemory { .. }))
                if truncation == Truncation::Auto && !begun && engine.room() < room =>
            {
                room = engine.room();
                refusal = Some(error);
            }
            generation => return Ok((generation?, fitted)),
        }
    }
}

/// The prompt for `room` tokens of prompt and answer together.
fn fit(
    engine: &Engine,
    messages: &[Message],
    options: &RenderOptions,
    truncation: Truncation,
    max_tokens: Option<u32>,
    room: u32,
) -> Result<FittedChat, Error> {
    let (opening, cuts) = cuts(messages);
    // By turns that are left out; what is asked for once is encoded once.
    let mut encoded: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let mut without = |turns: usize| -> Result<usize, Error> {
        Ok(match encoded.entry(turns) {
            Entry::Occupied(known) => known.get().len(),
            Entry::Vacant(new) => {
                let kept = [&messages[..opening], &messages[cuts[turns]..]].concat();
                new.insert(encode_chat(engine, &kept, options)?).len()
            }
        })
    };
    let turns = match truncation {
        Truncation::Disabled => 0,
        Truncation::Auto => {
            let reserve = max_tokens.unwrap_or(ANSWER_TOKENS).min(room / 4).max(1);
            turns_to_drop(cuts.len() - 1, (room - reserve) as usize, (room / 4) as usize, &mut without)?
        }
    };
    let prompt = without(turns)?;
    if prompt >= room as usize {
        return Err(Error::ContextExceeded { prompt, context: room });
    }
    Ok(FittedChat { ids: encoded.remove(&turns).unwrap_or_default(), dropped: cuts[turns] - opening, room })
}

/// How many system messages lead, and where what stays behind them may begin: at the first message, or where another turn than the first does.
/// A turn is a user's message with all that follows and the system messages right before it.
fn cuts(messages: &[Message]) -> (usize, Vec<usize>) {
    let is = |at: usize, role: &str| messages[at].role == role;
    let opening = (0..messages.len()).take_while(|&at| is(at, "system")).count();
    let users = (opening..messages.len()).filter(|&at| is(at, "user")).skip(1);
    let turns = users.map(|user| user - (opening..user).rev().take_while(|&at| is(at, "system")).count());
    (opening, std::iter::once(opening).chain(turns).collect())
}

/// How many of the oldest turns, at most `most`, have to go until at most `room` tokens are left; `length`: how many are left without so many, fewer
/// the more turns go.
///
/// Tokens go in steps of `step`. So the same turns go while the conversation grows by that much, what stays begins in the same place, and its
/// keys and values are still in the cache. Where a step is more than all that can go, no more turns go than must.
fn turns_to_drop<E>(most: usize, room: usize, step: usize, length: &mut impl FnMut(usize) -> Result<usize, E>) -> Result<usize, E> {
    let all = length(0)?;
    if all <= room || most == 0 {
        return Ok(0);
    }
    // The least number of turns without which at most so many tokens are left, or `most`.
    let mut least_for = |tokens: usize| {
        let (mut too_few, mut enough) = (0, most);
        while enough - too_few > 1 {
            let half = too_few.midpoint(enough);
            if length(half)? <= tokens {
                enough = half;
            } else {
                too_few = half;
            }
        }
        Ok(enough)
    };
    let excess = (all - room).next_multiple_of(step.max(1));
    match least_for(all.saturating_sub(excess))? {
        turns if turns == most => least_for(room),
        turns => Ok(turns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a conversation of these speakers may begin: s(ystem), u(ser), a(ssistant), t(ool).
    fn cuts_of(speakers: &str) -> (usize, Vec<usize>) {
        let role = |speaker| match speaker {
            's' => "system",
            'u' => "user",
            'a' => "assistant",
            _ => "tool",
        };
        cuts(&speakers.chars().map(|speaker| Message::new(role(speaker), "")).collect::<Vec<_>>())
    }

    #[test]
    fn turns_begin_with_what_leads_to_a_question() {
        assert_eq!(cuts_of("suaua"), (1, vec![1, 3]));
        assert_eq!(cuts_of("uuu"), (0, vec![0, 1, 2]));
        assert_eq!(cuts_of("uatauatau"), (0, vec![0, 4, 8]), "a tool's result belongs to its question");
        assert_eq!(cuts_of("ssaua"), (2, vec![2]), "a greeting belongs to the first turn");
        assert_eq!(cuts_of("suassu"), (1, vec![1, 3]), "system messages in between belong to the question behind them");
        assert_eq!(cuts_of("uasuas"), (0, vec![0, 2]), "or before them, if none follows");
        assert_eq!(cuts_of("sa"), (1, vec![1]));
        assert_eq!(cuts_of("ss"), (2, vec![2]));
        assert_eq!(cuts_of(""), (0, vec![0]));
    }

    /// Turns of so many tokens behind a system message of 10, the last of them not to be dropped; in steps of 25.
    fn dropped(turns: &[usize], room: usize) -> usize {
        let mut length = |n: usize| Ok::<_, ()>(10 + turns[n..].iter().sum::<usize>());
        turns_to_drop(turns.len() - 1, room, 25, &mut length).unwrap()
    }

    #[test]
    fn what_fits_stays_whole() {
        assert_eq!(dropped(&[30, 30, 30], 100), 0);
        assert_eq!(dropped(&[500], 100), 0, "the last turn is never dropped");
    }

    #[test]
    fn the_same_turns_go_while_the_conversation_grows_by_a_step() {
        let dropped: Vec<usize> = (9..=16).map(|turns| dropped(&vec![10; turns], 100)).collect();
        assert_eq!(dropped, [0, 3, 3, 5, 5, 5, 8, 8]);
    }

    #[test]
    fn no_more_goes_than_must_where_a_step_would_leave_nothing() {
        assert_eq!(dropped(&[30, 20, 50], 100), 1, "a step would ask for 25 tokens");
        assert_eq!(dropped(&[10, 5, 5, 80], 100), 1, "of a step of 25 only 20 can go");
        assert_eq!(dropped(&[10, 10, 400], 100), 2, "too long even so");
    }

    #[test]
    fn what_fails_is_told() {
        assert_eq!(turns_to_drop(3, 100, 25, &mut |_| Err::<usize, _>("no")), Err("no"));
    }
}

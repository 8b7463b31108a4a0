//! A conversation that outgrows the context: its oldest turns are left out.

use crate::engine::{Engine, Error};
use crate::text::{Message, RenderOptions};

/// Tokens that are kept free for an answer, if its length is not limited and the context is not small.
const ANSWER_TOKENS: u32 = 512;

/// A prompt that leaves room for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The prompt, with the assistant's answer about to begin.
    pub ids: Vec<u32>,
    /// Messages that were left out, the oldest behind the system message.
    pub dropped: usize,
}

/// Messages through the model's chat template to ids, with the assistant's answer about to begin.
///
/// # Errors
/// A template that refuses the messages; text that the vocabulary cannot express.
pub fn encode_chat(engine: &Engine, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>, Error> {
    let rendered = engine.template().render(messages, options)?;
    Ok(engine.tokenizer().encode_rendered(&rendered)?)
}

/// As [`encode_chat`], without the oldest turns where they would leave no room for an answer of `max_tokens`, or of as many as is usual. A turn
/// is a user's message and what follows it; what stands before the first, and the last turn, always stay.
///
/// # Errors
/// As [`encode_chat`]; a last turn that is too long by itself.
pub fn fit_chat(engine: &Engine, messages: &[Message], options: &RenderOptions, max_tokens: Option<u32>) -> Result<Fitted, Error> {
    let context = engine.room();
    let reserve = max_tokens.unwrap_or(ANSWER_TOKENS).min(context / 4).max(1);
    let opening = messages.iter().take_while(|message| message.role == "system").count();
    // Where what stays may begin.
    let mut cuts = vec![opening];
    cuts.extend((opening + 1..messages.len()).filter(|&at| messages[at].role == "user"));
    let without = |turns: usize| encode_chat(engine, &[&messages[..opening], &messages[cuts[turns]..]].concat(), options);
    let turns = turns_to_drop(cuts.len() - 1, (context - reserve) as usize, |turns| Ok::<_, Error>(without(turns)?.len()))?;
    let ids = without(turns)?;
    if ids.len() >= context as usize {
        return Err(Error::ContextExceeded { prompt: ids.len(), context });
    }
    Ok(Fitted { ids, dropped: cuts[turns] - opening })
}

/// How many of the oldest turns, at most `most`, have to go until at most `room` tokens are left; `length`: how many are left without so many.
///
/// Tokens go in steps of a quarter of the room. So the same turns go while the conversation grows by that much, what stays begins in the same
/// place, and its keys and values are still in the cache.
fn turns_to_drop<E>(most: usize, room: usize, mut length: impl FnMut(usize) -> Result<usize, E>) -> Result<usize, E> {
    let all = length(0)?;
    if all <= room || most == 0 {
        return Ok(0);
    }
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
    let excess = (all - room).next_multiple_of((room / 4).max(1));
    match least_for(all.saturating_sub(excess))? {
        // All but the last turn, or nearly: whatever fits is better.
        turns if turns == most => least_for(room),
        turns => Ok(turns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of so many tokens behind a system message of 10, the last of them not to be dropped.
    fn dropped(turns: &[usize], room: usize) -> usize {
        let length = |n: usize| Ok::<_, ()>(10 + turns[n..].iter().sum::<usize>());
        turns_to_drop(turns.len() - 1, room, length).unwrap()
    }

    #[test]
    fn what_fits_stays_whole() {
        assert_eq!(dropped(&[30, 30, 30], 100), 0);
        assert_eq!(dropped(&[500], 100), 0, "the last turn is never dropped");
    }

    #[test]
    fn the_same_turns_go_while_the_conversation_grows_by_a_quarter() {
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
        assert_eq!(turns_to_drop(3, 100, |_| Err::<usize, _>("no")), Err("no"));
    }
}

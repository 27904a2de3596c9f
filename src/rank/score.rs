//! The rank that a model gives to the right word after a prompt.

use std::cmp::Reverse;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::prompts::Prompt;
use crate::device::batch_size;
use crate::error::{Error, Result};
use crate::kernels::cross_entropy::head_chunk;
use crate::kernels::head::Head;
use crate::kernels::table::within;
use crate::model::parameters::to_host;
use crate::model::{LanguageModel, LoadedModel, token_ids};
use crate::progress::Monitor;
use crate::text::{Bos, Tokenizer};

/// A prompt as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the model reads, at most its context.
    pub ids: Vec<u32>,
    /// The first token of the target.
    pub target: u32,
    /// Whether the beginning was cut off, because the model does not read so much.
    pub cut: bool,
}

/// Tokenises prompts for a model that reads `context` tokens; `first` is the token that texts begin with, if any.
///
/// Prompt and target are tokenised as one text, a space between, and the target's first token is the one that begins at
/// that space. If the tokenizer makes the space a separate token, the prompt includes it and the next token is the
/// target. `None` where no token begins there, because one holds the end of the prompt and the beginning of the target.
///
/// # Errors
/// As [`Tokenizer::encode`].
pub fn questions(
    prompts: &[Prompt],
    tokenizer: &Tokenizer,
    first: Option<u32>,
    context: usize,
) -> Result<Vec<Option<Question>>> {
    let lengths: Vec<u64> = prompts.iter().map(|prompt| prompt.prompt.trim_end().len() as u64).collect();
    let texts: Vec<String> =
        prompts.iter().map(|prompt| format!("{} {}", prompt.prompt.trim_end(), prompt.target.trim())).collect();
    let encoded = tokenizer.encode(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
    let question = |(encoded, length): (crate::text::Encoded, u64)| {
        let mut at = encoded.starts.iter().position(|&start| start >= length)?;
        if tokenizer.token_text(encoded.ids[at]).chars().all(char::is_whitespace) {
            at += 1;
        }
        if *encoded.starts.get(at)? > length + 1 {
            return None;
        }
        let mut ids = encoded.ids[..at].to_vec();
        let room = context.saturating_sub(usize::from(first.is_some())).max(1);
        let cut = ids.len() > room;
        ids.drain(..ids.len().saturating_sub(room));
        if let Some(first) = first.filter(|first| ids.first() != Some(first)) {
            ids.insert(0, first);
        }
        (!ids.is_empty()).then_some(Question { ids, target: encoded.ids[at], cut })
    };
    Ok(encoded.into_iter().zip(lengths).map(question).collect())
}

/// The questions that a model is asked: as `questions`, with the begin-of-text token from `bos` and the tokenizer.
///
/// # Errors
/// As `questions`, and where a token lies outside the model's vocabulary.
pub fn questions_for(
    prompts: &[Prompt],
    model: &LoadedModel,
    tokenizer: &Tokenizer,
    bos: Bos,
) -> Result<Vec<Option<Question>>> {
    let first = bos.token(tokenizer.bos_added(), model.config.bos_token_id)?;
    let questions = questions(prompts, tokenizer, first, model.config.context())?;
    let largest = questions.iter().flatten().flat_map(|q| q.ids.iter().chain([&q.target])).max();
    match largest {
        Some(&id) if id as usize >= model.config.vocabulary() => Err(Error::file(
            &model.folder,
            format!("its tokenizer gives token {id}, its vocabulary ends at {}", model.config.vocabulary()),
            "get the tokenizer of this model again",
        )),
        _ => Ok(questions),
    }
}

/// The rank of each question's target: 1 + the entries of the vocabulary with a higher logit. `model` must be free of
/// autodiff.
///
/// Questions of the same length are computed together, so nothing is padded. The head is applied only to the last
/// position, piece by piece.
///
/// # Errors
/// The device's failure; an interruption; logits that are not finite.
pub fn ranks(
    model: &LanguageModel,
    device: &Device,
    questions: &[&Question],
    monitor: &mut dyn Monitor,
) -> Result<Vec<u64>> {
    let head = model.head();
    let mut by_length: Vec<usize> = (0..questions.len()).collect();
    by_length.sort_by_key(|&index| Reverse(questions[index].ids.len()));
    let mut ranks = vec![0; questions.len()];
    monitor.begin("ranking", questions.len() as u64);
    for same in by_length.chunk_by(|&a, &b| questions[a].ids.len() == questions[b].ids.len()) {
        let batch = batch_size(questions[same[0]].ids.len()).min(head_chunk(head.rows()));
        for group in same.chunks(batch) {
            let ids: Vec<&[u32]> = group.iter().map(|&index| questions[index].ids.as_slice()).collect();
            let hidden = model.hidden_states(token_ids(&ids, device));
            let [batch, time, channels] = hidden.dims();
            let last = hidden.narrow(1, time - 1, 1).reshape([batch, channels]);
            let targets: Vec<i32> = group.iter().map(|&index| questions[index].target as i32).collect();
            let targets = Tensor::from_data(TensorData::new(targets, [batch, 1]), device);
            for (&index, higher) in group.iter().zip(higher(last, &head, targets)?) {
                ranks[index] = 1 + higher;
            }
            monitor.advance(group.len() as u64, "");
            if monitor.stopped() {
                return Err(Error::Interrupted("stopped while ranking, which starts anew".into()));
            }
        }
    }
    monitor.end();
    Ok(ranks)
}

/// How many logits lie above that of the target: from hidden states `[n, channels]` and targets `[n, 1]`, `[n]`.
fn higher(hidden: Tensor<2>, head: &Head, targets: Tensor<2, Int>) -> Result<Vec<u64>> {
    let [positions, _] = hidden.dims();
    let logits: Vec<Tensor<2>> = head.pieces(&hidden).collect();
    let device = hidden.device();
    let zeros = || Tensor::<2>::zeros([positions, 1], &device);
    // A target's logit counts in the piece it lies in, and is 0 in the others.
    let own = logits.iter().zip(head.table().starts()).fold(zeros(), |own, (logits, start)| {
        let (local, inside) = within(targets.clone(), start, logits.dims()[1]);
        own + logits.clone().gather(1, local) * inside
    });
    // Each count is below 2^24, which f32 holds exactly. Sums of logits only tell whether all of them are finite.
    let (count, sums) = logits.into_iter().fold((zeros(), zeros()), |(count, sums), logits| {
        let above = logits.clone().greater(own.clone().expand(logits.dims())).float();
        (count + above.sum_dim(1), sums + logits.sum_dim(1))
    });
    if !to_host(sums.flatten(0, 1))?.iter().all(|sum| sum.is_finite()) {
        return Err(Error::numeric("a logit is not finite: the model's numbers left the range of f32"));
    }
    Ok(to_host(count.flatten(0, 1))?.into_iter().map(|count| count as u64).collect())
}

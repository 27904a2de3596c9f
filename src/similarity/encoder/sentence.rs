//! A sentence encoder on a device.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::bert::Bert;
use super::folder::{EncoderFolder, Pooling};
use crate::device::batch_size;
use crate::device::card_of;
use crate::error::{Error, Result};
use crate::files::hash_bytes;
use crate::memory::EncoderSize;
use crate::model::parameters::to_host;
use crate::model::token_ids;
use crate::model::weights::{LARGEST_PIECE, Stamps};
use crate::text::Tokenizer;

/// Bytes of a piece where a long text is tokenised piece by piece.
pub(super) const PIECE: usize = 1 << 16;

/// Tokens encoded together on a CPU. Fewer than for evaluating a model: the values between two layers then stay in its
/// caches, which takes 20 % less time with all-MiniLM-L6-v2 than four times as many.
const TOGETHER_ON_CPU: usize = 1024;

/// A sentence encoder on a device.
#[derive(Debug, Clone)]
pub struct SentenceEncoder {
    pub(super) folder: PathBuf,
    pub(super) settings: EncoderFolder,
    pub(super) bert: Bert,
    pub(super) tokenizer: Tokenizer,
    /// The tokens before and after every passage: `[CLS]` and `[SEP]`.
    pub(super) around: [u32; 2],
    /// Tokens encoded together.
    pub(super) together: usize,
    /// Free of autodiff.
    pub(super) device: Device,
    /// Its files when they were read.
    pub(super) stamps: Stamps,
}

impl SentenceEncoder {
    /// Reads the encoder in `folder` onto `device`.
    ///
    /// # Errors
    /// [`Error::Input`] for a file that is missing, broken, or has settings that are not implemented.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let (settings, tokenizer, around) = read(folder)?;
        let device = device.clone().inner();
        let stamps = Stamps::of(&settings.body)?;
        let bert = Bert::open(&settings.config, &settings.body, &device)?;
        let together = together(&device);
        Ok(Self { folder: folder.to_owned(), bert, tokenizer, around, together, device, settings, stamps })
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        self.settings.config.hidden_size
    }

    /// Tokens of text that a passage holds at most, those around it not counted.
    pub fn passage(&self) -> usize {
        self.settings.longest - self.around.len()
    }

    /// What identifies the encoder: a hash of its weights, configuration and tokenizer, and of how it pools and cuts.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn hash(&self) -> Result<String> {
        identity(&self.settings, &self.tokenizer, &self.stamps)
    }

    /// The token ids of a text, without the tokens around a passage.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn token_ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.tokenizer.encode_in_pieces(&self.prepared(text), PIECE, |part, _| {
            ids.extend_from_slice(part);
            Ok(())
        })?;
        Ok(ids)
    }

    /// Vectors of length 1 of passages of token ids, each of 1 to [`Self::passage`] ids: `[passages, channels]`.
    ///
    /// # Errors
    /// A passage that is empty or too long, the device's failure, or numbers that are not finite.
    pub fn encode(&self, passages: &[&[u32]]) -> Result<Vec<f32>> {
        let longest = self.passage();
        if let Some(index) = passages.iter().position(|passage| passage.is_empty() || passage.len() > longest) {
            let (fault, cure) = (format!("has {} tokens", passages[index].len()), format!("give it 1 to {longest}"));
            return Err(Error::input(format!("passage {index}"), fault, cure));
        }
        let channels = self.dimension();
        let mut vectors = vec![0.0; passages.len() * channels];
        self.encode_each(passages, |index, vector| {
            vectors[index * channels..][..channels].copy_from_slice(vector);
            Ok(())
        })?;
        Ok(vectors)
    }

    /// The text as it is tokenised.
    pub(super) fn prepared<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.settings.lowercase { text.to_lowercase().into() } else { text.into() }
    }

    /// Encodes passages, those of about one length together and the longest first, and hands over each with its index.
    pub(super) fn encode_each(
        &self,
        passages: &[&[u32]],
        mut take: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut order: Vec<usize> = (0..passages.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(passages[index].len())); // stable: the same order every time
        let mut rest = &order[..];
        while let Some(&longest) = rest.first() {
            let time = passages[longest].len() + self.around.len();
            let scores = size_of::<f32>() * self.settings.config.num_attention_heads * time * time;
            let (batch, later) = rest.split_at((self.together / time).min(LARGEST_PIECE / scores).clamp(1, rest.len()));
            let ids: Vec<&[u32]> = batch.iter().map(|&index| passages[index]).collect();
            let mut values = to_host(self.pooled(&ids, time).flatten(0, 1))?;
            for (&index, vector) in batch.iter().zip(values.chunks_exact_mut(self.dimension())) {
                to_length_one(vector).map_err(|fault| Error::numeric(format!("a vector of {self} {fault}")))?;
                take(index, vector)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// The pooled states of passages, in windows of `time` tokens: `[passages, channels]`.
    pub(super) fn pooled(&self, passages: &[&[u32]], time: usize) -> Tensor<2> {
        let [before, after] = self.around;
        let filled = |passage: &&[u32]| passage.len() + self.around.len();
        let windows: Vec<Vec<u32>> = passages
            .iter()
            .map(|passage| {
                let mut window = [&[before][..], passage, &[after]].concat();
                window.resize(time, after); // any id: these positions are masked
                window
            })
            .collect();
        let windows: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let device = &self.device;
        let padding = passages.iter().any(|passage| filled(passage) < time).then(|| {
            let mask: Vec<bool> =
                passages.iter().flat_map(|passage| (0..time).map(move |at| at >= filled(passage))).collect();
            Tensor::<2, Bool>::from_data(TensorData::new(mask, [passages.len(), time]), device)
        });
        let hidden = self.bert.hidden_states(token_ids(&windows, device), padding.as_ref()); // [B, T, C]
        match (self.settings.pooling, padding) {
            (Pooling::Cls, _) => hidden.narrow(1, 0, 1).squeeze_dim(1),
            (Pooling::Mean, None) => hidden.mean_dim(1).squeeze_dim(1),
            (Pooling::Mean, Some(padding)) => {
                let tokens = padding.bool_not().float(); // [B, T]
                let sum = (hidden * tokens.clone().unsqueeze_dim(2)).sum_dim(1).squeeze_dim(1); // [B, C]
                sum / tokens.sum_dim(1)
            }
        }
    }
}

/// The encoder as messages name it.
impl std::fmt::Display for SentenceEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.folder.display())
    }
}

/// Divides a vector by its length; a vector without a length gives an error text.
pub(super) fn to_length_one(vector: &mut [f32]) -> Result<(), String> {
    let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() {
        return Err("is not finite: the weights or the device are at fault".into());
    }
    if length == 0.0 {
        return Err("is zero and has no direction".into());
    }
    vector.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    Ok(())
}

/// The settings of an encoder's folder, its tokenizer, and the tokens that it puts before and after a text.
fn read(folder: &Path) -> Result<(EncoderFolder, Tokenizer, [u32; 2])> {
    let settings = EncoderFolder::read(folder)?;
    let EncoderFolder { body, config, .. } = &settings;
    if !body.join("tokenizer.json").exists() {
        return Err(Error::file(
            body,
            "has no tokenizer.json, without which an encoder reads no text",
            "put the encoder's tokenizer.json there (transformers writes one with \
             `AutoTokenizer.from_pretrained(…).save_pretrained(…)`)",
        ));
    }
    let tokenizer = Tokenizer::load(body)?;
    let broken = |fault: String| {
        Error::file(&body.join("tokenizer.json"), fault, "use the tokenizer that the weights were trained with")
    };
    let [[before], [after]] = [&tokenizer.added().before[..], &tokenizer.added().after[..]] else {
        return Err(broken("does not put one token before and one after a text, as BERT needs".into()));
    };
    if tokenizer.vocabulary_size() > config.vocab_size {
        let (ids, rows) = (tokenizer.vocabulary_size(), config.vocab_size);
        return Err(broken(format!("has {ids} token ids, but the encoder has vectors for {rows}")));
    }
    let around = [*before, *after];
    Ok((settings, tokenizer, around))
}

/// The hash of [`SentenceEncoder::hash`], of an encoder that is not opened. Refuses a folder from which no encoder can
/// be opened, if that shows without reading its weights.
///
/// # Errors
/// As [`SentenceEncoder::open`] and [`SentenceEncoder::hash`].
pub fn hash_of(folder: &Path) -> Result<String> {
    let (settings, tokenizer, _) = read(folder)?;
    identity(&settings, &tokenizer, &Stamps::of(&settings.body)?)
}

fn identity(settings: &EncoderFolder, tokenizer: &Tokenizer, stamps: &Stamps) -> Result<String> {
    let EncoderFolder { body, pooling, longest, lowercase, .. } = settings;
    let (weights, tokenizer) = (stamps.hash(body)?, tokenizer.hash());
    Ok(hash_bytes(format!("{weights}\n{tokenizer}\n{pooling:?} {longest} {lowercase}").as_bytes()))
}

/// Tokens encoded together on `device`.
fn together(device: &Device) -> usize {
    if card_of(device).is_some() { batch_size(1) } else { TOGETHER_ON_CPU }
}

impl EncoderFolder {
    /// What memory depends on where the encoder computes on `device`.
    pub fn size(&self, device: &Device) -> EncoderSize {
        EncoderSize {
            weights: self.config.weight_count(),
            passage: self.longest,
            together: together(device).max(self.longest),
            channels: self.config.hidden_size,
            inner: self.config.intermediate_size,
            heads: self.config.num_attention_heads,
        }
    }
}

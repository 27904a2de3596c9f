//! Prompts that end before a word of the domain: sentences of the test text, cut before a word that belongs to one of
//! the domain's terms.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::terms::{Lexicon, Term};
use super::words::{normalised, sentences, words};
use crate::error::{Error, Result};
use crate::files;
use crate::message::{Message, Setting};
use crate::text::Corpus;

/// Words of a term's list: those with the highest TF-IDF among the most frequent ones of its passages.
const LIST: usize = 50;
const FREQUENT: usize = 150;
/// The least TF-IDF cosine of a sentence to the passages of a term.
const SIMILAR: f64 = 0.15;
/// Words and characters that a sentence has at least, and words before the target.
const SENTENCE_WORDS: usize = 10;
const SENTENCE_CHARACTERS: usize = 40;
const CONTEXT_WORDS: usize = 5;
/// The least share of letters among the characters of a sentence, without white space.
const LETTERS: f64 = 0.8;
/// Prompts of one term, at most: those of the most similar sentences.
const PER_TERM: usize = 20;
/// With fewer prompts or terms the result would be useless.
const FEWEST_PROMPTS: usize = 20;
const FEWEST_TERMS: usize = 5;

/// A text, and the word that should follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The domain's term it belongs to; prompts of one term are resampled together.
    pub keyword: String,
    /// What the model reads.
    pub prompt: String,
    /// The word that follows, after a space.
    pub target: String,
    /// Index of the document in the test text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
    /// Similarity of the sentence to the term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
}

/// Prompts of a domain.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PromptSet {
    /// The prompts; none where there is a reason.
    pub prompts: Vec<Prompt>,
    /// How sentences were matched with terms: "tfidf", or "given" for prompts read from a file.
    pub similarity: String,
    /// Why there are no prompts.
    pub reason: Option<String>,
}

impl PromptSet {
    /// No prompts, and why.
    pub fn none(reason: impl Into<String>) -> Self {
        Self { prompts: Vec::new(), similarity: "tfidf".into(), reason: Some(reason.into()) }
    }

    /// Prompts from the `test` text about the terms of the `train` text; terms that are just as frequent in the
    /// `reference` are left out. The same texts give the same prompts.
    pub fn build(train: &Corpus, test: &Corpus, reference: Option<&Corpus>) -> Self {
        let [Some(train), Some(test)] = [train, test].map(texts) else {
            return Self::none("terms are found in text, and this corpus is given as token ids");
        };
        Self::of_texts(&train, &test, reference.and_then(texts).as_deref())
    }

    /// As [`PromptSet::build`], from the texts of documents.
    pub fn of_texts(train: &[&str], test: &[&str], reference: Option<&[&str]>) -> Self {
        let lexicon = Lexicon::new(train);
        let (terms, generic) = lexicon.terms(reference);
        if terms.len() < FEWEST_TERMS {
            return Self::none(format!(
                "{} terms were found in the training text, at least {FEWEST_TERMS} are needed: give more text",
                terms.len()
            ));
        }
        let profiles = Profiles::new(&lexicon, &terms, &generic);
        let mut prompts = by_term(&profiles, new_sentences(train, test), terms.len());
        for (term, prompts) in terms.iter().zip(&mut prompts) {
            prompts.iter_mut().for_each(|prompt| prompt.keyword.clone_from(&term.text));
        }
        let used = prompts.iter().filter(|prompts| !prompts.is_empty()).count();
        let prompts: Vec<Prompt> = prompts.into_iter().flatten().collect();
        if prompts.len() < FEWEST_PROMPTS || used < FEWEST_TERMS {
            return Self::none(format!(
                "the test text gives {} prompts about {used} terms, at least {FEWEST_PROMPTS} about {FEWEST_TERMS} are \
                 needed: give more text",
                prompts.len()
            ));
        }
        Self { prompts, similarity: "tfidf".into(), reason: None }
    }

    /// Reads prompts that [`PromptSet::write`] or a person wrote: one object a line with `keyword`, `prompt`, `target`.
    ///
    /// # Errors
    /// [`Error::Input`] for a file without prompts, and for a line that is not a prompt, with its number.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::files::read_text(path)?;
        let mut prompts = Vec::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let cure = "write one object a line, {\"keyword\": \"…\", \"prompt\": \"…\", \"target\": \"…\"}";
            let fault = |fault: String| Error::input(format!("{}: line {number}", path.display()), fault, cure);
            let prompt: Prompt = serde_json::from_str(line).map_err(|e| {
                let message = e.to_string();
                fault(format!("not a prompt: {}", message.split(" at line ").next().unwrap_or(&message)))
            })?;
            if prompt.prompt.trim().is_empty() || prompt.target.trim().is_empty() {
                return Err(fault("its prompt or its target is empty".into()));
            }
            prompts.push(prompt);
        }
        if prompts.is_empty() {
            let settings = [Setting::new("rank", true), Setting::new("rank_prompts", "FILE")];
            let cure = Message::new("write it with ").command("eval", settings);
            return Err(Error::file(path, "holds no prompts", cure));
        }
        Ok(Self { prompts, similarity: "given".into(), reason: None })
    }

    /// Whether a file holds prompts as [`Self::write`] writes those of [`Self::build`]; such as people make have less in
    /// them.
    pub fn is_in(path: &Path) -> bool {
        let Ok(text) = std::fs::read_to_string(path) else { return false };
        let is_found = |line| {
            serde_json::from_str(line).is_ok_and(|prompt: Prompt| prompt.document.and(prompt.similarity).is_some())
        };
        !text.trim().is_empty() && text.lines().all(is_found)
    }

    /// Writes the prompts, one JSON object a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_whole(path, |out| {
            self.prompts.iter().try_for_each(|prompt| {
                serde_json::to_writer(&mut *out, prompt)?;
                out.write_all(b"\n")
            })
        })
    }
}

/// The texts of a corpus; `None` for one of token ids.
fn texts(corpus: &Corpus) -> Option<Vec<&str>> {
    Some(corpus.texts().ok()?.collect())
}

/// A sentence of the test text.
struct Sentence<'a> {
    document: usize,
    text: &'a str,
}

/// The sentences of `test` that are long enough, each once, without those that also stand in `train`.
fn new_sentences<'a>(train: &[&str], test: &[&'a str]) -> Vec<Sentence<'a>> {
    let mut known: HashMap<String, bool> = HashMap::new(); // normalised, and whether it is to be dropped
    let mut found = Vec::new();
    for (document, text) in test.iter().enumerate() {
        for sentence in sentences(text).into_iter().map(|range| &text[range]) {
            if is_prose(sentence) && known.insert(normalised(sentence), false).is_none() {
                found.push(Sentence { document, text: sentence });
            }
        }
    }
    for text in train {
        for sentence in sentences(text) {
            if let Some(in_train) = known.get_mut(&normalised(&text[sentence])) {
                *in_train = true;
            }
        }
    }
    found.retain(|sentence| known.get(&normalised(sentence.text)) == Some(&false));
    found
}

/// Whether a sentence is long enough, and mostly letters: tables, formulas and lists of numbers are not.
fn is_prose(sentence: &str) -> bool {
    let printed = sentence.chars().filter(|c| !c.is_whitespace());
    let letters = printed.clone().filter(|c| c.is_alphabetic()).count();
    sentence.split_whitespace().count() >= SENTENCE_WORDS
        && sentence.chars().count() >= SENTENCE_CHARACTERS
        && letters as f64 >= LETTERS * printed.count() as f64
}

/// The words that belong to each term: the words of its passages, weighted by TF-IDF.
struct Profiles<'a> {
    lexicon: &'a Lexicon,
    /// ln(P / p) of each word: p of the P passages hold it.
    idf: HashMap<u32, f64>,
    /// By word, the terms whose passages hold it and its weight there; the vectors have length 1.
    weights: HashMap<u32, Vec<(usize, f64)>>,
    /// The words that may be targets of each term.
    lists: Vec<Vec<u32>>,
}

impl<'a> Profiles<'a> {
    fn new(lexicon: &'a Lexicon, terms: &[Term], generic: &HashSet<u32>) -> Self {
        let passages = lexicon.content_of_passages();
        let mut standing: HashMap<u32, u32> = HashMap::new();
        passages.iter().flat_map(BTreeMap::keys).for_each(|&word| *standing.entry(word).or_default() += 1);
        let count = passages.len() as f64;
        let idf: HashMap<u32, f64> =
            standing.into_iter().map(|(word, passages)| (word, (count / f64::from(passages)).ln())).collect();

        let mut weights: HashMap<u32, Vec<(usize, f64)>> = HashMap::new();
        let mut lists = Vec::new();
        for (term, with) in lexicon.passages_with(terms).into_iter().enumerate() {
            let mut frequency: BTreeMap<u32, f64> = BTreeMap::new();
            for (&word, &count) in with.iter().flat_map(|&passage| &passages[passage]) {
                *frequency.entry(word).or_default() += f64::from(count);
            }
            let tf_idf: BTreeMap<u32, f64> = frequency.iter().map(|(&word, tf)| (word, tf * idf[&word])).collect();
            let norm = tf_idf.values().map(|x| x * x).sum::<f64>().sqrt();
            for (&word, weight) in tf_idf.iter().filter(|(_, weight)| **weight > 0.0) {
                weights.entry(word).or_default().push((term, weight / norm));
            }
            let most = |of: &BTreeMap<u32, f64>, mut words: Vec<u32>, count: usize| {
                words.sort_by(|a, b| of[b].total_cmp(&of[a]).then(a.cmp(b)));
                words.truncate(count);
                words
            };
            let own =
                frequency.keys().copied().filter(|&word| tf_idf[&word] > 0.0 && !generic.contains(&word)).collect();
            lists.push(most(&tf_idf, most(&frequency, own, FREQUENT), LIST));
        }
        Self { lexicon, idf, weights, lists }
    }

    /// The terms whose passages are like these words, the most alike first, with the cosine.
    fn like(&self, ids: &[u32]) -> Vec<(usize, f64)> {
        let mut frequency: BTreeMap<u32, f64> = BTreeMap::new();
        for &id in ids.iter().filter(|&&id| self.lexicon.is_content(id)) {
            *frequency.entry(id).or_default() += 1.0;
        }
        let vector = frequency.into_iter().filter_map(|(word, tf)| Some((word, tf * self.idf.get(&word)?)));
        let vector: Vec<(u32, f64)> = vector.collect();
        let norm = vector.iter().map(|(_, x)| x * x).sum::<f64>().sqrt();
        let mut products: BTreeMap<usize, f64> = BTreeMap::new();
        for (word, x) in &vector {
            for (term, weight) in self.weights.get(word).into_iter().flatten() {
                *products.entry(*term).or_default() += x * weight;
            }
        }
        let mut like: Vec<(usize, f64)> = products.into_iter().map(|(term, product)| (term, product / norm)).collect();
        like.retain(|(_, cosine)| *cosine >= SIMILAR);
        like.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        like
    }

    /// The prompt of a sentence, and its term.
    fn prompt(&self, sentence: &Sentence) -> Option<(usize, Prompt)> {
        let text = sentence.text;
        let words = words(text);
        let ids: Vec<Option<u32>> =
            words.iter().map(|word| self.lexicon.find(&text[word.clone()].to_lowercase())).collect();
        let known: Vec<u32> = ids.iter().flatten().copied().collect();
        self.like(&known).into_iter().find_map(|(term, cosine)| {
            let eligible = |&at: &usize| {
                let Some(id) = ids[at] else { return false };
                // A word that is already in the prompt could be copied by the model.
                self.lists[term].contains(&id)
                    && text[..words[at].start].ends_with(' ')
                    && !ids[..at].contains(&Some(id))
            };
            let at = (CONTEXT_WORDS..words.len()).find(eligible)?;
            Some((
                term,
                Prompt {
                    keyword: String::new(),
                    prompt: text[..words[at].start].trim_end().to_owned(),
                    target: text[words[at].clone()].to_owned(),
                    document: Some(sentence.document),
                    similarity: Some((cosine * 1e4).round() / 1e4),
                },
            ))
        })
    }
}

/// The prompts of each term, at most [`PER_TERM`], the most similar sentence first.
fn by_term(profiles: &Profiles, sentences: Vec<Sentence>, terms: usize) -> Vec<Vec<Prompt>> {
    let mut found: Vec<Vec<Prompt>> = vec![Vec::new(); terms];
    for (term, prompt) in sentences.iter().filter_map(|sentence| profiles.prompt(sentence)) {
        found[term].push(prompt);
    }
    for prompts in &mut found {
        let cosine = |prompt: &Prompt| prompt.similarity.unwrap_or_default();
        prompts.sort_by(|a, b| cosine(b).total_cmp(&cosine(a))); // a stable sort: ties stay in the order of the text
        prompts.truncate(PER_TERM);
    }
    found
}

//! A domain's terms: word n-grams of its training text that are collocations and that are not common elsewhere.
//!
//! Candidates are n-grams of 2 to 7 words inside a phrase, counted in small letters, hyphens kept. The cohesion of an
//! n-gram is its normalised pointwise mutual information (Bouma, "Normalized (pointwise) mutual information in
//! collocation extraction", GSCL 2009), for more than two words with the total correlation of Van de Cruys ("Two
//! multivariate generalizations of pointwise mutual information", DiSCo 2011) in its place.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::words::{joins, words};
use crate::text::token_class::FUNCTION_WORDS;

/// Terms wanted.
pub const KEYWORDS: usize = 100;
/// Words of the longest term.
const LONGEST: usize = 7;
/// How many of the wanted terms have two, three, and more words; if one group has too few, the others fill up.
const QUOTAS: [usize; 3] = [KEYWORDS * 5 / 10, KEYWORDS * 3 / 10, KEYWORDS * 2 / 10];
/// With fewer terms than this, single words join them.
const FEWEST: usize = KEYWORDS / 2;
/// The least number of occurrences of a term, and of documents with it (or in all, where there are fewer).
const OCCURRENCES: u32 = 3;
/// The least cohesion of a term, −1 to 1.
const COHESION: f64 = 0.3;
/// A term is generic if its rate in the reference is at least this share of its rate in the domain.
const GENERIC: f64 = 0.5;
/// A term is dropped if a longer term contains it in at least this share of its occurrences.
const CONTAINED: f64 = 0.8;
/// Cosine of character trigrams from which two terms of equally many words are one (plurals, spellings).
const ALIKE: f64 = 0.8;
/// The largest number of words that are read of a text.
const WORDS_READ: usize = 10_000_000;
/// Words of a passage; longer documents are cut into several.
const PASSAGE: usize = 200;
/// Marks the end of a phrase in a passage.
const BREAK: u32 = u32::MAX;

/// The function words that a term may hold between others ("state of the art"); with any other function word it is a
/// clause, not a term.
const LINKS: [&str; 8] = ["and", "de", "for", "in", "la", "of", "on", "the"];

/// Words that are typical of no domain: numbers, times, degrees, and the verbs and nouns of every report. Sorted.
#[rustfmt::skip]
const GENERIC_WORDS: &[&str] = &[
    "able", "according", "ad", "addition", "additional", "address", "afterwards", "ago", "ah", "al", "almost", "alone",
    "already", "also", "always", "amount", "analysis", "appeared", "appears", "approach", "april", "aren't", "article",
    "august", "available", "away", "back", "based", "became", "become", "becomes", "began", "believed", "best",
    "better", "billion", "bring", "called", "came", "can't", "case", "cases", "come", "comes", "consider",
    "considered", "considers", "consisted", "consists", "couldn't", "day", "days", "december", "demonstrate",
    "demonstrated", "demonstrates", "describe", "described", "describes", "didn't", "different", "difficult",
    "discuss", "discussed", "doesn't", "don't", "due", "early", "easily", "effect", "effectiveness", "eight", "else",
    "end", "enough", "especially", "et", "etc", "even", "eventually", "ever", "example", "examples", "far", "february",
    "few", "fifth", "finally", "find", "finds", "first", "five", "following", "former", "forth", "found", "four",
    "fourth", "friday", "full", "fully", "further", "gave", "generally", "get", "gets", "give", "given", "gives", "go",
    "goes", "going", "gone", "good", "got", "great", "hadn't", "half", "hasn't", "haven't", "help", "hence", "here",
    "high", "higher", "highly", "however", "hundred", "i'm", "identify", "important", "include", "included",
    "includes", "including", "increase", "increased", "increasing", "instead", "interesting", "introduce",
    "introduced", "introduces", "investigate", "isn't", "issue", "issues", "it's", "january", "july", "june", "just",
    "keep", "kept", "known", "large", "large-scale", "larger", "largest", "last", "late", "later", "least", "left",
    "less", "let", "like", "likely", "little", "long", "low", "lower", "made", "main", "mainly", "major", "make",
    "makes", "making", "many", "means", "member", "members", "mentioned", "million", "monday", "month", "months",
    "more", "moreover", "most", "moved", "mr", "mrs", "much", "named", "necessary", "need", "needed", "needs", "never",
    "next", "nine", "notable", "note", "novel", "november", "now", "number", "obtain", "obtained", "obtains",
    "october", "often", "old", "once", "one", "only", "original", "originally", "other", "others", "own", "paper",
    "papers", "part", "particular", "particularly", "people", "perform", "performed", "perhaps", "place", "play",
    "played", "plays", "possible", "present", "presented", "presents", "previous", "previously", "prior", "probably",
    "propose", "proposed", "proposes", "prove", "proved", "proven", "provide", "provided", "provides", "publicly",
    "put", "quite", "range", "rather", "really", "recent", "recently", "related", "relevant", "remain", "remained",
    "remains", "report", "reported", "require", "required", "requires", "respectively", "result", "results", "return",
    "returned", "said", "same", "saturday", "saw", "say", "says", "second", "see", "seems", "seen", "september", "set",
    "seven", "several", "short", "shortly", "show", "shows", "significant", "significantly", "similar", "simple",
    "simply", "six", "small", "sometimes", "soon", "specific", "started", "state-of-the-art", "still", "strong",
    "studied", "studies", "study", "suggest", "suggested", "suggests", "sunday", "take", "taken", "takes", "tell",
    "ten", "that's", "then", "thing", "things", "third", "thousand", "three", "thursday", "thus", "time", "times",
    "today", "together", "told", "took", "total", "toward", "tried", "try", "tuesday", "turn", "turned", "twice",
    "two", "typically", "understand", "use", "used", "uses", "using", "usually", "various", "very", "want", "wanted",
    "wasn't", "way", "ways", "wednesday", "week", "weeks", "well", "went", "weren't", "whole", "whose", "wide", "won",
    "won't", "work", "wouldn't", "wrote", "year", "years",
];

/// Whether a lower-case word may be typical of a domain: it has a letter and at least three characters, and is neither
/// a function word nor a common word of reports.
pub fn has_content(word: &str) -> bool {
    word.chars().nth(2).is_some()
        && word.chars().any(char::is_alphabetic)
        && FUNCTION_WORDS.binary_search(&word).is_err()
        && GENERIC_WORDS.binary_search(&word).is_err()
}

/// A term with its statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Its words in small letters, a space between.
    pub text: String,
    /// Their ids in [`Lexicon::words`].
    pub words: Vec<u32>,
    /// Occurrences.
    pub count: u32,
    /// Documents it stands in.
    pub documents: u32,
    /// Normalised pointwise mutual information, −1 to 1; 1 for a single word.
    pub cohesion: f64,
    /// The sort key of terms: cohesion · count · idf, where idf is ln((1 + D) / (1 + d)) with d of the reference's D
    /// documents; 1 without a reference.
    pub weight: f64,
}

/// A text in passages of words, what terms are found in.
#[derive(Debug, Default)]
pub struct Lexicon {
    /// Words in small letters, by id.
    pub words: Vec<String>,
    ids: HashMap<String, u32>,
    /// The words of each passage, with [`BREAK`] where a phrase ends.
    passages: Vec<Vec<u32>>,
    /// The document of each passage.
    document: Vec<u32>,
    /// Words in all.
    total: usize,
    /// Whether each word has content.
    content: Vec<bool>,
}

/// How often an n-gram stands in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    occurrences: u32,
    documents: u32,
    /// The last document it was seen in, plus one.
    last: u32,
}

impl Count {
    fn add(&mut self, document: u32) {
        self.occurrences += 1;
        self.documents += u32::from(self.last != document + 1);
        self.last = document + 1;
    }
}

/// N-grams with their counts; every beginning and end of one is there too.
type Grams = HashMap<Vec<u32>, Count>;

/// The counts of the domain's n-grams in a reference corpus.
#[derive(Debug, Default)]
struct Generality {
    counts: Grams,
    documents: u32,
    words: usize,
}

impl Lexicon {
    /// Reads documents into passages.
    pub fn new(documents: &[&str]) -> Self {
        let mut lexicon = Self::default();
        for (index, text) in documents.iter().enumerate() {
            if lexicon.total >= WORDS_READ {
                break;
            }
            let mut passage = Vec::new();
            let mut length = 0;
            let mut end = 0;
            for word in words(text) {
                if !joins(&text[end..word.start], &text[word.clone()]) {
                    passage.push(BREAK);
                    if length >= PASSAGE {
                        lexicon.add(index, std::mem::take(&mut passage));
                        length = 0;
                    }
                }
                end = word.end;
                passage.push(lexicon.id(&text[word].to_lowercase()));
                length += 1;
                lexicon.total += 1;
            }
            if length > 0 {
                lexicon.add(index, passage);
            }
        }
        lexicon
    }

    fn add(&mut self, document: usize, passage: Vec<u32>) {
        self.passages.push(passage);
        self.document.push(document as u32);
    }

    fn id(&mut self, word: &str) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let id = self.words.len() as u32;
        self.words.push(word.to_owned());
        self.ids.insert(word.to_owned(), id);
        self.content.push(has_content(word));
        id
    }

    /// The id of a word in small letters.
    pub fn find(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// Whether a word says something of a domain.
    pub fn is_content(&self, word: u32) -> bool {
        self.content.get(word as usize).copied().unwrap_or(false)
    }

    /// How often each word with content stands in each passage, by word.
    pub fn content_of_passages(&self) -> Vec<BTreeMap<u32, u32>> {
        let counts = |passage: &Vec<u32>| {
            let mut counts = BTreeMap::new();
            passage
                .iter()
                .filter(|&&word| self.is_content(word))
                .for_each(|&word| *counts.entry(word).or_default() += 1);
            counts
        };
        self.passages.iter().map(counts).collect()
    }

    /// The passages each term stands in.
    pub fn passages_with(&self, terms: &[Term]) -> Vec<Vec<usize>> {
        let by_words: HashMap<&[u32], usize> =
            terms.iter().enumerate().map(|(i, term)| (term.words.as_slice(), i)).collect();
        let longest = terms.iter().map(|term| term.words.len()).max().unwrap_or(0);
        let mut found: Vec<Vec<usize>> = vec![Vec::new(); terms.len()];
        for (index, passage) in self.passages.iter().enumerate() {
            for n in 1..=longest {
                for term in passage.windows(n).filter_map(|gram| by_words.get(gram)) {
                    if found[*term].last() != Some(&index) {
                        found[*term].push(index);
                    }
                }
            }
        }
        found
    }

    /// Documents read.
    fn documents(&self) -> u32 {
        self.document.last().map_or(0, |last| last + 1)
    }

    /// All n-grams with [`OCCURRENCES`] or more, length by length: one can only have them if both of the n-grams it is
    /// made of, without its last and without its first word, have them.
    fn grams(&self) -> Grams {
        let mut all = Grams::new();
        for n in 1..=LONGEST {
            let mut counts: HashMap<&[u32], Count> = HashMap::new();
            for (passage, &document) in self.passages.iter().zip(&self.document) {
                for gram in passage.windows(n).filter(|gram| !gram.contains(&BREAK)) {
                    if n == 1 || all.contains_key(&gram[1..]) && all.contains_key(&gram[..n - 1]) {
                        counts.entry(gram).or_default().add(document);
                    }
                }
            }
            counts.retain(|_, count| count.occurrences >= OCCURRENCES);
            if counts.is_empty() {
                break;
            }
            all.extend(counts.into_iter().map(|(gram, count)| (gram.to_vec(), count)));
        }
        all
    }

    /// Counts this text's n-grams in a reference corpus.
    fn generality(&self, grams: &Grams, reference: &[&str]) -> Generality {
        let mut found = Generality::default();
        for (document, text) in (0..).zip(reference) {
            if found.words >= WORDS_READ {
                break;
            }
            let mut ids = Vec::new();
            let mut end = 0;
            for word in words(text) {
                if !joins(&text[end..word.start], &text[word.clone()]) {
                    ids.push(BREAK);
                }
                end = word.end;
                ids.push(self.find(&text[word].to_lowercase()).unwrap_or(BREAK));
                found.words += 1;
            }
            for start in 0..ids.len() {
                for n in 1..=LONGEST.min(ids.len() - start) {
                    let gram = &ids[start..start + n];
                    if !grams.contains_key(gram) {
                        break; // nothing that begins with it is there either
                    }
                    match found.counts.get_mut(gram) {
                        Some(count) => count.add(document),
                        None => found.counts.entry(gram.to_vec()).or_default().add(document),
                    }
                }
            }
            found.documents = document + 1;
        }
        found
    }

    /// The domain's terms, the weightiest first within their quota, and the generic words, which are nearly as frequent
    /// in the reference. Without a reference none are.
    pub fn terms(&self, reference: Option<&[&str]>) -> (Vec<Term>, HashSet<u32>) {
        let grams = self.grams();
        let generality = reference.map(|reference| self.generality(&grams, reference));
        let generic = grams.iter().filter(|(gram, _)| gram.len() == 1).filter_map(|(gram, count)| {
            generality.as_ref()?.has(gram, self.share(count.occurrences)).then_some(gram[0])
        });
        let generic = generic.collect();
        (chosen(self.candidates(&grams, generality.as_ref())), generic)
    }

    /// The share of all words that so many are.
    fn share(&self, count: u32) -> f64 {
        f64::from(count) / self.total as f64
    }

    /// Every n-gram that could be a term, the weightiest first; single words last.
    fn candidates(&self, grams: &Grams, generality: Option<&Generality>) -> Vec<Term> {
        let needed = self.documents().min(OCCURRENCES);
        let mut candidates: Vec<Term> = Vec::new();
        for (gram, count) in grams {
            let ends = [gram[0], gram[gram.len() - 1]];
            let inside =
                gram.iter().all(|&word| self.is_content(word) || LINKS.contains(&self.words[word as usize].as_str()));
            if count.documents < needed || !inside || !ends.iter().all(|&word| self.is_content(word)) {
                continue;
            }
            if generality.is_some_and(|reference| reference.has(gram, self.share(count.occurrences))) {
                continue;
            }
            let singles: f64 = gram.iter().map(|&word| self.share(grams[&[word][..]].occurrences).ln()).sum();
            let cohesion = cohesion(gram.len(), self.share(count.occurrences).ln(), singles);
            if cohesion < COHESION {
                continue;
            }
            let idf = generality.map_or(1.0, |reference| reference.idf(gram));
            candidates.push(Term {
                text: gram.iter().map(|&word| self.words[word as usize].as_str()).collect::<Vec<_>>().join(" "),
                words: gram.clone(),
                count: count.occurrences,
                documents: count.documents,
                cohesion,
                weight: cohesion * f64::from(count.occurrences) * idf,
            });
        }
        candidates.sort_by(|a, b| {
            let last = |term: &Term| term.words.len() == 1;
            (last(a).cmp(&last(b))).then(b.weight.total_cmp(&a.weight)).then_with(|| a.text.cmp(&b.text))
        });
        candidates
    }
}

impl Generality {
    /// Whether the reference has an n-gram at [`GENERIC`] of this share of words, or more.
    fn has(&self, gram: &[u32], share: f64) -> bool {
        let occurrences = self.counts.get(gram).map_or(0, |count| count.occurrences);
        f64::from(occurrences) / self.words.max(1) as f64 >= GENERIC * share
    }

    /// ln((1 + D) / (1 + d)): d of the D documents of the reference hold the n-gram.
    fn idf(&self, gram: &[u32]) -> f64 {
        let documents = self.counts.get(gram).map_or(0, |count| count.documents);
        (f64::from(1 + self.documents) / f64::from(1 + documents)).ln()
    }
}

/// Normalised pointwise mutual information of `n` words, from the logarithms of their joint probability and of the
/// product of their own: ln(p / Π pᵢ) / (−(n − 1) ln p). 1 where they only occur together, 0 where they meet by chance.
pub fn cohesion(n: usize, joint: f64, singles: f64) -> f64 {
    if n < 2 || joint == 0.0 {
        return 1.0;
    }
    (joint - singles) / (-(n as f64 - 1.0) * joint)
}

/// The terms that stay of `candidates`, which are in order: no near-duplicates, so many of each length.
fn chosen(candidates: Vec<Term>) -> Vec<Term> {
    let mut inside: BTreeMap<&[u32], u32> = BTreeMap::new(); // the most frequent longer term that holds it
    for term in &candidates {
        for n in 1..term.words.len() {
            for part in term.words.windows(n) {
                let most = inside.entry(part).or_default();
                *most = (*most).max(term.count);
            }
        }
    }
    let stays = |term: &Term| {
        let longer = inside.get(term.words.as_slice()).copied().unwrap_or(0);
        f64::from(longer) < CONTAINED * f64::from(term.count)
    };
    let mut distinct: Vec<(&Term, BTreeMap<[char; 3], f64>)> = Vec::new();
    let mut taken = [0; 3];
    let mut spare = Vec::new();
    let mut kept = Vec::new();
    for term in candidates.iter().filter(|term| stays(term)) {
        let single = term.words.len() == 1;
        let so_far = kept.len() + spare.len();
        if single && so_far >= FEWEST || kept.len() >= KEYWORDS || so_far >= 4 * KEYWORDS {
            break;
        }
        let trigrams = trigrams(&term.text);
        let alike = |other: &&(&Term, BTreeMap<[char; 3], f64>)| {
            other.0.words.len() == term.words.len() && cosine(&other.1, &trigrams) >= ALIKE
        };
        if distinct.iter().any(|other| alike(&other)) {
            continue;
        }
        distinct.push((term, trigrams));
        let quota = term.words.len().clamp(2, 4) - 2;
        if !single && taken[quota] < QUOTAS[quota] {
            taken[quota] += 1;
            kept.push(term.clone());
        } else {
            spare.push(term.clone());
        }
    }
    let lacking = KEYWORDS.saturating_sub(kept.len());
    kept.extend(spare.into_iter().take(lacking));
    kept
}

/// How often each run of three characters occurs in a term with a space at both ends.
fn trigrams(text: &str) -> BTreeMap<[char; 3], f64> {
    let characters: Vec<char> = std::iter::once(' ').chain(text.chars()).chain([' ']).collect();
    let mut counts = BTreeMap::new();
    for run in characters.windows(3) {
        *counts.entry([run[0], run[1], run[2]]).or_default() += 1.0;
    }
    counts
}

/// The cosine of two sparse vectors.
fn cosine<K: Ord>(a: &BTreeMap<K, f64>, b: &BTreeMap<K, f64>) -> f64 {
    let norm = |v: &BTreeMap<K, f64>| v.values().map(|x| x * x).sum::<f64>().sqrt();
    let product: f64 = a.iter().filter_map(|(key, x)| Some(x * b.get(key)?)).sum();
    let norms = norm(a) * norm(b);
    if norms > 0.0 { product / norms } else { 0.0 }
}

//! The golden sentence encoder of `tests/fixtures/encoder` (f64 truth, tests/scripts/make_encoder_case.py).

// Every test file compiles this on its own and uses a part of it.
#![allow(dead_code)]

use std::path::PathBuf;

use burn::tensor::Device;
use odyssey::progress::Silent;
use odyssey::similarity::encoder::{Embedded, SentenceEncoder};
use serde::Deserialize;

use crate::common::fixture;

/// A text with what is expected of it.
#[derive(Deserialize)]
pub struct Golden {
    pub text: String,
    /// Ids of its passages, `[CLS]` and `[SEP]` among them.
    pub passages: Vec<Vec<u32>>,
    /// Its vector by mean pooling.
    pub mean: Vec<f64>,
    /// Its vector by CLS pooling.
    pub cls: Vec<f64>,
}

pub fn folder() -> PathBuf {
    fixture("encoder")
}

pub fn golden() -> Vec<Golden> {
    serde_json::from_slice(&std::fs::read(folder().join("golden.json")).unwrap()).unwrap()
}

pub fn embed(encoder: &SentenceEncoder, texts: &[&str]) -> Embedded {
    encoder.embed(texts.iter().copied(), usize::MAX, &mut Silent).unwrap()
}

/// How far the vectors of the golden texts are from the golden ones, at most.
pub fn error_of(encoder: &SentenceEncoder, pooled: impl Fn(&Golden) -> &Vec<f64>) -> f64 {
    let golden = golden();
    let texts: Vec<&str> = golden.iter().map(|case| case.text.as_str()).collect();
    let features = embed(encoder, &texts).features.unwrap();
    assert_eq!((features.samples, features.dimension), (golden.len(), 32));
    let pairs = features.rows().zip(&golden).flat_map(|(row, case)| row.iter().zip(pooled(case)));
    pairs.map(|(found, expected)| (f64::from(*found) - expected).abs()).fold(0.0, f64::max)
}

pub fn check(device: &Device) {
    let error = error_of(&SentenceEncoder::open(&folder(), device).unwrap(), |case| &case.mean);
    println!("largest error of a component: {error:.1e}");
    assert!(error < 1e-6, "{error:.1e}");
}

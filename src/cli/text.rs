//! Options of every command that reads text.

use odyssey::evaluate::{Protocol, ProtocolName, ProtocolResult};
use odyssey::model::ModelConfig;
use odyssey::text::{DocumentRule, ReadOptions, StreamOptions, Tokenizer};

use odyssey::error::Result;

/// How texts become tokens.
#[derive(Debug, Clone, clap::Args)]
pub struct TextArgs {
    /// What a document is in a .txt file.
    #[arg(long, value_enum, default_value_t)]
    pub document: DocumentRule,
    /// The field of .jsonl files, and the column of .parquet files, that holds the text.
    #[arg(long, value_name = "NAME")]
    pub text_field: Option<String>,
    #[command(flatten)]
    pub stream: StreamOptions,
}

impl TextArgs {
    /// How files become documents.
    pub fn read(&self) -> ReadOptions {
        ReadOptions { document: self.document, text_field: self.text_field.clone() }
    }
}

/// How perplexity is measured.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ProtocolArgs {
    /// Which windows are read and which tokens are scored.
    #[arg(long, value_enum, default_value_t)]
    pub protocol: ProtocolName,
    /// Tokens of a window; by default the model's longest, for `half-window` at most 512.
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Tokens between windows; for `strided` half the context by default.
    #[arg(long, value_name = "TOKENS")]
    pub stride: Option<usize>,
}

impl ProtocolArgs {
    /// Refuses sizes that no model could follow.
    pub fn check(&self) -> Result<()> {
        Protocol::check_sizes(self.protocol, self.context, self.stride)
    }

    /// The protocol for this model and these texts.
    pub fn for_model(
        &self,
        config: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
        text: &TextArgs,
    ) -> Result<ProtocolResult> {
        let Self { protocol, context, stride } = *self;
        ProtocolResult::for_model(protocol, [context, stride], config, tokenizer, text.document, &text.stream)
    }
}

//! What loading and chatting cost the CPU: reading a header, rendering a chat, encoding its text, and making text of ids again.
//!
//! All run on the default model where it is in the cache, else on a made-up file with a vocabulary of the same size.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinglet::text::{ChatTemplate, Detokenizer, Encode, Message, RenderOptions, Tokenizer};
use kinglet::weights::gguf::{Gguf, Parse};
use kinglet::weights::known::{self, cache};
use std::hint::black_box;
use std::io::Read;

#[path = "../tests/common/ggufwriter.rs"]
mod ggufwriter;

/// More than the default model's header.
const HEADER_BYTES: u64 = 4 << 20;

/// The beginning of the default model's file.
fn real() -> Option<Vec<u8>> {
    let known = known::find(known::DEFAULT)?;
    let file = std::fs::File::open(cache::models()?.join(known.file)).ok()?;
    let mut header = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut header).ok()?;
    Some(header)
}

/// A header with 49,152 tokens: the letters and GPT-2's sign for the space, and each token so far with one of these after it.
fn made_up() -> Vec<u8> {
    let mut tokens: Vec<String> = ('a'..='z').chain(['Ġ']).map(String::from).collect();
    let mut merges = Vec::new();
    for n in 0..49_125 {
        let (left, right) = (tokens[n / 27].clone(), tokens[n % 27].clone());
        merges.push(format!("{left} {right}"));
        tokens.push(left + &right);
    }
    ggufwriter::GgufWriter::new()
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .i32s("tokenizer.ggml.token_type", &vec![1; tokens.len()])
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings("tokenizer.ggml.merges", &merges)
        .bytes()
}

fn benches(criterion: &mut Criterion) {
    let header = real().unwrap_or_else(made_up);
    criterion.bench_function("gguf parse", |bencher| bencher.iter(|| Gguf::parse(black_box(&header), None)));

    let Ok(Parse::Done(gguf)) = Gguf::parse(&header, None) else { panic!("the header is whole") };
    criterion.bench_function("tokenizer build", |bencher| bencher.iter(|| Tokenizer::from_gguf(black_box(&gguf.metadata))));

    let tokenizer = Tokenizer::from_gguf(&gguf.metadata).expect("the tokenizer is supported");
    let text = "the kinglet is a tiny bird with a crown and it sings all day ".repeat(100);
    let mut group = criterion.benchmark_group("tokenizer");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| tokenizer.encode(black_box(&text), Encode::default())));
    let ids = tokenizer.encode(&text, Encode::default()).expect("the text is encoded");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("detokenize, id by id", |bencher| {
        bencher.iter(|| {
            let mut detokenizer = Detokenizer::new(&tokenizer);
            let length: usize = ids.iter().map(|id| detokenizer.push(black_box(*id)).len()).sum();
            length + detokenizer.finish().len()
        });
    });
    group.finish();

    let template = ChatTemplate::from_gguf(&gguf.metadata).expect("the template is supported");
    let messages: Vec<Message> =
        (0..20).map(|turn| Message::new(["user", "assistant"][turn % 2], "What does a kinglet sing, and when?")).collect();
    let options = RenderOptions::default();
    criterion.bench_function("chat template, 20 messages", |bencher| {
        bencher.iter(|| template.render(black_box(&messages), &options).expect("the template renders"));
    });
}

criterion_group!(text, benches);
criterion_main!(text);

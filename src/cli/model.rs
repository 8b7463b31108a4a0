//! From the MODEL argument to a loaded engine.

use super::args::{DeviceArgs, ModelArgs};
use super::exit::{Failure, fetch_failure};
use super::output::note;
use super::progress::Bar;
use super::tuning;
use kinglet::engine::{AbortSignal, Engine, LoadOptions, Phase};
use kinglet::gpu::{Gpu, GpuOptions};
use kinglet::model::Measure;
use kinglet::text::{AddBos, Encode, Tokenizer};
use kinglet::weights::files::{Address, Files, Folder, Layout, Opened, Site, open_model};
use kinglet::weights::gguf::Gguf;
use kinglet::weights::known::{self, FetchPhase, FetchProgress, KnownModel, cache};
use kinglet::weights::source::{Chunk, FileSource, HttpSource, Source, SourceError};
use pollster::block_on;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A file here or behind a URL.
enum AnySource {
    File(FileSource),
    Http(Box<HttpSource>),
}

impl Source for AnySource {
    fn name(&self) -> &str {
        match self {
            Self::File(source) => source.name(),
            Self::Http(source) => source.name(),
        }
    }

    fn len(&self) -> Option<u64> {
        match self {
            Self::File(source) => source.len(),
            Self::Http(source) => source.len(),
        }
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        match self {
            Self::File(source) => source.read(offset, len).await,
            Self::Http(source) => source.read(offset, len).await,
        }
    }
}

/// A folder here or behind a URL.
enum AnyFiles {
    Folder(Folder),
    Site(Site),
}

impl Files for AnyFiles {
    type Source = AnySource;

    async fn open(&mut self, name: &str) -> Result<Option<AnySource>, SourceError> {
        Ok(match self {
            Self::Folder(folder) => folder.open(name).await?.map(AnySource::File),
            Self::Site(site) => site.open(name).await?.map(|source| AnySource::Http(Box::new(source))),
        })
    }

    fn place(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.place(name),
            Self::Site(site) => site.place(name),
        }
    }
}

/// A model whose header has been read.
pub struct ModelFile {
    model: Opened<AnySource>,
    opened: Instant,
}

/// A model ready to answer.
pub struct Loaded {
    /// It.
    pub engine: Engine,
    /// The file's name.
    pub model: String,
    /// Seconds from the first look at the file until it was ready.
    pub load_s: f64,
}

impl Loaded {
    /// The GPU's name.
    pub fn adapter(&self) -> &str {
        &self.engine.gpu().info().name
    }

    /// The tier in use.
    pub fn tier(&self) -> &str {
        &self.engine.gpu().info().tier
    }
}

impl ModelFile {
    /// Finds the model (fetching a known one if need be) and reads its header.
    pub fn open(args: &ModelArgs) -> Result<Self, Failure> {
        let opened = Instant::now();
        let Place { mut files, file, name } = place(&args.model)?;
        let model = block_on(open_model(&mut files, file.as_deref(), &name, args.quantize()))?;
        Ok(Self { model, opened })
    }

    /// What the files are.
    pub fn layout(&self) -> Layout {
        self.model.layout
    }

    /// The header.
    pub fn gguf(&self) -> &Gguf {
        &self.model.gguf
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        self.model.source.name()
    }

    /// Its length, where known.
    pub fn bytes(&self) -> Option<u64> {
        self.model.source.len()
    }

    /// The ids of a raw text: special tokens in it are text, BOS as the file says.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let tokenizer = Tokenizer::from_gguf(&self.gguf().metadata)?;
        Ok(tokenizer.encode(text, Encode { parse_special: false, add_bos: AddBos::FromModel })?)
    }

    /// Opens the GPU and loads the model onto it.
    pub fn load(self, device: &DeviceArgs, context: Option<u32>) -> Result<Loaded, Failure> {
        self.load_on(device.gpu(), device.load(context))
    }

    /// The same, with options that no argument names.
    pub fn load_on(mut self, gpu: GpuOptions, mut options: LoadOptions) -> Result<Loaded, Failure> {
        let model = self.name().to_owned();
        let gpu = block_on(Gpu::open(gpu))?;
        let exact = options.tuning.exact;
        if options.tuning.measure != Measure::Never {
            options.tuning.stored = tuning::stored(&gpu, options.tuning.exact);
        }
        let bar = Bar::bytes();
        let engine = block_on(Engine::load_opened(
            gpu,
            self.model.gguf,
            &mut self.model.source,
            options,
            &mut |progress| {
                let what = match progress.phase {
                    Phase::Header => "Reading",
                    Phase::Weights => "Loading",
                    Phase::Compile => "Compiling",
                };
                bar.set(what, progress.loaded, progress.total);
            },
            &AbortSignal::new(),
        ))?;
        drop(bar);
        tuning::keep(engine.gpu(), exact, engine.model().tuning(), engine.model().tuned_by());
        Ok(Loaded { engine, model, load_s: self.opened.elapsed().as_secs_f64() })
    }
}

/// Where a model is.
struct Place {
    /// Its folder.
    files: AnyFiles,
    /// The file that was named, unless it is the folder.
    file: Option<String>,
    /// What the model is called after its folder.
    name: String,
}

fn place(model: &str) -> Result<Place, Failure> {
    if model.starts_with("http://") || model.starts_with("https://") {
        let (address, file) = Address::of(model);
        let name = address.name().to_owned();
        return Ok(Place { files: AnyFiles::Site(Site::new(address)), file, name });
    }
    let path = match known::find(model) {
        _ if Path::new(model).exists() => PathBuf::from(model),
        Some(known) => {
            if !cache::models().is_some_and(|folder| folder.join(known.file).exists()) {
                note(format_args!("{} is not in the cache yet; fetching it.", known.name));
            }
            pull(known)?
        }
        None => {
            return Err(Failure::model(format!(
                "there is no file {model:?}, and no model is known by that name; known are: {}. A path or a URL can be given too",
                known::names()
            )));
        }
    };
    let unreadable = || Failure::model(format!("the name of {} is not UTF-8; rename it", path.display()));
    let (folder, file) = if path.is_dir() {
        (path.as_path(), None)
    } else {
        let file = path.file_name().and_then(|name| name.to_str()).ok_or_else(unreadable)?;
        (path.parent().unwrap_or(Path::new("")), Some(file.to_owned()))
    };
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    Ok(Place { files: AnyFiles::Folder(Folder::new(folder)), file, name })
}

/// The path of a known model in the cache, fetched and checked if it is not there.
pub fn pull(known: &KnownModel) -> Result<PathBuf, Failure> {
    let folder = cache::models()
        .ok_or_else(|| Failure::other("there is no folder for the cache: set KINGLET_CACHE to one that models may be kept in"))?;
    let bar = Bar::bytes();
    let mut progress = |progress: FetchProgress| {
        let what = match progress.phase {
            FetchPhase::Download => "Downloading",
            FetchPhase::Package => "Fetching",
            FetchPhase::Unpack => "Unpacking",
            FetchPhase::Verify => "Checking",
        };
        bar.set(what, progress.loaded, progress.total);
    };
    known::fetch(known.name, &folder, &mut progress).map_err(|error| fetch_failure(&error))
}

//! Compiles the interfaces without `protoc`, and lists the messages whose `Debug` must hide fields.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use protox::prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor,
};

const CSI: &str = "csi/v1/csi.proto";
const STEAD: &str = "stead/v1";

/// Fields that hold secrets although the interface does not mark them: a mount option such as
/// `password=` reaches us here.
const UNMARKED: [&str; 1] = ["csi.v1.VolumeCapability.MountVolume.mount_flags"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // A directory is watched as a whole, so a file added to it is noticed; one that does not exist
    // yet makes every build run this script, until it does.
    for watched in ["build.rs", "csi", STEAD] {
        println!("cargo:rerun-if-changed={watched}");
    }

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_file(CSI)?;
    compiler.open_files(protos(Path::new(STEAD))?)?;
    // Not through `prost_types`: it drops the options that are extensions, `csi_secret` among them.
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    let secret = pool.get_extension_by_name("csi.v1.csi_secret").ok_or("csi_secret is gone")?;
    let redacted = redacted(&pool, &secret)?;
    fs::write(out.join("redact.rs"), source(&redacted, &secret)?)?;

    compiler.include_source_info(true);
    tonic_prost_build::configure()
        // The domain has ordered maps, so that what it derives from them does not depend on chance.
        .btree_map(".")
        .skip_debug(redacted.iter().map(|message| format!(".{}", message.full_name())))
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The interfaces in `dir`, in an order that does not depend on the file system.
fn protos(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<BTreeSet<_>>>()?;
    Ok(paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "proto"))
        .collect())
}

fn is_hidden(field: &FieldDescriptor, secret: &ExtensionDescriptor) -> bool {
    UNMARKED.contains(&field.full_name()) || marked(&field.options(), secret)
}

fn marked(options: &DynamicMessage, secret: &ExtensionDescriptor) -> bool {
    options.get_extension(secret).as_bool() == Some(true)
}

/// Every message with a hidden field. What the generator of [`source`] cannot print is an error
/// here, so that nobody mends it by printing everything.
fn redacted(
    pool: &DescriptorPool,
    secret: &ExtensionDescriptor,
) -> Result<Vec<MessageDescriptor>, String> {
    let mut found = Vec::new();
    for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
        for field in message.fields().filter(|field| field.name() == "secrets") {
            if !is_hidden(&field, secret) {
                return Err(format!("{} is not marked csi_secret", field.full_name()));
            }
        }
        if !message.fields().any(|field| is_hidden(&field, secret)) {
            continue;
        }
        // `skip_debug` also covers what is nested in the message, oneofs included.
        let nested = message.child_messages().any(|child| !child.is_map_entry());
        if nested || message.child_enums().len() > 0 || message.oneofs().len() > 0 {
            return Err(format!("{} has a secret, so it must nest nothing", message.full_name()));
        }
        found.push(message);
    }
    Ok(found)
}

/// One call of `redacted!`, a macro of `src/redact.rs`, for each message.
fn source(
    messages: &[MessageDescriptor],
    secret: &ExtensionDescriptor,
) -> Result<String, Box<dyn Error>> {
    let mut source = String::new();
    for message in messages {
        let (mut shown, mut counted, mut hidden) = (String::new(), String::new(), String::new());
        for field in message.fields() {
            let list = match (is_hidden(&field, secret), field.cardinality(), field.kind()) {
                (false, _, Kind::Enum(_)) => {
                    return Err(format!("{} would print as a number", field.full_name()).into());
                }
                (false, ..) => &mut shown,
                (true, Cardinality::Repeated, _) => &mut counted,
                (true, ..) => &mut hidden,
            };
            write!(list, "{} ", field.name())?;
        }
        let path = rust_path(message);
        writeln!(source, "redacted!({path}, [{shown}], [{counted}], [{hidden}]);")?;
    }
    Ok(source)
}

/// Where the generator of prost puts a message: the messages around it become modules.
fn rust_path(message: &MessageDescriptor) -> String {
    let mut path = String::from("crate");
    let mut segments = message.full_name().split('.').peekable();
    while let Some(segment) = segments.next() {
        path.push_str("::");
        for (at, letter) in segment.char_indices() {
            if segments.peek().is_some() && letter.is_uppercase() {
                path.push_str(if at == 0 { "" } else { "_" });
                path.extend(letter.to_lowercase());
            } else {
                path.push(letter);
            }
        }
    }
    path
}

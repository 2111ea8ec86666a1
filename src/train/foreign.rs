//! Files given in a checkpoint's place: what they are, by their first bytes, and what to do.

/// What the file is, where it is one of the kinds that are taken for checkpoints, and how it becomes one.
pub fn kind(bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    Some(match () {
        _ if bytes.is_empty() => "the file is empty: get it again",
        // torch.save writes a zip, and before PyTorch 1.6 pickles.
        _ if starts(b"PK\x03\x04") && is_torch(bytes) => TORCH,
        _ if starts(b"PK") => "a zip archive: unpack it, and give the .safetensors file",
        // The length of a safetensors header, 8 bytes before its brace, may begin like a pickle.
        _ if starts(b"\x80") && matches!(bytes.get(1), Some(2..=5)) && bytes.get(8) != Some(&b'{') => TORCH,
        _ if text.starts_with("version https://git-lfs") => {
            "a Git LFS pointer and not the file itself: `git lfs pull` fetches it"
        }
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<head") => {
            "an HTML page and not a checkpoint: a download gave its web page, so get the file itself"
        }
        _ if text.starts_with("<?xml") => "an XML text and not a checkpoint: a download gave an answer in its place",
        _ if starts(b"\x89HDF\r\n\x1a\n") => "an HDF5 file, as Keras writes it: save the weights as safetensors",
        _ if starts(b"\x93NUMPY") => "a NumPy array and not a model: `elbo decode MODEL ARRAY` draws latent points",
        _ if starts(b"GGUF") => "a GGUF file and not a VAE this program knows",
        _ if starts(b"\x1f\x8b") => "compressed with gzip: unpack it, and give the .safetensors file",
        _ if starts(b"\x89PNG") || starts(b"\xff\xd8\xff") || starts(b"GIF8") => {
            "a picture and not a model: give a run folder or a .safetensors file"
        }
        _ => return None,
    })
}

const TORCH: &str = "a PyTorch file (torch.save): convert it in Python with \
    safetensors.torch.save_file(torch.load(\"FILE\", map_location=\"cpu\", weights_only=True), \"model.safetensors\")";

/// Whether a zip is one of torch.save, whose first entries are NAME/data.pkl and the like.
fn is_torch(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(4096)];
    let holds = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    holds(b"data.pkl") || holds(b"/version") || holds(b"/byteorder") || holds(b".format_version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named() {
        let zip = |entry: &str| [&b"PK\x03\x04\0\0"[..], entry.as_bytes()].concat();
        for (bytes, word) in [
            (zip("model/data.pkl"), "torch.save"),
            (zip("photos/a.png"), "a zip archive"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), "torch.save"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n".to_vec(), "git lfs pull"),
            (b"\n  <!DOCTYPE html><html>".to_vec(), "HTML"),
            (b"\xef\xbb\xbf<HTML>".to_vec(), "HTML"),
            (b"<?xml version=\"1.0\"?><Error>".to_vec(), "XML"),
            (b"\x93NUMPY\x01\0".to_vec(), "NumPy"),
            (b"\x89HDF\r\n\x1a\n".to_vec(), "HDF5"),
            (Vec::new(), "empty"),
        ] {
            let kind = kind(&bytes).unwrap_or_default();
            assert!(kind.contains(word), "{word}: {kind}");
        }
        assert_eq!(kind(b"\x40\0\0\0\0\0\0\0{\"a\":{}}"), None);
        assert_eq!(kind(b"\x80\0\0\0\0\0\0\0{\"a\":{}}"), None);
        assert_eq!(kind(b"\x80\x04\0\0\0\0\0\0{\"a\":{}}"), None);
        assert_eq!(kind(b"some text"), None);
    }
}
